/**
 * Evaluates a network on a pack of ciphertexts, without any secret.
 *
 * Guarantees. Every blob is checked (`blob.ts`) before anything else reads it, and input ciphertexts never reach the
 * library's deserializer at all: the first layer works on their residues. Results are relinearized, rescaled after the
 * last layer and re-randomised by a fresh encryption of zero under the consumer's public key, so that their second
 * polynomial says nothing about the model. What this does not give: a proof that this model was run (the stage signs
 * instead), or statistical circuit privacy (no flooding: the consumer's noise still depends a little on the weights).
 *
 * Edge cases: a hidden unit or class whose weights all round to zero is a constant (`plan.ts`), never a transparent
 * ciphertext; slots without a record hold the network's value at zero. Runs in a killable worker (`worker.ts`), because
 * the library may run out of memory or trap.
 */
import { SealstreamError } from "../errors.ts";
import type { Network } from "../network/definition.ts";
import type { Weights } from "../network/weights.ts";
import {
  type BlobFault,
  checkInputCiphertext,
  checkPublicKey,
  readResidues,
  writeCiphertext,
} from "./blob.ts";
import { denseLayer } from "./dense.ts";
import { checkEvaluationKeys, expandEvaluationKeys } from "./key-blob.ts";
import { CIPHERTEXT_POLYS, type CkksParameters, dataLimbs } from "./parameters.ts";
import { type EvaluationPlan, type PlannedLayer, planEvaluation } from "./plan.ts";
import {
  type CkksContext,
  encodeConstant,
  guarded,
  type Handle,
  openTools,
  type SealCiphertext,
  type SealEncoder,
  type SealEncryptor,
  type SealEvaluator,
  type SealPlaintext,
  type SealRelinKeys,
  saveUncompressed,
} from "./seal.ts";

export interface EvaluationKeys {
  /** Evaluation keys of the consumer as they were published (`key-blob.ts`). */
  readonly evaluationKeys: Uint8Array;
  /** Serialized public key of the consumer. */
  readonly publicKey: Uint8Array;
}

export interface EvaluationRequest {
  readonly network: Network;
  readonly weights: Weights;
  /** One serialized ciphertext per feature. Not kept, not written. */
  readonly ciphertexts: readonly Uint8Array[];
}

export type EvaluationOutcome =
  /** One serialized ciphertext per class, at the last level; new buffers. */
  | { readonly status: "ok"; readonly blobs: readonly Uint8Array[] }
  /** `feature` is -1 when the number of ciphertexts is not the network's. */
  | { readonly status: "refused"; readonly feature: number; readonly fault: BlobFault | "count" };

/** A consumer's keys, loaded and ready. */
export interface NetworkEvaluator {
  /**
   * @throws limit-exceeded or checkpoint-invalid when the model cannot be evaluated (`plan.ts`)
   * @throws worker-died when the library's heap is not to be used again
   */
  evaluate(request: EvaluationRequest): EvaluationOutcome;
  /** Frees the library's objects. */
  close(): void;
}

interface Toolbox {
  readonly ckks: CkksContext;
  readonly evaluator: SealEvaluator;
  readonly encoder: SealEncoder;
  readonly encryptor: SealEncryptor;
  readonly relinKeys: SealRelinKeys;
  readonly ciphertext: SealCiphertext;
  readonly zero: SealCiphertext;
  readonly plaintext: SealPlaintext;
}

/**
 * Checks and loads a consumer's evaluation keys.
 * @throws key-invalid when a key blob is not a key of these parameters
 */
export async function createNetworkEvaluator(
  parameters: CkksParameters,
  keys: EvaluationKeys,
): Promise<NetworkEvaluator> {
  const { tools, close } = await openTools(parameters, "load the consumer's keys", (ckks, keep) =>
    loadTools(ckks, keys, keep),
  );
  return { evaluate: (request) => evaluateNetwork(tools, request), close };
}

function loadTools(
  ckks: CkksContext,
  keys: EvaluationKeys,
  keep: <T extends Handle>(handle: T) => T,
): Toolbox {
  const { seal, context } = ckks;
  const checked = checkEvaluationKeys(ckks, keys.evaluationKeys);
  if (checked.status === "refused") throw keyInvalid("evaluation keys", checked.fault);
  const expanded = expandEvaluationKeys(ckks, checked.keys);
  if (typeof expanded === "string") throw keyInvalid("evaluation keys", expanded);
  if (expanded.relinKeys === null) throw keyInvalid("evaluation keys", "shape");
  const publicCheck = checkPublicKey(ckks, keys.publicKey);
  if (publicCheck.status === "refused") throw keyInvalid("public key", publicCheck.fault);
  const relinKeys = keep(new seal.RelinKeys());
  relinKeys.loadFromArray(context, expanded.relinKeys);
  const publicKey = keep(new seal.PublicKey());
  publicKey.loadFromArray(context, keys.publicKey);
  return {
    ckks,
    relinKeys,
    evaluator: keep(new seal.Evaluator(context)),
    encoder: keep(new seal.CKKSEncoder(context)),
    encryptor: keep(new seal.Encryptor(context, publicKey)),
    ciphertext: keep(new seal.Ciphertext()),
    zero: keep(new seal.Ciphertext()),
    plaintext: keep(new seal.Plaintext()),
  };
}

