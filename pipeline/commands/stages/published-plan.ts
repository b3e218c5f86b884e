/**
 * The plan under the consumer's keys as they are published: what encrypt and predict work by.
 *
 * Keys may be published after a stage has started and rotated while it runs, so the directory is asked each time; a plan
 * takes some tenths of a second and is made once for each pair of keys. Keys that no longer fit the pipeline file end
 * the stage with a sentence, since nothing under them could be predicted. Must not keep a key.
 */
import { readForm } from "../../ckks/evaluation-key-form.ts";
import { parseParameters } from "../../ckks/parameters.ts";
import { type PredictPlan, type PredictRequest, planUnder } from "../../ckks/predict-plan.ts";
import type { PublicBlob } from "../../crypto/blob-assembler.ts";
import type { KeyDirectory } from "../../crypto/directory.ts";
import { isSealstreamError, SealstreamError } from "../../errors.ts";

/** Keys that fit the file, and what it plans under them. */
export interface PublishedPlan {
  readonly publicKey: PublicBlob;
  readonly plan: PredictPlan;
}

export interface PublishedPlans {
  /**
   * Under the newest keys; null: they are not complete yet.
   * @throws key-invalid when they do not fit the file, or are none
   * @throws state-mismatch when they came while this stage ran, and do not fit the file it was started with
   */
  newest(): PublishedPlan | null;
  /** Under the keys with this public key (hex id); null when they do not fit the file, or are not known. */
  plan(consumerKeyId: string): PredictPlan | null;
}

/** Pairs of keys whose plan is remembered: those of the directory, and some more for packs in between. */
const KEPT_PLANS = 4;

type Judged = PredictPlan | SealstreamError;
type Keys = NonNullable<ReturnType<KeyDirectory["consumerKeys"]>>;

export function createPublishedPlans(
  spec: PredictRequest,
  directory: Pick<KeyDirectory, "blob" | "consumerKeys">,
): PublishedPlans {
  const judged = new Map<string, Judged>();
  const judge = (keys: Keys): Judged => {
    const name = `${keys.publicKey.id}/${keys.evaluation.id}`;
    const known = judged.get(name) ?? planOrFault(spec, keys);
    judged.set(name, known);
    const [oldest] = judged.keys();
    if (judged.size > KEPT_PLANS && oldest !== undefined) judged.delete(oldest);
    return known;
  };
  let startedWith: string | null = null;
  return {
    newest() {
      const publicKey = directory.blob("ckks-public");
      const keys = publicKey === null ? null : directory.consumerKeys(publicKey.id);
      if (keys === null) return null;
      const plan = judge(keys);
      if (!(plan instanceof SealstreamError)) {
        startedWith ??= keys.publicKey.id;
        return { publicKey: keys.publicKey, plan };
      }
      if (startedWith === null) throw plan;
      throw new SealstreamError(
        "state-mismatch",
        `The consumer's CKKS keys were rotated to ${keys.publicKey.parameters}, which does not fit the pipeline file that this stage was started with; start it again with the file that they were made for.`,
      );
    },
    plan(consumerKeyId) {
      const keys = directory.consumerKeys(consumerKeyId);
      const found = keys === null ? null : judge(keys);
      return found instanceof SealstreamError ? null : found;
    },
  };
}

function planOrFault(spec: PredictRequest, { publicKey, evaluation }: Keys): Judged {
  const parameters = parseParameters(evaluation.parameters);
  const form = parameters === null ? "shape" : readForm(parameters, evaluation.bytes);
  if (publicKey.parameters !== evaluation.parameters || typeof form === "string") {
    return new SealstreamError(
      "key-invalid",
      'The consumer\'s published CKKS keys are none that Sealstream makes: run "sealstream keys rotate FILE ckks".',
    );
  }
  try {
    return planUnder(spec, { parameters: evaluation.parameters, ...form });
  } catch (error) {
    if (isSealstreamError(error, "key-invalid")) return error;
    throw error;
  }
}
