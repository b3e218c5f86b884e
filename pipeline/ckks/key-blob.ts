/**
 * Judges a consumer's evaluation keys before the library sees a byte of them, and writes them in the same grammar.
 *
 * Evaluation keys travel seeded: the second polynomial of a key is uniform, so that the seed it was drawn from stands
 * for it and half of the bytes are gone. Their length follows from the parameters and the rotation steps alone, every
 * field is known beforehand, and nothing inflates: what is expanded is expanded here, one key at a time.
 * What this cannot see: a residue or seed that was exchanged for another possible one. The signed content hash of topic
 * `keys` sees that. What is refused is an outcome. Must not be called on keys that no signature stands for.
 *
 * Grammar (little-endian; source: SEAL 4.1 `KSwitchKeys::save_members`, `Ciphertext::save_members` with a seed,
 * `UniformRandomGeneratorInfo`; `seal-header`, `ciphertext` and `public-key` are those of `blob.ts`):
 *   evaluation-keys = "SSEK", version u8 = 1, relin u8 = 0 or 1, steps u16, steps x step i32 (rising, none 0,
 *                     |step| < slots), [seeded relin-keys], [seeded galois-keys, when there is a step]
 *   relin-keys      = key-switch of 1 entry that is there
 *   galois-keys     = key-switch of N entries; entry (e - 1) / 2 is there for each Galois element e = 3^step mod 2N
 *   key-switch      = seal-header, parms id 32, entries u64, entries x entry
 *   entry           = keys u64 = 0, or keys u64 = data primes, keys x key
 *   key             = public-key, or seeded: its header with its own lengths, the first polynomial, seed
 *   seed            = seal-header, generator u8 = 1 (Blake2xb), 64 bytes
 * Version 0 has no container: uncompressed relin-keys and nothing else.
 */
import {
  type BlobFault,
  checkPublicKey,
  ciphertextHeader,
  equalRange,
  scanLimb,
  writeArrayHeader,
  writeSealHeader,
} from "./blob.ts";
import {
  type EvaluationKeyForm,
  formBytes,
  hasNoForm,
  readForm,
  writeForm,
} from "./evaluation-key-form.ts";
import {
  CIPHERTEXT_HEADER_BYTES,
  CIPHERTEXT_POLYS,
  type CkksParameters,
  dataLimbs,
  publicKeyBytes,
  RESIDUE_BYTES,
  relinKeysBytes,
} from "./parameters.ts";
import { type CkksContext, guarded, saveUncompressed } from "./seal.ts";

/** Bytes of the seed behind the first polynomial, and what it must say. */
const SEED_BYTES = 81;
const SEED_GENERATOR = 1;
/** seal-header, parms id and the number of entries. */
const SWITCH_HEADER_BYTES = 56;
const COUNT_BYTES = 8;
/** Offset of the array header in a ciphertext's header. */
const ARRAY_AT = 89;

/** Evaluation keys that were checked; views of the blob. */
export interface CheckedEvaluationKeys {
  readonly form: EvaluationKeyForm;
  readonly seeded: boolean;
  readonly relin: Uint8Array | null;
  readonly galois: Uint8Array | null;
}

export type EvaluationKeyCheck =
  | { readonly status: "ok"; readonly keys: CheckedEvaluationKeys }
  | { readonly status: "refused"; readonly fault: BlobFault };

/** The Galois element of a rotation: 3^step mod 2N (SEAL's generator). */
export function galoisElement(step: number, polyModulusDegree: number): number {
  const slots = polyModulusDegree / 2;
  const turns = ((step % slots) + slots) % slots;
  let element = 1;
  for (let turn = 0; turn < turns; turn += 1) element = (element * 3) % (2 * polyModulusDegree);
  return element;
}

interface SwitchForm {
  readonly entries: number;
  /** Entries that are there, rising. */
  readonly present: readonly number[];
  readonly seeded: boolean;
}

const RELIN: Omit<SwitchForm, "seeded"> = { entries: 1, present: [0] };

function galoisForm(
  { polyModulusDegree: degree }: CkksParameters,
  steps: readonly number[],
): Omit<SwitchForm, "seeded"> {
  const present = steps.map((step) => (galoisElement(step, degree) - 1) / 2);
  return { entries: degree, present: present.sort((a, b) => a - b) };
}

function keyBytes(parameters: CkksParameters, seeded: boolean): number {
  const whole = publicKeyBytes(parameters);
  return seeded ? (whole + CIPHERTEXT_HEADER_BYTES) / CIPHERTEXT_POLYS + SEED_BYTES : whole;
}

function switchBytes(parameters: CkksParameters, { entries, present, seeded }: SwitchForm): number {
  const keys = present.length * dataLimbs(parameters);
  return SWITCH_HEADER_BYTES + entries * COUNT_BYTES + keys * keyBytes(parameters, seeded);
}

