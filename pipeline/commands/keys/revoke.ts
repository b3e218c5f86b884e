/**
 * `sealstream keys revoke FILE KID`, `--name NAME --topic TOPIC` or `--zone ZONE`: keys that are believed no more.
 *
 * A revocation is for ever. It goes into the pipeline file first, where it outlives a topic that somebody fills, rolls back
 * or keeps from being written, and then into the topic, where running stages see it. Nobody can be made to forget what
 * they have read.
 */
import type { KeyListing } from "../../crypto/directory.ts";
import {
  revocationEntry,
  topicsFor,
  topicsWrappedFor,
  unpublishedReaders,
  zoneOfKey,
} from "../../crypto/key-ceremony-renew.ts";
import { hex, type SigningKey } from "../../crypto/key-handles.ts";
import {
  type SealedTopic,
  ZONE_IDENTITY,
  ZONES,
  type ZoneName,
} from "../../crypto/key-purposes.ts";
import { REVOKING_ZONE } from "../../crypto/trust.ts";
import { isSealstreamError, SealstreamError } from "../../errors.ts";
import { pinRevoked, roomForRevoked } from "../../spec/pin-zones.ts";
import { type CommandContext, EXIT } from "../context.ts";
import type { Options } from "../options.ts";
import { type Ceremony, withCeremony, zonesOption } from "./ceremony.ts";
import { grantTopicOption, nameOption } from "./grant.ts";
import { editFile } from "./pin-file.ts";
import { publishAndCatchUp, rewraps } from "./rewrap.ts";

/** Hex digits of a kid, and how many of them are enough. */
const KID = /^[0-9a-f]{8,32}$/;
const WHOLE_KID = /^[0-9a-f]{32}$/;

export function revoke(
  context: CommandContext,
  file: string,
  ...[kid, options]: [string | undefined, Options]
): Promise<number> {
  let isOpen = false;
  return withCeremony(context, { file, options }, (ceremony) => {
    isOpen = true;
    return revokeIn(ceremony, kid, options);
  }).catch(async (error: unknown) => {
    // The topic is out of reach. The file is not, and a whole key id needs nothing else.
    if (isOpen || !isWholeKid(kid)) throw error;
    await editFile(file, (text) => pinRevoked(text, [kid]));
    return toBePublished(context, file, { targets: [kid], error });
  });
}

async function revokeIn(
  ceremony: Ceremony,
  kid: string | undefined,
  options: Options,
): Promise<number> {
  const { context, directory, file } = ceremony;
  const listing = directory.list();
  const all = targetsOf(listing, kid, options);
  assertAnotherIdentity(listing, all);
  const targets = await pin(ceremony, all, options["zone"] !== undefined);
  const topics = topicsOf(listing, all);
  let renewed = 0;
  try {
    const entries = entriesFor(ceremony, listing, targets);
    // So that data keys are wrapped for those who are left, and all of it is published at once.
    for (const { key, value } of entries) directory.apply(key, value);
    const wrapped = await rewraps(ceremony, { topics }).catch((error: unknown) => {
      context.tell(
        `The data keys are not wrapped anew (${reasonOf(error)}): run "sealstream keys rotate ${file} data-keys" when this is mended.`,
      );
      return [];
    });
    const late = await publishAndCatchUp(ceremony, [...entries, ...wrapped], { topics });
    renewed = wrapped.length + late;
  } catch (error) {
    return toBePublished(context, file, { targets, error });
  }
  context.print(
    `${targets.join(", ")} revoked in ${file} and in the topic; ${renewed} data keys wrapped anew`,
  );
  sayWhatItMeans(ceremony, listing, { targets, topics });
  return EXIT.ok;
}

/**
 * Writes the keys into the file, and of a zone that somebody filled with more keys than a file names its identities alone.
 * @returns what is revoked
 * @throws `limit-exceeded` when not even those fit
 */
async function pin(
  { context, file }: Ceremony,
  ...[targets, isZone]: [readonly string[], boolean]
): Promise<readonly string[]> {
  let pinned = targets;
  await editFile(file, (text) => {
    const room = roomForRevoked(text, targets);
    // The pinned identities come first, and everything else of a zone rests on them.
    if (isZone && room < targets.length) pinned = targets.slice(0, room);
    return pinRevoked(text, pinned);
  });
  if (pinned.length < targets.length) {
    context.tell(
      `${file} has room for ${pinned.length} of ${targets.length} keys: the identities, and as many others as fit. The rest rests on those identities, and falls with them.`,
    );
  }
  return pinned;
}

