/** Our decoder against kafkajs's on 100,000 records; the filter, compaction, cut and broken bytes, every codec. */
import { describe, expect, it } from "vitest";
import { crc32c } from "../../../pipeline/stream/wire/crc32c.ts";
import { decodeBatches } from "../../../pipeline/stream/wire/record-batch-decoder.ts";
import type { BatchFields } from "../../../pipeline/stream/wire/record-batch-encoder.ts";
import { createRandom } from "./random.ts";
import { ourBatch, randomFields, randomRecord, stockBatch, stockDecode } from "./stock.ts";

const bytes = (text: string): Buffer => Buffer.from(text);
const FIELDS: BatchFields = {
  producerId: 7n,
  producerEpoch: 0,
  baseSequence: 0,
  isTransactional: false,
  timestampMs: 1_000,
  compression: "none",
};

/** A batch with some header fields changed and its checksum made right again. */
function patched(batch: Buffer, change: (copy: Buffer) => void): Buffer {
  const copy = Buffer.from(batch);
  change(copy);
  copy.writeUInt32BE(crc32c(copy, 21), 17);
  return copy;
}

const at = (batch: Buffer, offset: number): Buffer =>
  patched(batch, (copy) => copy.writeBigInt64BE(BigInt(offset), 0));

const values = (...texts: string[]) => texts.map((text) => ({ key: null, value: bytes(text) }));

function decode(
  input: Buffer,
  from = 0,
  aborted: { producerId: bigint; firstOffset: number }[] = [],
) {
  return decodeBatches(input, { where: "t/0", from, aborted });
}

const texts = (result: ReturnType<typeof decode>): string[] =>
  result.records.map(({ value }) => Buffer.from(value ?? []).toString());

function marker(offset: number, producerId: bigint, type: 0 | 1): Buffer {
  const key = Buffer.of(0, 0, 0, type);
  const batch = ourBatch([{ key, value: Buffer.alloc(6) }], {
    ...FIELDS,
    producerId,
    isTransactional: true,
  });
  return patched(at(batch, offset), (copy) => copy.writeInt16BE(0x30, 21));
}

