/**
 * The key directory: what the records of the `keys` topic mean, given the pinned identities and nothing else.
 *
 * A pure reducer: the same records in the same order give the same directory, and so do the records that compaction
 * leaves, read twice where `takeMissed` asks for it. Who may say what:
 * - `identity`: a trusted identity of the same zone
 * - `signer` and `recipient`: an identity of the zone that the purpose belongs to
 * - `grant`: an identity of the zone that seals the topic
 * - `revocation`: an identity of the revoked key's zone, or the owner's
 * - `data-key`: the certified stage key that SEALED_TOPICS names for the topic, or an identity of its zone (wrapped anew)
 * - `blob`: an identity of the consumer
 * Everything else is refused, and what rests on a revoked key counts no more (trust.ts). A data key whose signer is not
 * certified yet waits, within limits. Tombstones and entries of an older generation are refused: who can write to the
 * topic cannot take the newest key away.
 * Must not: read Kafka, or keep views of the buffers it was given (all is copied).
 */
import { type BlobAssembler, createBlobAssembler, type PublicBlob } from "./blob-assembler.ts";
import { verify1 } from "./cose-sign1.ts";
import type { DataKey } from "./data-key.ts";
import { type AnnouncedDataKey, createHeldDataKeys, type HeldDataKeys } from "./held-data-keys.ts";
import { chunkNameOf, keyNameOf, keysContext } from "./key-entries.ts";
import { hex } from "./key-handles.ts";
import {
  type DataKeyPayload,
  decodePayload,
  type GrantPayload,
  type KeyPayload,
  type RecipientPayload,
} from "./key-payload.ts";
import {
  BLOB_PURPOSES,
  BLOB_ZONE,
  type BlobPurpose,
  type GrantTopic,
  isGrantTopic,
  PURPOSES,
  SEALED_TOPICS,
  type SealedTopic,
  type SigningPurpose,
  type UnwrapPurpose,
  ZONE_IDENTITY,
  zoneOfTopic,
} from "./key-purposes.ts";
import {
  createPublishedKeys,
  type Grant,
  type ListedRecipient,
  type PublishedKeys,
} from "./published-keys.ts";
import {
  createTrust,
  type ListedSigner,
  REVOKING_ZONE,
  type Trust,
  type TrustRoot,
} from "./trust.ts";
import { createRecipient } from "./wrap/key-wrap.ts";
import type { AnyUnwrapKey, Recipient } from "./wrap/types.ts";

export type { BlobPurpose } from "./key-purposes.ts";

/** What became of a record. */
export type Applied = "accepted" | "pending" | "refused";

/** Everything that the directory believes or once believed, for people. */
export interface KeyListing {
  readonly signers: readonly ListedSigner[];
  readonly recipients: readonly ListedRecipient[];
  readonly dataKeys: readonly (AnnouncedDataKey & { readonly trusted: boolean })[];
  readonly blobs: readonly (PublicBlob & { readonly purpose: BlobPurpose })[];
  /** Hex kids. */
  readonly revoked: readonly string[];
}

