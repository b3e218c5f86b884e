/** A subject's partition is that of Kafka's own default partitioner, whoever computes it. */
import { createRequire } from "node:module";
import { describe, expect, it } from "vitest";
import { murmur2, partitionOf } from "../../pipeline/stream/subject-partition.ts";

const require = createRequire(import.meta.url);
/** kafkajs's port of Java's, inside the package. */
const peer = require("../../node_modules/kafkajs/src/producer/partitioners/default/murmur2.js");

describe("murmur2", () => {
  // org.apache.kafka.common.utils.UtilsTest.testMurmur2
  it.each([
    ["21", -973932308],
    ["foobar", -790332482],
    ["a-little-bit-long-string", -985981536],
    ["a-little-bit-longer-string", -1486304829],
    ["lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971],
    ["abc", 479470107],
  ])("of %s is what Kafka's own test says", (text, hash) => {
    expect(murmur2(Buffer.from(text))).toBe(hash);
  });

  it("is kafkajs's for every length and for bytes above 127, also of a view into a larger buffer", () => {
    for (let length = 0; length < 100; length += 1) {
      const bytes = Buffer.from(Array.from({ length }, (_, at) => (at * 37 + length * 101) & 255));
      expect(murmur2(bytes)).toBe(peer(bytes));
      const padded = Buffer.concat([Buffer.of(1, 2, 3), bytes, Buffer.of(4)]);
      expect(murmur2(padded.subarray(3, 3 + length))).toBe(peer(bytes));
    }
  });
});

describe("partitionOf", () => {
  it("is not negative, whatever the hash's sign", () => {
    // murmur2("21") is negative: Java's toPositive clears the sign bit, it does not take the absolute value.
    expect(partitionOf(Buffer.from("21"), 7)).toBe((-973932308 & 0x7fffffff) % 7);
    const found = Array.from({ length: 500 }, (_, at) => partitionOf(Buffer.from(`p${at}`), 6));
    expect(new Set(found)).toEqual(new Set([0, 1, 2, 3, 4, 5]));
  });
});
