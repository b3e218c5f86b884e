/** What the tests of the ring share: node-seal as the reference, on residues of any pattern, beside a ring of each variant. */
import { ciphertextHeader } from "../../pipeline/ckks/blob.ts";
import { type CkksParameters, dataLimbs, slotCount } from "../../pipeline/ckks/parameters.ts";
import { createRing, type Ring, type RingShape } from "../../pipeline/ckks/ring.ts";
import { type CkksContext, openContext } from "../../pipeline/ckks/seal.ts";
import { seeded } from "./fixtures.ts";

/** Scale of ciphertexts of which only residues are compared: small, so that SEAL never finds it too large. */
const SCALE = 2 ** 10;

type Seal = CkksContext["seal"];
export type Ciphertext = InstanceType<Seal["Ciphertext"]>;

/** node-seal with fresh keys; lives as long as the test process. */
export interface Reference {
  readonly ckks: CkksContext;
  readonly relinBlob: Uint8Array;
  readonly galoisBlob: Uint8Array;
  /** Runs SEAL's evaluator on a ciphertext of these residues and returns the residues of what it made. */
  evaluate(
    input: Uint8Array,
    shape: RingShape,
    run: (evaluator: Evaluator, input: Ciphertext, out: Ciphertext) => void,
  ): Uint8Array;
  /** A ciphertext of these residues. */
  ciphertext(residues: Uint8Array, shape: RingShape): Ciphertext;
  /** A plaintext of these residues, over `limbs` primes. */
  withPlain(plain: Uint8Array, limbs: number): InstanceType<Seal["Plaintext"]>;
  readonly relinKeys: InstanceType<Seal["RelinKeys"]>;
  readonly galoisKeys: InstanceType<Seal["GaloisKeys"]>;
  /** Residues of an encryption of slots at a scale, over all data primes. */
  encrypt(slots: Float64Array, scale: number): Uint8Array;
  /** Slots of a ciphertext of these residues. */
  decrypt(residues: Uint8Array, shape: RingShape, scale: number): Float64Array;
}

export type Evaluator = InstanceType<Seal["Evaluator"]>;

/** Bytes of a blob of SEAL behind the header. */
const BODY = 113;

export async function openReference(
  parameters: CkksParameters,
  steps: readonly number[],
): Promise<Reference> {
  const ckks = await openContext(parameters);
  const { seal, context } = ckks;
  const generator = new seal.KeyGenerator(context);
  const relinKeys = generator.createRelinKeys();
  const galoisKeys = generator.createGaloisKeysWithSteps(Int32Array.from(steps));
  const evaluator = new seal.Evaluator(context);
  const encryptor = new seal.Encryptor(context, generator.createPublicKey());
  const decryptor = new seal.Decryptor(context, generator.secretKey());
  const encoder = new seal.CKKSEncoder(context);
  const { none } = seal.ComprModeType;
  const load = (residues: Uint8Array, shape: RingShape, scale: number): Ciphertext => {
    const header = ciphertextHeader(ckks, { ...shape, scale });
    const blob = new Uint8Array(header.length + residues.length);
    blob.set(header);
    blob.set(residues, header.length);
    const ciphertext = new seal.Ciphertext();
    ciphertext.loadFromArray(context, blob);
    return ciphertext;
  };
  return {
    ckks,
    relinKeys,
    galoisKeys,
    relinBlob: relinKeys.saveToArray(none),
    galoisBlob: galoisKeys.saveToArray(none),
    ciphertext: (residues, shape) => load(residues, shape, SCALE),
    evaluate(input, shape, run) {
      const loaded = load(input, shape, SCALE);
      const out = new seal.Ciphertext();
      run(evaluator, loaded, out);
      const blob = out.saveToArray(none) as Uint8Array;
      for (const handle of [loaded, out]) handle.delete();
      return blob.slice(BODY);
    },
    withPlain(plain, limbs) {
      const degree = parameters.polyModulusDegree;
      const head = ciphertextHeader(ckks, { polys: 1, limbs, scale: SCALE });
      const blob = new Uint8Array(88 + plain.length);
      const view = new DataView(blob.buffer);
      blob.set(head.subarray(0, 48));
      view.setBigUint64(8, BigInt(blob.length), true);
      view.setBigUint64(48, BigInt(limbs * degree), true);
      view.setFloat64(56, SCALE, true);
      blob.set(head.subarray(89, 113), 64);
      view.setBigUint64(72, BigInt(24 + plain.length), true);
      blob.set(plain, 88);
      const plaintext = new seal.Plaintext();
      plaintext.loadFromArray(context, blob);
      return plaintext;
    },
    encrypt(slots, scale) {
      const plaintext = new seal.Plaintext();
      const ciphertext = new seal.Ciphertext();
      encoder.encode(slots, scale, plaintext);
      encryptor.encrypt(plaintext, ciphertext);
      return (ciphertext.saveToArray(none) as Uint8Array).slice(BODY);
    },
    decrypt(residues, shape, scale) {
      const plaintext = new seal.Plaintext();
      decryptor.decrypt(load(residues, shape, scale), plaintext);
      return encoder.decodeFloat64(plaintext) as Float64Array;
    },
  };
}

