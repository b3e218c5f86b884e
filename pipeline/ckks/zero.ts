/**
 * Fresh encryptions of zero over the first primes only: what re-randomises a result, made by the library.
 *
 * A result is over one prime or two. The library encrypts at the level of the plaintext it is given, over that level's
 * primes and one more that it divides by at the end, so that a zero at a result's level takes a fraction of the time of
 * one over all primes (SEAL 4.1, `Encryptor::encrypt_zero_internal`). Each call is a new encryption: none is handed out twice.
 * Must hold nothing but the consumer's public key.
 */
import { dataLimbs, slotCount } from "./parameters.ts";
import {
  type CkksContext,
  type Handle,
  type SealEncryptor,
  type SealPlaintext,
  saveUncompressed,
} from "./seal.ts";

/** A zero is a zero at every scale; one that every prime has room for. */
const ZERO_SCALE = 1;

/**
 * @param keep owns what is made, as of `openTools`
 * @returns an encryption over the first `limbs` primes, as the library serializes it without compression; a new buffer
 */
export function createZeroEncryptor(
  ckks: CkksContext,
  encryptor: SealEncryptor,
  keep: <T extends Handle>(handle: T) => T,
): (limbs: number) => Uint8Array {
  const { seal, context, parameters } = ckks;
  const evaluator = keep(new seal.Evaluator(context));
  const encoder = keep(new seal.CKKSEncoder(context));
  const ciphertext = keep(new seal.Ciphertext());
  /** Zeros in the clear, by level. */
  const plaintexts = new Map<number, SealPlaintext>();
  const plaintextOver = (limbs: number): SealPlaintext => {
    const known = plaintexts.get(limbs);
    if (known !== undefined) return known;
    const plaintext = keep(new seal.Plaintext());
    encoder.encode(new Float64Array(slotCount(parameters)), ZERO_SCALE, plaintext);
    for (let held = dataLimbs(parameters); held > limbs; held -= 1) {
      evaluator.plainModSwitchToNextInplace(plaintext);
    }
    plaintexts.set(limbs, plaintext);
    return plaintext;
  };
  return (limbs) => {
    encryptor.encrypt(plaintextOver(limbs), ciphertext);
    return saveUncompressed(ckks, ciphertext);
  };
}
