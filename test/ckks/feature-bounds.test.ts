/** Features of other ranges than [0, 1]: divided by the owner, multiplied back into the weights, in both packings. */
import { afterEach, describe, expect, test } from "vitest";
import { assumedCircuit } from "../../pipeline/ckks/assumed-circuit.ts";
import { planBatch } from "../../pipeline/ckks/batch/plan.ts";
import { createPredictionDecryptor } from "../../pipeline/ckks/decrypt.ts";
import { createPackEngine, type PackEngine } from "../../pipeline/ckks/engine.ts";
import {
  featureBounds,
  lowerScaled,
  scaleFeatures,
  UNIT_BOUNDS,
} from "../../pipeline/ckks/feature-bounds.ts";
import { createConsumerKeys } from "../../pipeline/ckks/keys.ts";
import { createWirePacker, type PackLayout } from "../../pipeline/ckks/pack-wire.ts";
import { type CkksParameters, createParameters } from "../../pipeline/ckks/parameters.ts";
import { primesOf } from "../../pipeline/ckks/primes.ts";
import { slotLayout } from "../../pipeline/ckks/slots/layout.ts";
import { planSlots, slotInputScaleBits } from "../../pipeline/ckks/slots/plan.ts";
import type { Network } from "../../pipeline/network/definition.ts";
import { lowerNetwork } from "../../pipeline/network/lower.ts";
import type { Weights } from "../../pipeline/network/weights.ts";
import { compare, network, randomWeights, seeded } from "./fixtures.ts";

const engines: PackEngine[] = [];
afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.close();
});

const BATCH = createParameters(8192, [46, 46, 47], 24);
const SLOTS = createParameters(8192, [49, 40, 30, 49], 24);
const HEAD = createParameters(8192, [46, 46, 47], 22);

interface Case {
  readonly shape: Network;
  readonly weights: Weights;
  readonly range: readonly [number, number];
  /** [rows][features] as the network reads them. */
  readonly matrix: Float32Array;
  readonly rows: number;
}

function caseOf(shape: Network, range: readonly [number, number], rows: number): Case {
  const random = seeded(rows);
  const [low, high] = range;
  const matrix = Float32Array.from({ length: rows * shape.inputs }, (_, at) =>
    at === 0 ? low : at === 1 ? high : low + (high - low) * random(),
  );
  return { shape, weights: randomWeights(shape, seeded(3)), range, matrix, rows };
}

/** Slots as an owner lays them out, with the rotations that the model needs. */
function slotsFor({ shape, weights, range }: Case, parameters: CkksParameters) {
  const primes = primesOf(parameters);
  const goal = { mode: "secret", precisionBits: 4 } as const;
  const bounds = featureBounds(range);
  const assumed = assumedCircuit(shape, bounds.scale);
  const outcome = slotLayout(assumed, parameters);
  if (outcome.status !== "ok") throw new Error(outcome.reason);
  const scaleBits = slotInputScaleBits(assumed, parameters, primes, goal);
  const circuit = lowerScaled(shape, weights, bounds);
  const { rotationSteps } = planSlots(circuit, parameters, primes, {
    ...{ ...goal, inputScaleBits: scaleBits },
  });
  const how: PackLayout = { packing: "slots", layout: outcome.layout, scaleBits };
  return { how, steps: rotationSteps };
}

/** Packs, evaluates, decrypts; what the worst logit is off. */
async function evaluate(
  { shape, weights, range, matrix, rows }: Case,
  parameters: CkksParameters,
  { how, steps }: { how: PackLayout; steps?: readonly number[] },
) {
  const bounds = featureBounds(range);
  const keys = await createConsumerKeys(parameters, steps === undefined ? {} : { steps });
  const engine = createPackEngine(parameters, keys);
  engines.push(engine);
  const packer = await createWirePacker(parameters);
  const ciphertexts = await packer.pack({
    ...{ publicKey: keys.publicKey, rows, features: shape.inputs, how },
    matrix: matrix.map((value) => value / bounds.scale),
  });
  const outcome = await engine.evaluate({
    ...{ modelId: "m", network: shape, weights, mode: "secret", precisionBits: 4, bounds },
    ...{ packing: how.packing, form: "wire", records: rows, ciphertexts },
  });
  if (outcome.status !== "ok") throw new Error(outcome.fault);
  const { secretKey } = keys;
  const decryptor = await createPredictionDecryptor({ secretKey, parameters });
  const classes = shape.layers.at(-1)?.outputs ?? 0;
  const { blobs: parts, layout } = outcome;
  const opened = decryptor.decrypt({ parts, rows, classes, layout: { ...layout, form: "wire" } });
  decryptor.close();
  if (opened.status !== "ok") throw new Error(opened.fault);
  return { ...compare(shape, weights, matrix, opened.logits), planned: layout.precisionBits };
}

