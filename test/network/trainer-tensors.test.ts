/** Trainer tensors of a checkpoint: exact bytes, round trips, files without them, and everything that must be refused. */
import { describe, expect, test } from "vitest";
import {
  type Checkpoint,
  decodeCheckpoint,
  encodeCheckpoint,
  iterateOf,
} from "../../pipeline/network/safetensors.ts";
import { unflatten } from "../../pipeline/network/weights.ts";

const refusal = expect.objectContaining({ code: "checkpoint-invalid" });
const network: Checkpoint["network"] = {
  inputs: 2,
  layers: [{ outputs: 1, activation: "none" }],
};
const plain: Checkpoint = {
  network,
  weights: unflatten(network, [1, -2, 0.5]),
  metadata: { runId: "r" },
};
const full: Checkpoint = {
  ...plain,
  trainer: {
    iterate: Float32Array.of(4, 8, 16),
    sums: Float64Array.of(0.1),
    average: Float64Array.of(1 / 3, 2),
  },
};

function parts(bytes: Uint8Array): { header: string; data: Uint8Array } {
  const length = Number(Buffer.from(bytes).readBigUInt64LE());
  return {
    header: Buffer.from(bytes.subarray(8, 8 + length)).toString(),
    data: bytes.subarray(8 + length),
  };
}

/** `full` with its header edited, its length field right. */
function edited(edit: (header: string) => string, data = parts(encodeCheckpoint(full)).data) {
  const changed = edit(parts(encodeCheckpoint(full)).header).trimEnd();
  const json = Buffer.from(changed.padEnd(Math.ceil(changed.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, data]);
}

test("exact bytes: doubles first, then the layers, then floats", () => {
  const { header, data } = parts(encodeCheckpoint(full));
  expect(header.trimEnd()).toBe(
    '{"__metadata__":{"runId":"r","sealstream.activations":"none","sealstream.checkpoint":"1",' +
      '"sealstream.trainer":"1"},' +
      '"trainer.average":{"dtype":"F64","shape":[2],"data_offsets":[0,16]},' +
      '"trainer.sums":{"dtype":"F64","shape":[1],"data_offsets":[16,24]},' +
      '"layers.0.bias":{"dtype":"F32","shape":[1],"data_offsets":[24,28]},' +
      '"layers.0.kernel":{"dtype":"F32","shape":[2,1],"data_offsets":[28,36]},' +
      '"trainer.iterate":{"dtype":"F32","shape":[3],"data_offsets":[36,48]}}',
  );
  // 1/3, 2 and 0.1 as float64; 0.5, 1, -2 and 4, 8, 16 as float32
  expect(Buffer.from(data).toString("hex")).toBe(
    "555555555555d53f00000000000000409a9999999999b93f" +
      "0000003f0000803f000000c0" +
      "000080400000004100008041",
  );
});

test("round trips, also at an odd offset", () => {
  const bytes = encodeCheckpoint(full);
  const shifted = new Uint8Array(bytes.length + 1);
  shifted.set(bytes, 1);
  expect(decodeCheckpoint(shifted.subarray(1))).toEqual(full);
});

test("a file without them is what it was before, and reads as one without", () => {
  expect(encodeCheckpoint({ ...plain, trainer: {} })).toEqual(encodeCheckpoint(plain));
  expect(decodeCheckpoint(encodeCheckpoint(plain))).toEqual(plain);
  expect(decodeCheckpoint(encodeCheckpoint(plain))).not.toHaveProperty("trainer");
});

test("gradients are taken at the iterate, or at the weights where there is none", () => {
  expect(iterateOf(plain)).toBe(plain.weights);
  expect(iterateOf(full)).toEqual(unflatten(network, [4, 8, 16]));
  const short = { ...full, trainer: { iterate: Float32Array.of(1, 2) } };
  expect(() => iterateOf(short)).toThrow(refusal);
});

describe("refused to write", () => {
  test.each<[string, NonNullable<Checkpoint["trainer"]>]>([
    ["a number that is not finite", { sums: Float64Array.of(Number.NaN) }],
    ["a name with a dot", { "a.b": Float32Array.of(1) }],
    ["a name that looks like an index", { "0": Float32Array.of(1) }],
    ["an empty tensor", { sums: new Float64Array() }],
    [
      "more than six",
      Object.fromEntries("abcdefg".split("").map((name) => [name, Float32Array.of(1)])),
    ],
    [
      "more than 32 MiB",
      { a: new Float64Array(3_000_000), b: new Float64Array(1_200_000), c: new Float32Array(1) },
    ],
  ])("%s", (_, trainer) => {
    expect(() => encodeCheckpoint({ ...plain, trainer })).toThrow(refusal);
  });
});

describe("refused to read", () => {
  test("the edits below start from a file that is read", () => {
    expect(decodeCheckpoint(edited((header) => header))).toEqual(full);
  });

  const { data } = parts(encodeCheckpoint(full));
  const nan = Uint8Array.from(data);
  nan.set([0, 0, 0xc0, 0x7f], 36);
  test.each<[string, (header: string) => string, Uint8Array?]>([
    ["without the mark", (header) => header.replace(',"sealstream.trainer":"1"', "")],
    [
      "another version of the mark",
      (header) => header.replace('"sealstream.trainer":"1"', '"sealstream.trainer":"2"'),
    ],
    ["another type", (header) => header.replace('"dtype":"F64"', '"dtype":"F16"')],
    ["two dimensions", (header) => header.replace('"shape":[3]', '"shape":[3,1]')],
    ["a longer claim", (header) => header.replace('"shape":[3]', '"shape":[4]')],
    ["a negative length", (header) => header.replace('"shape":[3]', '"shape":[-3]')],
    ["a length of 2^53", (header) => header.replace('"shape":[1]', '"shape":[9007199254740992]')],
    ["overlapping data", (header) => header.replace("[36,48]", "[28,40]")],
    ["a name of digits", (header) => header.replace("trainer.sums", "trainer.0")],
    ["a name twice", (header) => header.replace("trainer.sums", "trainer.average")],
    [
      "a tensor that is null",
      (header) => header.replace(/"trainer.sums":\{[^}]*\}/, '"trainer.sums":null'),
    ],
    ["data cut short", (header) => header, data.subarray(0, 44)],
    ["data behind it", (header) => header, Buffer.concat([data, Buffer.alloc(4)])],
    ["not a number", (header) => header, nan],
  ])("%s", (_, edit, changed) => {
    expect(() => decodeCheckpoint(edited(edit, changed))).toThrow(refusal);
  });

  test("a mark without tensors", () => {
    const { header, data: weights } = parts(encodeCheckpoint(plain));
    const marked = header.trimEnd().replace('"1"}', '"1","sealstream.trainer":"1"}');
    const json = Buffer.from(marked.padEnd(Math.ceil(marked.length / 8) * 8));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(json.length));
    expect(() => decodeCheckpoint(Buffer.concat([length, json, weights]))).toThrow(refusal);
  });
});
