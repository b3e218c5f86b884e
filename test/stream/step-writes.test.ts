/** What a step writes: one entry a target partition, in order, and one dead letter a refused record. */
import { describe, expect, it } from "vitest";
import type { OutputRecord, StreamRecord } from "../../pipeline/stream/contract.ts";
import { deadLetterWrites, outputWrites } from "../../pipeline/stream/step-writes.ts";

const output = (role: OutputRecord["role"], name: number): OutputRecord => ({
  role,
  key: null,
  value: Uint8Array.of(name),
});
const names = (records: readonly { readonly value: Uint8Array | null }[]) =>
  records.map(({ value }) => value?.[0]);

describe("outputWrites", () => {
  it("gathers each target's records in order, targets in the order in which they first appear", () => {
    const outputs = [
      output("packs", 1),
      output("examples", 2),
      output("packs", 3),
      output("packs", 4),
      output("examples", 5),
    ];
    const writes = outputWrites("p", 3, outputs);
    expect(
      writes.map(({ topic, partition, records }) => [topic, partition, names(records)]),
    ).toEqual([
      ["p.packs", 3, [1, 3, 4]],
      ["p.examples", 3, [2, 5]],
    ]);
  });

  it("writes to partition 0 of a topic that has only one, whatever the lane", () => {
    const [write] = outputWrites("p", 3, [output("ledger", 1)]);
    expect(write).toMatchObject({ topic: "p.ledger", partition: 0 });
  });

  it("makes nothing of nothing", () => {
    expect(outputWrites("p", 0, [])).toEqual([]);
  });
});

describe("deadLetterWrites", () => {
  const records = [4, 7, 9].map(
    (offset): StreamRecord => ({ offset, timestampMs: 0, key: null, value: null, headers: {} }),
  );
  const write = (...offsets: number[]) =>
    deadLetterWrites({
      topic: "p.raw.dead",
      lane: 2,
      stage: "desensitize",
      records,
      refused: offsets.map((offset) => ({ offset, kind: "dead-letter", reason: "schema" })),
      letter: ({ offset }) => ({ key: null, value: Uint8Array.of(offset) }),
    });

  it("makes one letter a refused record, in the order in which they were refused", () => {
    const [only, ...others] = write(4, 9);
    expect(others).toEqual([]);
    expect(only).toMatchObject({ topic: "p.raw.dead", partition: 2 });
    expect(names(only?.records ?? [])).toEqual([4, 9]);
  });

  it("makes no request where nothing was refused", () => {
    expect(write()).toEqual([]);
  });

  it("takes a refused record that was not given for a bug of the stage", () => {
    expect(() => write(4, 5)).toThrowError(expect.objectContaining({ code: "internal" }));
  });
});