function keyInvalid(what: string, fault: BlobFault): SealstreamError {
  return new SealstreamError(
    "key-invalid",
    `The consumer's CKKS ${what} in topic keys are not usable (${fault}); run sealstream keys create for the consumer zone.`,
  );
}

function evaluateNetwork(tools: Toolbox, request: EvaluationRequest): EvaluationOutcome {
  const { ckks } = tools;
  const { network, weights, ciphertexts } = request;
  const plan = planEvaluation(network, weights, ckks.parameters, ckks.primes);
  if (ciphertexts.length !== network.inputs) {
    return { status: "refused", feature: -1, fault: "count" };
  }
  let residues: Uint32Array[] = [];
  for (const [feature, blob] of ciphertexts.entries()) {
    const check = checkInputCiphertext(ckks, blob);
    if (check.status === "refused") return { status: "refused", feature, fault: check.fault };
    residues.push(check.residues);
  }
  return guarded("evaluate the network", () => {
    let limbs = dataLimbs(ckks.parameters);
    for (const [index, layer] of plan.layers.entries()) {
      const rows = runDense(ckks, layer, residues, limbs);
      limbs = layer.limbs;
      if (index === plan.layers.length - 1) {
        return { status: "ok", blobs: finishOutputs(tools, plan, layer, rows) };
      }
      residues = rows.map((row) => squareRow(tools, layer, row));
      limbs -= 1;
    }
    throw new SealstreamError("internal", "A network without layers was planned.");
  });
}

function runDense(
  { parameters, primes }: CkksContext,
  layer: PlannedLayer,
  inputs: readonly Uint32Array[],
  inputLimbs: number,
): Uint32Array[] {
  const { polyModulusDegree: degree } = parameters;
  const { limbs, weights, rows, biases } = layer;
  return denseLayer({ inputs, inputLimbs, limbs, degree, primes, weights, rows, biases });
}

function loadRow(
  { ckks, ciphertext }: Toolbox,
  { limbs, scale }: PlannedLayer,
  residues: Uint32Array,
): void {
  const shape = { limbs, polys: CIPHERTEXT_POLYS, scale };
  ciphertext.loadFromArray(ckks.context, writeCiphertext(ckks, shape, residues));
}

/** Square, relinearize, rescale; residues of the result, one limb fewer. */
function squareRow(tools: Toolbox, layer: PlannedLayer, row: Uint32Array): Uint32Array {
  const { ckks, evaluator, relinKeys, ciphertext } = tools;
  loadRow(tools, layer, row);
  evaluator.squareInplace(ciphertext);
  evaluator.relinearizeInplace(ciphertext, relinKeys);
  evaluator.rescaleToNextInplace(ciphertext);
  return readResidues(saveUncompressed(ckks, ciphertext));
}

/** Boost, rescale and re-randomise every class; a class without weights is an encryption of its constant. */
function finishOutputs(
  tools: Toolbox,
  plan: EvaluationPlan,
  layer: PlannedLayer,
  rows: readonly Uint32Array[],
): Uint8Array[] {
  const { ckks, ciphertext } = tools;
  return plan.outputs.map((output) => {
    const scale = 2 ** plan.outputScaleBits;
    encryptZero(tools, scale);
    if ("constant" in output) {
      addConstant(tools, output.constant, scale);
      return saveUncompressed(ckks, tools.zero);
    }
    const row = rows[output.row];
    if (row === undefined) throw new SealstreamError("internal", "A planned row is missing.");
    loadRow(tools, layer, row);
    boostAndRescale(tools, plan.boostBits);
    // The plan makes the scale exactly 2^k; what differs is the rounding of a double's last bit.
    ciphertext.setScale(scale);
    tools.evaluator.addInplace(ciphertext, tools.zero);
    return saveUncompressed(ckks, ciphertext);
  });
}

function boostAndRescale(
  { ckks, evaluator, encoder, ciphertext, plaintext }: Toolbox,
  boostBits: number,
): void {
  if (boostBits > 0) {
    encodeConstant(ckks, encoder, { value: 1, scale: 2 ** boostBits }, plaintext);
    evaluator.plainModSwitchToInplace(plaintext, ciphertext.parmsId());
    evaluator.multiplyPlainInplace(ciphertext, plaintext);
  }
  evaluator.rescaleToNextInplace(ciphertext);
}

/** A fresh encryption of zero at the last level, in `tools.zero`. */
function encryptZero({ ckks, evaluator, encryptor, zero }: Toolbox, scale: number): void {
  encryptor.encryptZero(zero);
  const last = ckks.context.lastParmsId();
  evaluator.cipherModSwitchToInplace(zero, last);
  last.delete();
  zero.setScale(scale);
}

function addConstant(
  { ckks, evaluator, encoder, plaintext, zero }: Toolbox,
  value: number,
  scale: number,
): void {
  encodeConstant(ckks, encoder, { value, scale }, plaintext);
  const last = ckks.context.lastParmsId();
  evaluator.plainModSwitchToInplace(plaintext, last);
  last.delete();
  evaluator.addPlainInplace(zero, plaintext);
}
