/** Receipts of replayed letters, hex-exact, what a replay that fails says, and sets of offsets. */
import { describe, expect, it } from "vitest";
import { SealstreamError } from "../../pipeline/errors.ts";
import { OffsetSet } from "../../pipeline/stream/dead-letter-offsets.ts";
import {
  commitReplay,
  decodeReceipt,
  encodeReceipt,
  isReceipt,
  MAX_ENTRIES,
} from "../../pipeline/stream/dead-letter-replay.ts";
import type { LaneProducer } from "../../pipeline/stream/port.ts";
import { idleProducer } from "./fake-client.ts";

const bytes = (value: string): Uint8Array => new TextEncoder().encode(value);

describe("a receipt", () => {
  it("is a version and pairs of offsets", () => {
    const payload = encodeReceipt([
      { letter: 1, source: 258 },
      { letter: 2, source: Number.MAX_SAFE_INTEGER },
    ]);
    expect(Buffer.from(payload).toString("hex")).toBe(
      "01000000000000000100000000000001020000000000000002001fffffffffffff",
    );
    expect(decodeReceipt(payload)).toEqual([
      { letter: 1, source: 258 },
      { letter: 2, source: Number.MAX_SAFE_INTEGER },
    ]);
  });

  it("is refused cut off, too long, of another version, or beyond what a number holds", () => {
    const good = encodeReceipt([{ letter: 5, source: 6 }]);
    for (let length = 0; length < good.length; length += 1) {
      expect(decodeReceipt(good.subarray(0, length))).toBeNull();
    }
    expect(decodeReceipt(Uint8Array.of(2, ...good.subarray(1)))).toBeNull();
    expect(decodeReceipt(Uint8Array.of(1, ...new Array<number>(16).fill(255)))).toBeNull();
    const long = Buffer.alloc(1 + (MAX_ENTRIES + 1) * 16);
    long[0] = 1;
    expect(decodeReceipt(long)).toBeNull();
    expect(decodeReceipt(long.subarray(0, 1 + MAX_ENTRIES * 16))?.length).toBe(MAX_ENTRIES);
    expect(() => encodeReceipt([])).toThrow();
  });

  it("is told from a letter by its header", () => {
    const record = { offset: 0, timestampMs: 0, key: null, value: null };
    expect(isReceipt({ ...record, headers: { "sealstream-type": bytes("replayed") } })).toBe(true);
    expect(isReceipt({ ...record, headers: { "sealstream-type": bytes("chunk") } })).toBe(false);
    expect(isReceipt({ ...record, headers: {} })).toBe(false);
  });
});

describe("a replay's transaction", () => {
  const guard = { protect: (payload: Uint8Array) => payload, open: (value: Uint8Array) => value };
  const replay = (producer: LaneProducer) =>
    commitReplay({
      producer,
      place: { pipeline: "p", stage: "encrypt", partition: 0 },
      guard,
      items: [
        { letter: 1, source: 2, partition: 0, record: { key: null, value: bytes("a record") } },
      ],
      position: 2,
    });

  const steps = ["begin", "send", "sendOffset", "commit"] as const;

  it.each(steps)("says in one sentence that a rival has fenced it during %s", async (step) => {
    const cause = new SealstreamError("fenced", "Kafka answered PRODUCER_FENCED to something.");
    const work = replay({ ...idleProducer, [step]: () => Promise.reject(cause) });
    await expect(work).rejects.toMatchObject({
      code: "fenced",
      message:
        "Another replay of this pipeline has taken over: nothing is replayed twice; let one run at a time.",
      cause,
    });
  });

  it.each(steps)("says what to do after any other failure during %s", async (step) => {
    for (const cause of [new SealstreamError("internal", "Closed."), new Error("a record")]) {
      const work = replay({ ...idleProducer, [step]: () => Promise.reject(cause) });
      await expect(work).rejects.toMatchObject({
        code: "kafka-failed",
        message:
          "Kafka failed in the middle of a replay: run it again; what was replayed already stays as it is.",
        cause,
      });
    }
  });
});

describe("a set of offsets", () => {
  it("holds what was added and nothing beside it, also far apart", () => {
    const set = new OffsetSet();
    const model = new Set<number>();
    for (const base of [0, 4095, 4096, 2 ** 31, 2 ** 32 + 7, Number.MAX_SAFE_INTEGER - 9]) {
      for (const offset of [base, base + 1, base + 7, base + 8]) {
        set.add(offset);
        set.add(offset);
        model.add(offset);
      }
    }
    expect(set.size).toBe(model.size);
    for (const offset of model) {
      for (const near of [offset - 1, offset, offset + 1]) {
        if (near >= 0) expect(set.has(near)).toBe(model.has(near));
      }
    }
  });
});
