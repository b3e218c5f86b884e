/**
 * The fields of a pack's manifest: what the owner's stage says about the ciphertexts beside it.
 *
 * Grammar (fields of a bundle, `crypto/bundle.ts`): {sequence: uint, rows: uint, features: uint, parameters: tstr,
 * consumerKeyId: tstr (hex SHA-256 of the consumer's public key blob), recordIds: bstr (sealed to the consumer),
 * packing: "batch" / "slots"}. A pack of the version before has no packing: it is of packing batch, and its ciphertexts
 * are the library's (`ckks/blob.ts`) instead of tight ones (`ckks/wire-ciphertext.ts`).
 * Must not open `recordIds`: the prediction zone passes them through.
 */
import type { CiphertextForm, Packing } from "../../ckks/parameters.ts";
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
  readonly packing: Packing;
  readonly form: CiphertextForm;
  /** Batch: one per feature. Slots: each of some records. Unchecked. */
  readonly ciphertexts: readonly Uint8Array[];
}

const FIELDS = ["consumerKeyId", "features", "parameters", "recordIds", "rows", "sequence"];

function isCount(value: unknown, least: number): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= least;
}

/** The pack of an authentic bundle, or null when its fields are not a pack's. */
export function readPack(bundle: Bundle): Pack | null {
  const { fields, parts, bundleId } = bundle;
  const { packing = null, ...others } = fields;
  if (Object.keys(others).sort().join() !== FIELDS.join()) return null;
  const { sequence, rows, features, parameters, consumerKeyId, recordIds } = others;
  const valid =
    isCount(sequence, 0) &&
    isCount(rows, 1) &&
    isCount(features, 1) &&
    (packing === null || packing === "batch" || packing === "slots") &&
    (packing === "slots" ? parts.length <= features : parts.length === features) &&
    typeof parameters === "string" &&
    typeof consumerKeyId === "string" &&
    recordIds instanceof Uint8Array;
  if (!valid) return null;
  const named = { bundleId, sequence, rows, features, parameters, consumerKeyId, recordIds };
  const form = packing === null ? "library" : "wire";
  return { ...named, packing: packing ?? "batch", form, ciphertexts: parts };
}