export interface KeyDirectory {
  /** Rises with each accepted record, and when more can be opened than before. */
  readonly version: number;
  /** Applies a record of the `keys` topic; never throws on bad input. `pending`: waits for a signer or for chunks. */
  apply(key: Uint8Array | null, value: Uint8Array | null): Applied;
  /** The newest published key of a purpose that is not revoked. */
  recipient(purpose: UnwrapPurpose): Recipient | null;
  /** Third parties that may read a topic, by name. */
  grants(topic: GrantTopic): readonly Grant[];
  /**
   * Whom a data key of a topic is to be wrapped for now: each zone's key that the topic needs, the recovery key where one
   * is published, and third parties. Null while one that must be there is not.
   * @param audience names of grants; undefined: whoever has a grant of the topic
   */
  recipientsFor(topic: SealedTopic, audience?: readonly string[]): readonly Recipient[] | null;
  /** A certified stage key or identity of one of these purposes. */
  findSigner(
    kid: Uint8Array,
    allowedPurposes: readonly SigningPurpose[],
  ): { readonly publicKey: Uint8Array; readonly purpose: SigningPurpose } | null;
  /** A handle that opens, when the key is of this topic and wrapped for one of our unwrap keys. */
  findDataKey(kid: Uint8Array, topic: SealedTopic): DataKey | null;
  /** The newest. */
  blob(purpose: BlobPurpose): PublicBlob | null;
  /** The consumer's public key of this id (hex). */
  consumerKey(id: string): PublicBlob | null;
  /** The consumer's public key of this id (hex) and the evaluation keys that were made with it. */
  consumerKeys(
    id: string,
  ): { readonly publicKey: PublicBlob; readonly evaluation: PublicBlob } | null;
  /** While a data key that somebody asked for is being unwrapped elsewhere. */
  isBusy(): boolean;
  /**
   * True, once, when an entry that waited for its signer had to give way since the last call: once signers are known, the
   * topic is read again. In a compacted topic certificates may stand behind what they certify.
   */
  takeMissed(): boolean;
  /** Call when unwrapping keys were added. */
  keysAdded(): void;
  list(): KeyListing;
}

/** Entries that wait for a signer: enough for a start in any order, little enough to be filled by an attacker. */
const MAX_PENDING = 16_384;
const MAX_PENDING_BYTES = 16 * 1024 * 1024;
/** Longest record key that we write is "recipient/prediction-dead-letter/" and 32 hex digits. */
const MAX_KEY_BYTES = 200;

export interface DirectoryOptions extends TrustRoot {
  readonly pipeline: string;
  /** Ours; asked again whenever a data key is looked for. */
  readonly unwrapKeys?: (() => readonly AnyUnwrapKey[]) | undefined;
  /** Blobs to keep, all by default. */
  readonly blobPurposes?: readonly BlobPurpose[] | undefined;
  /** Called when a data key has been unwrapped elsewhere. */
  readonly onUnwrapped?: (() => void) | undefined;
  /** Called when a data key could not be unwrapped elsewhere: the service is away. */
  readonly onUnwrapFailed?: ((error: unknown) => void) | undefined;
  /** Keeps data keys that are for others too, for {@link KeyDirectory.list}. */
  readonly keepsAllDataKeys?: boolean | undefined;
}

interface State {
  readonly pipeline: string;
  readonly trust: Trust;
  readonly published: PublishedKeys;
  readonly dataKeys: HeldDataKeys;
  readonly blobs: BlobAssembler;
  readonly pending: { readonly key: Uint8Array; readonly value: Uint8Array }[];
  pendingBytes: number;
  /** An entry that waited had to give way. */
  missed: boolean;
}

