/**
 * The key directory: what the records of the `keys` topic mean, given the pinned identities and nothing else.
 *
 * A pure reducer: the same records in the same order give the same directory, and so do the records that compaction
 * leaves. Who may say what:
 * - `signer` and `recipient` entries: the pinned identity of the zone that the purpose belongs to
 * - `data-key` entries: a certified stage key, the one that SEALED_TOPICS names for the topic
 * - `blob` entries: the consumer's pinned identity
 * Everything else is refused. A data key whose signer is not certified yet waits, within limits. Tombstones and
 * entries of an older generation are refused: who can write to the topic cannot take the newest key away.
 * Must not: read Kafka, or keep views of the buffers it was given (all is copied).
 */
import { type BlobAssembler, createBlobAssembler, type PublicBlob } from "./blob-assembler.ts";
import { verify1 } from "./cose-sign1.ts";
import { type DataKey, openingDataKey } from "./data-key.ts";
import {
  chunkNameOf,
  type DataKeyPayload,
  dataKeyBinding,
  decodePayload,
  type KeyPayload,
  keyNameOf,
  keysContext,
} from "./key-entries.ts";
import { hex, keyIdOf } from "./key-handles.ts";
import {
  BLOB_PURPOSES,
  BLOB_ZONE,
  type BlobPurpose,
  PURPOSES,
  SEALED_TOPICS,
  type SealedTopic,
  type SigningPurpose,
  type UnwrapPurpose,
  ZONE_IDENTITY,
  ZONES,
  type ZoneName,
} from "./key-purposes.ts";
import { createRecipient } from "./wrap/key-wrap.ts";
import type { Recipient, UnwrapKey, WrappedKey } from "./wrap/types.ts";

export type { BlobPurpose } from "./key-purposes.ts";

/** What became of a record. */
export type Applied = "accepted" | "pending" | "refused";

export interface KeyDirectory {
  /** Rises with each accepted record. */
  readonly version: number;
  /** Applies a record of the `keys` topic; never throws on bad input. `pending`: waits for a signer or for chunks. */
  apply(key: Uint8Array | null, value: Uint8Array | null): Applied;
  /** The newest published key of a purpose. */
  recipient(purpose: UnwrapPurpose): Recipient | null;
  /** A certified stage key or pinned identity of one of these purposes. */
  findSigner(
    kid: Uint8Array,
    allowedPurposes: readonly SigningPurpose[],
  ): { readonly publicKey: Uint8Array; readonly purpose: SigningPurpose } | null;
  /** A handle that opens, when the key is of this topic and wrapped for one of our unwrap keys. */
  findDataKey(kid: Uint8Array, topic: SealedTopic): DataKey | null;
  blob(purpose: BlobPurpose): PublicBlob | null;
}

/** Entries that wait for a signer: enough for a start in any order, little enough to be filled by an attacker. */
const MAX_PENDING = 1024;
const MAX_PENDING_BYTES = 4 * 1024 * 1024;
/** Data keys addressed to us; some 400 bytes each. One is made per lane start or rotation. */
const MAX_DATA_KEYS = 65_536;
/** Certified signers and published recipients: zones times rotations. */
const MAX_CERTIFIED = 4096;
/** Longest record key that we write is "recipient/prediction-dead-letter/" and 32 hex digits. */
const MAX_KEY_BYTES = 200;

interface Signer {
  readonly publicKey: Uint8Array;
  readonly purpose: SigningPurpose;
}

interface HeldDataKey {
  readonly topic: SealedTopic;
  readonly lane: number;
  readonly generation: number;
  readonly wrapped: readonly { readonly unwrapKey: UnwrapKey; readonly wrap: WrappedKey }[];
  /** Undefined until somebody asks. */
  handle: DataKey | null | undefined;
}

interface State {
  readonly pipeline: string;
  readonly unwrapKeys: readonly UnwrapKey[];
  readonly signers: Map<string, Signer>;
  readonly recipients: Map<
    UnwrapPurpose,
    { readonly generation: number; readonly recipient: Recipient }
  >;
  readonly dataKeys: Map<string, HeldDataKey>;
  readonly blobs: BlobAssembler;
  readonly pending: { readonly key: Uint8Array; readonly value: Uint8Array }[];
}

