/**
 * A model whose weights are ciphertexts under the consumer's public key: the prediction zone sees neither data nor model.
 *
 * In the training zone: {@link encryptSlotModel} writes every matrix diagonal and bias of a plan of mode `encrypted` into
 * slots and encrypts it, and {@link slotRecipe} says the few integers by which the prediction zone evaluates them. There:
 * {@link planFromRecipe} and {@link loadEncryptedSlotModel}; then `evaluator.ts` as with plain weights, with products of
 * ciphertexts, relinearized once a sum.
 * What a recipe tells of the model: where scales lie, hence the size of its largest values to a bit or so. What the
 * consumer could learn: it holds the key, so blobs must not reach it. Overflow is judged where the weights are; a recipe
 * is believed by whose signature it came with, and its numbers are checked for range only.
 * Must not hold a secret key. Nothing is parsed by the library on the prediction side.
 */
import { SealstreamError } from "../../errors.ts";
import type { Circuit } from "../../network/circuit.ts";
import { checkPublicKey, ciphertextHeader, equalRange, scanLimb } from "../blob.ts";
import { CIPHERTEXT_HEADER_BYTES, CIPHERTEXT_POLYS, type CkksParameters } from "../parameters.ts";
import type { Ring } from "../ring.ts";
import { type CkksContext, guarded, openTools, saveUncompressed } from "../seal.ts";
import { expandPlaces, type SlotPacking, slotLayout } from "./layout.ts";
import { type LoadedModel, loadSlotMasks } from "./model.ts";
import { describePlan, type SlotPlan } from "./plan.ts";
import { shapeProgram } from "./program.ts";
import { deriveScales, type ScaleBits } from "./scale-chain.ts";

/** What the evaluation of an encrypted model needs besides its ciphertexts. Plain JSON. */
export interface SlotRecipe {
  readonly packing: SlotPacking;
  /** Limbs of the features that are used. */
  readonly limbs: number;
  readonly steps: readonly {
    readonly early: boolean;
    readonly late: boolean;
    readonly square: boolean;
  }[];
  readonly bits: ScaleBits;
  readonly outputLimbs: number;
  readonly precisionBits: number;
}

/** The recipe of a plan. */
export function slotRecipe(plan: SlotPlan): SlotRecipe {
  const { structure, bits } = plan.scales;
  return {
    packing: plan.layout.packing,
    limbs: structure.limbs,
    steps: structure.steps,
    bits,
    outputLimbs: plan.outputLimbs,
    precisionBits: plan.precisionBits,
  };
}

/** Largest exponent of a scale in a recipe. */
const MOST_BITS = 120;

/**
 * The plan of a recipe, without any weight: its program has the circuit's shape only.
 * @param circuit only where its matrices have entries is looked at
 * @throws checkpoint-invalid when the recipe is not one for this circuit and these parameters
 */
export function planFromRecipe(
  circuit: Circuit,
  parameters: CkksParameters,
  primes: readonly bigint[],
  recipe: SlotRecipe,
): SlotPlan {
  const outcome = slotLayout(circuit, parameters, recipe.packing);
  if (outcome.status !== "ok") throw recipeInvalid();
  const program = shapeProgram(circuit, outcome.layout);
  const { limbs, bits, outputLimbs } = recipe;
  const structure = { limbs, steps: recipe.steps };
  const numbers = [bits.input, ...bits.sums, bits.mask ?? 0];
  const sane =
    recipe.steps.length === program.steps.length &&
    bits.sums.length === program.steps.length &&
    recipe.steps.every(({ square }, index) => !square || program.steps[index]?.square === true) &&
    numbers.every((value) => Number.isInteger(value) && value >= 0 && value <= MOST_BITS) &&
    Number.isInteger(limbs) &&
    limbs >= 1 &&
    limbs < primes.length &&
    (bits.mask !== null) === program.masked;
  const steps = sane ? deriveScales(program, primes, structure, bits) : null;
  const outLimbs = steps?.at(-1)?.outLimbs ?? 0;
  if (
    steps === null ||
    !(Number.isInteger(outputLimbs) && outputLimbs >= 1 && outputLimbs <= outLimbs)
  ) {
    throw recipeInvalid();
  }
  return describePlan({
    mode: "encrypted",
    parameters,
    primes,
    layout: outcome.layout,
    program,
    scales: { structure, bits, steps },
    outputLimbs,
    precisionBits: recipe.precisionBits,
  });
}

function recipeInvalid(): SealstreamError {
  return new SealstreamError(
    "checkpoint-invalid",
    "The encrypted model's recipe does not fit the network or the CKKS parameters of this pipeline; let the training zone publish it anew.",
  );
}

/** One ciphertext of a model: how many limbs it has and at which scale, by the plan. */
interface ModelPart {
  readonly limbs: number;
  readonly scale: number;
}