/** An empty directory that believes the pinned identities. */
export function createKeyDirectory(options: DirectoryOptions): KeyDirectory {
  const { pipeline } = options;
  const unwrapKeys = options.unwrapKeys ?? (() => []);
  const trust = createTrust(options);
  const published = createPublishedKeys(trust);
  const wants = ({ recipients }: DataKeyPayload): boolean => {
    if (options.keepsAllDataKeys === true) return true;
    const purposes = new Set(unwrapKeys().map(({ purpose }) => purpose));
    const ours = new Set(unwrapKeys().map(({ kid }) => hex(kid)));
    // Also a key of ours that was published and is not loaded yet.
    return recipients.some(({ kid }) => {
      const purpose = published.purposeOf(hex(kid));
      return ours.has(hex(kid)) || (purpose !== null && purposes.has(purpose));
    });
  };
  let version = 0;
  const onUnwrapped = () => {
    version++;
    options.onUnwrapped?.();
  };
  const state: State = {
    pipeline,
    trust,
    published,
    dataKeys: createHeldDataKeys({ ...options, unwrapKeys, wants, onUnwrapped }),
    blobs: createBlobAssembler({ purposes: options.blobPurposes ?? BLOB_PURPOSES }),
    pending: [],
    pendingBytes: 0,
    missed: false,
  };
  const trustedBlob = (blob: PublicBlob | null) =>
    blob?.by.some((kid) => trust.isTrusted(kid, [ZONE_IDENTITY[BLOB_ZONE]])) === true ? blob : null;
  return {
    get version() {
      return version;
    },
    apply(key, value) {
      if (key === null || value === null || key.length > MAX_KEY_BYTES) return "refused";
      const { applied, certified } = applyEntry(state, key, value);
      if (applied === "accepted") version++;
      if (applied === "pending" && !certified) hold(state, key, value);
      if (certified) version += retryPending(state);
      return applied;
    },
    recipient: (purpose) => published.recipient(purpose),
    grants: (topic) => published.grants(topic),
    recipientsFor: (topic, audience) => recipientsFor(published, topic, audience),
    findSigner(kid, allowedPurposes) {
      const signer = trust.find(hex(kid));
      const purpose = allowedPurposes.find((one) => signer?.purposes.includes(one) === true);
      return signer === null || purpose === undefined
        ? null
        : { publicKey: signer.publicKey, purpose };
    },
    findDataKey(kid, topic) {
      const name = hex(kid);
      const by = state.dataKeys.signerOf(name);
      return by !== null && trust.isTrusted(by, dataKeySigners(topic))
        ? state.dataKeys.find(name, topic)
        : null;
    },
    blob: (purpose) => trustedBlob(state.blobs.blob(purpose)),
    consumerKey: (id) => trustedBlob(state.blobs.byId("ckks-public", id)),
    consumerKeys(id) {
      const publicKey = trustedBlob(state.blobs.byId("ckks-public", id));
      if (publicKey === null) return null;
      const { generation } = publicKey;
      const evaluation = trustedBlob(state.blobs.ofGeneration("ckks-evaluation", generation));
      return evaluation && { publicKey, evaluation };
    },
    isBusy: () => state.dataKeys.isBusy(),
    takeMissed() {
      const { missed } = state;
      state.missed = false;
      return missed;
    },
    keysAdded() {
      version++;
      state.dataKeys.retry();
    },
    list: () => listOf(state),
  };
}

function listOf({ trust, published, dataKeys, blobs }: State): KeyListing {
  return {
    signers: trust.signers(),
    recipients: published.all(),
    dataKeys: dataKeys.all().map((one) => ({
      ...one,
      trusted: trust.isTrusted(one.by, dataKeySigners(one.payload.topic)),
    })),
    blobs: BLOB_PURPOSES.flatMap((purpose) =>
      blobs.all(purpose).map((blob) => ({ ...blob, purpose })),
    ),
    revoked: trust.revoked(),
  };
}

function recipientsFor(
  published: PublishedKeys,
  topic: SealedTopic,
  audience: readonly string[] | undefined,
): readonly Recipient[] | null {
  const { recipients, recovery } = SEALED_TOPICS[topic];
  const found: Recipient[] = [];
  for (const purpose of recipients) {
    if (purpose === "reader") continue;
    const recipient = published.recipient(purpose);
    if (recipient !== null) found.push(recipient);
    else if (purpose !== recovery) return null;
  }
  const grants = isGrantTopic(topic) ? published.grants(topic) : [];
  if (audience?.some((name) => !grants.some((grant) => grant.name === name)) === true) return null;
  const readers = grants.filter(({ name }) => audience?.includes(name) ?? true);
  return [...found, ...readers.map(({ recipient }) => recipient)];
}

interface Step {
  readonly applied: Applied;
  /** Set when a new signer was certified, so that waiting entries are worth another look. */
  readonly certified: boolean;
}

const REFUSED: Step = { applied: "refused", certified: false };

