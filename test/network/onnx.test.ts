/** ONNX files: to the byte those that onnxruntime evaluated, and the encoding by hand. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { encodeNetworkOnnx } from "../../pipeline/network/onnx.ts";
import { encodeOnnx } from "../../pipeline/network/onnx-wire.ts";
import { patternWeights } from "./onnx-weights.ts";
import { NETWORKS, PLAIN_NETWORKS } from "./random-networks.ts";

const GOLDEN: { readonly sha256: Readonly<Record<string, string>> } = JSON.parse(
  readFileSync(new URL("../vectors/onnx.json", import.meta.url), "utf8"),
);

test.each(Object.entries({ ...NETWORKS, ...PLAIN_NETWORKS }))(
  "the file of %s is the one that onnxruntime evaluated",
  (name, network) => {
    const file = encodeNetworkOnnx(network, patternWeights(network), { modelVersion: "3" });
    expect(createHash("sha256").update(file).digest("hex")).toBe(GOLDEN.sha256[name]);
  },
);

test("exact bytes of a graph", () => {
  const bytes = encodeOnnx({
    nodes: [
      { operator: "Op", inputs: ["x"], output: "y", attributes: { a: { i: -1 }, p: [1, 300] } },
    ],
    tensors: [
      { name: "f", shape: [1], values: Float32Array.of(1) },
      { name: "i", shape: [1], values: [-1] },
    ],
    input: { name: "x", width: 2 },
    output: { name: "y", width: 1 },
    metadata: { k: "v" },
  });
  const value = (name: string, width: string) => [
    ...[`0a01${name}`, "1213", "0a11", "0801", "120d"],
    ...["0a07", "1205", "6261746368", "0a02", `08${width}`],
  ];
  const expected = [
    ...["0808", "120a", "7365616c73747265616d", "3a9101"],
    // The node: x, y, its name, its operator, then -1 as ten bytes, then a list.
    ...["0a2d", "0a0178", "120179", "1a0179", "22024f70"],
    ...["2a11", "0a0161", "18ffffffffffffffffff01", "a00102"],
    ...["2a0b", "0a0170", "4001", "40ac02", "a00107"],
    ...["120a", "7365616c73747265616d"],
    // One float32, one int64.
    ...["2a0d", "0801", "1001", "420166", "4a04", "0000803f"],
    ...["2a11", "0801", "1007", "420169", "4a08", "ffffffffffffffff"],
    ...["5a18", ...value("78", "02"), "6218", ...value("79", "01")],
    ...["4204", "0a00", "1011", "7206", "0a016b", "120176"],
  ];
  expect(Buffer.from(bytes).toString("hex")).toBe(expected.join(""));
});
