/**
 * The closed table of keys: every purpose, its kind, its zone, and the folder of the holder that owns it.
 *
 * A purpose fixes its zone, so that a key certified by one zone's identity can never be taken for another zone's.
 * Holds names only: no key material, no file system. Source: DESIGN.md sections 1 and 2.
 */

export type ZoneName = "owner" | "training" | "prediction" | "consumer";

/** Every zone, in the order in which records flow. */
export const ZONES = [
  "owner",
  "training",
  "prediction",
  "consumer",
] as const satisfies readonly ZoneName[];

/** Ed25519 keys that sign what leaves a zone and what a stage publishes. */
export type StageSigningPurpose =
  | "owner-signing"
  | "train-signing"
  | "model-signing"
  | "result-signing";

/** Ed25519 keys that are pinned in the pipeline file and kept offline. */
export type IdentityPurpose =
  | "owner-identity"
  | "training-identity"
  | "prediction-identity"
  | "consumer-identity";

export type SigningPurpose = IdentityPurpose | StageSigningPurpose;

/** X25519 keys that others seal to. */
export type UnwrapPurpose =
  | "training-unwrap"
  | "contribution-unwrap"
  | "model-unwrap"
  | "consumer-unwrap"
  | "owner-recovery"
  | "training-recovery"
  | "owner-dead-letter"
  | "training-dead-letter"
  | "prediction-dead-letter";

/** Whom data keys are wrapped for: a zone's own key, or a third party's that a grant names. */
export type RecipientPurpose = UnwrapPurpose | "reader";

/** 32 random bytes that never leave their stage. */
export type SecretPurpose = "split" | "noise";

/** Bytes that another room makes and parses. */
export type BlobKeyPurpose = "ckks-secret";

export type Purpose = SigningPurpose | UnwrapPurpose | SecretPurpose | BlobKeyPurpose;

export type KeyKind = "ed25519" | "x25519" | "secret" | "ckks-secret";

/** Name of a key folder: a stage, the consumer, or one of the three offline folders. */
export type KeyHolder =
  | "identities"
  | "desensitize"
  | "encrypt"
  | "train"
  | "aggregate"
  | "predict"
  | "consumer"
  | "recovery"
  | "dead-letters";

export interface PurposeShape {
  readonly kind: KeyKind;
  readonly zone: ZoneName;
  readonly holder: KeyHolder;
}

/** Kind, zone and holder of every purpose. */
export const PURPOSES: Readonly<Record<Purpose, PurposeShape>> = {
  "owner-identity": { kind: "ed25519", zone: "owner", holder: "identities" },
  "training-identity": { kind: "ed25519", zone: "training", holder: "identities" },
  "prediction-identity": { kind: "ed25519", zone: "prediction", holder: "identities" },
  "consumer-identity": { kind: "ed25519", zone: "consumer", holder: "identities" },
  "owner-signing": { kind: "ed25519", zone: "owner", holder: "encrypt" },
  "train-signing": { kind: "ed25519", zone: "training", holder: "train" },
  "model-signing": { kind: "ed25519", zone: "training", holder: "aggregate" },
  "result-signing": { kind: "ed25519", zone: "prediction", holder: "predict" },
  "training-unwrap": { kind: "x25519", zone: "training", holder: "train" },
  "contribution-unwrap": { kind: "x25519", zone: "training", holder: "aggregate" },
  "model-unwrap": { kind: "x25519", zone: "prediction", holder: "predict" },
  "consumer-unwrap": { kind: "x25519", zone: "consumer", holder: "consumer" },
  "owner-recovery": { kind: "x25519", zone: "owner", holder: "recovery" },
  "training-recovery": { kind: "x25519", zone: "training", holder: "recovery" },
  "owner-dead-letter": { kind: "x25519", zone: "owner", holder: "dead-letters" },
  "training-dead-letter": { kind: "x25519", zone: "training", holder: "dead-letters" },
  "prediction-dead-letter": { kind: "x25519", zone: "prediction", holder: "dead-letters" },
  split: { kind: "secret", zone: "owner", holder: "encrypt" },
  noise: { kind: "secret", zone: "training", holder: "aggregate" },
  "ckks-secret": { kind: "ckks-secret", zone: "consumer", holder: "consumer" },
};

