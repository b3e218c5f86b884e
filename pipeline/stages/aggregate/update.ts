/**
 * One update: exact sum of its contributions, its noise, and what the run's rule makes of it.
 *
 * sum   = integers of the fixed-point grid, added exactly (4,096 contributions of 31 bits stay below 2^43)
 * noisy = sum + noise, integers too, below 2^53: exact; this is what is released, the rest is post-processing
 * mean  = noisy / (B 2^fractionBits), where B is the public update batch, whoever was in it
 *
 * Depends on nothing but its arguments: the same contributions give the same model on every attempt.
 */
import { hex } from "../../crypto/key-handles.ts";
import { contributionsHash } from "../../privacy/contribution.ts";
import { blockStart } from "../../privacy/ledger-noise.ts";
import type { PendingContribution } from "./inbox.ts";
import type { NoiseRequest } from "./noise-source.ts";
import { rowDeviation } from "./run-settings.ts";
import type { AggregateState, StateContext } from "./state.ts";
import type { TrainerState } from "./update-rule.ts";

export interface UpdateResult {
  readonly trainer: TrainerState;
  /** Lower-case hex. */
  readonly contributionsHash: string;
}

/** Lower-case hex of what the noise of these contributions is keyed by. */
export function hashOf(contributions: readonly PendingContribution[]): string {
  return hex(contributionsHash(contributions.map(({ digest }) => digest)));
}

/**
 * Names the noise of an update that is `ahead.length` updates behind the next one.
 * @param ahead hashes of the updates that come before it and are not made yet
 */
export function noiseRequest(
  { settings }: StateContext,
  { run, released, ledger }: AggregateState,
  update: { readonly ahead: readonly string[]; readonly contributionsHash: string },
): NoiseRequest {
  const { ahead, contributionsHash: hash } = update;
  const next = (ledger.last?.entry.step ?? 0) + 1;
  const step = next + ahead.length;
  // `released` ends before the next update: what is not in this one's block is cut off in front.
  const before = [...released, ...ahead];
  const inBlock = step - blockStart(run.noise, step);
  return {
    ...{ runId: run.runId, noise: run.noise, length: settings.coordinates },
    standardDeviation: rowDeviation(settings, run),
    ...{ step, contributionsHash: hash },
    before: before.slice(before.length - inBlock),
  };
}

/**
 * The next update of a run.
 * @param contributions exactly those of this update, in log order
 * @throws limit-exceeded when the model computes no numbers any more: nothing has been released then
 */
export async function applyUpdate(
  context: StateContext,
  state: AggregateState & { readonly trainer: TrainerState },
  contributions: readonly PendingContribution[],
): Promise<UpdateResult> {
  const { settings, options } = context;
  const hash = hashOf(contributions);
  const request = noiseRequest(context, state, { ahead: [], contributionsHash: hash });
  const made = context.noise.noise(request);
  // While the noise is made elsewhere.
  const sum = sumOf(contributions, settings.coordinates);
  addTo(sum, await made);
  const divisor = options.spec.train.updateBatchRecords * 2 ** settings.fractionBits;
  const trainer = settings.rule.step(state.trainer, { sum, divisor }, request.step);
  return { trainer, contributionsHash: hash };
}

function sumOf(contributions: readonly PendingContribution[], length: number): Float64Array {
  const sum = new Float64Array(length);
  for (const { contribution } of contributions) {
    // The inbox admits sums of exactly this length.
    addTo(sum, contribution.sum);
  }
  return sum;
}

/** An indexed loop: an iterator over entries costs twenty times as much. */
function addTo(sum: Float64Array, values: Int32Array | Float64Array): void {
  for (let index = 0; index < values.length; index += 1) {
    sum[index] = (sum[index] ?? 0) + (values[index] ?? 0);
  }
}