/** Signed revocations of what is published. @throws `key-missing` without an identity that may sign them */
function entriesFor(ceremony: Ceremony, listing: KeyListing, targets: readonly string[]) {
  return targets.flatMap((kid) => {
    const zone = zoneOfKey(listing, kid);
    // Only named by a person, and published by nobody who is believed: the file is enough.
    if (zone === null) return [];
    const identity = speakerFor(ceremony, zone, targets);
    const bytes = new Uint8Array(Buffer.from(kid, "hex"));
    return [revocationEntry({ pipeline: ceremony.spec.name, kid: bytes, zone, identity })];
  });
}

function toBePublished(
  context: CommandContext,
  file: string,
  { targets, error }: { readonly targets: readonly string[]; readonly error: unknown },
): number {
  context.print(`${targets.join(", ")} revoked in ${file} alone`);
  context.tell(
    `The topic could not be written (${reasonOf(error)}): the revocation is still to be published, and running stages do not know of it. Give the new ${file} to every zone and start the stages again, or run the same command when the topic can be written.`,
  );
  return EXIT.failed;
}

function reasonOf(error: unknown): string {
  return isSealstreamError(error) ? error.message.replace(/\.$/, "") : "it failed";
}

function isWholeKid(kid: string | undefined): kid is string {
  return kid !== undefined && WHOLE_KID.test(kid);
}

/** Hex kids; identities first, those that the file pins before those that they introduced. */
function targetsOf(listing: KeyListing, kid: string | undefined, options: Options): string[] {
  const zones = zonesOption(options["zone"]);
  const isNamed = options["name"] !== undefined;
  if (
    [kid, zones ?? undefined, isNamed || undefined].filter((one) => one !== undefined).length !== 1
  ) {
    throw new SealstreamError(
      "usage",
      "Say what is to be revoked: a key id, --name NAME --topic TOPIC, or --zone ZONE.",
    );
  }
  if (zones !== null) return keysOfZones(listing, zones);
  if (isNamed) return keysOfGrant(listing, options);
  const known = [
    ...listing.signers.map((one) => one.kid),
    ...listing.recipients.map(({ recipient }) => hex(recipient.kid)),
  ];
  const wanted = String(kid).toLowerCase();
  const found = KID.test(wanted) ? [...new Set(known.filter((one) => one.startsWith(wanted)))] : [];
  if (found.length === 1) return found;
  if (found.length === 0 && isWholeKid(wanted)) return [wanted];
  throw new SealstreamError(
    "usage",
    found.length > 1
      ? `Several keys begin with ${wanted}: give more of its digits.`
      : `No published key has the id ${wanted}: "sealstream keys list" shows the ids (at least 8 digits are needed, and all 32 for a key that is not published). CKKS keys are rotated, not revoked.`,
  );
}

function keysOfZones(listing: KeyListing, zones: readonly ZoneName[]): string[] {
  const identities = zones.map((zone): string => ZONE_IDENTITY[zone]);
  const signers = listing.signers.filter(({ zone }) => zones.includes(zone));
  const isIdentity = ({ purpose }: { purpose: string }) => identities.includes(purpose);
  return [
    ...new Set([
      ...signers
        .filter(isIdentity)
        .toSorted((a, b) => a.generation - b.generation)
        .map(({ kid }) => kid),
      ...signers.filter((one) => !isIdentity(one)).map(({ kid }) => kid),
      ...listing.recipients
        .filter(({ zone }) => zones.includes(zone))
        .map(({ recipient }) => hex(recipient.kid)),
    ]),
  ];
}

function keysOfGrant(listing: KeyListing, options: Options): string[] {
  const topic = grantTopicOption(options["topic"]);
  const name = nameOption(options["name"]);
  const found = listing.recipients.filter(
    ({ of }) => "name" in of && of.topic === topic && of.name === name,
  );
  if (found.length > 0) return [...new Set(found.map(({ recipient }) => hex(recipient.kid)))];
  throw new SealstreamError("usage", `Nobody called ${name} has a grant of ${topic}.`);
}

