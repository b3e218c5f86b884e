/**
 * Every mechanism, measured: how far one record moves what is released, over the noise that is in it.
 *
 * The real clip, fixed point, rows and mixture are put together as train and aggregate do. With the strategy taken off
 * again, a release is a record's share plus independent noise, and the length of the one over the deviation of the
 * other is the mu that the accountant claims to be at most 1 / noiseMultiplier. Each mechanism is also measured with two
 * thirds of its noise and with twice its clip: the same test must then fail.
 *
 * False rejects: the deviation is that of N >= 20,000 values, its relative error 1 / sqrt(2 N) = 0.5 %; a tolerance of
 * 3 % is 6 of these, so one run of a case fails by chance with probability below 2e-9.
 */
import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { createSecretHandle } from "../../pipeline/crypto/key-handles.ts";
import type { Network } from "../../pipeline/network/definition.ts";
import { contributionLength } from "../../pipeline/network/linear-statistics.ts";
import { unflatten } from "../../pipeline/network/weights.ts";
import {
  contributionFractionBits,
  contributionSensitivity,
  quantizeSum,
} from "../../pipeline/privacy/contribution.ts";
import {
  columnNorm,
  rowFractionBits,
  strategyCoefficients,
} from "../../pipeline/privacy/correlation/coefficients.ts";
import { createNoiseMixer } from "../../pipeline/privacy/correlation/mixer.ts";
import { planNoise } from "../../pipeline/privacy/correlation/plan.ts";
import { noiseRow } from "../../pipeline/privacy/noise.ts";
import type { NoiseSpec, TrainSpec } from "../../pipeline/spec/training-spec.ts";
import { EMPTY_PLACE } from "../../pipeline/stages/train/backend.ts";
import { createStatisticsBackend } from "../../pipeline/stages/train/statistics-backend.ts";
import { createTrainBackend } from "../../pipeline/stages/train/tfjs-backend.ts";

const INPUTS = 40;
const CLASSES = 10;
const PLACES = 4;
const CLIP = 0.5;
const NOISE_MULTIPLIER = 1.4;
const UPDATES = 8;
const MOST_RELATIVE_ERROR = 0.03;
const VALUES = 20_000;
const NETWORK: Network = {
  inputs: INPUTS,
  layers: [{ outputs: CLASSES, activation: "none" }],
};
const DEEP: Network = {
  inputs: INPUTS,
  layers: [
    { outputs: 12, activation: "square" },
    { outputs: CLASSES, activation: "none" },
  ],
};

type Sabotage = { readonly noise: number; readonly clip: number };
const HONEST: Sabotage = { noise: 1, clip: 1 };

interface Mechanism {
  readonly method: "gradient" | "statistics";
  readonly clipping: TrainSpec["clipping"];
  readonly noise: NoiseSpec;
  readonly network: Network;
}

/** What a record whose gradient is far longer than the clip adds to the sum, in grid units. */
async function shareOf(
  { method, clipping, network }: Mechanism,
  l2ClipNorm: number,
  fractionBits: number,
): Promise<Int32Array> {
  const backend = method === "statistics" ? createStatisticsBackend() : createTrainBackend("cpu");
  const parameters = contributionLength(network, "gradient");
  const weights = Float32Array.from({ length: parameters }, (_, at) => Math.sin(at) / 2);
  const inputs = new Float32Array(PLACES * INPUTS).fill(3);
  const labels = new Int32Array(PLACES).fill(EMPTY_PLACE);
  labels[0] = 1;
  const { sum } = await backend.clippedGradientSum({
    ...{ network, weights: unflatten(network, weights), inputs, labels, rows: PLACES },
    ...{ l2ClipNorm, clipping },
  });
  return quantizeSum(sum, fractionBits);
}

