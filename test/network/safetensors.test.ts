/** Checkpoints: exact bytes, round trips, and everything that must be refused. */
import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import type { Network } from "../../pipeline/network/definition.ts";
import { initialWeights } from "../../pipeline/network/initial-weights.ts";
import {
  type Checkpoint,
  decodeCheckpoint,
  encodeCheckpoint,
} from "../../pipeline/network/safetensors.ts";
import { unflatten } from "../../pipeline/network/weights.ts";

const refusal = expect.objectContaining({ code: "checkpoint-invalid" });
const tiny: Checkpoint = {
  network: { inputs: 2, layers: [{ outputs: 1, activation: "none" }] },
  weights: unflatten({ inputs: 2, layers: [{ outputs: 1, activation: "none" }] }, [1, -2, 0.5]),
  metadata: { runId: "r" },
};
const digits: Network = {
  inputs: 64,
  layers: [
    { outputs: 32, activation: "square" },
    { outputs: 10, activation: "none" },
  ],
};

/** A file with another header or other data, with a correct length field. */
function file(header: string, data: Uint8Array): Uint8Array {
  const json = Buffer.from(header, "utf8");
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, data]);
}

function parts(bytes: Uint8Array): { header: string; data: Uint8Array } {
  const length = Number(Buffer.from(bytes).readBigUInt64LE());
  return {
    header: Buffer.from(bytes.subarray(8, 8 + length)).toString(),
    data: bytes.subarray(8 + length),
  };
}

test("exact bytes", () => {
  const header =
    '{"__metadata__":{"runId":"r","sealstream.activations":"none","sealstream.checkpoint":"1"},' +
    '"layers.0.bias":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},' +
    '"layers.0.kernel":{"dtype":"F32","shape":[2,1],"data_offsets":[4,12]}}';
  expect(header.length).toBe(225);
  expect(Buffer.from(encodeCheckpoint(tiny)).toString("hex")).toBe(
    // 232 = 0xe8: 225 bytes of JSON and 7 spaces; then 0.5, 1, -2 as float32
    `e800000000000000${Buffer.from(header.padEnd(232)).toString("hex")}0000003f0000803f000000c0`,
  );
});

test("round trips, also through a buffer at an odd offset", () => {
  const weights = initialWeights(digits, randomBytes);
  const checkpoint = {
    network: digits,
    weights,
    metadata: { b: "2", a: "ä \u0000 \ud800", modelVersion: "7" },
  };
  const bytes = encodeCheckpoint(checkpoint);
  expect(bytes.length % 4).toBe(0);
  const shifted = new Uint8Array(bytes.length + 3);
  shifted.set(bytes, 3);
  const decoded = decodeCheckpoint(shifted.subarray(3));
  expect(decoded).toEqual(checkpoint);
  expect(encodeCheckpoint(decoded)).toEqual(bytes);
});

test("metadata order does not change the bytes", () => {
  const one = encodeCheckpoint({ ...tiny, metadata: { a: "1", b: "2" } });
  expect(encodeCheckpoint({ ...tiny, metadata: { b: "2", a: "1" } })).toEqual(one);
});

describe("refuses", () => {
  const { header, data } = parts(encodeCheckpoint(tiny));

  test("every prefix and every extension", () => {
    const bytes = encodeCheckpoint(tiny);
    for (let length = 0; length < bytes.length; length += 1) {
      expect(() => decodeCheckpoint(bytes.subarray(0, length))).toThrow(refusal);
    }
    expect(() => decodeCheckpoint(Buffer.concat([bytes, Buffer.alloc(1)]))).toThrow(refusal);
  });

  test("every flipped bit of length and header, or says something else", () => {
    const bytes = encodeCheckpoint(tiny);
    for (let bit = 0; bit < (bytes.length - 12) * 8; bit += 1) {
      const flipped = Uint8Array.from(bytes);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      try {
        // What still decodes must be the canonical bytes of other metadata, never of the same content.
        const decoded = decodeCheckpoint(flipped);
        expect(decoded.metadata).not.toEqual(tiny.metadata);
        expect(encodeCheckpoint(decoded)).toEqual(flipped);
      } catch (error) {
        expect(error).toEqual(refusal);
      }
    }
  });

  test.each([
    ["a header longer than the file", Buffer.from("ffffffffffffffff7b7d", "hex")],
    [
      "a header over the limit",
      Buffer.concat([Buffer.from("0100010000000000", "hex"), Buffer.alloc(65_537, 0x20)]),
    ],
    ["no JSON", file("{", data)],
    ["an array", file("[]", data)],
    ["invalid UTF-8", Buffer.concat([Buffer.from("0200000000000000ff7d", "hex"), data])],
    ["no metadata", file('{"layers.0.bias":{}}', data)],
    ["a deep nest", file("[".repeat(60_000), data)],
  ])("%s", (_, bytes) => {
    expect(() => decodeCheckpoint(bytes)).toThrow(refusal);
  });

  test.each([
    ["another dtype", header.replace('"F32","shape":[1]', '"F16","shape":[1]')],
    ["another version", header.replace('checkpoint":"1"', 'checkpoint":"2"')],
    ["an unknown activation", header.replace('activations":"none"', 'activations":"relu"')],
    ["a square at the end", header.replace('activations":"none"', 'activations":"square"')],
    ["overlapping tensors", header.replace("[4,12]", "[0,8]")],
    ["a gap", header.replace("[4,12]", "[8,16]")],
    ["a negative shape", header.replace("[2,1]", "[-2,-1]")],
    ["a fraction", header.replace("[2,1]", "[0.5,4]")],
    ["a huge shape", header.replace("[2,1]", "[65536,65536]")],
    ["a shape as text", header.replace("[2,1]", '["2",1]')],
    ["a duplicate key", header.replace('"runId":"r"', '"runId":"q","runId":"r"')],
    ["a key that is not a string", header.replace('"runId":"r"', '"runId":1')],
    ["__proto__ as metadata", header.replace('"runId":"r"', '"__proto__":"r"')],
    ["metadata out of order", header.replace('"runId":"r"', '"z":"r"')],
    ["another tensor", header.replace('"layers.0.bias":', '"x":{},"layers.0.bias":')],
    ["spaces inside", header.replace('{"__', '{ "__')],
    ["more padding", `${header}        `],
    ["less padding", header.trimEnd()],
    ["a byte order mark", `\ufeff${header}`],
  ])("%s", (_, changed) => {
    expect(changed).not.toBe(header);
    expect(() => decodeCheckpoint(file(changed, data))).toThrow(refusal);
  });

  test.each(["0000c07f", "0000807f", "000080ff"])("the float %s", (float) => {
    const bad = Buffer.from(data);
    bad.write(float, 4, "hex");
    expect(() => decodeCheckpoint(file(header, bad))).toThrow(refusal);
  });

  test("to write what it would not read", () => {
    const weights = unflatten(tiny.network, [1, Number.NaN, 0]);
    expect(() => encodeCheckpoint({ ...tiny, weights })).toThrow(refusal);
    expect(() => encodeCheckpoint({ ...tiny, network: digits })).toThrow(refusal);
    for (const metadata of [
      { "1": "x" },
      { "a b": "x" },
      { "sealstream.checkpoint": "1" },
      { a: "x".repeat(65_536) },
    ]) {
      expect(() => encodeCheckpoint({ ...tiny, metadata })).toThrow(refusal);
    }
  });
});
