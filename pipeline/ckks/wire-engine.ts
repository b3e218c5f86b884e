/**
 * Evaluates wire packs with one consumer's keys on our own kernels: batch packs, and slots packs where keys allow.
 *
 * A ring holds the keys at the bottom of its memory and the evaluators of one model above them; another model gives that
 * memory back first. Plans are kept for a few models, since planning takes longer than a pack. Guarantees that a model
 * which does not fit the ring or its keys is refused with a sentence, never evaluated wrongly, and that the ring stays
 * usable. Must hold no secret: encryptions of zero are made under the consumer's public key, by the library.
 */
import { isSealstreamError, SealstreamError } from "../errors.ts";
import { createBatchEvaluator } from "./batch/evaluator.ts";
import { leastLimbs, planBatch } from "./batch/plan.ts";
import type { BatchPlan } from "./batch/program.ts";
import { type BlobFault, checkPublicKey } from "./blob.ts";
import type { EvaluationKeys, PackEngine, PackOutcome, PackRequest } from "./engine.ts";
import type { RingGaloisKeys, RingRelinKeys } from "./evaluation-keys.ts";
import { lowerScaled, UNIT_BOUNDS } from "./feature-bounds.ts";
import {
  checkEvaluationKeys,
  type ExpandedEvaluationKeys,
  expandEvaluationKeys,
} from "./key-blob.ts";
import { CIPHERTEXT_POLYS, type CkksParameters, dataLimbs } from "./parameters.ts";
import { createRing, type Ring } from "./ring.ts";
import { type CkksContext, guarded, type Handle, openTools } from "./seal.ts";
import { planSlots, type SlotPlan } from "./slots/plan.ts";
import { createSlotsEngine, planSlotsPack, slotsScaleBits } from "./slots-engine.ts";
import { readAnyLimbs } from "./wire-ciphertext.ts";
import { createZeroEncryptor } from "./zero.ts";

/** Most memory of a ring: keys, tables and the working memory of one model. */
const MOST_RING_BYTES = 448 * 1024 * 1024;
/** Plans kept: the newest model and the one before, in either packing. */
const MOST_PLANS = 4;

interface Machine {
  readonly ckks: CkksContext;
  readonly ring: Ring;
  readonly relinKeys: RingRelinKeys | null;
  readonly galoisKeys: RingGaloisKeys | null;
  /** A fresh encryption of zero over the first primes. */
  readonly encryptZero: (limbs: number) => Uint8Array;
  readonly plans: Map<string, Plan>;
  /** Evaluators of one model; memory above the keys. */
  readonly open: Map<string, ModelEvaluator>;
}

type Plan =
  | { readonly packing: "batch"; readonly plan: BatchPlan }
  | { readonly packing: "slots"; readonly plan: SlotPlan };

/** One model in one packing. */
interface ModelEvaluator {
  evaluate(request: PackRequest): PackOutcome;
  close(): void;
}

/**
 * Checks, expands and loads a consumer's keys.
 * @throws key-invalid when a key blob is not a key of these parameters, or the keys do not fit the ring
 * @throws ciphertext-refused when the kernels cannot hold the primes
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
  const { relinKeys, galoisKeys } = loadKeys(ring, expanded);
  const publicKey = keep(new ckks.seal.PublicKey());
  publicKey.loadFromArray(ckks.context, keys.publicKey);
  const encryptor = keep(new ckks.seal.Encryptor(ckks.context, publicKey));
  return {
    ...{ ckks, ring, relinKeys, galoisKeys },
    encryptZero: createZeroEncryptor(ckks, encryptor, keep),
    plans: new Map(),
    open: new Map(),
  };
}

/** @throws key-invalid, and never what would be taken for a model's fault, when the ring does not hold them */
function loadKeys(ring: Ring, keys: ExpandedEvaluationKeys) {
  try {
    return {
      relinKeys: keys.relinKeys && ring.loadRelinKeys(keys.relinKeys),
      galoisKeys: keys.galoisKeys && ring.loadGaloisKeys(keys.galoisKeys),
    };
  } catch (error) {
    if (!isSealstreamError(error, "limit-exceeded")) throw error;
    throw keysInvalid("evaluation keys", "too many");
  }
}

function keysInvalid(what: string, fault: string): SealstreamError {
  return new SealstreamError(
    "key-invalid",
    `The consumer's CKKS ${what} in topic keys are not usable (${fault}); run sealstream keys create for the consumer zone.`,
  );
}