/** @param options `zones`: raw pinned identities; `unwrapKeys`: ours; `blobPurposes`: blobs to keep, all by default */
export function createKeyDirectory(options: {
  readonly pipeline: string;
  readonly zones: Readonly<Record<ZoneName, Uint8Array>>;
  readonly unwrapKeys?: readonly UnwrapKey[] | undefined;
  readonly blobPurposes?: readonly BlobPurpose[] | undefined;
}): KeyDirectory {
  const state: State = {
    pipeline: options.pipeline,
    unwrapKeys: options.unwrapKeys ?? [],
    signers: new Map(),
    recipients: new Map(),
    dataKeys: new Map(),
    blobs: createBlobAssembler({ purposes: options.blobPurposes ?? BLOB_PURPOSES }),
    pending: [],
  };
  for (const zone of ZONES) {
    const publicKey = new Uint8Array(options.zones[zone]);
    state.signers.set(hex(keyIdOf(publicKey)), { publicKey, purpose: ZONE_IDENTITY[zone] });
  }
  let version = 0;
  return {
    get version() {
      return version;
    },
    apply(key, value) {
      if (key === null || value === null || key.length > MAX_KEY_BYTES) return "refused";
      const { applied, certified } = applyEntry(state, key, value);
      if (applied === "accepted") version++;
      if (applied === "pending" && certified === null) hold(state.pending, key, value);
      if (certified !== null) version += retryPending(state);
      return applied;
    },
    recipient: (purpose) => state.recipients.get(purpose)?.recipient ?? null,
    findSigner(kid, allowedPurposes) {
      const signer = state.signers.get(hex(kid));
      return signer !== undefined && allowedPurposes.includes(signer.purpose) ? signer : null;
    },
    findDataKey: (kid, topic) => findDataKey(state, hex(kid), topic),
    blob: (purpose) => state.blobs.blob(purpose),
  };
}

interface Step {
  readonly applied: Applied;
  /** Set when a new signer was certified, so that waiting entries are worth another look. */
  readonly certified: string | null;
}

const REFUSED: Step = { applied: "refused", certified: null };

function applyEntry(state: State, key: Uint8Array, value: Uint8Array): Step {
  const name = Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("latin1");
  const chunk = chunkNameOf(name);
  if (chunk !== null) return { applied: state.blobs.addChunk(chunk, value), certified: null };
  let signedBy: SigningPurpose | null = null;
  const verified = verify1({
    message: value,
    context: keysContext(state.pipeline),
    findSigner: (kid) => {
      const signer = state.signers.get(hex(kid)) ?? null;
      signedBy = signer?.purpose ?? null;
      return signer;
    },
  });
  if (verified.status === "refused") {
    // Only stage keys are certified later; the identities are all known from the start.
    const waits = verified.reason === "unknown-signer" && /^data-key\/[0-9a-f]{32}$/.test(name);
    return waits ? { applied: "pending", certified: null } : REFUSED;
  }
  const payload = decodePayload(verified.payload);
  if (payload === null || keyNameOf(payload) !== name) return REFUSED;
  if (signedBy !== allowedSigner(payload)) return REFUSED;
  return accept(state, payload);
}

/** The one purpose that may sign such a payload. */
function allowedSigner(payload: KeyPayload): SigningPurpose {
  switch (payload.type) {
    case "signer":
    case "recipient":
      return ZONE_IDENTITY[PURPOSES[payload.purpose].zone];
    case "data-key":
      return SEALED_TOPICS[payload.topic].signer;
    case "blob":
      return ZONE_IDENTITY[BLOB_ZONE];
  }
}

