/**
 * Ceremonies after the first: introducing an identity, granting, revoking, and wrapping data keys anew.
 *
 * All of it is signed entries; who publishes them publishes them in one transaction. Wrapping anew never gives a third
 * party more than it had: who was granted a topic from now on keeps away from the data keys that were there before.
 * Must not: read files or topics, or print.
 */
import { opensDataKey, rewrapDataKey } from "./data-key.ts";
import type { KeyDirectory, KeyListing } from "./directory.ts";
import { type KeyEntry, signEntry } from "./key-entries.ts";
import { hex, type SigningKey } from "./key-handles.ts";
import type { DataKeyPayload, KeyPayload } from "./key-payload.ts";
import {
  isGrantTopic,
  isStageSigning,
  PURPOSES,
  SEALED_TOPICS,
  type SealedTopic,
  type ZoneName,
  zoneOfTopic,
} from "./key-purposes.ts";
import type { Kms } from "./kms/kms.ts";
import { REVOKING_ZONE } from "./trust.ts";
import { recipientNames } from "./wrap/key-wrap.ts";
import type { Recipient, RemoteUnwrapKey, UnwrapKey } from "./wrap/types.ts";

/** What became of the data keys of a topic. */
export interface Rewrapped {
  readonly topic: SealedTopic;
  readonly entries: readonly KeyEntry[];
  /** How many no key at hand opens, so that they stay as they are. */
  readonly closed: number;
}

/** Names of the third parties of a topic, by the ids (hex) of every key they had. */
function readersOf(listing: KeyListing, topic: SealedTopic): ReadonlyMap<string, string> {
  const names = new Map<string, string>();
  for (const { of, recipient } of listing.recipients) {
    if ("name" in of && of.topic === topic) names.set(hex(recipient.kid), of.name);
  }
  return names;
}

/**
 * Whom a data key is to be wrapped for from now on: the zones' keys of now, and of the third parties those that could
 * open it already and those named in `add`, each with its key of now.
 */
function recipientsOf(
  directory: KeyDirectory,
  { topic, audience, recipients }: DataKeyPayload,
  { names, add }: { names: ReadonlyMap<string, string>; add: readonly string[] },
): readonly Recipient[] {
  const own = SEALED_TOPICS[topic].recipients.flatMap((purpose) =>
    purpose === "reader" ? [] : (directory.recipient(purpose) ?? []),
  );
  if (!isGrantTopic(topic)) return own;
  const wanted = new Set([...add, ...recipients.map(({ kid }) => names.get(hex(kid)))]);
  const readers = directory
    .grants(topic)
    .filter(({ name }) => wanted.has(name) && (audience.length === 0 || audience.includes(name)));
  return [...own, ...readers.map(({ recipient }) => recipient)];
}

/**
 * Entries that give data keys to whom they are to be for now; those that are right already are left alone.
 * @param options `unwrapKeys`: what opens them: a recovery key, or another recipient's; `identity`: of the topic's zone
 * @throws what a service says that is asked for a key, and `internal` for an identity of another zone
 */
export async function rewrapTopic(options: {
  readonly pipeline: string;
  readonly topic: SealedTopic;
  readonly directory: KeyDirectory;
  readonly unwrapKeys: readonly (UnwrapKey | RemoteUnwrapKey)[];
  readonly identity: SigningKey;
  /** Names of grants that get data keys which they could not open before. */
  readonly add?: readonly string[] | undefined;
  readonly kms?: Kms | undefined;
}): Promise<Rewrapped> {
  const { pipeline, topic, directory, unwrapKeys, identity, add = [], kms } = options;
  const entries: KeyEntry[] = [];
  let closed = 0;
  const listing = directory.list();
  const names = readersOf(listing, topic);
  for (const { payload, trusted } of listing.dataKeys) {
    if (payload.topic !== topic || !trusted) continue;
    const recipients = recipientsOf(directory, payload, { names, add });
    if (
      recipients.length === 0 ||
      recipientNames(recipients) === recipientNames(payload.recipients)
    )
      continue;
    const unwrapKey = unwrapKeys.find(({ kid }) =>
      payload.recipients.some((wrap) => Buffer.compare(wrap.kid, kid) === 0),
    );
    const common = { pipeline, announced: payload, recipients, signer: identity, kms };
    const entry = unwrapKey && (await rewrapDataKey({ ...common, unwrapKey }));
    if (entry) entries.push(entry);
    else closed += 1;
  }
  return { topic, entries, closed };
}