describe("bounds", () => {
  test.each<[[number, number], number, number]>([
    [[0, 1], 0, 1],
    [[-1, 1], -1, 1],
    [[-4, 4], -1, 4],
    [[0, 5], 0, 8],
    [[-0.1, 0.02], -1, 0.125],
    [[-12.08, 3], -1, 16],
  ])("of %j are lowest %d, scale %d", (range, lowest, scale) => {
    expect(featureBounds(range)).toEqual({ lowest, scale });
  });

  test("scale what meets a feature and nothing else", () => {
    const circuit = lowerNetwork(network(3, 2, 2), randomWeights(network(3, 2, 2), seeded(1)));
    const scaled = scaleFeatures(circuit, 4);
    expect(scaled.steps[0]?.values).toEqual(circuit.steps[0]?.values.map((value) => 4 * value));
    expect(scaled.steps[0]?.bias).toEqual(circuit.steps[0]?.bias);
    expect(scaled.steps[1]).toEqual(circuit.steps[1]);
    expect(scaleFeatures(circuit, 1)).toBe(circuit);
  });
});

describe("packs of features that may be negative", () => {
  const deep = network(8, 4, 3);

  test("agree with floats in batch, at both ends of the range", async () => {
    const how = { packing: "batch", lowest: -1 } as const;
    const found = await evaluate(caseOf(network(8, 3), [-4, 4], 9), BATCH, { how });
    expect(found.precisionBits).toBeGreaterThan(found.planned - 0.5);
    expect(found.planned).toBeGreaterThan(4);
  });

  test("agree with floats in slots", async () => {
    const one = caseOf(deep, [-4, 4], 3);
    const found = await evaluate(one, SLOTS, slotsFor(one, SLOTS));
    expect(found.precisionBits).toBeGreaterThan(found.planned - 0.5);
    expect(found.planned).toBeGreaterThan(3);
  });

  test("are refused where the plan has features of one sign", async () => {
    const keys = await createConsumerKeys(BATCH);
    const packer = await createWirePacker(BATCH);
    const given = { publicKey: keys.publicKey, rows: 1, features: 1 };
    const pack = (value: number, lowest?: -1) =>
      packer.pack({
        ...{ ...given, matrix: Float32Array.of(value) },
        how: { packing: "batch", ...(lowest === undefined ? {} : { lowest }) },
      });
    await expect(pack(-0.5)).rejects.toThrow(/not in \[0, 1\]/);
    await expect(pack(-1.001, -1)).rejects.toThrow(/not in \[-1, 1\]/);
    await expect(pack(-1, -1)).resolves.toHaveLength(1);
  });

  test("leave a row room for its least value", () => {
    const shape = network(8, 1);
    const primes = primesOf(BATCH);
    const plan = (lowest: 0 | -1) =>
      planBatch({
        circuit: lowerNetwork(shape, {
          layers: [{ kernel: new Float32Array(8).fill(-1), bias: Float32Array.of(0) }],
        }),
        ...{ parameters: BATCH, primes, mode: "shared", lowest },
      });
    const bits = (lowest: 0 | -1) => plan(lowest).levels.map(({ valueBits }) => valueBits);
    expect(bits(0)[0]).toBeCloseTo(3, 1);
    expect(bits(-1)[0]).toBeCloseTo(3, 1);
    const mixed = (lowest: 0 | -1) =>
      planBatch({
        circuit: lowerNetwork(shape, {
          layers: [
            {
              kernel: Float32Array.from({ length: 8 }, (_, at) => (at % 2 === 0 ? 1 : -1)),
              bias: Float32Array.of(0),
            },
          ],
        }),
        ...{ parameters: BATCH, primes, mode: "shared", lowest },
      }).levels[0]?.valueBits;
    expect(mixed(0)).toBeCloseTo(2, 1);
    expect(mixed(-1)).toBeCloseTo(3, 1);
  });
});

test("a linear head on 3,969 mapped features of length 4 is right in slots, one record a ciphertext", async () => {
  const shape = network(3969, 10);
  const random = seeded(5);
  const rows = 2;
  const matrix = new Float32Array(rows * 3969);
  for (let row = 0; row < rows; row += 1) {
    const x = Float32Array.from({ length: 3969 }, () => random() - 0.5);
    const length = Math.hypot(...x);
    matrix.set(
      x.map((value) => (4 * value) / length),
      row * 3969,
    );
  }
  const one = { ...caseOf(shape, [-4, 4], 1), matrix, rows };
  // Far beyond a run's first weights, which the owner's scale was chosen for.
  const weights = {
    layers: one.weights.layers.map(({ kernel, bias }) => ({
      kernel: kernel.map((value) => 100 * value),
      bias,
    })),
  };
  const trained = { ...one, weights };
  const found = await evaluate(trained, HEAD, slotsFor(trained, HEAD));
  expect(found.precisionBits).toBeGreaterThan(found.planned - 0.5);
  expect(found.planned).toBeGreaterThan(8);
  expect(UNIT_BOUNDS).toEqual(featureBounds([0, 1]));
}, 60_000);