function accept(state: State, payload: KeyPayload): Step {
  switch (payload.type) {
    case "signer": {
      const kid = hex(keyIdOf(payload.publicKey));
      const known = state.signers.get(kid);
      // A pinned identity, or a key certified for one purpose, does not become another one.
      if (known !== undefined && known.purpose !== payload.purpose) return REFUSED;
      if (known === undefined && state.signers.size >= MAX_CERTIFIED) return REFUSED;
      const publicKey = new Uint8Array(payload.publicKey);
      state.signers.set(kid, { publicKey, purpose: payload.purpose });
      return { applied: "accepted", certified: kid };
    }
    case "recipient": {
      const { purpose, generation } = payload;
      const newest = state.recipients.get(purpose);
      if (newest !== undefined && newest.generation > generation) return REFUSED;
      const recipient = createRecipient(purpose, payload.publicKey);
      state.recipients.set(purpose, { generation, recipient });
      return { applied: "accepted", certified: null };
    }
    case "data-key":
      return { applied: acceptDataKey(state, payload), certified: null };
    case "blob":
      return { applied: state.blobs.addManifest(payload), certified: null };
  }
}

function acceptDataKey(state: State, payload: DataKeyPayload): Applied {
  const { topic, lane, generation } = payload;
  const name = hex(payload.kid);
  const known = state.dataKeys.get(name);
  if (known !== undefined) {
    if (known.topic !== topic || known.lane !== lane || known.generation > generation) {
      return "refused";
    }
    state.dataKeys.delete(name);
  }
  const wrapped = state.unwrapKeys.flatMap((unwrapKey) =>
    payload.recipients
      .filter((one) => Buffer.compare(one.kid, unwrapKey.kid) === 0)
      .map((one) => ({ unwrapKey, wrap: copyOf(one) })),
  );
  // What is not wrapped for us can never be opened here: not kept.
  if (wrapped.length === 0) return "accepted";
  const oldest = state.dataKeys.keys().next();
  if (state.dataKeys.size >= MAX_DATA_KEYS && oldest.done !== true) {
    state.dataKeys.delete(oldest.value);
  }
  state.dataKeys.set(name, { topic, lane, generation, wrapped, handle: undefined });
  return "accepted";
}

function copyOf(wrap: WrappedKey): WrappedKey {
  return {
    algorithm: wrap.algorithm,
    kid: new Uint8Array(wrap.kid),
    ephemeral: new Uint8Array(wrap.ephemeral),
    ciphertext: new Uint8Array(wrap.ciphertext),
  };
}

/** Unwraps on the first use; a wrap that does not open is not tried again until its entry is replaced. */
function findDataKey(state: State, name: string, topic: SealedTopic): DataKey | null {
  const held = state.dataKeys.get(name);
  if (held === undefined || held.topic !== topic) return null;
  if (held.handle === undefined) {
    held.handle = null;
    const kid = new Uint8Array(Buffer.from(name, "hex"));
    const scope = { pipeline: state.pipeline, topic, lane: held.lane, kid };
    const binding = dataKeyBinding(scope);
    for (const { unwrapKey, wrap } of held.wrapped) {
      const key = unwrapKey.unwrap(wrap, binding);
      if (key !== null) {
        held.handle = openingDataKey(key, scope);
        break;
      }
    }
  }
  return held.handle;
}

/** Keeps a waiting entry; the oldest gives way, so that junk cannot shut out what comes later. */
function hold(pending: State["pending"], key: Uint8Array, value: Uint8Array): void {
  pending.push({ key: new Uint8Array(key), value: new Uint8Array(value) });
  let bytes = pending.reduce((sum, entry) => sum + entry.value.length, 0);
  while (pending.length > MAX_PENDING || bytes > MAX_PENDING_BYTES) {
    bytes -= pending.shift()?.value.length ?? 0;
  }
}

/** Applies what waited, in order; returns how many were accepted. */
function retryPending(state: State): number {
  const waiting = state.pending.splice(0);
  let accepted = 0;
  for (const { key, value } of waiting) {
    const { applied } = applyEntry(state, key, value);
    if (applied === "accepted") accepted++;
    if (applied === "pending") state.pending.push({ key, value });
  }
  return accepted;
}
