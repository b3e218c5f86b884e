/**
 * Publishes what is in the key folders and not in `keys` yet: the second half of every ceremony that makes keys.
 *
 * Keys are on the disk before anybody hears of them, so a ceremony that was cut off in between is finished by this alone.
 */
import { createPublicKeys } from "../../ckks/keys.ts";
import { DEFAULT_PARAMETERS, secretKeyBytes } from "../../ckks/parameters.ts";
import { type PredictPlan, requirePlan } from "../../ckks/predict-plan.ts";
import type { KeyListing } from "../../crypto/directory.ts";
import { blobEntries, publicEntries } from "../../crypto/key-ceremony.ts";
import { publicHalfOf } from "../../crypto/key-ceremony-halves.ts";
import type { KeyEntry } from "../../crypto/key-entries.ts";
import { type KeyFile, parseKeyFile } from "../../crypto/key-file.ts";
import { hex, type SigningKey } from "../../crypto/key-handles.ts";
import {
  BLOB_ZONE,
  isStageSigning,
  isUnwrap,
  PURPOSES,
  type Purpose,
} from "../../crypto/key-purposes.ts";
import { type Ceremony, identityOf } from "./ceremony.ts";

/**
 * Of a purpose, the newest generation that is published and believed; 0 for none. What a revoked identity said does not
 * count: a thief could use up every generation that there is.
 */
export function publishedGeneration(listing: KeyListing, purpose: Purpose): number {
  const { signers, recipients, blobs } = listing;
  const believed = new Set(signers.filter(({ trusted }) => trusted).map(({ kid }) => kid));
  const found = [
    ...signers.filter((one) => one.purpose === purpose && one.trusted),
    ...recipients.filter(({ of, trusted }) => "purpose" in of && of.purpose === purpose && trusted),
    ...(purpose === "ckks-secret"
      ? blobs.filter(({ by }) => by.some((kid) => believed.has(kid)))
      : []),
  ];
  return Math.max(0, ...found.map(({ generation }) => generation));
}

/** Whether a key of a purpose was ever published, believed or not. */
export function wasPublished({ signers, recipients, blobs }: KeyListing, purpose: Purpose) {
  if (purpose === "ckks-secret") return blobs.length > 0;
  return (
    signers.some((one) => one.purpose === purpose) ||
    recipients.some(({ of }) => "purpose" in of && of.purpose === purpose)
  );
}

/** The newest key file of a purpose. */
export function newestFile(files: readonly KeyFile[], purpose: Purpose): KeyFile | null {
  return files
    .filter((file) => file.purpose === purpose)
    .reduce<KeyFile | null>((a, b) => (a !== null && a.generation > b.generation ? a : b), null);
}

/** Key files whose public halves nobody has heard of, and that are not older than what is published. */
export function unpublished({ directory, files }: Ceremony, purposes: readonly Purpose[]) {
  const listing = directory.list();
  const known = new Set([
    ...listing.signers.map(({ kid }) => kid),
    ...listing.recipients.map(({ recipient }) => hex(recipient.kid)),
    ...listing.revoked,
  ]);
  return files
    .filter(({ purpose }) => purposes.includes(purpose))
    .filter((file) => {
      const { purpose, generation } = file;
      const published = publishedGeneration(listing, purpose);
      if (purpose === "ckks-secret") {
        return generation > published && file === newestFile(files, purpose);
      }
      if (!isStageSigning(purpose) && !isUnwrap(purpose)) return false;
      const half = publicHalfOf(file);
      return half !== null && generation > published && !known.has(hex(half.kid));
    })
    .toSorted((a, b) => a.generation - b.generation);
}

/** The entries that say what {@link unpublished} found. @throws `key-missing` without the zone's identity */
export async function missingEntries(
  ceremony: Ceremony,
  purposes: readonly Purpose[],
): Promise<KeyEntry[]> {
  const { spec, identities } = ceremony;
  const files = unpublished(ceremony, purposes);
  for (const { purpose } of files) identityOf(ceremony, PURPOSES[purpose].zone);
  const entries = publicEntries({ pipeline: spec.name, files, identities });
  for (const file of files.filter(({ purpose }) => purpose === "ckks-secret")) {
    ceremony.context.tell("making the public CKKS keys of the consumer's secret key");
    const by = { pipeline: spec.name, identity: identityOf(ceremony, BLOB_ZONE) };
    entries.push(...(await ckksEntries(file, requirePlan(spec), by)));
  }
  return entries;
}

/** Evaluation keys before the public key: nothing is encrypted that cannot be predicted yet. */
async function ckksEntries(
  file: KeyFile,
  plan: PredictPlan,
  { pipeline, identity }: { readonly pipeline: string; readonly identity: SigningKey },
): Promise<KeyEntry[]> {
  const { generation } = file;
  const { material } = parseKeyFile(file.json, "ckks-secret", "The key file of ckks-secret");
  const secretKey = new Uint8Array(material);
  material.fill(0);
  try {
    // A key of another length was made by the version before, and never published.
    const isPlanned = secretKey.length === secretKeyBytes(plan.parameters);
    const parameters = isPlanned ? plan.parameters : DEFAULT_PARAMETERS;
    const steps = isPlanned ? plan.rotationSteps : [];
    const made = await createPublicKeys(parameters, secretKey, { steps });
    const common = { pipeline, parameters: parameters.id, identity, generation };
    return [
      ...blobEntries({ ...common, purpose: "ckks-evaluation", bytes: made.evaluationKeys }),
      ...blobEntries({ ...common, purpose: "ckks-public", bytes: made.publicKey }),
    ];
  } finally {
    secretKey.fill(0);
  }
}
