/** Encrypt, evaluate, decrypt with real keys: against floats by precisionBits, agreement on the real digits, what is refused. */
import { afterAll, describe, expect, test } from "vitest";
import {
  createPredictionDecryptor,
  decryptPredictions,
  libraryLayout,
} from "../../pipeline/ckks/decrypt.ts";
import { createNetworkEvaluator, type NetworkEvaluator } from "../../pipeline/ckks/evaluate.ts";
import { createPackEncryptor, encryptPack } from "../../pipeline/ckks/pack.ts";
import {
  type CkksParameters,
  createParameters,
  DEFAULT_PARAMETERS,
  outputCiphertextBytes,
  slotCount,
} from "../../pipeline/ckks/parameters.ts";
import type { Network } from "../../pipeline/network/definition.ts";
import { argmax, forward } from "../../pipeline/network/forward.ts";
import type { Weights } from "../../pipeline/network/weights.ts";
import {
  compare,
  keysFor,
  network,
  randomWeights,
  readDigits,
  SMALL,
  seeded,
  trainDigits,
} from "./fixtures.ts";

const evaluators = new Map<string, NetworkEvaluator>();
afterAll(() => {
  for (const evaluator of evaluators.values()) evaluator.close();
});

async function evaluatorFor(parameters: CkksParameters): Promise<NetworkEvaluator> {
  const known = evaluators.get(parameters.id);
  if (known !== undefined) return known;
  const made = await createNetworkEvaluator(parameters, await keysFor(parameters));
  evaluators.set(parameters.id, made);
  return made;
}

/** Encrypts, evaluates and decrypts; asserts that nothing was refused. */
async function predict(
  parameters: CkksParameters,
  model: { network: Network; weights: Weights },
  inputs: Float32Array,
): Promise<{ logits: readonly Float64Array[]; blobs: readonly Uint8Array[] }> {
  const { publicKey, secretKey } = await keysFor(parameters);
  const features = model.network.inputs;
  const rows = inputs.length / features;
  const ciphertexts = await encryptPack({ publicKey, parameters, rows, features, at: inputs });
  const outcome = (await evaluatorFor(parameters)).evaluate({ ...model, ciphertexts });
  if (outcome.status !== "ok") throw new Error(`refused: ${outcome.fault}`);
  const { blobs } = outcome;
  const logits = await decryptPredictions({ secretKey, parameters, blobs, rows });
  if (logits === null) throw new Error("result refused");
  return { logits, blobs };
}

function randomInputs(count: number, random: () => number): Float32Array {
  return Float32Array.from({ length: count }, () => 2 * random() - 1);
}

test("the real digits: the argmax of the plain network, with more than 8 bits of precision", async () => {
  const digits = readDigits();
  const trained = trainDigits(digits, 1347);
  const held = digits.pixels.subarray(1347 * 64);
  const { logits, blobs } = await predict(DEFAULT_PARAMETERS, trained, held);
  const compared = compare(trained.network, trained.weights, held, logits);
  const right = logits.filter((l, row) => argmax(l) === digits.labels[1347 + row]).length;
  expect(compared.agreement).toBeGreaterThanOrEqual(0.99);
  expect(compared.precisionBits).toBeGreaterThan(8);
  expect(right / logits.length).toBeGreaterThan(0.9);
  expect(blobs).toHaveLength(10);
  expect(blobs.every(({ length }) => length === outputCiphertextBytes(DEFAULT_PARAMETERS))).toBe(
    true,
  );
}, 20_000);