/** Exact bytes of evaluation keys as they are published. */
export function evaluationKeysBytes(
  parameters: CkksParameters,
  { relin, steps }: EvaluationKeyForm,
): number {
  const relinBytes = relin ? switchBytes(parameters, { ...RELIN, seeded: true }) : 0;
  const galois = { ...galoisForm(parameters, steps), seeded: true };
  const galoisBytes = steps.length > 0 ? switchBytes(parameters, galois) : 0;
  return formBytes({ steps }) + relinBytes + galoisBytes;
}

/** Puts seeded keys of the library together; a new buffer. */
export function writeEvaluationKeys(
  form: EvaluationKeyForm,
  keys: { readonly relin: Uint8Array | null; readonly galois: Uint8Array | null },
): Uint8Array {
  const head = writeForm(form);
  const parts = [head, keys.relin ?? new Uint8Array(), keys.galois ?? new Uint8Array()];
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Checks evaluation keys as they are published. */
export function checkEvaluationKeys(ckks: CkksContext, blob: Uint8Array): EvaluationKeyCheck {
  const { parameters } = ckks;
  if (hasNoForm(blob)) {
    const fault = checkRelinKeys(ckks, blob, false);
    const form = { relin: true, steps: [] };
    return fault === null
      ? { status: "ok", keys: { form, seeded: false, relin: blob, galois: null } }
      : { status: "refused", fault };
  }
  const form = readForm(parameters, blob);
  if (typeof form === "string") return { status: "refused", fault: form };
  if (blob.length !== evaluationKeysBytes(parameters, form)) {
    return { status: "refused", fault: "length" };
  }
  const relinFrom = formBytes(form);
  const relinBytes = form.relin ? switchBytes(parameters, { ...RELIN, seeded: true }) : 0;
  const relin = form.relin ? blob.subarray(relinFrom, relinFrom + relinBytes) : null;
  const galois = form.steps.length > 0 ? blob.subarray(relinFrom + relinBytes) : null;
  const fault =
    (relin && checkRelinKeys(ckks, relin, true)) ??
    (galois && checkGaloisKeys(ckks, galois, { steps: form.steps, seeded: true }));
  return fault === null
    ? { status: "ok", keys: { form, seeded: true, relin, galois } }
    : { status: "refused", fault };
}

/** Checks serialized relinearization keys; null when nothing is wrong. */
export function checkRelinKeys(
  ckks: CkksContext,
  blob: Uint8Array,
  seeded: boolean,
): BlobFault | null {
  return checkSwitchKeys(ckks, blob, { ...RELIN, seeded });
}

/** Checks serialized Galois keys of exactly these steps; null when nothing is wrong. */
export function checkGaloisKeys(
  ckks: CkksContext,
  blob: Uint8Array,
  { steps, seeded }: { readonly steps: readonly number[]; readonly seeded: boolean },
): BlobFault | null {
  return checkSwitchKeys(ckks, blob, { ...galoisForm(ckks.parameters, steps), seeded });
}

function checkSwitchKeys(ckks: CkksContext, blob: Uint8Array, form: SwitchForm): BlobFault | null {
  const { parameters } = ckks;
  if (blob.length !== switchBytes(parameters, form)) return "length";
  const header = switchHeader(ckks, form, blob.length);
  if (!equalRange(header, blob, 0, 16)) return "seal-header";
  if (!equalRange(header, blob, 16, 48)) return "parms-id";
  if (!equalRange(header, blob, 48, SWITCH_HEADER_BYTES)) return "shape";
  const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
  for (const { at, keys } of entriesOf(parameters, form)) {
    if (view.getBigUint64(at, true) !== BigInt(keys.length)) return "shape";
    for (const from of keys) {
      const key = blob.subarray(from, from + keyBytes(parameters, form.seeded));
      const fault = form.seeded ? checkSeededKey(ckks, key) : checkWholeKey(ckks, key);
      if (fault !== null) return fault;
    }
  }
  return null;
}

function switchHeader(ckks: CkksContext, { entries }: SwitchForm, bytes: number): Uint8Array {
  const header = new Uint8Array(SWITCH_HEADER_BYTES);
  const view = new DataView(header.buffer);
  writeSealHeader(view, 0, bytes);
  header.set(ckks.level(ckks.primes.length).parmsId, 16);
  view.setBigUint64(48, BigInt(entries), true);
  return header;
}

/** Where each entry's count lies, and where its keys begin. */
function* entriesOf(parameters: CkksParameters, { entries, present, seeded }: SwitchForm) {
  const digits = dataLimbs(parameters);
  const bytes = keyBytes(parameters, seeded);
  const there = new Set(present);
  let at = SWITCH_HEADER_BYTES;
  for (let entry = 0; entry < entries; entry += 1) {
    const first = at + COUNT_BYTES;
    const length = there.has(entry) ? digits : 0;
    yield { at, keys: Array.from({ length }, (_, digit) => first + digit * bytes) };
    at = first + length * bytes;
  }
}

function checkWholeKey(ckks: CkksContext, key: Uint8Array): BlobFault | null {
  const check = checkPublicKey(ckks, key);
  return check.status === "refused" ? check.fault : null;
}

function checkSeededKey(ckks: CkksContext, key: Uint8Array): BlobFault | null {
  const { polyModulusDegree: degree } = ckks.parameters;
  const limbs = ckks.primes.length;
  const count = limbs * degree;
  const header = ciphertextHeader(ckks, { limbs, polys: CIPHERTEXT_POLYS, scale: 1 });
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  writeSealHeader(view, 0, key.length);
  writeArrayHeader(view, ARRAY_AT, count);
  if (!equalRange(header, key, 0, 16)) return "seal-header";
  if (!equalRange(header, key, 16, 48)) return "parms-id";
  if (!equalRange(header, key, 48, ARRAY_AT)) return "shape";
  if (!equalRange(header, key, ARRAY_AT, CIPHERTEXT_HEADER_BYTES)) return "array-header";
  const seedFrom = CIPHERTEXT_HEADER_BYTES + count * RESIDUE_BYTES;
  const seed = new Uint8Array(SEED_BYTES);
  writeSealHeader(new DataView(seed.buffer), 0, SEED_BYTES);
  seed[16] = SEED_GENERATOR;
  if (!equalRange(seed, key.subarray(seedFrom), 0, 17)) return "seed";
  const words = new Uint32Array(key.slice(CIPHERTEXT_HEADER_BYTES, seedFrom).buffer);
  for (const [limb, prime] of ckks.primes.entries()) {
    const seen = scanLimb(words.subarray(2 * limb * degree, 2 * (limb + 1) * degree), prime);
    if (seen === "too-large") return "residue";
    if (seen === "zero") return "transparent";
  }
  return null;
}

/** Evaluation keys as the kernels read them: SEAL's uncompressed bytes, checked once more after they were expanded. */
export interface ExpandedEvaluationKeys {
  /** `relinKeysBytes` bytes. */
  readonly relinKeys: Uint8Array | null;
  /** A key-switch of N entries, those of `steps` there. */
  readonly galoisKeys: Uint8Array | null;
  readonly steps: readonly number[];
}

/**
 * Expands checked keys, key by key, so that the library never holds more than one: to be called in a killable worker.
 * @returns new buffers, except for keys that were not seeded; or what is wrong with what came out
 */
export function expandEvaluationKeys(
  ckks: CkksContext,
  { form, seeded, relin, galois }: CheckedEvaluationKeys,
): ExpandedEvaluationKeys | BlobFault {
  const { steps } = form;
  if (!seeded) return { relinKeys: relin, galoisKeys: null, steps };
  const relinKeys = relin && expandSwitchKeys(ckks, relin, RELIN);
  const galoisKeys = galois && expandSwitchKeys(ckks, galois, galoisForm(ckks.parameters, steps));
  const fault =
    (relinKeys && checkRelinKeys(ckks, relinKeys, false)) ??
    (galoisKeys && checkGaloisKeys(ckks, galoisKeys, { steps, seeded: false }));
  return fault ?? { relinKeys, galoisKeys, steps };
}

function expandSwitchKeys(
  ckks: CkksContext,
  blob: Uint8Array,
  form: Omit<SwitchForm, "seeded">,
): Uint8Array {
  const { parameters } = ckks;
  const whole = { ...form, seeded: false };
  const expanded = new Uint8Array(switchBytes(parameters, whole));
  expanded.set(switchHeader(ckks, whole, expanded.length));
  const view = new DataView(expanded.buffer);
  const seededBytes = keyBytes(parameters, true);
  const sources = entriesOf(parameters, { ...form, seeded: true });
  for (const { at, keys } of entriesOf(parameters, whole)) {
    const from = sources.next().value?.keys ?? [];
    view.setBigUint64(at, BigInt(keys.length), true);
    for (const [digit, to] of keys.entries()) {
      const start = from[digit] ?? 0;
      expanded.set(expandKey(ckks, blob.subarray(start, start + seededBytes)), to);
    }
  }
  return expanded;
}

function expandKey(ckks: CkksContext, seededKey: Uint8Array): Uint8Array {
  return guarded("expand a key", () => {
    const key = new ckks.seal.PublicKey();
    try {
      key.loadFromArray(ckks.context, seededKey);
      return saveUncompressed(ckks, key);
    } finally {
      key.delete();
    }
  });
}

/** Bytes of expanded keys in memory as residues of 8 bytes. */
export function expandedKeysBytes(
  parameters: CkksParameters,
  { relin, steps }: EvaluationKeyForm,
): number {
  const galois = { ...galoisForm(parameters, steps), seeded: false };
  return (
    (relin ? relinKeysBytes(parameters) : 0) +
    (steps.length > 0 ? switchBytes(parameters, galois) : 0)
  );
}
