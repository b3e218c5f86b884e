/**
 * `sealstream keys revoke FILE KID`, `--name NAME --topic TOPIC` or `--zone ZONE`: keys that are believed no more.
 *
 * A revocation is for ever. It goes into the topic, where running stages see it, and into the pipeline file, so that it
 * outlives a topic that somebody rolled back. Nobody can be made to forget what they have read.
 */
import type { KeyListing } from "../../crypto/directory.ts";
import { revocationEntry, topicsFor, zoneOfKey } from "../../crypto/key-ceremony-renew.ts";
import { hex, type SigningKey } from "../../crypto/key-handles.ts";
import {
  type SealedTopic,
  ZONE_IDENTITY,
  ZONES,
  type ZoneName,
} from "../../crypto/key-purposes.ts";
import { REVOKING_ZONE } from "../../crypto/trust.ts";
import { SealstreamError } from "../../errors.ts";
import { pinRevoked } from "../../spec/pin-zones.ts";
import { type CommandContext, EXIT } from "../context.ts";
import type { Options } from "../options.ts";
import { type Ceremony, withCeremony, zonesOption } from "./ceremony.ts";
import { grantTopicOption, nameOption } from "./grant.ts";
import { editFile } from "./pin-file.ts";
import { publishAndCatchUp, rewraps } from "./rewrap.ts";

/** Hex digits of a kid, and how many of them are enough. */
const KID = /^[0-9a-f]{8,32}$/;

export function revoke(
  context: CommandContext,
  file: string,
  ...[kid, options]: [string | undefined, Options]
): Promise<number> {
  return withCeremony(context, { file, options }, async (ceremony) => {
    const { directory, spec } = ceremony;
    const listing = directory.list();
    const targets = targetsOf(listing, kid, options);
    assertAnotherIdentity(listing, targets);
    const entries = targets.map((one) => {
      const zone = zoneOfTarget(listing, one);
      const identity = speakerFor(ceremony, zone, targets);
      const bytes = new Uint8Array(Buffer.from(one, "hex"));
      return revocationEntry({ pipeline: spec.name, kid: bytes, zone, identity });
    });
    // So that data keys are wrapped for those who are left, and all of it is published at once.
    for (const { key, value } of entries) directory.apply(key, value);
    const topics = topicsOf(listing, targets);
    const renewed = await rewraps(ceremony, { topics });
    const late = await publishAndCatchUp(ceremony, [...entries, ...renewed], { topics });
    await editFile(file, (text) => pinRevoked(text, targets));
    context.print(
      `${targets.join(", ")} revoked in ${file} and in the topic; ${renewed.length + late} data keys wrapped anew`,
    );
    sayWhatItMeans(ceremony, listing, { targets, topics });
    return EXIT.ok;
  });
}

/** Hex kids, identities last: they may have to sign the others' revocations. */
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
  throw new SealstreamError(
    "usage",
    found.length > 1
      ? `Several keys begin with ${wanted}: give more of its digits.`
      : `No published key has the id ${wanted}: "sealstream keys list" shows the ids (at least 8 digits are needed). CKKS keys are rotated, not revoked.`,
  );
}

function keysOfZones(listing: KeyListing, zones: readonly ZoneName[]): string[] {
  const identities = zones.map((zone): string => ZONE_IDENTITY[zone]);
  const signers = listing.signers.filter(({ zone }) => zones.includes(zone));
  const isIdentity = ({ purpose }: { purpose: string }) => identities.includes(purpose);
  return [
    ...new Set([
      ...listing.recipients
        .filter(({ zone }) => zones.includes(zone))
        .map(({ recipient }) => hex(recipient.kid)),
      ...signers.filter((one) => !isIdentity(one)).map(({ kid }) => kid),
      ...signers.filter(isIdentity).map(({ kid }) => kid),
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

function zoneOfTarget(listing: KeyListing, kid: string): ZoneName {
  const zone = zoneOfKey(listing, kid);
  if (zone === null) throw new SealstreamError("internal", "A known key has no zone.");
  return zone;
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
function topicsOf({ recipients }: KeyListing, targets: readonly string[]): SealedTopic[] {
  const found = recipients
    .filter(({ recipient }) => targets.includes(hex(recipient.kid)))
    .flatMap(({ of }) => ("name" in of ? [of.topic] : topicsFor(of.purpose)));
  return [...new Set(found)];
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
      `What ${names} signed is refused from now on: data keys and bundles under it, also those of before.`,
    );
  }
  if (topics.length > 0) {
    context.tell(
      `Who kept the old wraps can still open what they could read before; new records of ${topics.join(", ")} are sealed under new data keys.`,
    );
  }
  for (const topic of topics) {
    if (directory.recipientsFor(topic) !== null) continue;
    context.tell(
      `Nothing is sealed into ${topic} until a key that it needs is published again: run "sealstream keys rotate ${file} PURPOSE".`,
    );
  }
  context.tell(
    `Running stages have it from the topic; give the new ${file} to every zone, so that it also holds for a topic that was restored.`,
  );
}
