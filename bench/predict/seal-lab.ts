/**
 * A parameter set with all of its keys in one process, through stock node-seal: what an owner and a consumer do.
 *
 * It encrypts and decrypts for our own evaluation and is what node-seal as a peer computes with. A benchmark only: in a
 * pipeline no process holds all of this.
 */
import { createParameters } from "../../pipeline/ckks/parameters.ts";
import { type CkksContext, openContext, saveUncompressed } from "../../pipeline/ckks/seal.ts";
import { createZeroEncryptor } from "../../pipeline/ckks/zero.ts";

type Seal = CkksContext["seal"];
export type SealCipher = InstanceType<Seal["Ciphertext"]>;
export type SealPlain = InstanceType<Seal["Plaintext"]>;

export interface SealLab {
  readonly ckks: CkksContext;
  readonly slots: number;
  readonly evaluator: InstanceType<Seal["Evaluator"]>;
  readonly relinKeys: InstanceType<Seal["RelinKeys"]>;
  readonly galoisKeys: InstanceType<Seal["GaloisKeys"]> | null;
  readonly secretKey: Uint8Array;
  readonly publicKey: Uint8Array;
  /** Until `close`. */
  cipher(): SealCipher;
  /** At the first level. Until `close`. */
  plain(values: Float64Array, scale: number): SealPlain;
  /** Under the public key. @returns uncompressed, a new buffer */
  encrypt(values: Float64Array, scale: number): Uint8Array;
  /** A fresh encryption of zero under the public key, over that many primes; a new buffer. */
  encryptZero(limbs: number): Uint8Array;
  load(blob: Uint8Array, into: SealCipher): void;
  /** Every slot; a new array. */
  decrypt(cipher: SealCipher): Float64Array;
  /** Frees everything. */
  close(): void;
}

/** @param steps rotations to make Galois keys for */
export async function openSealLab(
  degree: number,
  bits: readonly number[],
  { inputBits, steps = [] }: { readonly inputBits: number; readonly steps?: readonly number[] },
): Promise<SealLab> {
  const ckks = await openContext(createParameters(degree, bits, inputBits));
  const { seal, context } = ckks;
  const handles: { delete(): void }[] = [];
  const keep = <T extends { delete(): void }>(handle: T): T => {
    handles.push(handle);
    return handle;
  };
  const generator = keep(new seal.KeyGenerator(context));
  const secret = keep(generator.secretKey());
  const publicKey = keep(generator.createPublicKey());
  const encoder = keep(new seal.CKKSEncoder(context));
  const encryptor = keep(new seal.Encryptor(context, publicKey));
  const decryptor = keep(new seal.Decryptor(context, secret));
  const scratch = keep(new seal.Plaintext());
  const sealed = keep(new seal.Ciphertext());
  return {
    ckks,
    slots: degree / 2,
    evaluator: keep(new seal.Evaluator(context)),
    relinKeys: keep(generator.createRelinKeys()),
    galoisKeys:
      steps.length === 0 ? null : keep(generator.createGaloisKeysWithSteps(Int32Array.from(steps))),
    secretKey: saveUncompressed(ckks, secret),
    publicKey: saveUncompressed(ckks, publicKey),
    cipher: () => keep(new seal.Ciphertext()),
    plain(values, scale) {
      const made = keep(new seal.Plaintext());
      encoder.encode(values, scale, made);
      return made;
    },
    encrypt(values, scale) {
      encoder.encode(values, scale, scratch);
      encryptor.encrypt(scratch, sealed);
      return saveUncompressed(ckks, sealed);
    },
    encryptZero: createZeroEncryptor(ckks, encryptor, keep),
    load: (blob, into) => into.loadFromArray(context, blob),
    decrypt(cipher) {
      decryptor.decrypt(cipher, scratch);
      // Because embind types the result as any; it is a Float64Array of all slots.
      return encoder.decodeFloat64(scratch) as Float64Array;
    },
    close() {
      for (const handle of handles.splice(0).reverse()) handle.delete();
      ckks.close();
    },
  };
}