/** A zone's next identity, introduced by the one before. */
export function identityEntry(options: {
  readonly pipeline: string;
  readonly zone: ZoneName;
  readonly next: SigningKey;
  readonly generation: number;
  readonly by: SigningKey;
}): KeyEntry {
  const { pipeline, zone, next, generation, by } = options;
  const payload = { type: "identity", generation, zone, publicKey: next.publicKey } as const;
  return signEntry({ pipeline, payload, signer: by });
}

/** A key that is believed no more. @param options `identity`: of the key's zone, or the owner's */
export function revocationEntry(options: {
  readonly pipeline: string;
  readonly kid: Uint8Array;
  readonly zone: ZoneName;
  readonly identity: SigningKey;
}): KeyEntry {
  const { pipeline, kid, zone, identity } = options;
  return signEntry({
    pipeline,
    payload: { type: "revocation", generation: 1, zone, kid },
    signer: identity,
  });
}

/** What a zone's next identity does not say again, so that it goes with the old one. */
export interface LeftOut {
  readonly what: "signer" | "recipient" | "grant" | "ckks" | "data-keys";
  /** Purpose, `TOPIC: NAME` of a grant, or topic of data keys. */
  readonly name: string;
  /** Hex; null for data keys, which are counted. */
  readonly kid: string | null;
  /** Of data keys, how many. */
  readonly generation: number;
}

/** Whom the next identity is to speak for. */
export interface Kept {
  /** Hex kids of the keys whose private halves are here. */
  readonly here: ReadonlySet<string>;
  /** Generations of the CKKS secret key that are here. */
  readonly ckks: ReadonlySet<number>;
  /** Hex kids that a person named. */
  readonly named: ReadonlySet<string> | "all";
}

/**
 * What a zone has said and still means, said again by its next identity: so that what the old one signed can be
 * forgotten. The old identity must be trusted still, but may have been stolen: only what is proven to be the zone's own
 * by its private half, and what a person names, is said again. Data keys that an identity wrapped anew are said again
 * when a key here opens them.
 */
export async function signedAnew(options: {
  readonly pipeline: string;
  readonly zone: ZoneName;
  readonly listing: KeyListing;
  readonly by: SigningKey;
  readonly kept: Kept;
  readonly unwrapKeys: readonly (UnwrapKey | RemoteUnwrapKey)[];
}): Promise<{ readonly entries: readonly KeyEntry[]; readonly leftOut: readonly LeftOut[] }> {
  const { pipeline, zone, listing, by, kept, unwrapKeys } = options;
  const say = (payload: KeyPayload) => signEntry({ pipeline, payload, signer: by });
  const known = publicOf(listing, zone);
  const stays = known.filter(({ left }) => isKept(left, kept));
  const dataKeys = await renewable(listing, { pipeline, zone, unwrapKeys });
  const revocations = revokedOf(listing, zone).map((one) =>
    say({ type: "revocation", generation: 1, ...one }),
  );
  return {
    entries: [
      ...stays.map(({ payload }) => say(payload)),
      ...dataKeys.open.map((payload) => say(payload)),
      ...revocations,
    ],
    leftOut: [
      ...known.filter((one) => !stays.includes(one)).map(({ left }) => left),
      ...[...dataKeys.closed].map(([name, generation]): LeftOut => {
        return { what: "data-keys", name, kid: null, generation };
      }),
    ],
  };
}

/** Whether the next identity answers for a key. */
export function isKept({ what, kid, generation }: LeftOut, { here, ckks, named }: Kept): boolean {
  if (named === "all" || (kid !== null && named.has(kid))) return true;
  // A grant is somebody else's key, which no private half can prove.
  if (what === "grant" || kid === null) return false;
  return what === "ckks" ? ckks.has(generation) : here.has(kid);
}