/** Every ciphertext of a model in the order of its blobs: per step its matrices' terms, then its bias. */
function modelParts({ program, scales }: SlotPlan): ModelPart[] {
  return program.steps.flatMap(({ matrices }, index) => {
    const step = scales.steps[index];
    if (step === undefined) throw new SealstreamError("internal", "A slots plan lacks a step.");
    const terms = matrices.flatMap(({ groups }, matrix) => {
      const scale = step.plainScales[matrix] ?? 1;
      return groups.flatMap(({ terms: list }) => list.map(() => ({ limbs: step.limbs, scale })));
    });
    return [...terms, { limbs: step.sumLimbs, scale: step.sumScale }];
  });
}

/**
 * Encrypts a plan's weights; about 5 ms a ciphertext.
 * @param plan of mode `encrypted`, made with the weights
 * @param publicKey the consumer's, serialized
 * @returns SEAL's uncompressed ciphertexts, in the order of {@link loadEncryptedSlotModel}; new buffers
 * @throws key-invalid when the blob is not a public key of these parameters
 */
export async function encryptSlotModel(
  plan: SlotPlan,
  publicKey: Uint8Array,
): Promise<Uint8Array[]> {
  const { layout, program } = plan;
  const vectors = program.steps.flatMap(({ matrices, bias }) => [
    ...matrices.flatMap(({ groups }) =>
      groups.flatMap(({ terms }) => terms.map(({ values }) => values)),
    ),
    bias,
  ]);
  const { ckks, tools, close } = await openTools(
    plan.parameters,
    "load the public key",
    (opened, keep) => {
      const { seal, context } = opened;
      if (checkPublicKey(opened, publicKey).status === "refused") {
        throw new SealstreamError(
          "key-invalid",
          "The consumer's CKKS public key in topic keys is not usable; run sealstream keys create for the consumer zone.",
        );
      }
      const loaded = keep(new seal.PublicKey());
      loaded.loadFromArray(context, publicKey);
      return {
        encoder: keep(new seal.CKKSEncoder(context)),
        encryptor: keep(new seal.Encryptor(context, loaded)),
        evaluator: keep(new seal.Evaluator(context)),
        plaintext: keep(new seal.Plaintext()),
        ciphertext: keep(new seal.Ciphertext()),
      };
    },
  );
  const { encoder, encryptor, evaluator, plaintext, ciphertext } = tools;
  try {
    return modelParts(plan).map(({ limbs, scale }, index) =>
      guarded("encrypt a model", () => {
        const slots = expandPlaces(layout, vectors[index] ?? [], layout.recordsPerPack);
        encoder.encode(slots, scale, plaintext);
        encryptor.encrypt(plaintext, ciphertext);
        while (ciphertext.coeffModulusSize() > limbs)
          evaluator.cipherModSwitchToNextInplace(ciphertext);
        return saveUncompressed(ckks, ciphertext);
      }),
    );
  } finally {
    close();
  }
}

/**
 * Checks a model's ciphertexts and brings them into the ring; memory is the ring's.
 * @returns null when a blob is not exactly what the plan says: number, length, header, residues, something hidden
 */
export function loadEncryptedSlotModel(
  ring: Ring,
  ckks: CkksContext,
  plan: SlotPlan,
  blobs: readonly Uint8Array[],
): LoadedModel | null {
  const parts = modelParts(plan);
  if (blobs.length !== parts.length) return null;
  const addresses: number[] = [];
  for (const [index, part] of parts.entries()) {
    const at = importPart(ring, ckks, part, blobs[index] ?? new Uint8Array(0));
    if (at === null) return null;
    addresses.push(at);
  }
  let next = 0;
  const biases: number[] = [];
  const take = (): number => addresses[next++] ?? 0;
  const steps = plan.program.steps.map(({ matrices }) => {
    const loaded = matrices.map(({ groups }) => groups.map(({ terms }) => terms.map(take)));
    biases.push(take());
    return { matrices: loaded };
  });
  return {
    encrypted: true,
    steps,
    bias: (step) => biases[step] ?? 0,
    mask: loadSlotMasks(ring, plan),
  };
}

function importPart(
  ring: Ring,
  ckks: CkksContext,
  { limbs, scale }: ModelPart,
  blob: Uint8Array,
): number | null {
  const shape = { polys: CIPHERTEXT_POLYS, limbs };
  const header = ciphertextHeader(ckks, { ...shape, scale });
  const at = ring.take(ring.shapeBytes(shape));
  const fits =
    blob.length === CIPHERTEXT_HEADER_BYTES + ring.shapeBytes(shape) &&
    equalRange(header, blob, 0, CIPHERTEXT_HEADER_BYTES);
  if (!fits) return null;
  const residues = blob.slice(CIPHERTEXT_HEADER_BYTES);
  const words = new Uint32Array(residues.buffer);
  const limbWords = 2 * ring.degree;
  for (let limb = 0; limb < limbs; limb += 1) {
    const from = (limbs + limb) * limbWords;
    const seen = scanLimb(words.subarray(from, from + limbWords), ring.primes[limb] ?? 0n);
    if (seen !== "ok") return null;
  }
  return ring.importResidues(residues, shape, at) ? at : null;
}