/** Rings of both variants on the same context. */
export function openRings(ckks: CkksContext, maxBytes: number): readonly Ring[] {
  return [false, true].map((exactOnly) => createRing(ckks, { maxBytes, exactOnly }));
}

/** Residues [poly][limb][N] by a rule over prime and index. */
export function residues(
  { parameters, primes }: CkksContext,
  { polys, limbs }: RingShape,
  rule: (prime: bigint, index: number, poly: number) => bigint,
): Uint8Array {
  const degree = parameters.polyModulusDegree;
  const words = new BigUint64Array(polys * limbs * degree);
  for (let at = 0; at < words.length; at += 1) {
    const row = Math.floor(at / degree);
    words[at] = rule(primes[row % limbs]!, at % degree, Math.floor(row / limbs));
  }
  return new Uint8Array(words.buffer);
}

/**
 * Patterns that a random one never is: extremes of every residue, nothing but one place, both ends in turn. The second
 * polynomial is never all zero, which SEAL refuses as transparent.
 */
export function patterns(
  ckks: CkksContext,
  shape: RingShape,
): readonly (readonly [string, Uint8Array])[] {
  const random = seeded(shape.limbs);
  const isLong = ckks.primes.length > 4;
  const rules: Record<string, (prime: bigint, index: number, poly: number) => bigint> = {
    random: (prime) => BigInt(Math.floor(random() * Number(prime))),
    "all q - 1": (prime) => prime - 1n,
    "all (q - 1) / 2": (prime) => prime / 2n,
    "zero but one place": () => 0n,
    "0 and q - 1 in turn": (prime, index) => (index % 2 === 0 ? 0n : prime - 1n),
    "halves 0 and q - 1": (prime, index) =>
      index < ckks.parameters.polyModulusDegree / 2 ? 0n : prime - 1n,
    "around q / 2 in turn": (prime, index) => (index % 2 === 0 ? prime / 2n : prime / 2n + 1n),
  };
  // A long chain takes seconds a pattern in SEAL: two of them.
  const tried = Object.entries(rules).filter((_, at) => !isLong || at === 0 || at === 4);
  return tried.map(([name, rule]) => [
    name,
    residues(ckks, shape, (prime, index, poly) =>
      // One place that is neither: SEAL refuses a result whose second polynomial became zero.
      poly > 0 && index === 1 ? prime / 3n : rule(prime, index, poly),
    ),
  ]);
}

/** Limbs of ciphertexts to try: every level, but of a long chain the last one and those past the unrolled products. */
export function levels({ parameters }: CkksContext): readonly number[] {
  const all = Array.from({ length: dataLimbs(parameters) }, (_, index) => index + 1);
  return all.length > 3 ? all.filter((limbs) => limbs === 1 || limbs > 3) : all;
}

/** Uniform slots in +-1. */
export function randomSlots(parameters: CkksParameters, seed: number): Float64Array {
  const random = seeded(seed);
  return Float64Array.from({ length: slotCount(parameters) }, () => 2 * random() - 1);
}