/** Signers and the recipients of now that a zone believes, as they would be said again. */
function publicOf(listing: KeyListing, zone: ZoneName): { payload: KeyPayload; left: LeftOut }[] {
  const signers = listing.signers
    .filter((one) => one.zone === zone && one.trusted)
    .flatMap(({ kid, purpose, publicKey, generation }) => {
      if (!isStageSigning(purpose)) return [];
      const payload: KeyPayload = { type: "signer", generation, purpose, publicKey };
      return [{ payload, left: { what: "signer" as const, name: purpose, kid, generation } }];
    });
  const recipients = listing.recipients
    .filter((one) => one.zone === zone && one.trusted && one.current)
    .map(({ of, generation, recipient: { algorithm, publicKey, kid } }) => {
      const key = { generation, algorithm, publicKey };
      const left = { kid: hex(kid), generation };
      if ("name" in of) {
        const payload: KeyPayload = { type: "grant", topic: of.topic, name: of.name, ...key };
        return {
          payload,
          left: { what: "grant" as const, name: `${of.topic}: ${of.name}`, ...left },
        };
      }
      const payload: KeyPayload = { type: "recipient", purpose: of.purpose, ...key };
      return { payload, left: { what: "recipient" as const, name: of.purpose, ...left } };
    });
  return [...signers, ...recipients];
}

/**
 * Data keys that an identity of the zone wrapped anew: those that a key here opens, and of the others how many by topic.
 * Those of stage keys need nothing, as the stage keys are said again.
 */
async function renewable(
  listing: KeyListing,
  given: {
    readonly pipeline: string;
    readonly zone: ZoneName;
    readonly unwrapKeys: readonly (UnwrapKey | RemoteUnwrapKey)[];
  },
) {
  const { pipeline, zone, unwrapKeys } = given;
  const identities = new Set(
    listing.signers.filter(({ purpose }) => !isStageSigning(purpose)).map(({ kid }) => kid),
  );
  const open: DataKeyPayload[] = [];
  const closed = new Map<string, number>();
  for (const { payload, by, trusted } of listing.dataKeys) {
    if (!trusted || zoneOfTopic(payload.topic) !== zone || !identities.has(by)) continue;
    if (await opensDataKey({ pipeline, announced: payload, unwrapKeys })) open.push(payload);
    else closed.set(payload.topic, (closed.get(payload.topic) ?? 0) + 1);
  }
  return { open, closed };
}

/** What is revoked and known, of those keys that the zone may speak of. */
function revokedOf(listing: KeyListing, zone: ZoneName) {
  const known = [
    ...listing.signers.map(({ kid, zone: of }) => ({ kid, zone: of })),
    ...listing.recipients.map(({ recipient, zone: of }) => ({ kid: hex(recipient.kid), zone: of })),
  ];
  return listing.revoked.flatMap((kid) => {
    const found = known.find((one) => one.kid === kid);
    if (found === undefined || (found.zone !== zone && zone !== REVOKING_ZONE)) return [];
    return [{ zone: found.zone, kid: new Uint8Array(Buffer.from(kid, "hex")) }];
  });
}

/** Sealed topics whose data keys are wrapped for a purpose. */
export function topicsFor(purpose: string): SealedTopic[] {
  return sealedTopics().filter((topic) =>
    SEALED_TOPICS[topic].recipients.some((one) => one === purpose),
  );
}

export function sealedTopics(): SealedTopic[] {
  // Because the keys of the table are its type's.
  return Object.keys(SEALED_TOPICS) as SealedTopic[];
}

/** Zone of a published key, by its id. @param kid hex */
export function zoneOfKey(listing: KeyListing, kid: string): ZoneName | null {
  const signer = listing.signers.find((one) => one.kid === kid);
  if (signer !== undefined) return PURPOSES[signer.purpose].zone;
  return listing.recipients.find(({ recipient }) => hex(recipient.kid) === kid)?.zone ?? null;
}