function evaluatePack(machine: Machine, request: PackRequest): PackOutcome {
  const isEncrypted = "file" in request.weights;
  if (isEncrypted !== (request.mode === "encrypted")) {
    throw new SealstreamError("internal", "A model does not have the form that its mode says.");
  }
  // Packs of whoever uses another pipeline file than we: encrypted models are evaluated in slots.
  if (isEncrypted && request.packing === "batch") {
    return { status: "refused", part: -1, fault: "count" };
  }
  const sent = sentAs(machine.ckks, request);
  if (typeof sent === "string") return { status: "refused", part: 0, fault: sent };
  const evaluate = evaluatorOrFault(machine, request, sent);
  if (typeof evaluate === "string") return { status: "refused", part: -1, fault: evaluate };
  return guarded("evaluate the network", () => evaluate.evaluate(request));
}

/** What the owner chose, as the first ciphertext's header says; the evaluators hold the others to it. */
interface Sent {
  /** log2 of the scale. */
  readonly scaleBits: number;
  /** Data primes that a ciphertext carries. */
  readonly limbs: number;
}

function sentAs(ckks: CkksContext, request: PackRequest): Sent | BlobFault {
  const { parameters } = ckks;
  if (request.packing === "slots") {
    const scaleBits = slotsScaleBits(ckks, request);
    return scaleBits === null ? "scale" : { scaleBits, limbs: dataLimbs(parameters) };
  }
  const { scaleBits } = parameters;
  const first = request.ciphertexts[0] ?? new Uint8Array();
  const expected = { polys: [CIPHERTEXT_POLYS], scale: 2 ** scaleBits };
  const header = readAnyLimbs(parameters, first, expected);
  return header.status === "refused" ? header.fault : { scaleBits, limbs: header.shape.limbs };
}

/**
 * As `evaluatorOf`, but a pack of another scale or other primes than owners are to use bears what comes of it itself:
 * otherwise one such pack would have the model refused for every pack.
 */
function evaluatorOrFault(
  machine: Machine,
  request: PackRequest,
  sent: Sent,
): ModelEvaluator | "steps" | "shape" | "scale" {
  try {
    return evaluatorOf(machine, request, sent);
  } catch (error) {
    const fault = ownFault(request, sent);
    if (fault === null || !isSealstreamError(error, "limit-exceeded")) throw error;
    return fault;
  }
}

/** In what a pack is not as planned, or null. */
function ownFault({ packing, planned }: PackRequest, sent: Sent): "shape" | "scale" | null {
  if (planned === undefined) return null;
  if (packing === "slots") return planned.slotsScaleBits === sent.scaleBits ? null : "scale";
  return planned.batchLimbs === sent.limbs ? null : "shape";
}

/**
 * The evaluator of a model in a packing, made when another model was evaluated before; or why no model can evaluate the
 * pack. `steps`: the keys lack rotations. `shape`: it carries fewer primes than the network needs with any weights.
 */
function evaluatorOf(
  machine: Machine,
  request: PackRequest,
  sent: Sent,
): ModelEvaluator | "steps" | "shape" {
  const { open } = machine;
  const model = `${request.mode} ${request.modelId}`;
  const name = `${request.packing} ${sent.scaleBits} ${sent.limbs} ${model}`;
  const known = open.get(name);
  if (known !== undefined) return known;
  const plan = planOf(machine, request, { ...sent, name });
  if (plan === null) return "shape";
  if ([...open.keys()].some((other) => !other.endsWith(model))) closeAll(machine);
  const evaluator = makeWithRoom(machine, plan, request);
  if (evaluator === null) return "steps";
  open.set(name, evaluator);
  return evaluator;
}

/** Where both packings of a model do not fit side by side, one gives way. */
function makeWithRoom(machine: Machine, plan: Plan, request: PackRequest): ModelEvaluator | null {
  try {
    return makeEvaluator(machine, plan, request);
  } catch (error) {
    if (machine.open.size === 0 || !isSealstreamError(error, "limit-exceeded")) throw error;
    closeAll(machine);
    return makeEvaluator(machine, plan, request);
  }
}

function closeAll({ open }: Machine): void {
  // Last in, first out: memory of the ring is a stack.
  for (const [name, evaluator] of [...open].reverse()) {
    evaluator.close();
    open.delete(name);
  }
}

