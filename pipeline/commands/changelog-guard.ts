/**
 * Signs a stage's changelog with the stage's own signing key, so that a writer of topics cannot give a lane a past.
 *
 * `desensitize` has no signing key and no state: its changelog holds a position only, and a forged one can only make
 * the stage stop, because it must equal the group's offset.
 */
import type { StageName } from "../../schemas/topics.ts";
import { sign1, verify1 } from "../crypto/cose-sign1.ts";
import type { KeyDirectory } from "../crypto/directory.ts";
import type { StageSigningPurpose } from "../crypto/key-purposes.ts";
import type { KeyStore } from "../crypto/key-store.ts";
import type { ChangelogGuard } from "../stream/changelog.ts";

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
  readonly keys: KeyStore;
  /** Knows signers of this purpose from before a rotation. */
  readonly directory: KeyDirectory;
}): ChangelogGuard {
  const { pipeline, stage, keys, directory } = options;
  const purpose = PURPOSE[stage];
  if (purpose === null) {
    return { protect: (value) => value, open: (value) => value };
  }
  const signer = keys.signing(purpose);
  const contextOf = (lane: number) => `sealstream/changelog/v1|${pipeline}|${stage}|${lane}`;
  return {
    protect: (payload, lane) => sign1({ payload, signer, context: contextOf(lane) }),
    open(message, lane) {
      const verified = verify1({
        message,
        context: contextOf(lane),
        findSigner: (kid) =>
          // The handle is live: after a rotation it no longer has the key that it had at the start.
          Buffer.compare(signer.kid, kid) === 0 ? signer : directory.findSigner(kid, [purpose]),
      });
      return verified.status === "ok" ? verified.payload : null;
    },
  };
}
