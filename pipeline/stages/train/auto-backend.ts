/**
 * `backend: auto`: measures the candidates on the work that is coming, and takes the fastest.
 *
 * Which backend is fastest depends on the machine and on the network: for small layers the calls cost more than the
 * arithmetic. Only made-up numbers are measured with, and not for long. Must not know what a candidate is made of.
 */
import { isSealstreamError, SealstreamError } from "../../errors.ts";
import { classCount, parameterCount } from "../../network/definition.ts";
import { unflatten } from "../../network/weights.ts";
import type { GradientRequest, MicroBatchShape, TrainBackend } from "./backend.ts";

/** Rounds, in each of which every candidate is called once, so that a slow moment of the machine hits all of them. */
const ROUNDS = 8;
/** Rounds that do not count: the first compiles kernels, the next let the JIT settle. */
const WARM_UP_ROUNDS = 3;
/** From the second round on, a candidate so many times slower than the fastest is out: a GPU that is emulated. */
const HOPELESS = 8;
/** No round begins after this long; the rounds until then decide. */
const BUDGET_MS = 10_000;

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
  let racing = loaded.map((backend) => ({ backend, times: [] as number[] }));
  const endMs = clock() + BUDGET_MS;
  for (let round = 0; round < ROUNDS && (round === 0 || clock() < endMs); round += 1) {
    for (const { backend, times } of racing) {
      const startedMs = clock();
      await backend.clippedGradientSum(request);
      times.push(clock() - startedMs);
    }
    if (round === 0) continue;
    const last = (times: readonly number[]): number => times.at(-1) ?? Number.POSITIVE_INFINITY;
    const fastest = Math.min(...racing.map(({ times }) => last(times)));
    racing = racing.filter(({ times }) => last(times) <= HOPELESS * fastest);
    if (racing.length === 1) break;
  }
  const medians = racing.map(({ times }) =>
    median(times.slice(Math.min(WARM_UP_ROUNDS, times.length - 1))),
  );
  return racing[medians.indexOf(Math.min(...medians))]?.backend ?? preferred;
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
