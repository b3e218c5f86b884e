/**
 * Signs a stage's changelog with the stage's own signing key, so that a writer of topics cannot give a lane a past.
 *
 * `desensitize` has no signing key and no state: its changelog holds a position only, and a forged one can only make
 * the stage stop, because it must equal the group's offset.
 *
 * Entries beside the state are thousands a transaction: a MAC under a secret of the stage, a tenth of what a signature
 * takes. It binds a value to its stage, lane and key. A reader who holds the secret could have made it,
 * which is the stage alone.
 *
 *   entry value = value, mac
 *   mac         = the first 16 bytes of HMAC-SHA-256 under the stage's secret (encrypt: `split`) of
 *                 "sealstream/changelog-entry/v1|<pipeline>|<stage>|<lane>|", u8 bytes of the key, key, value
 */
import { timingSafeEqual } from "node:crypto";
import type { StageName } from "../../schemas/topics.ts";
import { sign1, verify1 } from "../crypto/cose-sign1.ts";
import type { KeyDirectory } from "../crypto/directory.ts";
import type { SecretKey } from "../crypto/key-handles.ts";
import type { StageSigningPurpose } from "../crypto/key-purposes.ts";
import { SealstreamError } from "../errors.ts";
import type { ChangelogGuard } from "../stream/changelog.ts";
import type { ChangelogEntry } from "../stream/contract.ts";
import { ownSigner, type SignerRing } from "./certified-signer.ts";

const PURPOSE: Readonly<Record<StageName, StageSigningPurpose | null>> = {
  desensitize: null,
  encrypt: "owner-signing",
  train: "train-signing",
  aggregate: "model-signing",
  predict: "result-signing",
};

export function createChangelogGuard(options: {
  readonly pipeline: string;
  readonly stage: StageName;
  readonly keys: SignerRing;
  /** Knows signers of this purpose whose files were put away. */
  readonly directory: Pick<KeyDirectory, "findSigner">;
  /** The stage's own secret, for its entries; null or left out: it has none. */
  readonly entrySecret?: Pick<SecretKey, "hmac"> | null;
}): ChangelogGuard {
  const { pipeline, stage, keys, directory } = options;
  const purpose = PURPOSE[stage];
  const entries = entryGuard(`${pipeline}|${stage}`, options.entrySecret ?? null);
  if (purpose === null) {
    return { protect: (value) => value, open: (value) => value, ...entries };
  }
  const signer = keys.signing(purpose);
  const contextOf = (lane: number) => `sealstream/changelog/v1|${pipeline}|${stage}|${lane}`;
  return {
    ...entries,
    protect: (payload, lane) => sign1({ payload, signer, context: contextOf(lane) }),
    open(message, lane) {
      const verified = verify1({
        message,
        context: contextOf(lane),
        // A key of this folder is believed here even when it was revoked: with its private half at hand the state is
        // ours, and there is no other. Who does not believe it any more removes its file.
        findSigner: (kid) => ownSigner(keys, purpose, kid) ?? directory.findSigner(kid, [purpose]),
      });
      return verified.status === "ok" ? verified.payload : null;
    },
  };
}

const MAC_BYTES = 16;

function entryGuard(
  place: string,
  secret: Pick<SecretKey, "hmac"> | null,
): Pick<ChangelogGuard, "protectEntry" | "openEntry"> {
  if (secret === null) {
    return {
      protectEntry() {
        throw new SealstreamError("internal", "This stage has no secret for changelog entries.");
      },
      openEntry: () => null,
    };
  }
  const macOf = ({ key, value }: ChangelogEntry, lane: number): Uint8Array => {
    const label = Buffer.from(`sealstream/changelog-entry/v1|${place}|${lane}|`, "latin1");
    const message = Buffer.concat([label, Buffer.of(key.length), key, value]);
    return secret.hmac(message).subarray(0, MAC_BYTES);
  };
  return {
    protectEntry: (entry, lane) => Buffer.concat([entry.value, macOf(entry, lane)]),
    openEntry({ key, protectedValue }, lane) {
      const end = protectedValue.length - MAC_BYTES;
      if (end < 0) return null;
      const value = protectedValue.subarray(0, end);
      const mac = macOf({ key, value }, lane);
      return timingSafeEqual(mac, protectedValue.subarray(end)) ? value : null;
    },
  };
}