function makeEvaluator(machine: Machine, plan: Plan, request: PackRequest): ModelEvaluator | null {
  const { outputLimbs } = plan.plan;
  const zero = () => machine.encryptZero(outputLimbs);
  if (plan.packing === "batch") return makeBatch(machine, plan.plan, zero);
  try {
    return createSlotsEngine({ ...machine, encryptZero: zero }, plan.plan, request);
  } catch (error) {
    // Of keys that were made for another network: the pack is bound to them, and no later model helps it.
    if (isSealstreamError(error, "key-missing")) return null;
    throw error;
  }
}

function makeBatch(
  { ckks, ring, relinKeys }: Machine,
  plan: BatchPlan,
  zero: () => Uint8Array,
): ModelEvaluator | null {
  if (plan.needsRelinKeys && relinKeys === null) return null;
  const { parameters } = ckks;
  const evaluator = createBatchEvaluator({ ring, parameters, plan, relinKeys, encryptZero: zero });
  return {
    close: () => evaluator.close(),
    evaluate({ ciphertexts, records }) {
      const outcome = evaluator.evaluate(ciphertexts);
      if (outcome.status === "refused") {
        return { status: "refused", part: outcome.feature, fault: outcome.fault };
      }
      const { precisionBits } = plan;
      const strides = { classStride: 0, recordStride: 1, recordsPerPart: records };
      const layout = { packing: "batch", ...strides, precisionBits } as const;
      return { status: "ok", blobs: outcome.blobs, layout };
    },
  };
}

/** The plan of a model for what was sent; null: no model of this network has one. */
function planOf(
  { ckks, plans }: Machine,
  request: PackRequest,
  { name, scaleBits, limbs }: Sent & { readonly name: string },
): Plan | null {
  const known = plans.get(name);
  if (known !== undefined) return known;
  const plan =
    request.packing === "batch"
      ? planBatchPack(ckks, request, limbs)
      : planSlotsSent(ckks, request, scaleBits);
  if (plan === null) return null;
  plans.set(name, plan);
  const [oldest] = plans.keys();
  if (plans.size > MOST_PLANS && oldest !== undefined) plans.delete(oldest);
  return plan;
}

/**
 * The scale is what one owner says: where only that keeps a model from being planned it is the pack's fault, because a
 * model that is refused is refused to every owner.
 */
function planSlotsSent(ckks: CkksContext, request: PackRequest, scaleBits: number): Plan | null {
  try {
    return { packing: "slots", plan: planSlotsPack(ckks, request, scaleBits) };
  } catch (error) {
    // Where it is known how owners pack, that decides (evaluatorOrFault): a model that packs made so do not serve is at fault.
    const isKnown = request.planned !== undefined;
    if (isKnown || !isSealstreamError(error, "limit-exceeded")) throw error;
    if (!fitsAnyScale(ckks, request)) throw error;
    return null;
  }
}

/** Whether the model has a plan at the scale that it would choose itself. */
function fitsAnyScale({ parameters, primes }: CkksContext, request: PackRequest): boolean {
  const { network, weights, mode, precisionBits, bounds = UNIT_BOUNDS } = request;
  if ("file" in weights) return true;
  try {
    planSlots(lowerScaled(network, weights, bounds), parameters, primes, { mode, precisionBits });
    return true;
  } catch (error) {
    if (isSealstreamError(error, "limit-exceeded")) return false;
    throw error;
  }
}

function planBatchPack(
  { parameters, primes }: CkksContext,
  request: PackRequest,
  wireLimbs: number,
): Plan | null {
  const { network, weights, mode, precisionBits, bounds = UNIT_BOUNDS } = request;
  if (mode === "encrypted" || "file" in weights) {
    throw new SealstreamError("limit-exceeded", "CKKS: batch packs take no encrypted model.");
  }
  const circuit = lowerScaled(network, weights, bounds);
  const least = leastLimbs(circuit, mode);
  // The pack's fault. What the whole set could not carry either is the model's.
  if (wireLimbs < least && least <= dataLimbs(parameters)) return null;
  const plan = planBatch({
    ...{ circuit, parameters, primes, mode, precisionBits, wireLimbs, lowest: bounds.lowest },
  });
  return { packing: "batch", plan };
}
