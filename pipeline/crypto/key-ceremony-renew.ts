/**
 * Ceremonies after the first: introducing an identity, granting, revoking, and wrapping data keys anew.
 *
 * All of it is signed entries; who publishes them publishes them in one transaction. Wrapping anew never gives a third
 * party more than it had: who was granted a topic from now on keeps away from the data keys that were there before.
 * Must not: read files or topics, or print.
 */
import { rewrapDataKey } from "./data-key.ts";
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

/**
 * Everything that a zone has said and still means, said again by its next identity: so that what the old one signed can
 * be forgotten. The old identity must be trusted still.
 */
export function signedAnew(options: {
  readonly pipeline: string;
  readonly zone: ZoneName;
  readonly listing: KeyListing;
  readonly by: SigningKey;
  /** The newest manifests of the consumer's blobs. */
  readonly blobs: readonly KeyEntry[];
}): KeyEntry[] {
  const { pipeline, zone, listing, by } = options;
  const say = (payload: KeyPayload) => signEntry({ pipeline, payload, signer: by });
  const signers = listing.signers
    .filter((one) => one.zone === zone && one.trusted)
    .flatMap(({ purpose, publicKey, generation }) =>
      isStageSigning(purpose) ? [say({ type: "signer", generation, purpose, publicKey })] : [],
    );
  const recipients = listing.recipients
    .filter((one) => one.zone === zone && one.trusted && one.current)
    .map(({ of, generation, recipient: { algorithm, publicKey } }) =>
      say(
        "name" in of
          ? { type: "grant", generation, topic: of.topic, name: of.name, algorithm, publicKey }
          : { type: "recipient", generation, purpose: of.purpose, algorithm, publicKey },
      ),
    );
  const identities = new Set(
    listing.signers.filter(({ purpose }) => !isStageSigning(purpose)).map(({ kid }) => kid),
  );
  const dataKeys = listing.dataKeys
    .filter(({ payload, trusted }) => trusted && zoneOfTopic(payload.topic) === zone)
    .filter((one) => identities.has(one.by))
    .map(({ payload }) => say(payload));
  const revocations = revokedOf(listing, zone).map((one) =>
    say({ type: "revocation", generation: 1, ...one }),
  );
  return [...signers, ...recipients, ...options.blobs, ...dataKeys, ...revocations];
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