describe("the record batch decoder", () => {
  it("lays out a bounded number of records at once and goes on in the middle of a batch", () => {
    const count = 150_000;
    const many = Array.from({ length: count }, () => ({ key: null, value: Buffer.alloc(0) }));
    const batch = ourBatch(many, { ...FIELDS, compression: "zstd" });
    const sizes: number[] = [];
    for (let from = 0; from < count; ) {
      const { records, nextOffset } = decode(batch, from);
      expect(records.at(0)?.offset).toBe(from);
      expect(records.at(-1)?.offset).toBe(nextOffset - 1);
      sizes.push(records.length);
      from = nextOffset;
    }
    expect(sizes).toEqual([65_536, 65_536, count - 2 * 65_536]);
  });

  it("reads what kafkajs reads, over 100,000 random records", async () => {
    const random = createRandom(11);
    let seen = 0;
    for (let round = 0; seen < 100_000; round += 1) {
      const compression = (["none", "gzip", "zstd", "none"] as const)[round % 4] ?? "none";
      const records = Array.from({ length: 1 + random(400) }, () => randomRecord(random));
      const timestamps = records.map(() => random(2 ** 31) * 700);
      const fields = { ...randomFields(random, compression), firstOffset: random(2 ** 31) * 1_000 };
      const hasAppendTime = random(4) === 0;
      const batch = patched(await stockBatch(records, fields, timestamps), (copy) =>
        copy.writeInt16BE(copy.readInt16BE(21) | (hasAppendTime ? 8 : 0), 21),
      );
      const stock = await stockDecode(batch);
      const ours = decode(batch, fields.firstOffset).records;
      expect(ours.length).toBe(stock.length);
      for (const [index, expected] of stock.entries()) {
        const record = ours[index];
        const headers = Object.entries(expected.headers).map(([name, value]) => [
          name,
          Array.isArray(value) ? value.at(-1) : value,
        ]);
        // One comparison a record: the assertion itself is what takes the time.
        const same =
          record !== undefined &&
          record.offset === Number(expected.offset) &&
          record.timestampMs === Number(expected.timestamp) &&
          Buffer.compare(record.key ?? bytes("\0null"), expected.key ?? bytes("\0null")) === 0 &&
          Buffer.compare(record.value ?? bytes("\0null"), expected.value ?? bytes("\0null")) ===
            0 &&
          sameHeaders(record.headers, records[index]?.headers ?? {}, headers);
        if (!same) expect.fail(`record ${index} of round ${round} differs`);
      }
      seen += stock.length;
    }
  });

  it("counts key, value and headers, and keeps a header called __proto__", () => {
    const headers = Object.fromEntries([
      ["__proto__", bytes("p")],
      ["twice", [bytes("first"), bytes("last")]],
    ]);
    const [record] = decode(
      ourBatch([{ key: bytes("k"), value: bytes("vv"), headers }], FIELDS),
    ).records;
    expect(Object.keys(record?.headers ?? {})).toEqual(["__proto__", "twice"]);
    expect(Object.values(record?.headers ?? {})).toEqual([bytes("p"), bytes("last")]);
    expect(record?.sizeBytes).toBe(1 + 2 + 9 + 1 + 5 + 5 + 5 + 4);
    const [none] = decode(ourBatch([{ key: null, value: null }], FIELDS)).records;
    expect([none?.key, none?.value, none?.sizeBytes, none?.headers]).toEqual([null, null, 0, {}]);
  });

  it("leaves out what lies before the offset asked for, and goes beyond emptied batches", () => {
    const first = ourBatch(values("a", "b", "c"), FIELDS);
    const emptied = patched(at(ourBatch(values("x"), FIELDS).subarray(0, 61), 3), (copy) => {
      copy.writeInt32BE(49, 8);
      copy.writeInt32BE(6, 23);
      copy.writeInt32BE(0, 57);
    });
    const result = decode(Buffer.concat([first, emptied]), 1);
    expect(texts(result)).toEqual(["b", "c"]);
    expect(result.nextOffset).toBe(10);
  });

  it("reads the gaps of a compacted batch", () => {
    // Offsets 0 and 4 of a batch that had five records: the second record's delta becomes 4.
    const batch = patched(ourBatch(values("a", "b"), FIELDS), (copy) => {
      copy.writeInt32BE(4, 23);
      copy[61 + 8 + 3] = 8;
    });
    const result = decode(batch);
    expect(result.records.map(({ offset }) => offset)).toEqual([0, 4]);
    expect(result.nextOffset).toBe(5);
  });

  it("stops before a batch that is cut off, wherever", () => {
    const whole = ourBatch(values("a"), FIELDS);
    const cut = at(ourBatch(values("b", "c"), FIELDS), 1);
    for (let length = 0; length < cut.length; length += 1) {
      const result = decode(Buffer.concat([whole, cut.subarray(0, length)]));
      expect(texts(result)).toEqual(["a"]);
      expect(result.nextOffset).toBe(1);
    }
  });

  it("drops aborted transactions and markers, and believes the control bit, not a key", () => {
    const transaction = (offset: number, producerId: bigint, key: Buffer | null, text: string) =>
      at(
        ourBatch([{ key, value: bytes(text) }], { ...FIELDS, producerId, isTransactional: true }),
        offset,
      );
    const log = Buffer.concat([
      transaction(0, 1n, Buffer.alloc(4), "aborted"),
      transaction(1, 2n, null, "aborted too"),
      transaction(2, 1n, null, "aborted as well"),
      marker(3, 2n, 0),
      marker(4, 1n, 0),
      transaction(5, 1n, Buffer.alloc(4), "kept"),
      marker(6, 1n, 1),
    ]);
    const aborted = [
      { producerId: 2n, firstOffset: 1 },
      { producerId: 1n, firstOffset: 0 },
    ];
    expect(texts(decode(log, 0, aborted))).toEqual(["kept"]);
    expect(decode(log, 0, aborted).nextOffset).toBe(7);
    expect(texts(decode(log, 0, []))).toEqual([
      "aborted",
      "aborted too",
      "aborted as well",
      "kept",
    ]);
  });

  it("leaves very compressible batches to the next fetch, one at least each time", () => {
    const value = Buffer.alloc(900_000);
    const packed = ourBatch(
      Array.from({ length: 10 }, () => ({ key: null, value })),
      {
        ...FIELDS,
        compression: "zstd",
      },
    );
    const log = Buffer.concat(Array.from({ length: 6 }, (_, index) => at(packed, index * 10)));
    const positions: number[] = [];
    let seen = 0;
    for (let from = 0; from < 60; ) {
      const result = decode(log, from);
      expect(result.records[0]?.offset).toBe(from);
      seen += result.records.length;
      from = result.nextOffset;
      positions.push(from);
    }
    expect(seen).toBe(60);
    expect(positions.length).toBeGreaterThan(1);
  });

  it("does not hold a large answer for a few records of it", () => {
    const small = ourBatch(values("kept"), FIELDS);
    const answer = Buffer.alloc(1_000_000);
    small.copy(answer, 500_000);
    const [record] = decode(answer.subarray(500_000, 500_000 + small.length)).records;
    expect(record?.value?.buffer.byteLength).toBeLessThan(1_000);
  });

  it("says which topic holds an unknown codec or an ancient format", () => {
    const batch = ourBatch(values("a"), FIELDS);
    const codec = patched(batch, (copy) => copy.writeInt16BE(5, 21));
    expect(() => decode(codec)).toThrow(/t\/0 holds records compressed with codec 5/);
    for (const magic of [0, 1]) {
      const old = Buffer.from(batch);
      old[16] = magic;
      expect(() => decode(old)).toThrow(/t\/0 holds records in a message format older/);
    }
  });

  it("refuses every single changed byte by the checksum, or reads around it", () => {
    const random = createRandom(5);
    const batch = ourBatch([randomRecord(random), ...values("a", "b")], FIELDS);
    for (let index = 0; index < batch.length; index += 1) {
      const copy = Buffer.from(batch);
      copy[index] = (copy[index] ?? 0) ^ (1 << random(8));
      expectCodeOrResult(copy, index);
    }
  });

  it("survives 60,000 broken bodies under a right checksum: kafka-failed or records, never more bytes than there are", () => {
    const random = createRandom(6);
    for (let round = 0; round < 60_000; round += 1) {
      const records = Array.from({ length: 1 + random(4) }, () => randomRecord(random));
      const broken = patched(ourBatch(records, randomFields(random)).subarray(0, 3_000), (copy) => {
        copy.writeInt32BE(copy.length - 12, 8);
        for (let change = 1 + random(3); change > 0; change -= 1) {
          const from = random(4) === 0 ? 21 : 61;
          copy[from + random(copy.length - from)] = random(256);
        }
      });
      expectCodeOrResult(broken, round);
    }
  });
});

