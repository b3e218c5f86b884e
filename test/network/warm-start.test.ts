/** Warm starts: files of the safetensors library, prefixes of a network, and everything that must be refused. */
import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import type { Network } from "../../pipeline/network/definition.ts";
import { initialWeights } from "../../pipeline/network/initial-weights.ts";
import { encodeCheckpoint } from "../../pipeline/network/safetensors.ts";
import { readWarmStart } from "../../pipeline/network/warm-start.ts";
import { NETWORKS, PLAIN_NETWORKS } from "./random-networks.ts";

/** safetensors 0.8.0 of PyPI, `safetensors.numpy.save`: both layers with metadata, and layer 0 alone. */
const FULL =
  "OAEAAAAAAAB7Il9fbWV0YWRhdGFfXyI6eyJtYWRlIjoiZWxzZXdoZXJlIn0sImxheWVycy4wLmJpYXMiOnsiZHR5cGUiOiJGMzIiLCJzaGFwZSI6WzNdLCJkYXRhX29mZnNldHMiOlswLDEyXX0sImxheWVycy4wLmtlcm5lbCI6eyJkdHlwZSI6IkYzMiIsInNoYXBlIjpbMiwzXSwiZGF0YV9vZmZzZXRzIjpbMTIsMzZdfSwibGF5ZXJzLjEuYmlhcyI6eyJkdHlwZSI6IkYzMiIsInNoYXBlIjpbMl0sImRhdGFfb2Zmc2V0cyI6WzM2LDQ0XX0sImxheWVycy4xLmtlcm5lbCI6eyJkdHlwZSI6IkYzMiIsInNoYXBlIjpbMywyXSwiZGF0YV9vZmZzZXRzIjpbNDQsNjhdfX0AAAA/AACAvwAAAEAAAAAAAACAPwAAAEAAAEBAAACAQAAAoEAAAOBAAAAAQQAAAIAAAIC/AAAAwAAAQMAAAIDAAACgwA==";
const FIRST =
  "kAAAAAAAAAB7ImxheWVycy4wLmJpYXMiOnsiZHR5cGUiOiJGMzIiLCJzaGFwZSI6WzNdLCJkYXRhX29mZnNldHMiOlswLDEyXX0sImxheWVycy4wLmtlcm5lbCI6eyJkdHlwZSI6IkYzMiIsInNoYXBlIjpbMiwzXSwiZGF0YV9vZmZzZXRzIjpbMTIsMzZdfX0gICAgICAAAAA/AACAvwAAAEAAAAAAAACAPwAAAEAAAEBAAACAQAAAoEA=";
const NETWORK: Network = {
  inputs: 2,
  layers: [
    { outputs: 3, activation: "square" },
    { outputs: 2, activation: "none" },
  ],
};
const LAYERS = [
  { kernel: Float32Array.of(0, 1, 2, 3, 4, 5), bias: Float32Array.of(0.5, -1, 2) },
  { kernel: Float32Array.of(-0, -1, -2, -3, -4, -5), bias: Float32Array.of(7, 8) },
];
const refused = (says: RegExp) =>
  expect.objectContaining({
    code: "checkpoint-invalid",
    message: expect.stringMatching(says),
  });

test("a file of the safetensors library", () => {
  expect(readWarmStart(Buffer.from(FULL, "base64"), NETWORK)).toEqual({
    weights: { layers: LAYERS },
    given: 2,
    wanted: 2,
  });
});

test("a file that ends early gives the first layers", () => {
  expect(readWarmStart(Buffer.from(FIRST, "base64"), NETWORK)).toEqual({
    weights: { layers: LAYERS.slice(0, 1) },
    given: 1,
    wanted: 2,
  });
});

test("every checkpoint is one, trainer tensors and all", () => {
  for (const network of [...Object.values(NETWORKS), ...Object.values(PLAIN_NETWORKS)]) {
    const weights = initialWeights(network, randomBytes);
    const trainer = { iterate: Float32Array.of(1), sums: Float64Array.of(2) };
    const bytes = encodeCheckpoint({ network, weights, metadata: { runId: "r" }, trainer });
    const start = readWarmStart(bytes, network);
    expect(start.given).toBe(start.wanted);
    expect(start.weights.layers).toEqual(weights.layers.slice(0, start.weights.layers.length));
  }
});

/** A file with this header and so many bytes of data. */
function file(header: unknown, data = 24): Uint8Array {
  const json = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, Buffer.alloc(data)]);
}

describe("refused", () => {
  const kernel = { dtype: "F32", shape: [2, 3], data_offsets: [0, 24] };
  const bias = { dtype: "F32", shape: [3], data_offsets: [0, 12] };
  const both = { "layers.0.kernel": kernel, "layers.0.bias": bias };

  test("the cases below start from a file that is read", () => {
    expect(readWarmStart(file(both), NETWORK).given).toBe(1);
  });

  const nan = file(both);
  nan.set([0, 0, 0xc0, 0x7f], nan.length - 8);
  test.each<[string, Uint8Array, RegExp]>([
    ["nothing", new Uint8Array(), /not a safetensors|header/],
    ["a header beyond the end", file(both).subarray(0, 40), /header does not fit/],
    ["text", Buffer.from("PK\u0003\u0004 and so on, a zip file"), /header does not fit/],
    ["a header that is no JSON", file("{"), /not a safetensors file/],
    ["a list", file([]), /not a safetensors file/],
    ["no tensor", file({}), /no layer of this network/],
    ["a tensor that is null", file({ ...both, a: null }), /no shape or place/],
    ["half a layer", file({ "layers.0.kernel": kernel }), /lacks layers\.0\.bias/],
    [
      "only the head",
      file({ "layers.1.bias": { ...bias, shape: [2], data_offsets: [0, 8] } }),
      /lacks layers\.0/,
    ],
    ["another name", file({ ...both, "layers.2.bias": bias }), /not of this network/],
    [
      "another shape",
      file({ ...both, "layers.0.kernel": { ...kernel, shape: [3, 2] } }),
      /layers\.0\.kernel must have the shape \[2, 3\]/,
    ],
    ["another type", file({ ...both, "layers.0.kernel": { ...kernel, dtype: "BF16" } }), /float32/],
    ["data beyond the end", file(both, 20), /data is not where/],
    [
      "a place of another length",
      file({ ...both, "layers.0.bias": { ...bias, data_offsets: [0, 8] } }),
      /data is not where/,
    ],
    [
      "a negative place",
      file({ ...both, "layers.0.bias": { ...bias, data_offsets: [-12, 0] } }),
      /no shape or place/,
    ],
    ["a number that is not finite", nan, /not finite/],
  ])("%s", (_, bytes, says) => {
    expect(() => readWarmStart(bytes, NETWORK)).toThrow(refused(says));
  });
});
