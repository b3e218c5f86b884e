/**
 * The only door to node-seal (SEAL 4.1.2 compiled to WebAssembly): loading, contexts, memory, errors.
 *
 * What comes out of it never carries the library's text: a WebAssembly exception becomes a SealstreamError with a code.
 * Every object of the library lives outside the garbage collector, so that each is made inside `withHandles`, which
 * deletes it. Must not see a blob that `blob.ts` has not checked.
 */
import initialize, {
  type Ciphertext,
  type CKKSEncoder,
  type EncryptionParameters,
  type Encryptor,
  type Evaluator,
  type MainModule,
  type Plaintext,
  type PublicKey,
  type RelinKeys,
  type SEALContext,
  type SecretKey,
} from "node-seal";
import { SealstreamError } from "../errors.ts";
import { type CkksParameters, slotCount } from "./parameters.ts";

export type SealModule = MainModule;
export type SealCiphertext = Ciphertext;
export type SealPlaintext = Plaintext;
export type SealEncoder = CKKSEncoder;
export type SealEncryptor = Encryptor;
export type SealEvaluator = Evaluator;
export type SealPublicKey = PublicKey;
export type SealRelinKeys = RelinKeys;
export type SealSecretKey = SecretKey;

/** Anything of the library that must be freed by hand. */
export interface Handle {
  delete(): void;
}

/** One prime chain of a context: what a serialized object at this level must say. */
export interface CkksLevel {
  /** Primes at this level: the first `limbs` of the set. */
  readonly limbs: number;
  /** SEAL's hash of the parameters at this level, 32 bytes as serialized. */
  readonly parmsId: Uint8Array;
}

/** A parameter set brought to life. */
export interface CkksContext {
  readonly parameters: CkksParameters;
  readonly seal: SealModule;
  readonly context: SEALContext;
  /** The primes in order, the key prime last. */
  readonly primes: readonly bigint[];
  /** The level over exactly `limbs` primes; `limbs` = primes.length is the key level. */
  level(limbs: number): CkksLevel;
  /** Frees it, unless it is kept; nothing made with it may be used afterwards. */
  close(): void;
}

// The WebAssembly module is loaded once for a process: it is 1.3 MB of code and has no state of ours.
let loading: Promise<SealModule> | null = null;

/**
 * The library, loaded once.
 * @throws backend-unavailable when it does not load on this machine
 */
export function loadSeal(): Promise<SealModule> {
  loading ??= initialize().catch((cause: unknown) => {
    loading = null;
    throw new SealstreamError(
      "backend-unavailable",
      "node-seal does not load on this machine; run npm ci and use Node 24 or newer.",
      { cause },
    );
  });
  return loading;
}

/**
 * Runs `use` and deletes everything it handed to `keep`, last first, whatever happens.
 * @param use must be synchronous: a handle must not outlive it
 */
export function withHandles<R>(use: (keep: <T extends Handle>(handle: T) => T) => R): R {
  const handles: Handle[] = [];
  try {
    return use((handle) => {
      handles.push(handle);
      return handle;
    });
  } finally {
    for (const handle of handles.reverse()) handle.delete();
  }
}

/**
 * Calls the library and turns what it throws into a SealstreamError.
 * @param what ends the sentence "The CKKS library could not ..."
 * @throws worker-died when the library ran out of memory or trapped: its heap is not to be used again
 * @throws ciphertext-refused when it refused its input
 */
export function guarded<R>(what: string, call: () => R): R {
  try {
    return call();
  } catch (cause) {
    throw sealError(what, cause);
  }
}

function sealError(what: string, cause: unknown): unknown {
  if (cause instanceof SealstreamError) return cause;
  if (Object.prototype.toString.call(cause) === "[object WebAssembly.Exception]") {
    // Because emscripten puts [C++ type, text] there; the text is dropped, it may quote its input.
    const { message } = cause as { message?: unknown };
    const type = Array.isArray(message) ? String(message[0]) : "";
    if (type === "std::bad_alloc") {
      return new SealstreamError("worker-died", "The CKKS library ran out of memory.");
    }
    return new SealstreamError("ciphertext-refused", `The CKKS library could not ${what}.`);
  }
  if (Object.prototype.toString.call(cause) === "[object Error]" && isTrap(cause)) {
    return new SealstreamError("worker-died", "The CKKS library trapped.");
  }
  return new SealstreamError(
    "internal",
    `A call of the CKKS library is wrong: could not ${what}.`,
    {
      cause,
    },
  );
}

function isTrap(cause: unknown): boolean {
  return cause instanceof WebAssembly.RuntimeError || cause instanceof RangeError;
}

// Contexts are immutable, hold no key and take 0.2 s to make: a thread keeps the first few. Ids come out of files and
// signed fields, so that their number is bounded here.
const contexts = new Map<string, Promise<CkksContext>>();
/** Parameter sets kept by a thread: one pipeline has one, and one more while it is changed. */
const MAX_KEPT_CONTEXTS = 4;

