/**
 * The consumer's published keys as predict uses them: which parameter sets there are, and a pack's keys for the evaluator.
 *
 * Both are asked of the directory each time, so that a rotation is followed without a pause. Must not keep a key.
 */
import { randomBytes } from "node:crypto";
import { type CkksParameters, fitsKernels, parseParameters } from "../../ckks/parameters.ts";
import type { PoolKeys } from "../../ckks/pool.ts";
import type { KeyDirectory } from "../../crypto/directory.ts";
import type { Network } from "../../network/definition.ts";
import { initialWeights } from "../../network/initial-weights.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";

/** Parameter sets of the published keys, the newest first, or the planned one while nothing is published. */
export function consumerParameters(
  directory: KeyDirectory,
  planned: CkksParameters,
): readonly [CkksParameters, ...CkksParameters[]] {
  const published = directory
    .list()
    .blobs.filter(({ purpose }) => purpose === "ckks-evaluation")
    .flatMap(({ parameters }) => parseParameters(parameters) ?? []);
  const [newest = planned, ...others] = published;
  return [newest, ...others];
}

/** A pack of zeros under the keys that are known; undefined while none is. */
export function warmUpSample(directory: KeyDirectory, spec: PipelineSpec, network: Network) {
  // A model of ciphertexts comes from the training zone alone.
  if (spec.predict.model === "encrypted") return undefined;
  const publicKey = directory.blob("ckks-public");
  const found = publicKey === null ? null : evaluationKeysOf(directory, publicKey.id);
  if (found === null) return undefined;
  const weights = initialWeights(network, (bytes) => new Uint8Array(randomBytes(bytes)));
  const { model: mode, precisionBits } = spec.predict;
  const form = fitsKernels(found.parameters) ? "wire" : "library";
  return { ...found, network, weights, mode, precisionBits, form } as const;
}

/** The keys of a pack as the evaluator takes them, or null when they are not published. */
export function evaluationKeysOf(directory: KeyDirectory, consumerKeyId: string): PoolKeys | null {
  const keys = directory.consumerKeys(consumerKeyId);
  if (keys === null) return null;
  const { publicKey, evaluation } = keys;
  const parameters = parseParameters(evaluation.parameters);
  if (parameters === null || publicKey.parameters !== evaluation.parameters) return null;
  return {
    parameters,
    keyId: `${publicKey.id}/${evaluation.id}`,
    keys: { publicKey: publicKey.bytes, evaluationKeys: evaluation.bytes },
  };
}
