/**
 * `sealstream keys rotate FILE identity --zone ZONE`: the zone's next identity, introduced by the one before.
 *
 * Readers with the old pipeline file believe the new identity by the old one's word; those with the new file believe
 * both. When every file has the new one, the old can be taken out of it, or be revoked.
 */
import { blobEntries, createFreshKey } from "../../crypto/key-ceremony.ts";
import { signerOf } from "../../crypto/key-ceremony-halves.ts";
import { identityEntry, signedAnew } from "../../crypto/key-ceremony-renew.ts";
import type { KeyEntry } from "../../crypto/key-entries.ts";
import type { KeyFile } from "../../crypto/key-file.ts";
import { hex, type SigningKey } from "../../crypto/key-handles.ts";
import { BLOB_ZONE, ZONE_IDENTITY, type ZoneName } from "../../crypto/key-purposes.ts";
import { SealstreamError } from "../../errors.ts";
import { pinZones } from "../../spec/pin-zones.ts";
import { type CommandContext, EXIT } from "../context.ts";
import type { Options } from "../options.ts";
import { type Ceremony, withCeremonies, zonesOption } from "./ceremony.ts";
import { editFile } from "./pin-file.ts";
import { newestFile } from "./publish-missing.ts";
import { writeSealed } from "./seal-option.ts";

export function rotateIdentity(
  context: CommandContext,
  file: string,
  options: Options,
): Promise<number> {
  const [zone, ...more] = zonesOption(options["zone"]) ?? [];
  if (zone === undefined || more.length > 0) {
    throw new SealstreamError("usage", "Say whose identity is to be rotated: --zone ZONE, once.");
  }
  const purpose = ZONE_IDENTITY[zone];
  return withCeremonies(context, { file, options }, async (open) => {
    const before = await open();
    const waiting = notHandedOver(before, zone);
    // Before anything is made: without a word of the old identity nobody would believe the new one.
    introducerOf(before, zone, waiting);
    if (waiting === null) {
      const generation = (newestFile(before.files, purpose)?.generation ?? 0) + 1;
      await writeSealed(before, [createFreshKey(purpose, generation)], options["seal"]);
    } else {
      context.tell(`a newer ${purpose} is in the folder and not pinned yet: going on with it`);
    }
    const ceremony = await open();
    const made = notHandedOver(ceremony, zone);
    if (made === null) throw new SealstreamError("internal", "There is no next identity.");
    const { generation } = made;
    const next = signerOf(made);
    const old = introducerOf(ceremony, zone, made);
    const entries = handover(ceremony, { zone, old, next, generation });
    await ceremony.publish(entries);
    await pin(ceremony, zone, next);
    context.print(
      `${purpose} is of generation ${generation} now; ${entries.length} entries signed anew; ${file} pins it before the old one`,
    );
    context.tell(
      `Give the new ${file} to every zone, then put the old identity away: take it out of "zones", or revoke it with "sealstream keys revoke ${file} KID".`,
    );
    return EXIT.ok;
  });
}

/** The introduction by the old identity, and everything that still holds, said by the new one. */
function handover(
  { spec, directory }: Ceremony,
  given: { zone: ZoneName; old: SigningKey; next: SigningKey; generation: number },
): KeyEntry[] {
  const { zone, old, next, generation } = given;
  const pipeline = spec.name;
  const blobs = zone === BLOB_ZONE ? knownBlobs(pipeline, directory, next) : [];
  const listing = directory.list();
  return [
    identityEntry({ pipeline, zone, next, generation, by: old }),
    ...signedAnew({ pipeline, zone, listing, by: next, blobs }),
  ];
}

/** The consumer's CKKS keys: chunks are in the topic already, and come again so that readers in any order find them. */
function knownBlobs(
  pipeline: string,
  directory: Ceremony["directory"],
  identity: SigningKey,
): KeyEntry[] {
  // Evaluation keys first, then public ones, by which they are used; both from the oldest on.
  const oldestFirst = [...directory.list().blobs].sort(
    (a, b) => a.purpose.localeCompare(b.purpose) || a.generation - b.generation,
  );
  return oldestFirst.flatMap(({ purpose, bytes, parameters, generation }) =>
    blobEntries({ pipeline, purpose, bytes, parameters, generation, identity }),
  );
}

async function pin({ file, spec }: Ceremony, zone: ZoneName, next: SigningKey): Promise<void> {
  const before = spec.zones?.[zone] ?? [];
  const others = before.filter((one) => Buffer.compare(one, next.publicKey) !== 0);
  // Three fit: the new one, the one before, and one that somebody has not put away yet.
  await editFile(file, (text) =>
    pinZones(text, { [zone]: [next.publicKey, ...others].slice(0, 3) }),
  );
}

/** The newest identity in the folder, when the file does not pin it: its ceremony was cut off. */
function notHandedOver({ files, spec }: Ceremony, zone: ZoneName): KeyFile | null {
  const newest = newestFile(files, ZONE_IDENTITY[zone]);
  if (newest === null) return null;
  const { publicKey, kid } = signerOf(newest);
  const isPinned = spec.zones?.[zone].some((one) => Buffer.compare(one, publicKey) === 0) === true;
  return isPinned || spec.revoked.includes(hex(kid)) ? null : newest;
}

/** Another identity of the zone that is believed, whose private key is here. @throws `key-missing` */
function introducerOf(ceremony: Ceremony, zone: ZoneName, next: KeyFile | null): SigningKey {
  const { files, directory, file } = ceremony;
  const purpose = ZONE_IDENTITY[zone];
  const found = files
    .filter((one) => one.purpose === purpose && one.generation !== next?.generation)
    .toSorted((a, b) => b.generation - a.generation)
    .map(signerOf)
    .find(({ kid }) => directory.findSigner(kid, [purpose]) !== null);
  if (found !== undefined) return found;
  throw new SealstreamError(
    "key-missing",
    `No identity of ${zone} that is believed is here to introduce another: put it into identities/, or pin a new one in ${file} by hand.`,
  );
}