describe("against floats, by precisionBits", () => {
  const N4096 = SMALL;
  const N8192 = DEFAULT_PARAMETERS;
  const N16384 = createParameters(16384, [60, 50, 50, 50, 60], 40);
  test.each([
    { name: "64-32-10", parameters: N8192, features: 64, widths: [32, 10], bits: 11 },
    { name: "one dense layer", parameters: N8192, features: 30, widths: [2], bits: 15 },
    { name: "one layer, N = 4096", parameters: N4096, features: 30, widths: [2], bits: 15 },
    { name: "1-1-1", parameters: N8192, features: 1, widths: [1, 1], bits: 11 },
    { name: "two squares, N = 16384", parameters: N16384, features: 2, widths: [2, 2, 2], bits: 6 },
  ])("$name", async ({ parameters, features, widths, bits }) => {
    const random = seeded(features + widths.length);
    const shape = network(features, ...widths);
    const weights = randomWeights(shape, random);
    const rows = 64;
    const inputs = randomInputs(rows * features, random);
    const { logits } = await predict(parameters, { network: shape, weights }, inputs);
    expect(compare(shape, weights, inputs, logits).precisionBits).toBeGreaterThan(bits);
  });
});

test("a full pack uses every slot; a slot without a record holds the network at zero", async () => {
  const shape = network(2, 3);
  const weights = randomWeights(shape, seeded(1));
  const slots = slotCount(SMALL);
  const inputs = randomInputs(2 * slots, seeded(2));
  const full = await predict(SMALL, { network: shape, weights }, inputs);
  expect(compare(shape, weights, inputs, full.logits).precisionBits).toBeGreaterThan(14);
  const one = await predict(SMALL, { network: shape, weights }, inputs.subarray(0, 2));
  const decryptor = await createPredictionDecryptor({
    ...(await keysFor(SMALL)),
    parameters: SMALL,
  });
  const all = decryptor.decrypt({
    ...{ parts: one.blobs, rows: slots, classes: 3, layout: libraryLayout(slots) },
  });
  decryptor.close();
  if (all.status !== "ok") throw new Error("refused");
  const atZero = forward(shape, weights, [0, 0]);
  for (const logits of all.logits.slice(1))
    for (const [index, value] of logits.entries()) expect(value).toBeCloseTo(atZero[index]!, 3);
});

test("units and classes whose weights round to zero are constants", async () => {
  const shape = network(2, 3, 3);
  const weights: Weights = {
    layers: [
      {
        kernel: Float32Array.of(0, 0.5, 1e-9, 0, -0.5, 0),
        bias: Float32Array.of(0.5, 0.25, -0.75),
      },
      { kernel: Float32Array.of(1, 0, 0, 0.5, 0, 0, 2, 0, 0), bias: Float32Array.of(0, -0.5, 0) },
    ],
  };
  const inputs = randomInputs(2 * 8, seeded(9));
  const { logits } = await predict(DEFAULT_PARAMETERS, { network: shape, weights }, inputs);
  expect(compare(shape, weights, inputs, logits).precisionBits).toBeGreaterThan(11);
  const none: Weights = {
    layers: weights.layers.map(({ kernel, bias }) => ({ kernel: kernel.map(() => 0), bias })),
  };
  const zero = await predict(DEFAULT_PARAMETERS, { network: shape, weights: none }, inputs);
  expect(compare(shape, none, inputs, zero.logits).precisionBits).toBeGreaterThan(20);
});

test("results are re-randomised: the same pack twice gives other bytes and the same logits", async () => {
  const shape = network(2, 2);
  const weights = randomWeights(shape, seeded(3));
  const { publicKey, secretKey } = await keysFor(SMALL);
  const ciphertexts = await encryptPack({
    publicKey,
    parameters: SMALL,
    rows: 1,
    features: 2,
    at: () => 0.5,
  });
  const evaluator = await evaluatorFor(SMALL);
  const runs = [1, 2].map(() => evaluator.evaluate({ network: shape, weights, ciphertexts }));
  const [a, b] = runs.map((run) => (run.status === "ok" ? run.blobs[0]! : new Uint8Array()));
  const half = a!.length / 2;
  // Not one of the residues of the second polynomial is where it was.
  let same = 0;
  for (let at = Math.ceil(half / 8) * 8 + 113; at + 8 <= a!.length; at += 8)
    if (Buffer.compare(a!.subarray(at, at + 8), b!.subarray(at, at + 8)) === 0) same += 1;
  expect(same).toBeLessThan(3);
  for (const blob of [a!, b!]) {
    const logits = await decryptPredictions({
      secretKey,
      parameters: SMALL,
      blobs: [blob],
      rows: 1,
    });
    expect(logits![0]![0]).toBeCloseTo(forward(shape, weights, [0.5, 0.5])[0]!, 3);
  }
});

