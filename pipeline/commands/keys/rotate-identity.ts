/**
 * `sealstream keys rotate FILE identity --zone ZONE`: the zone's next identity, introduced by the one before.
 *
 * Readers with the old pipeline file believe the new identity by the old one's word; those with the new file believe
 * both. When every file has the new one, the old can be taken out of it, or be revoked. The old one may be a thief's too: what
 * it said is said again only for keys that are here, and those that a person names (`--keep`).
 */
import type { KeyListing } from "../../crypto/directory.ts";
import { blobEntries, createFreshKey } from "../../crypto/key-ceremony.ts";
import { signerOf } from "../../crypto/key-ceremony-halves.ts";
import { keysHere } from "../../crypto/key-ceremony-list.ts";
import {
  identityEntry,
  isKept,
  type Kept,
  type LeftOut,
  signedAnew,
} from "../../crypto/key-ceremony-renew.ts";
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

/** At least so many hex digits name a key; an id of CKKS keys is longer. */
const KID_START = /^[0-9a-f]{8,64}$/;

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
    keepOption(before.directory.list(), zone, options["keep"]);
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
    const keep = options["keep"];
    const { entries, leftOut } = await handover(ceremony, { zone, old, next, generation, keep });
    await ceremony.publish(entries);
    await pin(ceremony, zone, next);
    context.print(
      `${purpose} is of generation ${generation} now; ${entries.length} entries signed anew; ${file} pins it before the old one`,
    );
    sayWhatIsLeftOut(ceremony, zone, leftOut);
    context.tell(
      `Give the new ${file} to every zone and restart the stages with it, one by one; then put the old identity away: take it out of "zones", or revoke it with "sealstream keys revoke ${file} KID".`,
    );
    return EXIT.ok;
  });
}

/** The introduction by the old identity, and what the next one says again. */
async function handover(
  { spec, directory, files, unwrapKeys }: Ceremony,
  given: { zone: ZoneName; old: SigningKey; next: SigningKey; generation: number; keep: unknown },
) {
  const { zone, old, next, generation, keep } = given;
  const pipeline = spec.name;
  const listing = directory.list();
  const { kids: here, ckks } = keysHere(files);
  const kept: Kept = { here, ckks, named: keepOption(listing, zone, keep) };
  const blobs = zone === BLOB_ZONE ? knownBlobs(pipeline, listing, next, kept) : NO_BLOBS;
  const said = await signedAnew({ pipeline, zone, listing, by: next, kept, unwrapKeys });
  return {
    entries: [
      identityEntry({ pipeline, zone, next, generation, by: old }),
      ...said.entries,
      ...blobs.entries,
    ],
    leftOut: [...said.leftOut, ...blobs.leftOut],
  };
}

const NO_BLOBS: { readonly entries: readonly KeyEntry[]; readonly leftOut: readonly LeftOut[] } = {
  entries: [],
  leftOut: [],
};

/** The consumer's CKKS keys: chunks are in the topic already, and come again so that readers in any order find them. */
function knownBlobs(
  pipeline: string,
  { blobs, signers }: KeyListing,
  ...[identity, kept]: [SigningKey, Kept]
): typeof NO_BLOBS {
  const believed = new Set(signers.filter(({ trusted }) => trusted).map(({ kid }) => kid));
  // Evaluation keys first, then public ones, by which they are used; both from the oldest on.
  const oldestFirst = blobs
    .filter(({ by }) => by.some((kid) => believed.has(kid)))
    .toSorted((a, b) => a.purpose.localeCompare(b.purpose) || a.generation - b.generation);
  const generations = new Set<number>();
  const leftOut: LeftOut[] = [];
  for (const { purpose, generation, id } of oldestFirst) {
    if (purpose !== "ckks-public") continue;
    const left: LeftOut = { what: "ckks", name: purpose, kid: id, generation };
    if (isKept(left, kept)) generations.add(generation);
    else leftOut.push(left);
  }
  const entries = oldestFirst
    .filter(({ generation }) => generations.has(generation))
    .flatMap(({ purpose, bytes, parameters, generation }) =>
      blobEntries({ pipeline, purpose, bytes, parameters, generation, identity }),
    );
  return { entries, leftOut };
}

/** `--keep`: ids of published keys of the zone, or `all`. @throws `usage` for what is none of them */
function keepOption(listing: KeyListing, zone: ZoneName, value: unknown): Kept["named"] {
  const wanted = value === undefined ? [] : [value].flat().map((one) => String(one).toLowerCase());
  if (wanted.includes("all")) return "all";
  const known = new Set([
    ...listing.signers.filter((one) => one.zone === zone).map(({ kid }) => kid),
    ...listing.recipients
      .filter((one) => one.zone === zone)
      .map(({ recipient }) => hex(recipient.kid)),
    ...(zone === BLOB_ZONE ? listing.blobs.map(({ id }) => id) : []),
  ]);
  return new Set(
    wanted.map((start) => {
      const [found, more] = [...known].filter((kid) => kid.startsWith(start));
      if (found !== undefined && more === undefined && KID_START.test(start)) return found;
      throw new SealstreamError(
        "usage",
        `"${start}" is no key of ${zone} that is to be kept: --keep takes a key id of "sealstream keys list" (at least 8 digits), or all.`,
      );
    }),
  );
}

/** Each key that goes with the old identity, and what that means. */
function sayWhatIsLeftOut(
  { context, file }: Ceremony,
  ...[zone, leftOut]: [ZoneName, readonly LeftOut[]]
): void {
  if (leftOut.length === 0) return;
  for (const { what, name, kid, generation } of leftOut) {
    context.print(
      kid === null
        ? `NOT KEPT  ${generation} data keys of ${name}: ${MEANING[what]}`
        : `NOT KEPT  ${name}, generation ${generation}, ${kid}: ${MEANING[what]}`,
    );
  }
  context.tell(
    `What is not kept is believed only until the old identity is put away. If a key of those is yours, and not a thief's, run "sealstream keys rotate ${file} identity --zone ${zone}" again with --keep KID first; a grant is kept by "keys grant" with the same key. "sealstream keys rotate ${file} PURPOSE" puts a key of yours in the place of a thief's.`,
  );
}

const MEANING: Readonly<Record<LeftOut["what"], string>> = {
  signer: "its private half is not here; then what it signed is refused",
  recipient: "its private half is not here; then nothing is sealed to it",
  grant: "a third party's, and not named; then nothing is sealed to it",
  ckks: "its secret key is not here; then nothing is encrypted or predicted under it",
  "data-keys": "no key here opens them; then what is sealed under them is refused",
};

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
