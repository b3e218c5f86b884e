/**
 * One consumer's keys, loaded and ready to evaluate packs of any packing; and a bounded number of them kept.
 *
 * Loading keys (expanding seeds, laying them out for the kernels) takes longer than a pack, so that engines are kept, the
 * one used last the longest, up to a number and a size: a rotation needs two, packs of the old and the new keys mixed.
 * Guarantees that no blob is read which was not checked first. Must not hold a secret, nor anything of a pack.
 */
import { isSealstreamError } from "../errors.ts";
import type { Network } from "../network/definition.ts";
import type { Weights } from "../network/weights.ts";
import type { BlobFault } from "./blob.ts";
import { createNetworkEvaluator, type EvaluationKeys } from "./evaluate.ts";
import type { FeatureBounds } from "./feature-bounds.ts";
import {
  type CiphertextForm,
  type CkksParameters,
  fitsKernels,
  type ModelMode,
  type Packing,
} from "./parameters.ts";
import { createWireEngine } from "./wire-engine.ts";

export type { EvaluationKeys } from "./evaluate.ts";

/** Weights that are ciphertexts: the bytes of `slots/encrypted-model-file.ts`, authentic. */
export interface CiphertextWeights {
  readonly file: Uint8Array;
}

/** How owners pack under the pipeline file and the keys of a pack, so that a pack made otherwise is known by it. */
export interface PlannedPacks {
  /** log2 of the scale of slots packs; null: slots are not planned. */
  readonly slotsScaleBits: number | null;
  /** Data primes that batch packs carry; null: batch is not planned. */
  readonly batchLimbs: number | null;
}

export interface PackRequest {
  /** Names network and weights: plans are kept by it. */
  readonly modelId: string;
  readonly network: Network;
  /** Ciphertexts exactly where `mode` is encrypted. */
  readonly weights: Weights | CiphertextWeights;
  readonly mode: ModelMode;
  /** Right bits behind the binary point that every logit should have. */
  readonly precisionBits: number;
  /** Of the pipeline file's features; those of numbers in [0, 1] unless said. */
  readonly bounds?: FeatureBounds | undefined;
  readonly packing: Packing;
  readonly form: CiphertextForm;
  /** Unless it is said, what no plan can be made for is the model's fault, however the pack was made. */
  readonly planned?: PlannedPacks | undefined;
  /** Records in the pack, 1 or more. */
  readonly records: number;
  /** Not kept, not written. */
  readonly ciphertexts: readonly Uint8Array[];
}

/**
 * Where the logit of class j, record r lies. Batch: part j, slot r. Slots: with n = recordsPerPart, part floor(r / n), slot
 * j * classStride + (r mod n) * recordStride.
 */
export interface ResultLayout {
  readonly packing: Packing;
  readonly classStride: number;
  readonly recordStride: number;
  readonly recordsPerPart: number;
  /** Good bits behind the binary point of every logit, as planned. */
  readonly precisionBits: number;
}

export type PackOutcome =
  /** Serialized ciphertexts of the logits; new buffers. */
  | { readonly status: "ok"; readonly blobs: readonly Uint8Array[]; readonly layout: ResultLayout }
  /** `part` is -1 when the number of ciphertexts is not the plan's. */
  | { readonly status: "refused"; readonly part: number; readonly fault: BlobFault | "count" };

export interface PackEngine {
  /**
   * @throws limit-exceeded or checkpoint-invalid when the model cannot be evaluated on packs made as planned
   * @throws worker-died when the memory of library or kernels is not to be used again
   */
  evaluate(request: PackRequest): PackOutcome | Promise<PackOutcome>;
  /** Frees everything. */
  close(): void | Promise<void>;
}

/** What a pack's result is worth when the plan does not say: as the default parameters gave it. */
const LIBRARY_PRECISION_BITS = 10;

/**
 * A consumer's keys; each form of ciphertext has its own evaluator, loaded when the first pack of that form comes.
 * @throws key-invalid when a key blob is not a key of these parameters
 */
