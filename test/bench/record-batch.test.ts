/**
 * The outside observer of the lane benchmark finds what a contender lost, doubled, reordered or changed.
 *
 * Its batches are read by real brokers whenever the benchmark runs; here is what a broker never shows: faults.
 */
import { describe, expect, it } from "vitest";
import { crc32c, encodeNumbered, Tally } from "../../bench/lib/record-batch.ts";

const VALUE_BYTES = 200;
const NOTHING_WRONG = { missing: 0, duplicated: 0, outOfOrder: 0, foreign: 0 };
const TRANSACTIONAL = 0x10;
const CONTROL = 0x20;

interface BatchOptions {
  readonly offset: number;
  readonly first: number;
  readonly count: number;
  readonly lane?: number;
  readonly valueBytes?: number;
  readonly producerId?: bigint;
  readonly attributes?: number;
}

function batch(options: BatchOptions): Buffer {
  const { offset, first, count, lane = 0, valueBytes = VALUE_BYTES } = options;
  const bytes = encodeNumbered({ lane, first, count, valueBytes, timestampMs: 1_700_000_000_000 });
  bytes.writeBigInt64BE(BigInt(offset), 0);
  bytes.writeInt16BE(options.attributes ?? 0, 21);
  bytes.writeBigInt64BE(options.producerId ?? -1n, 43);
  return bytes;
}

/** Tallies batches that lie in one fetch of one partition. */
function tally(perLane: readonly number[], batches: readonly Buffer[], aborted: number[] = []) {
  const result = new Tally(perLane, VALUE_BYTES);
  const transactions = aborted.map((firstOffset) => ({ producerId: 7n, firstOffset }));
  const next = result.add(0, 0, Buffer.concat(batches), transactions);
  return { ...result.result(), next };
}

describe("the checksum", () => {
  it("is that of RFC 3720, B.4", () => {
    expect(crc32c(Buffer.from("123456789"))).toBe(0xe3069283);
    expect(crc32c(Buffer.alloc(32))).toBe(0x8a9136aa);
    expect(crc32c(Buffer.alloc(32, 0xff))).toBe(0x62a8ab43);
  });
});

describe("the tally", () => {
  it("finds nothing wrong with every record once, over batches, lanes and varint lengths", () => {
    const batches = [
      batch({ offset: 0, first: 0, count: 300 }),
      batch({ offset: 300, first: 0, count: 1, lane: 1 }),
      batch({ offset: 301, first: 300, count: 9_000 }),
    ];
    expect(tally([9_300, 1], batches)).toEqual({ ...NOTHING_WRONG, next: 9_301 });
  });

  it("counts what is missing, doubled, out of order and foreign", () => {
    const first = batch({ offset: 0, first: 0, count: 5 });
    const wrong = (second: Buffer) => {
      const { next, ...rest } = tally([10], [first, second]);
      return rest;
    };
    expect(wrong(batch({ offset: 5, first: 5, count: 4 }))).toEqual({
      ...NOTHING_WRONG,
      missing: 1,
    });
    expect(wrong(batch({ offset: 5, first: 4, count: 6 }))).toEqual({
      ...NOTHING_WRONG,
      duplicated: 1,
      outOfOrder: 1,
    });
    expect(wrong(batch({ offset: 5, first: 5, count: 6 }))).toEqual({
      ...NOTHING_WRONG,
      foreign: 1,
    });
    expect(wrong(batch({ offset: 5, first: 5, count: 5, lane: 1 }))).toEqual({
      ...NOTHING_WRONG,
      missing: 5,
      foreign: 5,
    });
    expect(wrong(batch({ offset: 5, first: 5, count: 5, valueBytes: 199 }))).toEqual({
      ...NOTHING_WRONG,
      missing: 5,
      foreign: 5,
    });
    const late = batch({ offset: 0, first: 5, count: 5 });
    expect(tally([10], [late, batch({ offset: 5, first: 0, count: 5 })])).toMatchObject({
      outOfOrder: 1,
    });
  });

  it("leaves out aborted transactions, and only those", () => {
    const mine = { producerId: 7n, attributes: TRANSACTIONAL };
    const batches = [
      batch({ offset: 0, first: 0, count: 2, ...mine }),
      batch({ offset: 2, first: 5, count: 1, producerId: 8n, attributes: TRANSACTIONAL }),
      batch({ offset: 3, first: 0, count: 1, producerId: 7n, attributes: TRANSACTIONAL | CONTROL }),
      batch({ offset: 4, first: 0, count: 5, ...mine }),
      batch({ offset: 9, first: 0, count: 1, producerId: 7n, attributes: TRANSACTIONAL | CONTROL }),
    ];
    expect(tally([6], batches, [0])).toMatchObject({ missing: 0, duplicated: 0 });
    expect(tally([6], batches)).toMatchObject({ missing: 0, duplicated: 2 });
    expect(tally([6], batches, [4, 0])).toMatchObject({ missing: 5, duplicated: 0 });
  });

  it("reads a fetch that ends within a batch, and goes on after the last whole one", () => {
    const whole = batch({ offset: 0, first: 0, count: 3 });
    const cut = batch({ offset: 3, first: 3, count: 3 });
    const parts = [whole, cut.subarray(0, cut.length - 1)];
    expect(tally([6], parts)).toMatchObject({ next: 3, missing: 3, foreign: 0 });
    expect(tally([6], [whole, cut.subarray(0, 10)])).toMatchObject({ next: 3 });
  });
});
