/**
 * What a pipeline file alone says about its privacy budget and noise: whether they can be met at all.
 *
 * Aggregate refuses the same when it starts; here it has a line and a path. Must not read a ledger.
 */
import { isSealstreamError } from "../errors.ts";
import { parameterCount } from "../network/definition.ts";
import { networkFromSpec } from "../network/from-spec.ts";
import { MAX_NOISE_MULTIPLIER } from "../privacy/budget.ts";
import { contributionFractionBits, contributionSensitivity } from "../privacy/contribution.ts";
import { mixerMemoryBytes } from "../privacy/correlation/mixer.ts";
import { planNoise, searchFault, searchSize } from "../privacy/correlation/plan.ts";
import { analyticGaussianNoiseMultiplier } from "../privacy/gaussian.ts";
import { contributionCoordinates } from "../privacy/ledger-rules.ts";
import type { Complaint } from "../spec/complaint.ts";
import type { Locate } from "../spec/load.ts";
import type { PipelineSpec } from "../spec/pipeline-spec.ts";
import { accountantOf, accountingReason } from "../spec/privacy-keys.ts";
import {
  MAX_MIXER_BYTES,
  mixerLimitText,
  requireExactMixing,
} from "../stages/aggregate/run-settings.ts";
import { whomText } from "./ledger/table.ts";

/** Updates times bands or buffers: beyond it the search takes seconds, and only aggregate says whether the noise fits. */
const QUICK_SEARCH = 2 ** 19;

/** The noise multiplier of a first run. */
export function firstNoiseMultiplier({ privacy }: PipelineSpec): number {
  const { epsilon, delta, recordsPerSubject } = privacy;
  return analyticGaussianNoiseMultiplier(epsilon, delta) * (recordsPerSubject ?? 1);
}

export function privacyComplaints(spec: PipelineSpec, locate: Locate): Complaint[] {
  const { privacy } = spec;
  const complaints: Complaint[] = [];
  const noiseMultiplier = firstNoiseMultiplier(spec);
  if (!(noiseMultiplier <= MAX_NOISE_MULTIPLIER)) {
    const people =
      privacy.recordsPerSubject === null
        ? ""
        : ` for ${privacy.recordsPerSubject} records of a subject`;
    const message = `this budget cannot be met: epsilon ${privacy.epsilon} at delta ${privacy.delta}${people} needs noise of ${noiseMultiplier.toPrecision(3)} times the sensitivity, and beyond ${MAX_NOISE_MULTIPLIER} nothing is learnt; expected a larger epsilon`;
    complaints.push(locate(["privacy", "epsilon"], message));
  }
  const bytes = mixerMemoryBytes(privacy.noise, coordinatesOf(spec) ?? 0);
  if (bytes > MAX_MIXER_BYTES) {
    complaints.push(locate(["privacy", "noise"], mixerLimitText(bytes)));
  }
  const search = searchFault(privacy.noise);
  if (search !== null) complaints.push(locate(["privacy", "noise", privacy.noise.kind], search));
  const grid = complaints.length === 0 ? gridFault(spec, noiseMultiplier) : null;
  if (grid !== null) complaints.push(locate(["privacy", "noise"], grid));
  return complaints;
}

/** Why correlated noise does not fit the contributions' grid; null where it does, or would take seconds to say. */
function gridFault(spec: PipelineSpec, noiseMultiplier: number): string | null {
  const { microBatchRecords: places, l2ClipNorm } = spec.train;
  const coordinates = coordinatesOf(spec);
  if (coordinates === null || searchSize(spec.privacy.noise) > QUICK_SEARCH) return null;
  try {
    const fractionBits = contributionFractionBits({ places, l2ClipNorm });
    const sensitivity = contributionSensitivity({
      l2ClipNorm,
      parameters: coordinates,
      fractionBits,
    });
    const noise = planNoise(spec.privacy.noise);
    requireExactMixing({ coordinates, sensitivity, fractionBits }, { noiseMultiplier, noise });
    return null;
  } catch (error) {
    if (!isSealstreamError(error, "limit-exceeded")) throw error;
    return error.message;
  }
}

/** Numbers of a contribution; null when the network is none, which somebody else says. */
function coordinatesOf({ features, train }: PipelineSpec): number | null {
  try {
    const network = networkFromSpec(features, train);
    return train.method === "gradient"
      ? parameterCount(network)
      : contributionCoordinates(network, train.method);
  } catch (error) {
    if (!isSealstreamError(error)) throw error;
    return null;
  }
}

/** What the privacy of a file means, for `check`. */
export function privacyText(spec: PipelineSpec): string {
  const { epsilon, delta, noise, recordsPerSubject } = spec.privacy;
  const made =
    noise.kind === "independent"
      ? ""
      : `, ${noise.kind === "toeplitz" ? "square-root Toeplitz" : noise.kind} over ${noise.updates} updates`;
  return `epsilon ${epsilon} at delta ${delta} ${whomText(recordsPerSubject)}, accounted ${accountantOf(spec)}: noise multiplier ${firstNoiseMultiplier(spec).toFixed(3)}${made}`;
}

/** Why that accounting holds, and what its epsilon compares and leaves out, for `check`. */
export function accountingText(spec: PipelineSpec): string {
  const { noise, recordsPerSubject } = spec.privacy;
  const { updateBatchRecords } = spec.train;
  const { validate } = spec.features.split;
  const block =
    noise.kind === "independent" ? "" : `, and noise begins anew every ${noise.updates} updates`;
  const hidden =
    recordsPerSubject === null
      ? "whether a record contributed anything"
      : "whether any record of a subject contributed anything";
  const left = validate === 0 ? "" : "; validation records are not covered";
  return `${accountingReason(spec)}; an update takes ${updateBatchRecords} records${block}; epsilon bounds what models tell of ${hidden}${left}`;
}
