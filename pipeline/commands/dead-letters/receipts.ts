/**
 * Signs receipts of replayed letters with the owner's signing key, and believes no others.
 *
 * Both zones' stages that can be replayed belong to the owner, who alone may say that a record went back. A receipt names
 * its place: one that was copied into another partition or pipeline does not open.
 */
import { sign1, verify1 } from "../../crypto/cose-sign1.ts";
import type { KeyDirectory } from "../../crypto/directory.ts";
import { SealstreamError } from "../../errors.ts";
import type { DeadPlace, ReceiptGuard } from "../../stream/dead-letter-replay.ts";
import { certifiedSigner, ownSigner, type SignerRing } from "../certified-signer.ts";

function contextOf({ pipeline, stage, partition }: DeadPlace): string {
  return `sealstream/dead-letter-replayed/v1|${pipeline}|${stage}|${partition}`;
}

const PURPOSE = "owner-signing";

/** @param keys the owner's, or null for who only reads */
export function createReceiptGuard(
  directory: Pick<KeyDirectory, "findSigner">,
  keys: SignerRing | null,
): ReceiptGuard {
  const signer = keys === null ? null : certifiedSigner(keys, directory, PURPOSE);
  if (signer !== null && directory.findSigner(signer.kid, [PURPOSE]) === null) {
    // Because a receipt that nobody can verify later would let the letter be replayed again.
    throw new SealstreamError(
      "key-invalid",
      "The owner-signing key of the folder is not the published one: name the owner's key folders with --keys.",
    );
  }
  return {
    protect(payload, place) {
      if (signer === null) {
        throw new SealstreamError("internal", "Receipts are signed by a replay only.");
      }
      return sign1({ payload, signer, context: contextOf(place) });
    },
    open(value, place) {
      const verified = verify1({
        message: value,
        context: contextOf(place),
        // As for a changelog: a letter that this folder's key says was replayed is not replayed again because the key was
        // revoked since.
        findSigner: (kid) =>
          (keys && ownSigner(keys, PURPOSE, kid)) ?? directory.findSigner(kid, [PURPOSE]),
      });
      return verified.status === "ok" ? verified.payload : null;
    },
  };
}
