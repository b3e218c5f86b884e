/** Which model a pack is evaluated with, when some cannot be. */
import { expect, test } from "vitest";
import {
  createModelChoice,
  type PackKind,
  type RefusedModel,
} from "../../../pipeline/stages/predict/model-choice.ts";
import type { PredictModel } from "../../../pipeline/stages/predict/stage.ts";

function model(modelVersion: number, consumerKeyId?: string): PredictModel {
  const weights = consumerKeyId === undefined ? {} : { file: new Uint8Array(1), consumerKeyId };
  const entry = { runId: "r", modelVersion, model: { sha256: "s" } };
  // Because the choice reads no more of it.
  return { entry, entryHash: `e${modelVersion}`, weights } as unknown as PredictModel;
}

const batch: PackKind = { consumerKeyId: "old", packing: "batch", form: "wire" };

test("a model that one kind of pack cannot use stays the model of all others, and is reported once", () => {
  const reports: RefusedModel[] = [];
  const newest = model(1);
  const choice = createModelChoice({
    model: () => newest,
    onModelRefused: (report) => reports.push(report),
  });
  choice.refuse(newest, batch, "too steep");
  expect(choice.current(batch)).toBe(null);
  const others: PackKind[] = [
    { ...batch, consumerKeyId: "rotated" },
    { ...batch, packing: "slots" },
    { ...batch, form: "library" },
  ];
  for (const other of others) {
    expect(choice.current(other)).toBe(newest);
    choice.refuse(newest, other, "too steep");
    expect(choice.current(other)).toBe(null);
  }
  expect(choice.current(null)).toBe(newest);
  expect(reports).toEqual([{ modelVersion: 1, reason: "too steep" }]);
});

test("what was proved by one kind serves another only where it was not refused", () => {
  let newest = model(1);
  const choice = createModelChoice({ model: () => newest });
  const good = newest;
  const slots = { ...batch, packing: "slots" } as const;
  choice.refuse(good, slots, "no");
  choice.proved(good);
  newest = model(2);
  for (const kind of [batch, slots]) choice.refuse(newest, kind, "no");
  expect(choice.current(batch)).toBe(good);
  expect(choice.current(slots)).toBe(null);
});