function sameHeaders(
  ours: Readonly<Record<string, Uint8Array>>,
  sent: object,
  stock: readonly (readonly [string, unknown])[] | unknown[][],
): boolean {
  // kafkajs loses a header called __proto__, so that what was sent is what counts.
  const expected = Object.entries(sent).map(([name, value]): [string, Uint8Array] => [
    name,
    Array.isArray(value) ? value.at(-1) : value,
  ]);
  return (
    stock.length <= expected.length &&
    Object.keys(ours).length === expected.length &&
    expected.every(([name, value]) => Buffer.compare(ours[name] ?? bytes("\0none"), value) === 0)
  );
}

function expectCodeOrResult(input: Buffer, round: number): void {
  try {
    for (const record of decode(input).records) {
      const total = (record.key?.length ?? 0) + (record.value?.length ?? 0);
      if (
        total > record.sizeBytes ||
        Object.values(record.headers).some((one) => one.length > 1e6)
      ) {
        expect.fail(`round ${round} reads beyond itself`);
      }
    }
  } catch (error) {
    expect(error).toMatchObject({
      name: "SealstreamError",
      // The second is for what another reading does not mend, such as a broken compressed body.
      code: expect.stringMatching(/^(kafka-failed|limit-exceeded)$/),
    });
  }
}
