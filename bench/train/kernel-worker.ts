/**
 * A benchmark's process with one training backend: update after update of one network at a time, pinned to a core by
 * who started it.
 *
 * An update is all that ours does between a micro-batch in memory and the next weights: the clipped sum on the backend
 * (weights are handed over anew, as they change with every update), its fixed point, and the update; with noise also
 * the noise row, made here. Time is CPU time of the whole process, with the threads of the library and of the garbage
 * collector. Argument: the backend's name. Ends when its parent is gone.
 */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { createSecretHandle } from "../../pipeline/crypto/key-handles.ts";
import { parameterCount } from "../../pipeline/network/definition.ts";
import { unflatten } from "../../pipeline/network/weights.ts";
import {
  contributionFractionBits,
  contributionSensitivity,
  quantizeSum,
} from "../../pipeline/privacy/contribution.ts";
import { noiseRow } from "../../pipeline/privacy/noise.ts";
import { createGradientRule } from "../../pipeline/stages/aggregate/gradient-rule.ts";
import type { BackendName } from "../../pipeline/stages/train/backend.ts";
import { createTrainBackend } from "../../pipeline/stages/train/tfjs-backend.ts";
import { CASES, type CaseName, CLIP, NOISE_MULTIPLIER, requestOf } from "./cases.ts";

export type KernelRequest =
  | { readonly op: "open"; readonly case: CaseName; readonly batch: number }
  /** Works for about that long. @param withNoise whether the noise row is made in this process */
  | {
      readonly op: "turn";
      readonly case: CaseName;
      readonly batch: number;
      readonly ms: number;
      readonly withNoise: boolean;
    };

export type KernelAnswer =
  /** The clipped sum of the first micro-batch. */
  { readonly sum: readonly number[] } | { readonly perSecond: number } | { readonly fault: string };

/** Rows that lie ready: several micro-batches, so that no cache holds them all. */
const MICRO_BATCHES = 8;
const RUN_ID = "00".repeat(16);
/** Plain gradient descent, as Opacus's optimizer does it. */
const TRAINER = {
  learningRate: 0.1,
  optimizer: { kind: "sgd", momentum: 0 },
  schedule: { warmupUpdates: 0, decay: "none", updates: null },
  averaging: { kind: "none" },
  initialization: "he",
} as const;

interface Job {
  readonly first: () => Promise<Float32Array>;
  readonly step: (withNoise: boolean) => Promise<void>;
}

/** Where `bash deploy/tfjs-node/build.sh cpu bench/.peers/tfjs-node` puts tfjs-node. */
const PACKAGES = [join(import.meta.dirname, "..", ".peers", "tfjs-node")];
// Because the parent is ours and names a backend.
const backend = createTrainBackend(process.argv[2] as BackendName, undefined, {
  packages: PACKAGES,
});
const noise = createSecretHandle("noise", randomBytes(32));
const jobs = new Map<string, Job>();

function createJob(name: CaseName, rows: number): Job {
  const all = requestOf(CASES[name], rows * MICRO_BATCHES);
  const { network } = all;
  const parameters = parameterCount(network);
  const fractionBits = contributionFractionBits({ places: rows, l2ClipNorm: CLIP });
  const sensitivity = contributionSensitivity({ l2ClipNorm: CLIP, parameters, fractionBits });
  const standardDeviation = NOISE_MULTIPLIER * sensitivity * 2 ** fractionBits;
  const rule = createGradientRule(TRAINER, network, null);
  let state = { ...rule.initial(randomBytes), iterate: all.flat, published: all.flat };
  let step = 0;
  const sumOf = (micro: number) =>
    backend.clippedGradientSum({
      network,
      weights: unflatten(network, state.iterate),
      inputs: all.inputs.subarray(
        micro * rows * network.inputs,
        (micro + 1) * rows * network.inputs,
      ),
      labels: all.labels.subarray(micro * rows, (micro + 1) * rows),
      rows,
      l2ClipNorm: CLIP,
    });
  return {
    first: async () => Float32Array.from((await sumOf(0)).sum),
    async step(withNoise) {
      const { sum } = await sumOf(step % MICRO_BATCHES);
      step += 1;
      const noisy = new Float64Array(quantizeSum(sum, fractionBits));
      if (withNoise) {
        const row = noiseRow({
          ...{ noise, runId: RUN_ID, step, contributionsHash: randomBytes(32) },
          ...{ length: parameters, standardDeviation },
        });
        for (let at = 0; at < parameters; at += 1) noisy[at] = noisy[at]! + row[at]!;
      }
      state = rule.step(state, { sum: noisy, divisor: rows * 2 ** fractionBits }, step);
    },
  };
}

async function turn({ step }: Job, ms: number, rows: number, withNoise: boolean): Promise<number> {
  const before = process.cpuUsage();
  for (let steps = 1; ; steps += 1) {
    await step(withNoise);
    const { user, system } = process.cpuUsage(before);
    const spentMs = (user + system) / 1000;
    if (spentMs >= ms) return (steps * rows * 1000) / spentMs;
  }
}

async function answer(request: KernelRequest): Promise<KernelAnswer> {
  const id = `${request.case} ${request.batch}`;
  if (request.op === "open") {
    await backend.load();
    const job = createJob(request.case, request.batch);
    jobs.set(id, job);
    return { sum: [...(await job.first())] };
  }
  const job = jobs.get(id);
  if (job === undefined) throw new Error("this case is not open");
  return { perSecond: await turn(job, request.ms, request.batch, request.withNoise) };
}

process.on("message", (message) => {
  // Because only the parent writes to the channel.
  answer(message as KernelRequest).then(
    (result) => process.send?.(result),
    (error: unknown) => process.send?.({ fault: String(error) } satisfies KernelAnswer),
  );
});
process.once("disconnect", () => process.exit(0));
