/**
 * `sealstream keys create FILE [--zone ZONE ...]`: zones' first keys, their identities pinned, their public halves published.
 *
 * Each zone can hold its ceremony alone. Keys are written first, then the file, then the topic: a ceremony that was cut
 * off goes on where it stopped, and nothing is ever written over.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { STAGES, topicName } from "../../../schemas/topics.ts";
import { createConsumerKeys } from "../../ckks/keys.ts";
import { predictParameters } from "../../ckks/predict-plan.ts";
import { ckksSecretFile, createFreshKey, purposesOf } from "../../crypto/key-ceremony.ts";
import type { KeyFile } from "../../crypto/key-file.ts";
import {
  BLOB_ZONE,
  PURPOSES,
  type Purpose,
  ZONE_IDENTITY,
  ZONES,
  type ZoneName,
} from "../../crypto/key-purposes.ts";
import { SealstreamError } from "../../errors.ts";
import { pinZones } from "../../spec/pin-zones.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import { type CommandContext, EXIT } from "../context.ts";
import type { Options } from "../options.ts";
import { type Ceremony, withCeremonies, zonesOption } from "./ceremony.ts";
import { editFile } from "./pin-file.ts";
import { missingEntries, unpublished, wasPublished } from "./publish-missing.ts";
import { writeSealed } from "./seal-option.ts";

export function create(context: CommandContext, file: string, options: Options): Promise<number> {
  const zones = zonesOption(options["zone"]) ?? ZONES;
  return withCeremonies(context, { file, options }, async (open) => {
    const before = await open();
    const purposes = purposesFor(before.spec, zones);
    const missing = missingPurposes(before, purposes);
    const pins = unpinned(before, zones);
    const late = unpublished(before, purposes);
    if (missing.length === 0 && pins.length === 0 && late.length === 0) throw alreadyThere(before);
    if (missing.length < purposes.length) {
      context.tell("some of these keys are here already: making and publishing what is missing");
    }
    context.tell(`making keys of ${zones.join(", ")}`);
    const made = await makeFiles(missing, before.spec);
    await writeSealed(before, made, options["seal"]);
    await completeFolders(before.root);
    const written = await open();
    await editFile(file, (text) =>
      pinZones(text, Object.fromEntries(pins.map((zone) => [zone, ownIdentity(written, zone)]))),
    );
    const pinned = await open();
    const entries = await missingEntries(pinned, purposes);
    await pinned.publish(entries);
    context.print(
      `${made.length} keys in ${pinned.root}; identities pinned in ${file}; ${entries.length} entries in ${topicName(pinned.spec.name, "keys")}`,
    );
    sayWhatIsLeft(pinned);
    return EXIT.ok;
  });
}

/** Purposes that the zones need keys of: CKKS keys are for prediction on ciphertexts alone. */
function purposesFor({ predict }: PipelineSpec, zones: readonly ZoneName[]): Purpose[] {
  return zones
    .flatMap(purposesOf)
    .filter((purpose) => predict.encrypted || PURPOSES[purpose].kind !== "ckks-secret");
}

/**
 * Those of the purposes of which there is neither a key here nor one that was published. A secret is published nowhere:
 * once its zone is pinned it was made, and what is gone is lost, not missing.
 */
function missingPurposes(
  { directory, files, spec }: Ceremony,
  purposes: readonly Purpose[],
): Purpose[] {
  const listing = directory.list();
  const here = new Set(files.map(({ purpose }) => purpose));
  return purposes.filter((purpose) => {
    const { kind, zone } = PURPOSES[purpose];
    if (here.has(purpose) || (kind === "secret" && spec.zones?.[zone].length)) return false;
    return !wasPublished(listing, purpose);
  });
}

/**
 * Zones whose identities are not in the file yet.
 * @throws `key-missing` for a zone that has one whose private key is not here
 */
function unpinned({ spec, identities, file, root }: Ceremony, zones: readonly ZoneName[]) {
  return zones.filter((zone) => {
    if (!spec.zones?.[zone].length) return true;
    if (identities.has(zone)) return false;
    throw new SealstreamError(
      "key-missing",
      `${file} pins an identity of ${zone} whose private key is not in ${join(root, "identities")}: nothing was made. Put it there, or remove that zone from the file to start it anew.`,
    );
  });
}

async function makeFiles(purposes: readonly Purpose[], spec: PipelineSpec): Promise<KeyFile[]> {
  const files: KeyFile[] = [];
  for (const purpose of purposes) {
    if (PURPOSES[purpose].kind === "ckks-secret") {
      const { secretKey } = await createConsumerKeys(predictParameters(spec));
      files.push(ckksSecretFile(secretKey));
      secretKey.fill(0);
    } else files.push(createFreshKey(purpose));
  }
  // The identity is there before the keys that it is to certify.
  const isIdentity = ({ purpose }: KeyFile) => PURPOSES[purpose].holder === "identities";
  return [...files.filter(isIdentity), ...files.filter((file) => !isIdentity(file))];
}

function ownIdentity({ identities }: Ceremony, zone: ZoneName): Uint8Array {
  const identity = identities.get(zone);
  if (identity !== undefined) return identity.publicKey;
  throw new SealstreamError("internal", `The ceremony made no ${ZONE_IDENTITY[zone]}.`);
}

async function completeFolders(root: string): Promise<void> {
  for (const holder of STAGES) {
    // A stage without keys of its own still gets its folder, which `run` lets it read.
    await mkdir(join(root, holder), { recursive: true, mode: 0o700 });
  }
  // Because key folders often lie beside files that are kept in git.
  await writeFile(join(root, ".gitignore"), "*\n");
}

function sayWhatIsLeft({ context, spec, file, directory }: Ceremony): void {
  context.tell(
    "Each zone takes its own folders; keep identities/, recovery/ and dead-letters/ offline.",
  );
  const unmet = ZONES.filter((zone) => !spec.zones?.[zone].length);
  for (const zone of unmet) {
    context.tell(`still missing: ${zone} ("sealstream keys create ${file} --zone ${zone}")`);
  }
  const listing = directory.list();
  const hasBlobs = listing.blobs.length > 0 || !spec.predict.encrypted;
  if (!unmet.includes(BLOB_ZONE) && !hasBlobs) {
    context.tell("still missing: the consumer's CKKS keys are not in the keys topic");
  }
}

function alreadyThere({ spec, file, root }: Ceremony): SealstreamError {
  return new SealstreamError(
    "key-invalid",
    `${spec.zones === null ? root : file} has keys already: nothing was overwritten. Use "sealstream keys rotate" for new ones, or move the old keys away and remove "zones" from the file to start anew.`,
  );
}
