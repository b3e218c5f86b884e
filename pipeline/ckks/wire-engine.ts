/**
 * Evaluates wire packs with one consumer's keys on our own kernels: batch packs, and slots packs where keys allow.
 *
 * A ring holds the keys at the bottom of its memory and the evaluators of one model above them; another model gives that
 * memory back first. Plans are kept for a few models, since planning takes longer than a pack. Guarantees that a model
 * which does not fit the ring or its keys is refused with a sentence, never evaluated wrongly, and that the ring stays
 * usable. Must hold no secret: encryptions of zero are made under the consumer's public key, by the library.
 */
import { SealstreamError } from "../errors.ts";
import { lowerNetwork } from "../network/lower.ts";
import { type BatchEvaluator, createBatchEvaluator } from "./batch/evaluator.ts";
import { planBatch } from "./batch/plan.ts";
import type { BatchPlan } from "./batch/program.ts";
import { checkPublicKey } from "./blob.ts";
import type { EvaluationKeys, PackEngine, PackOutcome, PackRequest } from "./engine.ts";
import type { RingGaloisKeys, RingRelinKeys } from "./evaluation-keys.ts";
import { checkEvaluationKeys, expandEvaluationKeys } from "./key-blob.ts";
import type { CkksParameters } from "./parameters.ts";
import { createRing, type Ring } from "./ring.ts";
import {
  type CkksContext,
  guarded,
  type Handle,
  openTools,
  type SealCiphertext,
  type SealEncryptor,
  saveUncompressed,
} from "./seal.ts";

/** Most memory of a ring: keys, tables and the working memory of one model. */
const MOST_RING_BYTES = 448 * 1024 * 1024;
/** Plans kept: the newest model and the one before, in either packing. */
const MOST_PLANS = 4;

interface Machine {
  readonly ckks: CkksContext;
  readonly ring: Ring;
  readonly relinKeys: RingRelinKeys | null;
  readonly galoisKeys: RingGaloisKeys | null;
  readonly encryptor: SealEncryptor;
  readonly zero: SealCiphertext;
  readonly plans: Map<string, BatchPlan>;
  /** Evaluators of one model; memory above the keys. */
  readonly open: Map<string, BatchEvaluator>;
}

/**
 * Checks, expands and loads a consumer's keys.
 * @throws key-invalid when a key blob is not a key of these parameters
 * @throws limit-exceeded when the keys do not fit the ring; ciphertext-refused when the kernels cannot hold the primes
 */
export async function createWireEngine(
  parameters: CkksParameters,
  keys: EvaluationKeys,
): Promise<PackEngine> {
  const { tools, close } = await openTools(parameters, "load the consumer's keys", (ckks, keep) =>
    loadMachine(ckks, keys, keep),
  );
  return { evaluate: (request) => evaluatePack(tools, request), close };
}

function loadMachine(
  ckks: CkksContext,
  keys: EvaluationKeys,
  keep: <T extends Handle>(handle: T) => T,
): Machine {
  const publicCheck = checkPublicKey(ckks, keys.publicKey);
  if (publicCheck.status === "refused") throw keysInvalid("public key", publicCheck.fault);
  const check = checkEvaluationKeys(ckks, keys.evaluationKeys);
  if (check.status === "refused") throw keysInvalid("evaluation keys", check.fault);
  const expanded = expandEvaluationKeys(ckks, check.keys);
  if (typeof expanded === "string") throw keysInvalid("evaluation keys", expanded);
  const ring = createRing(ckks, { maxBytes: MOST_RING_BYTES });
  const relinKeys = expanded.relinKeys && ring.loadRelinKeys(expanded.relinKeys);
  const galoisKeys = expanded.galoisKeys && ring.loadGaloisKeys(expanded.galoisKeys);
  const publicKey = keep(new ckks.seal.PublicKey());
  publicKey.loadFromArray(ckks.context, keys.publicKey);
  return {
    ...{ ckks, ring, relinKeys, galoisKeys },
    encryptor: keep(new ckks.seal.Encryptor(ckks.context, publicKey)),
    zero: keep(new ckks.seal.Ciphertext()),
    plans: new Map(),
    open: new Map(),
  };
}

function keysInvalid(what: string, fault: string): SealstreamError {
  return new SealstreamError(
    "key-invalid",
    `The consumer's CKKS ${what} in topic keys are not usable (${fault}); run sealstream keys create for the consumer zone.`,
  );
}

function evaluatePack(machine: Machine, request: PackRequest): PackOutcome {
  if (request.packing === "slots") {
    throw new SealstreamError("limit-exceeded", "CKKS: these keys evaluate batch packs only.");
  }
  const evaluator = batchEvaluator(machine, request);
  const outcome = guarded("evaluate the network", () => evaluator.evaluate(request.ciphertexts));
  if (outcome.status === "refused") {
    return { status: "refused", part: outcome.feature, fault: outcome.fault };
  }
  const { precisionBits } = evaluator.plan;
  const strides = { classStride: 0, recordStride: 1, recordsPerPart: request.records };
  const layout = { packing: "batch", ...strides, precisionBits } as const;
  return { status: "ok", blobs: outcome.blobs, layout };
}

/** The evaluator of a model, made when another model was evaluated before. */
function batchEvaluator(machine: Machine, request: PackRequest): BatchEvaluator {
  const { ckks, ring, relinKeys, open } = machine;
  const name = `${request.mode} ${request.modelId}`;
  const known = open.get(name);
  if (known !== undefined) return known;
  const plan = batchPlan(machine, request, name);
  if (plan.needsRelinKeys && relinKeys === null) {
    throw new SealstreamError(
      "limit-exceeded",
      'CKKS: this model needs relinearization keys and the consumer published none; run "sealstream keys rotate FILE ckks".',
    );
  }
  for (const [other, evaluator] of [...open].reverse()) {
    evaluator.close();
    open.delete(other);
  }
  const evaluator = createBatchEvaluator({
    ...{ ring, parameters: ckks.parameters, plan, relinKeys },
    encryptZero: () => encryptZero(machine),
  });
  open.set(name, evaluator);
  return evaluator;
}

function batchPlan({ ckks, plans }: Machine, request: PackRequest, name: string): BatchPlan {
  const known = plans.get(name);
  if (known !== undefined) return known;
  const { network, weights, mode } = request;
  if (mode === "encrypted") {
    throw new SealstreamError("limit-exceeded", "CKKS: batch packs take no encrypted model.");
  }
  const { parameters, primes } = ckks;
  const circuit = lowerNetwork(network, weights);
  const plan = planBatch({ circuit, parameters, primes, mode });
  plans.set(name, plan);
  const [oldest] = plans.keys();
  if (plans.size > MOST_PLANS && oldest !== undefined) plans.delete(oldest);
  return plan;
}

/** A fresh encryption of zero over all data primes, as the library serializes it. */
function encryptZero({ ckks, encryptor, zero }: Machine): Uint8Array {
  encryptor.encryptZero(zero);
  return saveUncompressed(ckks, zero);
}