function applyEntry(state: State, key: Uint8Array, value: Uint8Array): Step {
  const name = Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("latin1");
  const chunk = chunkNameOf(name);
  if (chunk !== null) return { applied: state.blobs.addChunk(chunk, value), certified: false };
  const verified = verify1({
    message: value,
    context: keysContext(state.pipeline),
    findSigner: (kid) => state.trust.find(hex(kid)),
  });
  if (verified.status === "refused") {
    // Only stage keys are certified later; identities are known from the start, or introduced before they sign.
    const waits = verified.reason === "unknown-signer" && /^data-key\/[0-9a-f]{32}$/.test(name);
    return waits ? { applied: "pending", certified: false } : REFUSED;
  }
  const payload = decodePayload(verified.payload);
  if (payload === null || keyNameOf(payload) !== name) return REFUSED;
  const by = hex(verified.kid);
  const purposes = state.trust.find(by)?.purposes ?? [];
  const signedAs = allowedSigners(payload).find((purpose) => purposes.includes(purpose));
  if (signedAs === undefined) return REFUSED;
  return accept(state, payload, { by, signedAs });
}

function dataKeySigners(topic: SealedTopic): readonly SigningPurpose[] {
  return [SEALED_TOPICS[topic].signer, ZONE_IDENTITY[zoneOfTopic(topic)]];
}

/** The purposes that may sign such a payload. */
function allowedSigners(payload: KeyPayload): readonly SigningPurpose[] {
  switch (payload.type) {
    case "identity":
      return [ZONE_IDENTITY[payload.zone]];
    case "signer":
    case "recipient":
      return [ZONE_IDENTITY[PURPOSES[payload.purpose].zone]];
    case "grant":
      return [ZONE_IDENTITY[zoneOfTopic(payload.topic)]];
    case "revocation":
      return [ZONE_IDENTITY[payload.zone], ZONE_IDENTITY[REVOKING_ZONE]];
    case "data-key":
      return dataKeySigners(payload.topic);
    case "blob":
      return [ZONE_IDENTITY[BLOB_ZONE]];
  }
}

interface Origin {
  /** Hex kid. */
  readonly by: string;
  readonly signedAs: SigningPurpose;
}

function accept(state: State, payload: KeyPayload, { by, signedAs }: Origin): Step {
  const done = (isAccepted: boolean, certified = false): Step =>
    isAccepted ? { applied: "accepted", certified } : REFUSED;
  switch (payload.type) {
    case "identity":
      return done(state.trust.introduce({ ...payload, by }), true);
    case "signer":
      return done(state.trust.certify({ ...payload, by }), true);
    case "recipient":
    case "grant":
      return done(acceptRecipient(state, payload, by));
    case "revocation":
      return done(state.trust.revoke(hex(payload.kid), payload.zone, PURPOSES[signedAs].zone));
    case "data-key":
      return done(state.dataKeys.accept(payload, by));
    case "blob":
      return { applied: state.blobs.addManifest(payload, by), certified: false };
  }
}

function acceptRecipient(
  { published }: State,
  payload: RecipientPayload | GrantPayload,
  by: string,
): boolean {
  const { generation } = payload;
  const purpose = payload.type === "grant" ? "reader" : payload.purpose;
  const recipient = createRecipient(purpose, payload.publicKey, payload.algorithm);
  return payload.type === "grant"
    ? published.grant({ topic: payload.topic, name: payload.name, generation, recipient, by })
    : published.publish({ purpose: payload.purpose, generation, recipient, by });
}

/** Keeps a waiting entry; the oldest gives way, so that junk cannot shut out what comes later. */
function hold(state: State, key: Uint8Array, value: Uint8Array): void {
  const { pending } = state;
  pending.push({ key: new Uint8Array(key), value: new Uint8Array(value) });
  state.pendingBytes += value.length;
  while (pending.length > MAX_PENDING || state.pendingBytes > MAX_PENDING_BYTES) {
    state.pendingBytes -= pending.shift()?.value.length ?? 0;
    state.missed = true;
  }
}

/** Applies what waited, in order; returns how many were accepted. */
function retryPending(state: State): number {
  const waiting = state.pending.splice(0);
  state.pendingBytes = 0;
  let accepted = 0;
  for (const { key, value } of waiting) {
    const { applied } = applyEntry(state, key, value);
    if (applied === "accepted") accepted++;
    if (applied === "pending") hold(state, key, value);
  }
  return accepted;
}
