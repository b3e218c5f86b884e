/**
 * `backend: auto`: measures the candidates on the work that is coming, and takes the fastest.
 *
 * Which backend is fastest depends on the machine and on the network: for small layers the calls cost more than the
 * arithmetic. Only made-up numbers are measured with. Must not know what a candidate is made of.
 */
import { isSealstreamError, SealstreamError } from "../../errors.ts";
import { classCount, parameterCount } from "../../network/definition.ts";
import { unflatten } from "../../network/weights.ts";
import type { GradientRequest, MicroBatchShape, TrainBackend } from "./backend.ts";

/** Calls before measuring: the first compiles kernels, the second lets the JIT settle. */
const WARM_UP_CALLS = 3;
/** Rounds in which every candidate is timed once, so that a slow moment of the machine hits all of them. */
const MEASURED_ROUNDS = 5;

/**
 * A backend that becomes one of its candidates at `load`.
 * @param candidates in the order of preference: without a shape to measure with, the first that loads is taken
 * @param clock milliseconds, from any origin
 */
export function createAutoBackend(
  candidates: readonly TrainBackend[],
  clock: () => number,
): TrainBackend {
  let chosen: TrainBackend | null = null;
  let choosing: Promise<TrainBackend> | null = null;
  const load = async (shape?: MicroBatchShape): Promise<TrainBackend> => {
    choosing ??= choose(candidates, shape ?? null, clock);
    chosen = await choosing;
    return chosen;
  };
  return {
    get name() {
      return chosen?.name ?? "auto";
    },
    load: async (shape) => {
      await load(shape);
    },
    clippedGradientSum: async (request) => (await load(request)).clippedGradientSum(request),
    liveTensors: () => chosen?.liveTensors() ?? 0,
  };
}

async function choose(
  candidates: readonly TrainBackend[],
  shape: MicroBatchShape | null,
  clock: () => number,
): Promise<TrainBackend> {
  const loaded: TrainBackend[] = [];
  for (const candidate of candidates) {
    if (await loads(candidate)) loaded.push(candidate);
  }
  const preferred = loaded[0];
  if (preferred === undefined) {
    throw new SealstreamError(
      "backend-unavailable",
      "None of the training backends starts on this machine; reinstall with npm ci.",
    );
  }
  if (shape === null || loaded.length === 1) return preferred;
  const request = madeUpRequest(shape);
  const times = loaded.map(() => [] as number[]);
  for (let round = 0; round < WARM_UP_CALLS + MEASURED_ROUNDS; round += 1) {
    for (const [index, candidate] of loaded.entries()) {
      const startedMs = clock();
      await candidate.clippedGradientSum(request);
      if (round >= WARM_UP_CALLS) times[index]?.push(clock() - startedMs);
    }
  }
  const medians = times.map(median);
  return loaded[medians.indexOf(Math.min(...medians))] ?? preferred;
}

async function loads(candidate: TrainBackend): Promise<boolean> {
  try {
    await candidate.load();
    return true;
  } catch (error) {
    // A backend this machine lacks is not a fault under `auto`, because another one does the work.
    if (isSealstreamError(error, "backend-unavailable")) return false;
    throw error;
  }
}

function madeUpRequest(shape: MicroBatchShape): GradientRequest {
  const { network, rows } = shape;
  const classes = classCount(network);
  const weights = unflatten(
    network,
    Float32Array.from({ length: parameterCount(network) }, (_, index) => ((index % 7) - 3) / 64),
  );
  const inputs = Float32Array.from(
    { length: rows * network.inputs },
    (_, index) => (index % 17) / 16,
  );
  const labels = Int32Array.from({ length: rows }, (_, row) => row % classes);
  return { ...shape, weights, inputs, labels };
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((left, right) => left - right);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.POSITIVE_INFINITY;
}
