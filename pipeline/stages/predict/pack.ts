/**
 * The fields of a pack's manifest: what the owner's stage says about the ciphertexts beside it.
 *
 * Grammar (fields of a bundle, `crypto/bundle.ts`): {sequence: uint, rows: uint, features: uint, parameters: tstr,
 * consumerKeyId: tstr (hex SHA-256 of the consumer's public key blob), recordIds: bstr (sealed to the consumer)}.
 * Must not open `recordIds`: the prediction zone passes them through.
 */
import type { Bundle } from "../../crypto/bundle.ts";

export interface Pack {
  readonly bundleId: Uint8Array;
  /** Rises within a lane. */
  readonly sequence: number;
  /** Records in the pack. */
  readonly rows: number;
  readonly features: number;
  /** Id of the CKKS parameter set. */
  readonly parameters: string;
  readonly consumerKeyId: string;
  /** Sealed record ids. */
  readonly recordIds: Uint8Array;
  /** One ciphertext per feature, unchecked. */
  readonly ciphertexts: readonly Uint8Array[];
}

const FIELDS = ["consumerKeyId", "features", "parameters", "recordIds", "rows", "sequence"];

function isCount(value: unknown, least: number): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= least;
}

/** The pack of an authentic bundle, or null when its fields are not a pack's. */
export function readPack(bundle: Bundle): Pack | null {
  const { fields, parts, bundleId } = bundle;
  if (Object.keys(fields).sort().join() !== FIELDS.join()) return null;
  const { sequence, rows, features, parameters, consumerKeyId, recordIds } = fields;
  const valid =
    isCount(sequence, 0) &&
    isCount(rows, 1) &&
    isCount(features, 1) &&
    features === parts.length &&
    typeof parameters === "string" &&
    typeof consumerKeyId === "string" &&
    recordIds instanceof Uint8Array;
  return valid
    ? {
        bundleId,
        sequence,
        rows,
        features,
        parameters,
        consumerKeyId,
        recordIds,
        ciphertexts: parts,
      }
    : null;
}
