/**
 * Makes the consumer's key set. Called by `sealstream keys create` in the consumer zone.
 *
 * The randomness is the library's own, seeded from the platform's CSPRNG. The public key goes to the owner, the
 * evaluation keys (relinearization, and Galois keys of the rotation steps in use and no others; `key-blob.ts`) to the
 * prediction zone, the secret key nowhere. Must not store or log anything.
 */
import { SealstreamError } from "../errors.ts";
import { checkSecretKey } from "./blob.ts";
import { areSteps } from "./evaluation-key-form.ts";
import { writeEvaluationKeys } from "./key-blob.ts";
import type { CkksParameters } from "./parameters.ts";
import {
  type CkksContext,
  guarded,
  openContext,
  type SealSecretKey,
  saveUncompressed,
  withHandles,
} from "./seal.ts";

/** Serialized keys, the secret and the public one uncompressed; lengths in `parameters.ts` and `key-blob.ts`. */
export interface ConsumerKeys {
  readonly secretKey: Uint8Array;
  readonly publicKey: Uint8Array;
  /** Seeded. */
  readonly evaluationKeys: Uint8Array;
}

/** Rotation steps of the plan that the keys are for, in any order; none unless said. */
export interface KeyUse {
  readonly steps?: readonly number[] | undefined;
}

/**
 * A fresh key set; new buffers, owned by the caller, who wipes `secretKey` after storing it.
 * @throws ciphertext-refused when the library refuses the parameters; backend-unavailable when it does not load
 * @throws limit-exceeded for steps that are no rotations of these parameters
 */
export async function createConsumerKeys(
  parameters: CkksParameters,
  use: KeyUse = {},
): Promise<ConsumerKeys> {
  const ckks = await openContext(parameters);
  try {
    return guarded("make keys", () =>
      withHandles((keep) => {
        const generator = keep(new ckks.seal.KeyGenerator(ckks.context));
        return {
          secretKey: saveUncompressed(ckks, keep(generator.secretKey())),
          ...publicHalves(ckks, generator, use),
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
 * @throws ciphertext-refused when it is no secret key of these parameters; limit-exceeded as above
 */
export async function createPublicKeys(
  parameters: CkksParameters,
  secretKey: Uint8Array,
  use: KeyUse = {},
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
        const secret: SealSecretKey = keep(new ckks.seal.SecretKey());
        secret.loadFromArray(ckks.context, secretKey);
        return publicHalves(ckks, keep(new ckks.seal.KeyGenerator(ckks.context, secret)), use);
      }),
    );
  } finally {
    ckks.close();
  }
}

type Generator = InstanceType<CkksContext["seal"]["KeyGenerator"]>;

function publicHalves(
  ckks: CkksContext,
  generator: Generator,
  use: KeyUse,
): Omit<ConsumerKeys, "secretKey"> {
  const steps = (use.steps ?? []).toSorted((a, b) => a - b);
  if (!areSteps(ckks.parameters, steps)) {
    throw new SealstreamError(
      "limit-exceeded",
      `The rotation steps are not those of a plan for ${ckks.parameters.id}.`,
    );
  }
  return withHandles((keep) => {
    const relin = saveUncompressed(ckks, keep(generator.createRelinKeysSerializable()));
    const galois =
      steps.length === 0
        ? null
        : saveUncompressed(
            ckks,
            keep(generator.createGaloisKeysSerializableWithSteps(Int32Array.from(steps))),
          );
    return {
      publicKey: saveUncompressed(ckks, keep(generator.createPublicKey())),
      evaluationKeys: writeEvaluationKeys({ relin: true, steps }, { relin, galois }),
    };
  });
}
