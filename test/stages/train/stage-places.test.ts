/** The train stage without Kafka: places, ranges, and what is refused. */
import { randomBytes } from "node:crypto";
import { beforeEach, describe, expect, test } from "vitest";
import { encodeCbor } from "../../../pipeline/crypto/cbor.ts";
import { flatten } from "../../../pipeline/network/weights.ts";
import { clipTarget } from "../../../pipeline/stages/train/clip-margin.ts";
import { naiveClippedSum } from "./oracle.ts";
import { createHarness, makeModel, NETWORK, openContributions, TestLane } from "./world.ts";

let world: Awaited<ReturnType<typeof createHarness>>;
beforeEach(async () => {
  world = await createHarness();
});

describe("places and ranges", () => {
  test("a micro-batch has exactly its places, and ranges touch", async () => {
    const lane = new TestLane(world.stage());
    lane.log = world.seal(11);
    await lane.settle();
    expect(world.ranges()).toEqual([
      [0, 4, 4, 4],
      [4, 8, 4, 4],
    ]);
    expect(lane.position).toBe(8);
    lane.log.push(...world.seal(1));
    await lane.settle();
    expect(world.ranges().at(-1)).toEqual([8, 12, 4, 4]);
  });

  test("offsets that hold no record are no places", async () => {
    const lane = new TestLane(world.stage());
    for (const skip of [3, 0, 2, 1]) {
      lane.log.push(...world.seal(1));
      world.owner.skipOffsets(skip);
    }
    lane.log.push(...world.seal(4));
    await lane.settle();
    expect(world.ranges()).toEqual([
      [0, 9, 4, 4],
      [9, 14, 4, 4],
    ]);
  });

  test("validate and test records are no places, and lie within the ranges", async () => {
    const lane = new TestLane(world.stage());
    const splits = ["validate", "train", "test", "train", "train", "validate", "train", "test"];
    lane.log = [...splits, "train"].map((split) => world.owner.seal({ split }));
    await lane.settle();
    expect(world.ranges()).toEqual([[0, 7, 4, 4]]);
    // The record after it is read and final, the waiting place is not.
    expect(lane.position).toBe(8);
    lane.log.push(...world.seal(3));
    await lane.settle();
    expect(world.ranges().at(-1)).toEqual([7, 12, 4, 4]);
    expect(world.validation.reduce((sum, { records }) => sum + records, 0)).toBe(2);
  });

  test("a lane of validation records only is read and leaves no contribution", async () => {
    const lane = new TestLane(world.stage());
    lane.log = world.seal(5, { split: "validate" });
    await lane.settle();
    expect(lane.position).toBe(5);
    expect(lane.outputs).toEqual([]);
    expect(world.validation.reduce((sum, { records }) => sum + records, 0)).toBe(5);
    lane.log.push(...world.seal(4));
    await lane.start();
    await lane.settle();
    expect(world.ranges()).toEqual([[0, 9, 4, 4]]);
  });

  test("the sum is that of the naive loop at the iterate, in fixed point", async () => {
    // The model that readers use is another than the one that trains.
    world.model = { ...makeModel(), weights: makeModel().weights };
    const lane = new TestLane(world.stage());
    const xs = Array.from({ length: 4 }, (_, row) => [row / 4, 0.5, 1, 0.25]);
    lane.log = xs.map((x, row) => world.owner.seal({ x, y: row % 2 }));
    await lane.settle();
    const [contribution] = openContributions(world.zones.aggregateDirectory(), lane.outputs);
    const expected = naiveClippedSum({
      network: NETWORK,
      weights: world.model!.iterate,
      inputs: Float32Array.from(xs.flat()),
      labels: Int32Array.from([0, 1, 0, 1]),
      clip: clipTarget(NETWORK, 4, 1),
    });
    const unit = 2 ** contribution!.fractionBits;
    for (const [index, value] of expected.sum.entries()) {
      expect(contribution!.sum[index]! / unit).toBeCloseTo(value, 5);
    }
    expect(contribution).toMatchObject({ modelVersion: 0, lane: 0, from: 0, to: 4, places: 4 });
    expect(contribution!.runId).toBe(world.model!.runId);
    expect(flatten(world.model!.weights).length).toBe(contribution!.sum.length);
  });
});