/** A zone whose only identity is gone could say nothing any more, unless all of the zone is to go. */
function assertAnotherIdentity(listing: KeyListing, targets: readonly string[]): void {
  for (const zone of ZONES) {
    const identities = listing.signers.filter(
      (one) => one.purpose === ZONE_IDENTITY[zone] && one.trusted,
    );
    const others = listing.signers.filter((one) => one.zone === zone && one.trusted);
    const isWhole = zone !== REVOKING_ZONE && others.every(({ kid }) => targets.includes(kid));
    if (identities.length === 0 || isWhole) continue;
    if (identities.some(({ kid }) => !targets.includes(kid))) continue;
    throw new SealstreamError(
      "key-forbidden",
      `That is the only identity of ${zone}, and everything rests on it: run "sealstream keys rotate FILE identity --zone ${zone}" first.`,
    );
  }
}

/** Who signs: an identity of the zone that stays, else the owner's. @throws `key-missing` */
function speakerFor(
  { identities, root }: Ceremony,
  zone: ZoneName,
  targets: readonly string[],
): SigningKey {
  const candidates = [identities.get(zone), identities.get(REVOKING_ZONE)];
  const found = candidates.find((one) => one !== undefined && !targets.includes(hex(one.kid)));
  if (found !== undefined) return found;
  throw new SealstreamError(
    "key-missing",
    `Revoking a key of ${zone} needs the identity of ${zone} or of ${REVOKING_ZONE} in ${root}/identities.`,
  );
}

/** Topics whose data keys are wrapped for one of the keys. */
function topicsOf(listing: KeyListing, targets: readonly string[]): SealedTopic[] {
  const found = listing.recipients
    .filter(({ recipient }) => targets.includes(hex(recipient.kid)))
    .flatMap(({ of }) => ("name" in of ? [of.topic] : topicsFor(of.purpose)));
  return [...new Set([...found, ...targets.flatMap((kid) => topicsWrappedFor(listing, kid))])];
}

function sayWhatItMeans(
  { context, directory, file }: Ceremony,
  listing: KeyListing,
  { targets, topics }: { targets: readonly string[]; topics: readonly SealedTopic[] },
): void {
  const signers = listing.signers.filter(({ kid }) => targets.includes(kid));
  if (signers.length > 0) {
    const names = [...new Set(signers.map(({ purpose }) => purpose))].join(", ");
    context.tell(
      `What ${names} signed is refused from now on, also what is of before: data keys and all that is sealed under them, bundles, receipts of replayed letters, and the state of lanes that have not written since a newer key came, which then do not start. A key that nobody has stolen is only rotated.`,
    );
  }
  const believed = new Set(
    directory
      .list()
      .signers.filter(({ trusted }) => trusted)
      .map(({ purpose }) => purpose),
  );
  for (const purpose of new Set(signers.map((one) => one.purpose))) {
    if (believed.has(purpose) || purpose.endsWith("-identity")) continue;
    context.tell(
      `No ${purpose} is believed now, and a running stage signs on with the revoked one, for nobody: run "sealstream keys rotate ${file} ${purpose}" at once. Rotating first loses nothing.`,
    );
  }
  if (topics.length > 0) {
    context.tell(
      `Who kept the old wraps can still open what they could read before; what comes to ${topics.join(" and ")} now is sealed under new data keys.`,
    );
  }
  for (const topic of topics) {
    const others = unpublishedReaders(directory.list(), topic);
    if (others.length > 0) {
      context.tell(
        `Data keys of ${topic} stay wrapped for keys that the topic does not name any more: ${others.join(", ")}. An earlier key of a reader that you revoked may be among them: revoke it by its id.`,
      );
    }
    if (directory.recipientsFor(topic) !== null) continue;
    context.tell(
      `Nothing is sealed into ${topic} until a key that it needs is published again: run "sealstream keys rotate ${file} PURPOSE".`,
    );
  }
  context.tell(
    `Running stages have it from the topic; give the new ${file} to every zone, so that it also holds for a topic that was restored. When an identity was revoked that a running stage's file still pins alone, restart that stage with the new file.`,
  );
}