/** Public CKKS keys that the consumer publishes for the stages that compute on its behalf. */
export type BlobPurpose = "ckks-public" | "ckks-evaluation";

export const BLOB_PURPOSES = [
  "ckks-public",
  "ckks-evaluation",
] as const satisfies readonly BlobPurpose[];

/** Zone whose identity signs blobs. */
export const BLOB_ZONE: ZoneName = "consumer";

/** Pinned identity of every zone. */
export const ZONE_IDENTITY: Readonly<Record<ZoneName, IdentityPurpose>> = {
  owner: "owner-identity",
  training: "training-identity",
  prediction: "prediction-identity",
  consumer: "consumer-identity",
};

/** Logical topics whose records are sealed under data keys. */
export type SealedTopic = "examples" | "records" | "contributions" | "models";

/** Sealed topics for which third parties may be granted the keys: all of them the owner's. */
export type GrantTopic = "examples" | "records";

export const GRANT_TOPICS = ["examples", "records"] as const satisfies readonly GrantTopic[];

/** Who may publish a data key for a topic, whom it may be wrapped for, and who can wrap it anew for others. */
export const SEALED_TOPICS: Readonly<
  Record<
    SealedTopic,
    {
      readonly signer: StageSigningPurpose;
      readonly recipients: readonly RecipientPurpose[];
      readonly recovery: UnwrapPurpose;
    }
  >
> = {
  examples: {
    signer: "owner-signing",
    recipients: ["training-unwrap", "owner-recovery", "reader"],
    recovery: "owner-recovery",
  },
  records: {
    signer: "owner-signing",
    recipients: ["owner-recovery", "reader"],
    recovery: "owner-recovery",
  },
  contributions: {
    signer: "train-signing",
    recipients: ["contribution-unwrap", "training-recovery"],
    recovery: "training-recovery",
  },
  // aggregate reads its own models back after a restart, train and predict load them.
  models: {
    signer: "model-signing",
    recipients: ["training-unwrap", "contribution-unwrap", "model-unwrap", "training-recovery"],
    recovery: "training-recovery",
  },
};

/** True when `text` is a purpose of the table. */
export function isPurpose(text: string): text is Purpose {
  return Object.hasOwn(PURPOSES, text);
}

/** True for an Ed25519 purpose of a stage: the only ones that a `signer` entry may certify. */
export function isStageSigning(text: string): text is StageSigningPurpose {
  return isPurpose(text) && PURPOSES[text].kind === "ed25519" && !text.endsWith("-identity");
}

/** True for an X25519 purpose: the only ones that a `recipient` entry may publish. */
export function isUnwrap(text: string): text is UnwrapPurpose {
  return isPurpose(text) && PURPOSES[text].kind === "x25519";
}

/**
 * True for keys to which single values are sealed (sealed-box.ts): dead letters, and the record ids of packs. Whoever
 * seals them has no service at hand, so such a key is never in one.
 */
export function isBoxPurpose(purpose: Purpose): boolean {
  return isUnwrap(purpose) && (purpose === "consumer-unwrap" || purpose.endsWith("-dead-letter"));
}

/** True when `text` is a topic sealed under data keys. */
export function isSealedTopic(text: string): text is SealedTopic {
  return Object.hasOwn(SEALED_TOPICS, text);
}

/** True when `text` is a topic that can be granted. */
export function isGrantTopic(text: string): text is GrantTopic {
  return GRANT_TOPICS.some((topic) => topic === text);
}

/** True when `text` is a zone. */
export function isZone(text: string): text is ZoneName {
  return ZONES.some((zone) => zone === text);
}

/** Zone of the stage that seals a topic: its identity may wrap the topic's data keys anew. */
export function zoneOfTopic(topic: SealedTopic): ZoneName {
  return PURPOSES[SEALED_TOPICS[topic].signer].zone;
}