/** Noise of whole blocks of updates, with the strategy taken off again: independent values, grid units. */
function whitened(
  noise: ReturnType<typeof planNoise>,
  options: { readonly length: number; readonly standardDeviation: number },
): Float64Array[] {
  const { length, standardDeviation } = options;
  const secret = createSecretHandle("noise", randomBytes(32));
  const mixer = createNoiseMixer(noise, length);
  const coefficients = noise.kind === "independent" ? [1] : [...strategyCoefficients(noise)];
  const steps = Math.ceil(VALUES / length / UPDATES) * UPDATES;
  const mixed: Float64Array[] = [];
  const rows: Float64Array[] = [];
  for (let step = 1; step <= steps; step += 1) {
    const row = noiseRow({
      ...{ noise: secret, runId: "00".repeat(16), step, contributionsHash: randomBytes(32) },
      ...{ length, standardDeviation, fractionBits: rowFractionBits(noise) },
    });
    mixed.push(Float64Array.from(mixer.mix(step, row)));
    const before = noise.kind === "independent" ? 0 : (step - 1) % UPDATES;
    rows.push(
      mixed.at(-1)!.map((_, at) => {
        let sum = 0;
        for (let lag = 0; lag <= before; lag += 1) {
          sum += (coefficients[lag] ?? 0) * mixed[step - 1 - lag]![at]!;
        }
        return sum;
      }),
    );
  }
  return rows;
}

/** The mu of a mechanism as it was measured. */
async function measuredMu(mechanism: Mechanism, sabotage: Sabotage): Promise<number> {
  const noise = planNoise(mechanism.noise);
  const parameters = contributionLength(mechanism.network, mechanism.method);
  const fractionBits = contributionFractionBits({ places: PLACES, l2ClipNorm: CLIP });
  const sensitivity = contributionSensitivity({ l2ClipNorm: CLIP, parameters, fractionBits });
  const share = await shareOf(mechanism, sabotage.clip * CLIP, fractionBits);
  // Through the strategy's first column, which is its longest.
  const signal = Math.hypot(...share) * columnNorm(noise);
  const claimed = NOISE_MULTIPLIER * sensitivity * columnNorm(noise) * 2 ** fractionBits;
  const rows = whitened(noise, { length: parameters, standardDeviation: claimed * sabotage.noise });
  const squares = rows.reduce((sum, row) => sum + row.reduce((a, b) => a + b * b, 0), 0);
  return signal / Math.sqrt(squares / (rows.length * parameters));
}

const isWithin = (mu: number) => mu <= (1 + MOST_RELATIVE_ERROR) / NOISE_MULTIPLIER;

const BASE: Mechanism = {
  method: "gradient",
  clipping: "flat",
  noise: { kind: "independent" },
  network: NETWORK,
};
const MECHANISMS: readonly (readonly [string, Mechanism])[] = [
  ["independent noise, flat clipping", BASE],
  ["independent noise, per-layer clipping", { ...BASE, clipping: "per-layer", network: DEEP }],
  ["independent noise, automatic clipping", { ...BASE, clipping: "automatic" }],
  ["square-root Toeplitz noise", { ...BASE, noise: { kind: "toeplitz", updates: UPDATES } }],
  ["banded noise", { ...BASE, noise: { kind: "banded", updates: UPDATES, bands: 3 } }],
  [
    "buffered linear Toeplitz noise",
    { ...BASE, noise: { kind: "blt", updates: UPDATES, buffers: 2 } },
  ],
  ["private statistics", { ...BASE, method: "statistics" }],
];

describe.each(MECHANISMS)("%s", (_name, mechanism) => {
  test("reveals what is claimed, and nearly all of it", async () => {
    const mu = await measuredMu(mechanism, HONEST);
    expect(isWithin(mu)).toBe(true);
    // A measurement that is far below the claim would miss a sabotage.
    expect(mu).toBeGreaterThan(0.9 / NOISE_MULTIPLIER);
  });

  test("is noticed with two thirds of its noise", async () => {
    expect(isWithin(await measuredMu(mechanism, { ...HONEST, noise: 2 / 3 }))).toBe(false);
  });

  test("is noticed with twice its clip", async () => {
    expect(isWithin(await measuredMu(mechanism, { ...HONEST, clip: 2 }))).toBe(false);
  });
});
