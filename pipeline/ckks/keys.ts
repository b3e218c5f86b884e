/**
 * Makes a consumer's CKKS keys, for `sealstream keys create` in the consumer zone.
 *
 * The randomness is the library's own, seeded from the platform's CSPRNG. The public key goes to the owner, the
 * evaluation keys (relinearization only; batch-axis packing needs no rotation) to the prediction zone, the secret key
 * nowhere. Must not store or log anything.
 */
import { SealstreamError } from "../errors.ts";
import { checkSecretKey } from "./blob.ts";
import type { CkksParameters } from "./parameters.ts";
import { guarded, openContext, saveUncompressed, withHandles } from "./seal.ts";

/** Serialized, uncompressed keys; lengths in `parameters.ts`. */
export interface ConsumerKeys {
  readonly secretKey: Uint8Array;
  readonly publicKey: Uint8Array;
  readonly evaluationKeys: Uint8Array;
}

/**
 * A fresh key set; new buffers, owned by the caller, who wipes `secretKey` after storing it.
 * @throws ciphertext-refused when the library refuses the parameters; backend-unavailable when it does not load
 */
export async function createConsumerKeys(parameters: CkksParameters): Promise<ConsumerKeys> {
  const ckks = await openContext(parameters);
  try {
    return guarded("make keys", () =>
      withHandles((keep) => {
        const generator = keep(new ckks.seal.KeyGenerator(ckks.context));
        return {
          secretKey: saveUncompressed(ckks, keep(generator.secretKey())),
          publicKey: saveUncompressed(ckks, keep(generator.createPublicKey())),
          evaluationKeys: saveUncompressed(ckks, keep(generator.createRelinKeys())),
        };
      }),
    );
  } finally {
    ckks.close();
  }
}

/**
 * Fresh public halves of a secret key, for a ceremony that was cut off before it could publish them.
 * @param secretKey as {@link createConsumerKeys} serialized it
 * @throws ciphertext-refused when it is no secret key of these parameters
 */
export async function createPublicKeys(
  parameters: CkksParameters,
  secretKey: Uint8Array,
): Promise<Omit<ConsumerKeys, "secretKey">> {
  const ckks = await openContext(parameters);
  try {
    const checked = checkSecretKey(ckks, secretKey);
    if (checked.status === "refused") {
      throw new SealstreamError(
        "ciphertext-refused",
        `The CKKS secret key was refused (${checked.fault}).`,
      );
    }
    return guarded("make keys", () =>
      withHandles((keep) => {
        const secret = keep(new ckks.seal.SecretKey());
        secret.loadFromArray(ckks.context, secretKey);
        const generator = keep(new ckks.seal.KeyGenerator(ckks.context, secret));
        return {
          publicKey: saveUncompressed(ckks, keep(generator.createPublicKey())),
          evaluationKeys: saveUncompressed(ckks, keep(generator.createRelinKeys())),
        };
      }),
    );
  } finally {
    ckks.close();
  }
}