export function createPackEngine(parameters: CkksParameters, keys: EvaluationKeys): PackEngine {
  const loaded = new Map<CiphertextForm, Promise<PackEngine>>();
  const load = (form: CiphertextForm): Promise<PackEngine> => {
    const known = loaded.get(form);
    if (known !== undefined) return known;
    const made = (form === "wire" ? createWireEngine : createLibraryEngine)(parameters, keys);
    loaded.set(form, made);
    made.catch(() => loaded.delete(form));
    return made;
  };
  return {
    evaluate: async (request) => (await load(request.form)).evaluate(request),
    async close() {
      for (const engine of loaded.values()) await (await engine).close();
    },
  };
}

/** Packs of the version before: batch, evaluated by the library. */
async function createLibraryEngine(
  parameters: CkksParameters,
  keys: EvaluationKeys,
): Promise<PackEngine> {
  const evaluator = await createNetworkEvaluator(parameters, keys);
  return {
    evaluate(request) {
      const { weights } = request;
      // One such pack must not have a model refused that serves the packs of today.
      if ("file" in weights) return { status: "refused", part: -1, fault: "shape" };
      const outcome = evaluateLibraryPack(evaluator, { ...request, weights }, parameters);
      if (outcome.status === "refused") {
        return { status: "refused", part: outcome.feature, fault: outcome.fault };
      }
      const strides = { classStride: 0, recordStride: 1, recordsPerPart: request.records };
      const precisionBits = LIBRARY_PRECISION_BITS;
      const layout = { packing: "batch", ...strides, precisionBits } as const;
      return { status: "ok", blobs: outcome.blobs, layout };
    },
    close: () => evaluator.close(),
  };
}

type LibraryEvaluator = Awaited<ReturnType<typeof createNetworkEvaluator>>;
type LibraryRequest = Parameters<LibraryEvaluator["evaluate"]>[0];
type LibraryOutcome = ReturnType<LibraryEvaluator["evaluate"]>;

/** What does not fit is the pack's fault where packs of today are of the other form. */
function evaluateLibraryPack(
  evaluator: LibraryEvaluator,
  request: LibraryRequest,
  parameters: CkksParameters,
): LibraryOutcome {
  try {
    return evaluator.evaluate(request);
  } catch (error) {
    if (!fitsKernels(parameters) || !isSealstreamError(error, "limit-exceeded")) throw error;
    return { status: "refused", feature: -1, fault: "shape" };
  }
}

/** Key sets a worker keeps: the consumer's present one, the one before, and one more while a third comes. */
const MOST_ENGINES = 3;
/** Bytes of published evaluation keys of all kept sets; a single larger one is kept alone. */
const MOST_KEY_BYTES = 48 * 1024 * 1024;

export interface EngineCache {
  /** The engine of these keys, loaded when `keys` are given and it is not there; null: it is not there. */
  open(
    keyId: string,
    parameters: CkksParameters,
    keys: EvaluationKeys | null,
  ): Promise<PackEngine | null>;
  /** Lets go of keys that turned out to be none. */
  drop(keyId: string): Promise<void>;
  /** Ids of what is kept. */
  ids(): string[];
}

/** @param create makes an engine; unless said, {@link createPackEngine} */
export function createEngineCache(create: typeof createPackEngine = createPackEngine): EngineCache {
  /** The one used longest ago first. */
  const kept = new Map<string, { readonly engine: PackEngine; readonly bytes: number }>();
  const drop = async (keyId: string): Promise<void> => {
    const engine = kept.get(keyId)?.engine;
    kept.delete(keyId);
    await engine?.close();
  };
  const makeRoom = async (bytes: number): Promise<void> => {
    const held = () => [...kept.values()].reduce((sum, one) => sum + one.bytes, bytes);
    for (const keyId of [...kept.keys()]) {
      if (kept.size < MOST_ENGINES && held() <= MOST_KEY_BYTES) return;
      await drop(keyId);
    }
  };
  return {
    async open(keyId, parameters, keys) {
      const known = kept.get(keyId);
      if (known !== undefined) {
        kept.delete(keyId);
        kept.set(keyId, known);
        return known.engine;
      }
      if (keys === null) return null;
      const bytes = keys.evaluationKeys.length + keys.publicKey.length;
      // Before the new one is loaded: both at once would be what the bound is there for.
      await makeRoom(bytes);
      const engine = create(parameters, keys);
      kept.set(keyId, { engine, bytes });
      return engine;
    },
    drop,
    ids: () => [...kept.keys()],
  };
}