describe("a refused record keeps its place and becomes a dead letter", () => {
  const x = new Uint8Array(16);
  const cases: [string, () => ReturnType<typeof world.owner.seal>, string][] = [
    ["a tombstone", () => ({ ...world.owner.seal(), value: null }), "tombstone"],
    ["no key", () => ({ ...world.owner.seal(), key: null }), "record-id"],
    [
      "another record's key",
      () => ({ ...world.owner.seal(), key: Buffer.from("x") }),
      "envelope-refused",
    ],
    ["no split header", () => world.owner.seal({ split: undefined }), "envelope-refused"],
    ["an unknown split", () => world.owner.seal({ split: "Train" }), "envelope-refused"],
    ["a changed split", () => world.owner.seal({ sealedSplit: "validate" }), "envelope-refused"],
    ["an envelope of another lane", () => world.owner.seal({ foreign: true }), "envelope-refused"],
    ["garbage", () => ({ ...world.owner.seal(), value: randomBytes(99) }), "envelope-refused"],
    ["a sequence again", () => world.owner.seal({ sequence: 0 }), "sequence-not-rising"],
    ["another plaintext", () => world.owner.seal({ plaintext: encodeCbor([1]) }), "schema"],
    [
      "another version",
      () => world.owner.seal({ plaintext: encodeCbor({ v: 2, x, y: 0 }) }),
      "schema",
    ],
    [
      "one field more",
      () => world.owner.seal({ plaintext: encodeCbor({ v: 1, x, y: 0, z: 0 }) }),
      "schema",
    ],
    ["too few features", () => world.owner.seal({ x: [1, 2, 3] }), "feature-invalid"],
    ["a label out of range", () => world.owner.seal({ y: 2 }), "label-invalid"],
    [
      "no label",
      () => world.owner.seal({ plaintext: encodeCbor({ v: 1, x, y: null }) }),
      "label-invalid",
    ],
  ];

  test.each(cases)("%s", async (_, make, reason) => {
    const lane = new TestLane(world.stage());
    lane.log = [...world.seal(2), make(), ...world.seal(2)];
    await lane.settle();
    expect(world.ranges()).toEqual([[0, 4, 4, 3]]);
    expect(lane.outcomes).toEqual([{ offset: 2, kind: "dead-letter", reason }]);
  });

  test("and its row is zero: the sum is that of the others", async () => {
    const lane = new TestLane(world.stage());
    const good = [{ x: [0, 1, 0, 1] }, { x: [1, 0, 0.5, 1] }, { x: [0.2, 0.3, 0.4, 0.5] }];
    lane.log = [
      world.owner.seal({ ...good[0], y: 1 }),
      world.owner.seal({ y: 9 }),
      world.owner.seal({ ...good[1], y: 0 }),
    ];
    lane.log.push(world.owner.seal({ ...good[2], y: 1 }));
    await lane.settle();
    const [contribution] = openContributions(world.zones.aggregateDirectory(), lane.outputs);
    const expected = naiveClippedSum({
      network: NETWORK,
      weights: world.model!.weights,
      inputs: Float32Array.from(good.flatMap((item) => item.x)),
      labels: Int32Array.from([1, 0, 1]),
      clip: clipTarget(NETWORK, 4, 1),
    });
    for (const [index, value] of expected.sum.entries()) {
      expect(contribution!.sum[index]! / 2 ** contribution!.fractionBits).toBeCloseTo(value, 5);
    }
  });

  test("a refused validation record is no place", async () => {
    const lane = new TestLane(world.stage());
    lane.log = [
      ...world.seal(2),
      world.owner.seal({ split: "validate", foreign: true }),
      ...world.seal(2),
    ];
    await lane.settle();
    expect(world.ranges()).toEqual([[0, 5, 4, 4]]);
    expect(lane.outcomes).toMatchObject([{ offset: 2, reason: "envelope-refused" }]);
  });

  test("a micro-batch of nothing but refused records is a zero sum", async () => {
    const lane = new TestLane(world.stage());
    lane.log = world.seal(4, { y: 5 });
    await lane.settle();
    const [contribution] = openContributions(world.zones.aggregateDirectory(), lane.outputs);
    expect(contribution).toMatchObject({ from: 0, to: 4, places: 4, used: 0 });
    expect([...contribution!.sum].every((value) => value === 0)).toBe(true);
    expect(lane.outcomes).toHaveLength(4);
  });

  test("NaN features contribute nothing and are counted", async () => {
    const lane = new TestLane(world.stage());
    lane.log = [...world.seal(3), world.owner.seal({ x: [0, Number.NaN, 0, 0] })];
    await lane.settle();
    expect(world.ranges()).toEqual([[0, 4, 4, 3]]);
    expect(world.progress[0]!.unusableRows).toBe(1);
    expect(lane.outcomes).toEqual([]);
  });
});

describe("sequences", () => {
  test("must rise across micro-batches, splits and restarts", async () => {
    const lane = new TestLane(world.stage());
    lane.log = [...world.seal(4), world.owner.seal({ split: "validate", sequence: 50 })];
    await lane.settle();
    await lane.start();
    lane.log.push(
      world.owner.seal({ sequence: 50 }),
      world.owner.seal({ sequence: 51 }),
      ...world.seal(2, { sequence: 3 }),
    );
    await lane.settle();
    expect(world.ranges().at(-1)).toEqual([4, 9, 4, 1]);
    expect(lane.outcomes.map(({ offset }) => offset)).toEqual([5, 7, 8]);
  });

  test("of a refused envelope do not count", async () => {
    const lane = new TestLane(world.stage());
    lane.log = [world.owner.seal({ sequence: 9, foreign: true }), ...world.seal(3)];
    await lane.settle();
    expect(world.ranges()).toEqual([[0, 4, 4, 3]]);
  });
});
