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
import type { ChangelogGuard } from "../stream/changelog.ts";
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
        // A key of this folder is believed here even when it was revoked: with its private half at hand the state is
        // ours, and there is no other. Who does not believe it any more removes its file.
        findSigner: (kid) => ownSigner(keys, purpose, kid) ?? directory.findSigner(kid, [purpose]),
      });
      return verified.status === "ok" ? verified.payload : null;
    },
  };
}
