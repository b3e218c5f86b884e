/**
 * One consumer's keys, ready to evaluate batch packs of any model: checks keys, plans models, keeps the last plan.
 *
 * A plan takes longer than a pack, and memory is laid out for one plan at a time, so that the plan of the model used last
 * is kept with its memory. The library is used for fresh encryptions of zero only. Must hold no secret key, nor anything
 * of a pack after its answer; runs in a killable worker.
 */
import { SealstreamError } from "../../errors.ts";
import type { Network } from "../../network/definition.ts";
import { lowerNetwork } from "../../network/lower.ts";
import type { Weights } from "../../network/weights.ts";
import { checkPublicKey } from "../blob.ts";
import type { RingRelinKeys } from "../evaluation-keys.ts";
import { checkEvaluationKeys, expandEvaluationKeys } from "../key-blob.ts";
import type { CkksParameters } from "../parameters.ts";
import { createRing, type Ring } from "../ring.ts";
import {
  type CkksContext,
  guarded,
  type Handle,
  openTools,
  type SealCiphertext,
  type SealEncryptor,
  saveUncompressed,
} from "../seal.ts";
import { type BatchEvaluator, type BatchOutcome, createBatchEvaluator } from "./evaluator.ts";
import { planBatch } from "./plan.ts";
import type { BatchMode } from "./program.ts";

/** Most memory of a session's kernels: tables, keys, one program. A network that needs more is refused. */
const MAX_BYTES = 402_653_184;

export interface BatchModel {
  /** Names network and weights. */
  readonly modelId: string;
  readonly network: Network;
  readonly weights: Weights;
  readonly mode: BatchMode;
}

export type SessionOutcome =
  | (Extract<BatchOutcome, { status: "ok" }> & { readonly precisionBits: number })
  | Extract<BatchOutcome, { status: "refused" }>;

export interface BatchSession {
  /**
   * @param wires one wire ciphertext per feature. Not kept, not written.
   * @throws limit-exceeded or checkpoint-invalid when the model cannot be evaluated under these parameters and keys
   * @throws worker-died when the memory of the library is not to be used again
   */
  evaluate(model: BatchModel, wires: readonly Uint8Array[]): SessionOutcome;
  /** Frees the library's objects. */
  close(): void;
}

export interface SessionKeys {
  /** Published evaluation keys (`key-blob.ts`). */
  readonly evaluationKeys: Uint8Array;
  /** Serialized public key of the consumer. */
  readonly publicKey: Uint8Array;
}

interface Loaded {
  readonly ckks: CkksContext;
  readonly ring: Ring;
  readonly relinKeys: RingRelinKeys | null;
  readonly encryptor: SealEncryptor;
  readonly zero: SealCiphertext;
}

/**
 * Checks and loads a consumer's keys.
 * @throws key-invalid when a key blob is not a key of these parameters
 * @throws limit-exceeded when tables and keys alone do not fit `maxBytes`
 */
export async function createBatchSession(
  parameters: CkksParameters,
  keys: SessionKeys,
  { maxBytes = MAX_BYTES }: { readonly maxBytes?: number } = {},
): Promise<BatchSession> {
  const { tools, close } = await openTools(parameters, "load the consumer's keys", (ckks, keep) =>
    load(ckks, keys, maxBytes, keep),
  );
  let kept: { readonly name: string; readonly evaluator: BatchEvaluator } | null = null;
  const evaluatorOf = (model: BatchModel): BatchEvaluator => {
    const name = `${model.mode}/${model.modelId}`;
    if (kept?.name === name) return kept.evaluator;
    kept?.evaluator.close();
    kept = null;
    const evaluator = makeEvaluator(tools, parameters, model);
    kept = { name, evaluator };
    return evaluator;
  };
  return {
    close,
    evaluate(model, wires) {
      const evaluator = evaluatorOf(model);
      const outcome = guarded("evaluate the network", () => evaluator.evaluate(wires));
      const { precisionBits } = evaluator.plan;
      return outcome.status === "ok" ? { ...outcome, precisionBits } : outcome;
    },
  };
}

function load(
  ckks: CkksContext,
  keys: SessionKeys,
  maxBytes: number,
  keep: <T extends Handle>(handle: T) => T,
): Loaded {
  const { seal, context } = ckks;
  const checked = checkEvaluationKeys(ckks, keys.evaluationKeys);
  if (checked.status === "refused") throw keyInvalid("evaluation keys", checked.fault);
  const publicCheck = checkPublicKey(ckks, keys.publicKey);
  if (publicCheck.status === "refused") throw keyInvalid("public key", publicCheck.fault);
  const expanded = expandEvaluationKeys(ckks, checked.keys);
  if (typeof expanded === "string") throw keyInvalid("evaluation keys", expanded);
  const ring = createRing(ckks, { maxBytes });
  const relinKeys = expanded.relinKeys === null ? null : ring.loadRelinKeys(expanded.relinKeys);
  if (expanded.relinKeys !== null && relinKeys === null) {
    throw keyInvalid("evaluation keys", "residue");
  }
  const publicKey = keep(new seal.PublicKey());
  publicKey.loadFromArray(context, keys.publicKey);
  const encryptor = keep(new seal.Encryptor(context, publicKey));
  return { ckks, ring, relinKeys, encryptor, zero: keep(new seal.Ciphertext()) };
}

function keyInvalid(what: string, fault: string): SealstreamError {
  return new SealstreamError(
    "key-invalid",
    `The consumer's CKKS ${what} in topic keys are not usable (${fault}); run sealstream keys create for the consumer zone.`,
  );
}

function makeEvaluator(
  { ckks, ring, relinKeys, encryptor, zero }: Loaded,
  parameters: CkksParameters,
  { network, weights, mode }: BatchModel,
): BatchEvaluator {
  const circuit = lowerNetwork(network, weights);
  const plan = planBatch({ circuit, parameters, primes: ckks.primes, mode });
  if (plan.needsRelinKeys && relinKeys === null) {
    throw new SealstreamError(
      "limit-exceeded",
      "CKKS: this network needs relinearisation keys, the consumer published none; run sealstream keys rotate for the consumer zone.",
    );
  }
  const encryptZero = (): Uint8Array => {
    encryptor.encryptZero(zero);
    return saveUncompressed(ckks, zero);
  };
  return createBatchEvaluator({ ring, parameters, plan, relinKeys, encryptZero });
}
