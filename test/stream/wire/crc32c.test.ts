/** CRC-32C against RFC 3720 appendix B.4, and against a bit by bit one at every length and alignment. */
import { expect, it } from "vitest";
import { crc32c } from "../../../pipeline/stream/wire/crc32c.ts";
import { createRandom, randomBytes } from "./random.ts";

it.each([
  ["32 bytes of zeroes", Buffer.alloc(32), 0x8a9136aa],
  ["32 bytes of ones", Buffer.alloc(32, 0xff), 0x62a8ab43],
  ["32 incrementing bytes", Buffer.from(Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e],
  ["32 decrementing bytes", Buffer.from(Array.from({ length: 32 }, (_, i) => 31 - i)), 0x113fdb5c],
  ["the check value", Buffer.from("123456789"), 0xe3069283],
  ["nothing", Buffer.alloc(0), 0],
])("agrees with RFC 3720 about %s", (_, bytes, expected) => {
  expect(crc32c(bytes)).toBe(expected);
});

function bitByBit(bytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return (crc ^ 0xffff_ffff) >>> 0;
}

it("agrees with the definition over every range of 100 bytes", () => {
  const bytes = randomBytes(createRandom(7), 100);
  for (let from = 0; from <= 100; from += 1) {
    for (let to = from; to <= 100; to += 1) {
      expect(crc32c(bytes, from, to)).toBe(bitByBit(bytes.subarray(from, to)));
    }
  }
});

it("refuses a range outside the bytes", () => {
  for (const [from, to] of [
    [-1, 2],
    [0, 11],
    [5, 4],
    [0, Number.NaN],
  ] as const) {
    expect(() => crc32c(Buffer.alloc(10), from, to)).toThrow(RangeError);
  }
});