test("refused inputs name the feature, refused results the part", async () => {
  const shape = network(3, 2);
  const weights = randomWeights(shape, seeded(3));
  const { publicKey, secretKey } = await keysFor(SMALL);
  const pack = { publicKey, parameters: SMALL, rows: 1, features: 3, at: () => 0.5 };
  const ciphertexts = await encryptPack(pack);
  const evaluator = await evaluatorFor(SMALL);
  const model = { network: shape, weights };
  const few = ciphertexts.slice(1);
  expect(evaluator.evaluate({ ...model, ciphertexts: few })).toMatchObject({
    feature: -1,
    fault: "count",
  });
  const broken = ciphertexts.map((blob, index) => (index === 1 ? blob.subarray(1) : blob));
  expect(evaluator.evaluate({ ...model, ciphertexts: broken })).toMatchObject({
    feature: 1,
    fault: "length",
  });
  const result = evaluator.evaluate({ ...model, ciphertexts });
  if (result.status !== "ok") throw new Error("refused");
  const open = (blobs: readonly Uint8Array[], rows = 1) =>
    decryptPredictions({ secretKey, parameters: SMALL, blobs, rows });
  expect(await open(result.blobs)).not.toBeNull();
  // An input ciphertext is not a result.
  expect(await open(ciphertexts)).toBeNull();
  expect(await open([result.blobs[0]!.subarray(1)])).toBeNull();
  expect(await open(result.blobs, 0)).toBeNull();
  expect(await open(result.blobs, slotCount(SMALL) + 1)).toBeNull();
});

test("keys of other parameters, or a key in the place of another, are key-invalid", async () => {
  const small = await keysFor(SMALL);
  const large = await keysFor(DEFAULT_PARAMETERS);
  const invalid = expect.objectContaining({ code: "key-invalid" });
  await expect(createNetworkEvaluator(SMALL, large)).rejects.toEqual(invalid);
  await expect(
    createNetworkEvaluator(SMALL, { ...small, publicKey: small.secretKey }),
  ).rejects.toEqual(invalid);
  await expect(createPackEncryptor({ ...large, parameters: SMALL })).rejects.toEqual(invalid);
  await expect(createPredictionDecryptor({ ...large, parameters: SMALL })).rejects.toEqual(invalid);
});

test("packing refuses what is no number in [-1, 1] and more records than slots", async () => {
  const { publicKey } = await keysFor(SMALL);
  const encryptor = await createPackEncryptor({ publicKey, parameters: SMALL });
  const limit = expect.objectContaining({ code: "limit-exceeded" });
  for (const value of [Number.NaN, 1.001, -1.001, Number.POSITIVE_INFINITY])
    await expect(encryptor.encryptPack({ rows: 1, features: 1, at: () => value })).rejects.toEqual(
      limit,
    );
  for (const rows of [0, 0.5, slotCount(SMALL) + 1])
    await expect(encryptor.encryptPack({ rows, features: 1, at: () => 0 })).rejects.toEqual(limit);
  await expect(
    encryptor.encryptPack({ rows: 2, features: 1, at: new Float32Array(1) }),
  ).rejects.toEqual(limit);
  const edges = await encryptor.encryptPack({
    rows: 2,
    features: 1,
    at: (row) => (row === 0 ? 1 : -1),
  });
  expect(edges).toHaveLength(1);
  encryptor.close();
});
