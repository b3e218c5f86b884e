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
import { MAX_RECIPIENTS } from "./wrap/key-wrap.ts";
import type { Recipient, RemoteUnwrapKey, UnwrapKey, WrappedKey } from "./wrap/types.ts";

/** What became of the data keys of a topic. */
export interface Rewrapped {
  readonly topic: SealedTopic;
  readonly entries: readonly KeyEntry[];
  /** How many no key at hand opens, so that they stay as they are. */
  readonly closed: number;
}

/** Whom a data key is to be wrapped for from now on. */
interface Wanted {
  /** Wrapped anew. */
  readonly recipients: readonly Recipient[];
  /** Kept as they are: of keys that are not published any more, and not revoked. */
  readonly keep: readonly WrappedKey[];
}

/**
 * The zones' keys of now, and of the third parties' keys those that could open it already: a reader's other key, earlier
 * or later, is not given what it could not open, unless `add` names the reader. Then its key of now takes the place of its
 * earlier ones. An earlier key that compaction took out of the topic keeps its wrap: nobody says that it is to lose it.
 */
function wantedFor(
  directory: KeyDirectory,
  { topic, audience, recipients: wraps }: DataKeyPayload,
  { listing, add }: { readonly listing: KeyListing; readonly add: readonly string[] },
): Wanted {
  const own = SEALED_TOPICS[topic].recipients.flatMap((purpose) =>
    purpose === "reader" ? [] : (directory.recipient(purpose) ?? []),
  );
  if (!isGrantTopic(topic)) return { recipients: own, keep: [] };
  const isFor = (name: string) => audience.length === 0 || audience.includes(name);
  const added = directory.grants(topic).filter(({ name }) => add.includes(name) && isFor(name));
  const had = new Set(wraps.map(({ kid }) => hex(kid)));
  const kept = listing.recipients.flatMap(({ of, recipient, trusted }) =>
    "name" in of &&
    of.topic === topic &&
    trusted &&
    had.has(hex(recipient.kid)) &&
    isFor(of.name) &&
    !added.some(({ name }) => name === of.name)
      ? [recipient]
      : [],
  );
  const readers = new Map(
    [...kept, ...added.map(({ recipient }) => recipient)].map((one) => [hex(one.kid), one]),
  );
  const recipients = [...own, ...readers.values()];
  const strange = new Set(strangers(listing, { topic, recipients: wraps }));
  const keep = wraps.filter(({ kid }) => strange.has(hex(kid)));
  return { recipients, keep: keep.slice(0, MAX_RECIPIENTS - recipients.length) };
}

/** Hex kids of wraps whose keys nobody has published, as far as the topic still says, and nobody revoked. */
function strangers(
  { recipients, revoked }: KeyListing,
  of: Pick<DataKeyPayload, "topic" | "recipients">,
): string[] {
  const known = recipients
    .filter((one) => !("name" in one.of) || one.of.topic === of.topic)
    .map(({ recipient }) => hex(recipient.kid));
  const named = new Set([...known, ...revoked]);
  return of.recipients.map(({ kid }) => hex(kid)).filter((kid) => !named.has(kid));
}

/** Hex kids of keys that open data keys of a topic which third parties may read, and that nobody publishes any more. */
export function unpublishedReaders(listing: KeyListing, topic: SealedTopic): string[] {
  if (!isGrantTopic(topic)) return [];
  const found = listing.dataKeys
    .filter(({ payload, trusted }) => trusted && payload.topic === topic)
    .flatMap(({ payload }) => strangers(listing, payload));
  return [...new Set(found)];
}

function isSameSet(a: readonly { kid: Uint8Array }[], b: readonly { kid: Uint8Array }[]): boolean {
  const names = (all: typeof a) =>
    all
      .map(({ kid }) => hex(kid))
      .toSorted()
      .join();
  return names(a) === names(b);
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
  for (const { payload, trusted } of listing.dataKeys) {
    if (payload.topic !== topic || !trusted) continue;
    const { recipients, keep } = wantedFor(directory, payload, { listing, add });
    if (recipients.length === 0 || isSameSet([...recipients, ...keep], payload.recipients))
      continue;
    const unwrapKey = unwrapKeys.find(({ kid }) =>
      payload.recipients.some((wrap) => Buffer.compare(wrap.kid, kid) === 0),
    );
    const common = { pipeline, announced: payload, recipients, keep, signer: identity, kms };
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

/** Zone of a key, by its id: of a published one, else that of a topic it opens. @param kid hex */
export function zoneOfKey(listing: KeyListing, kid: string): ZoneName | null {
  const signer = listing.signers.find((one) => one.kid === kid);
  if (signer !== undefined) return PURPOSES[signer.purpose].zone;
  const found = listing.recipients.find(({ recipient }) => hex(recipient.kid) === kid);
  if (found !== undefined) return found.zone;
  const [topic] = topicsWrappedFor(listing, kid);
  return topic === undefined ? null : zoneOfTopic(topic);
}

/** Sealed topics of which a data key is wrapped for a key. @param kid hex */
export function topicsWrappedFor({ dataKeys }: KeyListing, kid: string): SealedTopic[] {
  const found = dataKeys.filter(
    ({ payload, trusted }) => trusted && payload.recipients.some((wrap) => hex(wrap.kid) === kid),
  );
  return [...new Set(found.map(({ payload }) => payload.topic))];
}