/**
 * A context for a parameter set; shared, so that `close` of a kept one does nothing.
 * @throws ciphertext-refused when the library holds the set for insecure or impossible
 */
export function openContext(parameters: CkksParameters): Promise<CkksContext> {
  const kept = contexts.get(parameters.id);
  if (kept !== undefined) return kept;
  if (contexts.size >= MAX_KEPT_CONTEXTS) return makeContext(parameters);
  const made = makeContext(parameters).then((context) => ({ ...context, close: () => undefined }));
  contexts.set(parameters.id, made);
  made.catch(() => contexts.delete(parameters.id));
  return made;
}

async function makeContext(parameters: CkksParameters): Promise<CkksContext> {
  const seal = await loadSeal();
  return guarded("make a context", () => buildContext(seal, parameters));
}

function buildContext(seal: SealModule, parameters: CkksParameters): CkksContext {
  const context = withHandles((keep) => {
    const settings = keep(new seal.EncryptionParameters(seal.SchemeType.ckks));
    settings.setPolyModulusDegree(parameters.polyModulusDegree);
    const bits = Int32Array.from(parameters.coeffModulusBits);
    settings.setCoeffModulus(keep(seal.CoeffModulus.Create(parameters.polyModulusDegree, bits)));
    return new seal.SEALContext(settings, true, seal.SecLevelType.tc128);
  });
  // Because insecure parameters do not throw: the context is merely unusable.
  if (!context.parametersSet()) {
    context.delete();
    throw new SealstreamError(
      "ciphertext-refused",
      `The CKKS library refuses the parameters ${parameters.id}.`,
    );
  }
  const { primes, levels } = readChain(context, parameters);
  return {
    parameters,
    seal,
    context,
    primes,
    level(limbs) {
      const level = levels.get(limbs);
      if (level === undefined) {
        throw new SealstreamError("internal", `The parameters have no level of ${limbs} primes.`);
      }
      return level;
    },
    close: () => context.delete(),
  };
}

function readChain(context: SEALContext, { coeffModulusBits }: CkksParameters) {
  return withHandles((keep) => {
    const levels = new Map<number, CkksLevel>();
    let primes: bigint[] = [];
    let data = keep(context.keyContextData());
    for (let limbs = coeffModulusBits.length; limbs >= 1; limbs -= 1) {
      const settings: EncryptionParameters = keep(data.parms());
      const moduli = keep(settings.coeffModulus());
      if (moduli.size() !== limbs) {
        throw new SealstreamError("internal", "The CKKS prime chain is not what was asked for.");
      }
      if (primes.length === 0) {
        primes = Array.from({ length: limbs }, (_, index) => {
          const modulus = moduli.get(index);
          if (modulus === undefined)
            throw new SealstreamError("internal", "A CKKS prime is missing.");
          return keep(modulus).value();
        });
      }
      // Because embind types `values()` as any; it is a BigUint64Array of 4.
      const id = keep(data.parmsId()).values() as BigUint64Array;
      const parmsId = new Uint8Array(id.length * 8);
      const view = new DataView(parmsId.buffer);
      id.forEach((word, index) => {
        view.setBigUint64(index * 8, word, true);
      });
      levels.set(limbs, { limbs, parmsId });
      if (limbs > 1) data = keep(data.nextContextData());
    }
    return { primes, levels };
  });
}

/** Serializes without compression; a new buffer, exactly as long as the object. */
export function saveUncompressed(
  { seal }: CkksContext,
  object: { saveToArray(mode: SealModule["ComprModeType"]["none"]): unknown },
): Uint8Array {
  // Because embind types the result as any; it is a Uint8Array of its own buffer.
  return object.saveToArray(seal.ComprModeType.none) as Uint8Array;
}

/**
 * Encodes one number into every slot, over all data primes.
 * @param target overwritten
 */
export function encodeConstant(
  ckks: CkksContext,
  encoder: SealEncoder,
  { value, scale }: { readonly value: number; readonly scale: number },
  target: SealPlaintext,
): void {
  encoder.encode(new Float64Array(slotCount(ckks.parameters)).fill(value), scale, target);
}

/**
 * Opens a context and loads objects of the library that live as long as it does.
 * @param what for the sentence of an error, such as "load the public key"
 * @param load hands every object it makes to `keep`
 * @returns the loaded tools; `close` frees them, newest first, then the context. When loading fails, it has been called.
 */
export async function openTools<T>(
  parameters: CkksParameters,
  what: string,
  load: (ckks: CkksContext, keep: <H extends Handle>(handle: H) => H) => T,
): Promise<{ readonly ckks: CkksContext; readonly tools: T; readonly close: () => void }> {
  const ckks = await openContext(parameters);
  const handles: Handle[] = [];
  const keep = <H extends Handle>(handle: H): H => {
    handles.push(handle);
    return handle;
  };
  const close = (): void => {
    for (const handle of handles.splice(0).reverse()) handle.delete();
    ckks.close();
  };
  try {
    return { ckks, tools: guarded(what, () => load(ckks, keep)), close };
  } catch (error) {
    close();
    throw error;
  }
}
