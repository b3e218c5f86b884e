/** Page-Hinkley's test against river 0.26.1: the same errors, the same alarms. */
import { expect, test } from "vitest";
import { createDriftDetector } from "../../../pipeline/stages/train/drift.ts";

/** 300 errors at .3, 300 at .1, 500 at .4, by the generator that river's run used. */
function errors(): number[] {
  let state = 1;
  return Array.from({ length: 1_100 }, (_, index) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const rate = index < 300 ? 0.3 : index < 600 ? 0.1 : 0.4;
    return state / 2 ** 32 < rate ? 1 : 0;
  });
}

function alarms(threshold?: number, values = errors()): number[] {
  const detector = createDriftDetector(threshold);
  return values.flatMap((error, index) => (detector.add(error) ? [index] : []));
}

test("alarms where river's PageHinkley(mode='up') does", () => {
  expect(alarms()).toEqual([822]);
  expect(alarms(10)).toEqual([656]);
});

test("an error that falls, or that ever was, is no drift", () => {
  expect(alarms(10, errors().slice(0, 600))).toEqual([]);
  expect(alarms(10, Array(5_000).fill(1))).toEqual([]);
});

test("after an alarm it begins anew", () => {
  const twice = [
    ...Array(100).fill(0),
    ...Array(100).fill(1),
    ...Array(100).fill(0),
    ...Array(100).fill(1),
  ];
  expect(alarms(10, twice)).toHaveLength(2);
});
