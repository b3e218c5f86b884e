/** Checkpoints of version 2: exact bytes, shapes as other readers of safetensors expect them, and refusals. */
import { describe, expect, test } from "vitest";
import { decodeCheckpoint, encodeCheckpoint } from "../../pipeline/network/safetensors.ts";
import { flatten, unflatten } from "../../pipeline/network/weights.ts";
import { dense, NETWORKS, networkOf, seeded, weightsOf } from "./random-networks.ts";

const refusal = expect.objectContaining({ code: "checkpoint-invalid" });
const metadata = { runId: "r" };

function headerOf(bytes: Uint8Array): string {
  const length = Number(Buffer.from(bytes).readBigUInt64LE());
  return Buffer.from(bytes.subarray(8, 8 + length)).toString();
}

function withHeader(bytes: Uint8Array, change: (header: string) => string): Uint8Array {
  const before = headerOf(bytes);
  const json = Buffer.from(change(before));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, bytes.subarray(8 + before.length)]);
}

test.each(Object.entries(NETWORKS))("round trip: %s", (_, network) => {
  const checkpoint = { network, weights: weightsOf(network, seeded(1)), metadata };
  const bytes = encodeCheckpoint(checkpoint);
  const decoded = decodeCheckpoint(bytes);
  expect(decoded).toEqual(checkpoint);
  expect(flatten(decoded.weights)).toEqual(flatten(checkpoint.weights));
});

test("exact bytes", () => {
  const network = networkOf(
    2,
    [{ reshape: [2, 1] }, { rnn: 1, activation: "quadratic" }, dense(1)],
    1,
  );
  const weights = unflatten(network, [1, -2, 0.5, 2, 0.25]);
  const header =
    '{"__metadata__":{"runId":"r","sealstream.checkpoint":"2","sealstream.network":"{\\"inputs\\":2,\\"layers\\":' +
    '[{\\"kind\\":\\"rnn\\",\\"input\\":[2,1],\\"outputs\\":1,\\"activation\\":{\\"polynomial\\":[0.25,0.5,0.125]}},' +
    '{\\"outputs\\":1,\\"activation\\":\\"none\\"}]}"},' +
    '"layers.0.bias":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},' +
    '"layers.0.kernel":{"dtype":"F32","shape":[1,1],"data_offsets":[4,8]},' +
    '"layers.0.recurrent":{"dtype":"F32","shape":[1,1],"data_offsets":[8,12]},' +
    '"layers.1.bias":{"dtype":"F32","shape":[1],"data_offsets":[12,16]},' +
    '"layers.1.kernel":{"dtype":"F32","shape":[1,1],"data_offsets":[16,20]}}';
  const padded = header.padEnd(Math.ceil(header.length / 8) * 8);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  expect(Buffer.from(encodeCheckpoint({ network, weights, metadata })).toString("hex")).toBe(
    // 0.5, 1, -2, then 0.25, 2
    `${length.toString("hex")}${Buffer.from(padded).toString("hex")}0000003f0000803f000000c00000803e00000040`,
  );
});

test("a kernel has the shape that Keras gives it, and a pool has no tensor", () => {
  const network = NETWORKS["two convolutions, overlapping pool"]!;
  const header = JSON.parse(
    headerOf(encodeCheckpoint({ network, weights: weightsOf(network, seeded(2)), metadata })),
  );
  const shapes = Object.entries<{ shape?: number[] }>(header).map(([name, { shape }]) => [
    name,
    shape,
  ]);
  expect(shapes.slice(1)).toEqual([
    ["layers.0.bias", [2]],
    ["layers.0.kernel", [3, 3, 1, 2]],
    ["layers.2.bias", [3]],
    ["layers.2.kernel", [2, 2, 2, 3]],
    ["layers.3.bias", [3]],
    ["layers.3.kernel", [12, 3]],
  ]);
});

describe("refuses", () => {
  const network = NETWORKS["same, strides"]!;
  const bytes = encodeCheckpoint({ network, weights: weightsOf(network, seeded(3)), metadata });

  test.each<[string, (header: string) => string]>([
    ["a network of another shape", (text) => text.replace('\\"filters\\":3', '\\"filters\\":2')],
    ["outputs that do not follow", (text) => text.replace('\\"outputs\\":27', '\\"outputs\\":28')],
    [
      "another order of keys",
      (text) =>
        text
          .replace('\\"filters\\":3,', "")
          .replace('\\"outputs\\":27', '\\"filters\\":3,\\"outputs\\":27'),
    ],
    ["a key more", (text) => text.replace('\\"filters\\":3', '\\"filters\\":3,\\"x\\":1')],
    ["an unknown kind", (text) => text.replace("conv2d", "conv3d")],
    ["another version", (text) => text.replace('checkpoint":"2"', 'checkpoint":"3"')],
    ["version 1", (text) => text.replace('checkpoint":"2"', 'checkpoint":"1"')],
    ["a network that is no JSON", (text) => text.replace('"{\\"inputs', '"(\\"inputs')],
    ["another spelling of a number", (text) => text.replace("0.125", "1.25e-1")],
    ["a network without end", (text) => text.replace('\\"inputs\\":70', '\\"inputs\\":1e400')],
  ])("%s", (_, change) => {
    const changed = withHeader(bytes, change);
    expect(headerOf(changed)).not.toBe(headerOf(bytes));
    expect(() => decodeCheckpoint(changed)).toThrow(refusal);
  });

  test("version 2 for what version 1 can say", () => {
    const plain = NETWORKS["linear"]!;
    const first = encodeCheckpoint({
      network: plain,
      weights: weightsOf(plain, seeded(4)),
      metadata,
    });
    const changed = withHeader(first, (text) =>
      text
        .replace('"sealstream.activations":"none",', "")
        .replace(
          '"sealstream.checkpoint":"1"',
          '"sealstream.checkpoint":"2","sealstream.network":"{\\"inputs\\":5,\\"layers\\":[{\\"outputs\\":3,\\"activation\\":\\"none\\"}]}"',
        ),
    );
    expect(() => decodeCheckpoint(changed)).toThrow(refusal);
  });

  test("every prefix", () => {
    for (let length = 0; length < bytes.length; length += 7) {
      expect(() => decodeCheckpoint(bytes.subarray(0, length))).toThrow(refusal);
    }
  });
});
