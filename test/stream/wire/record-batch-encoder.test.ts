/** Our record batches against kafkajs's: the same bytes; and the chunks they are cut into. */
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import {
  BATCH_HEADER_BYTES,
  nextChunk,
} from "../../../pipeline/stream/wire/record-batch-encoder.ts";
import { createRandom } from "./random.ts";
import { ourBatch, randomFields, randomRecord, stockBatch } from "./stock.ts";

describe("the record batch encoder", () => {
  it("writes the very bytes of kafkajs for 1,200 random batches", async () => {
    const random = createRandom(1);
    for (let round = 0; round < 1_200; round += 1) {
      const records = Array.from({ length: 1 + random(round % 50 === 0 ? 300 : 30) }, () =>
        randomRecord(random),
      );
      const fields = randomFields(random);
      expect(ourBatch(records, fields).equals(await stockBatch(records, fields))).toBe(true);
    }
  });

  it.each([
    ["gzip", gunzipSync, 1],
    ["zstd", zstdDecompressSync, 4],
  ] as const)(
    "packs the same records under %s, or leaves what does not shrink",
    async (compression, unpack, codec) => {
      const random = createRandom(2);
      const codecs = new Set<number>();
      for (let round = 0; round < 100; round += 1) {
        const records = Array.from({ length: 1 + random(20) }, () => randomRecord(random));
        const fields = randomFields(random, compression);
        const plain = await stockBatch(records, { ...fields, compression: "none" });
        const packed = ourBatch(records, fields);
        const body = packed.subarray(BATCH_HEADER_BYTES);
        const used = packed.readInt16BE(21) & 7;
        codecs.add(used);
        expect(used === 0 ? packed : unpack(body)).toEqual(
          used === 0 ? plain : plain.subarray(BATCH_HEADER_BYTES),
        );
        // Attributes and checksum apart, the headers are the same but for the length.
        expect(packed.subarray(23, BATCH_HEADER_BYTES)).toEqual(
          plain.subarray(23, BATCH_HEADER_BYTES),
        );
        expect(packed.readInt32BE(8)).toBe(packed.length - 12);
      }
      expect([...codecs].sort()).toEqual([0, codec]);
    },
  );

  it("bounds every batch from above, closely", () => {
    const random = createRandom(3);
    for (let round = 0; round < 500; round += 1) {
      const records = Array.from({ length: 1 + random(20) }, () => randomRecord(random));
      const { mostBytes } = nextChunk(records, 0, Number.POSITIVE_INFINITY);
      expect(ourBatch(records, randomFields(random)).length).toBeLessThanOrEqual(mostBytes);
    }
  });

  it("cuts records into chunks that lose none and pass the bound only alone", () => {
    const random = createRandom(4);
    const records = Array.from({ length: 2_000 }, () => randomRecord(random));
    let from = 0;
    while (from < records.length) {
      const { to, mostBytes } = nextChunk(records, from, 5_000);
      expect(to).toBeGreaterThan(from);
      if (to > from + 1) expect(mostBytes).toBeLessThanOrEqual(5_000);
      from = to;
    }
    expect(from).toBe(records.length);
  });
});
