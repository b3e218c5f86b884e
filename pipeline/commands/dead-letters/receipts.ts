/**
 * Signs receipts of replayed letters with the owner's signing key, and believes no others.
 *
 * Both zones' stages that can be replayed belong to the owner, who alone may say that a record went back. A receipt names
 * its place: one that was copied into another partition or pipeline does not open.
 */
import { sign1, verify1 } from "../../crypto/cose-sign1.ts";
import type { KeyDirectory } from "../../crypto/directory.ts";
import type { SigningKey } from "../../crypto/key-handles.ts";
import { SealstreamError } from "../../errors.ts";
import type { DeadPlace, ReceiptGuard } from "../../stream/dead-letter-replay.ts";

function contextOf({ pipeline, stage, partition }: DeadPlace): string {
  return `sealstream/dead-letter-replayed/v1|${pipeline}|${stage}|${partition}`;
}

/** @param signer the owner's signing key, or null for who only reads */
export function createReceiptGuard(
  directory: KeyDirectory,
  signer: SigningKey | null,
): ReceiptGuard {
  if (signer !== null && directory.findSigner(signer.kid, ["owner-signing"]) === null) {
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
        findSigner: (kid) => directory.findSigner(kid, ["owner-signing"]),
      });
      return verified.status === "ok" ? verified.payload : null;
    },
  };
}
