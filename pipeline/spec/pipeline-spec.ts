/**
 * The checked, typed form of a pipeline file: what every other room sees of it.
 *
 * Only `pipeline/spec/` makes one, out of a file that has passed every check; nobody edits it afterwards.
 * Types only: this file must not hold code, so that rooms that may import "spec (types)" can import it.
 */
import type { DETECT_TYPES } from "../../schemas/desensitize-rules.ts";
import type { StageName } from "../../schemas/topics.ts";
import type { FeatureMapSpec, MapOutputs, PrivacySpec, TrainSpec } from "./training-spec.ts";

export type DetectType = (typeof DETECT_TYPES)[number];

/** Where a secret is found. Secrets stand in a pipeline file by reference only. */
export interface SecretReference {
  /** Name of the environment variable that holds the secret, base64 or hex of at least 32 bytes. */
  readonly env: string;
}

/** How much of a digest leaves, and in which characters; without one, all 256 bits in lowercase hexadecimal digits. */
export interface DigestForm {
  readonly encoding: "hex" | "base64url";
  /** The first bits of the digest, a multiple of 8 from 32 to 256. */
  readonly bits: number;
}

/** What a value becomes that is generalized. */
export type Generalization =
  /** A range of whole numbers: those of one width from 0 on, or those between bounds. */
  | { readonly width: number }
  | { readonly bounds: readonly number[] }
  | { readonly date: "month" | "year" | "decade" }
  /** Its first characters. */
  | { readonly prefix: number }
  /** What a table says; `unknown` is what all other values become, null: they are refused. */
  | {
      readonly table: readonly (readonly [value: string, becomes: string])[];
      readonly unknown: string | null;
    };

/** A built-in type of `schemas/desensitize-rules.ts`, or a pattern under a name. */
export type DetectorSpec =
  | DetectType
  | { readonly name: string; readonly pattern: string; readonly ignoreCase?: boolean };

/** What stands in place of a detection. */
export type DetectionReplacement =
  /** Text, in which each `{type}` becomes the detector's name in capitals. */
  | { readonly kind: "token"; readonly with: string }
  /** One character for each character. */
  | { readonly kind: "mask"; readonly with: string };

/** The values that a clustered field may have, in the order in which ranges of them are made. */
export type ClusterDomain =
  /** Numbers, rounded down to whole ones, from the lowest to the highest of the range. */
  | { readonly kind: "number"; readonly range: readonly [lowest: number, highest: number] }
  /** Days, ISO 8601 `YYYY-MM-DD` with or without a time. */
  | { readonly kind: "date"; readonly range: readonly [first: string, last: string] }
  /** Texts of exactly this many ASCII digits. */
  | { readonly kind: "digits"; readonly length: number }
  /** Any text, by its first characters. */
  | { readonly kind: "text" }
  /** Values of a hierarchy file: each value and its levels, the lowest first. */
  | {
      readonly kind: "hierarchy";
      readonly paths: readonly (readonly [value: string, ...levels: string[]])[];
    };

/** How the clustered fields of a pipeline are grouped; all of its cluster rules share one. */
export interface ClusterOptions {
  /** Distinct subjects that each group has at least, in each window. */
  readonly k: number;
  readonly windowRecords: number;
  readonly maxDelayMs: number;
  readonly method: "mondrian" | "mdav";
  /**
   * `nested`: all groups of all windows and lanes are regions of one fixed tree, so that what is published about a person
   * in several windows is never narrower, put together, than one group's region. `independent`: each window by itself.
   */
  readonly acrossWindows: "nested" | "independent";
  /** What stands in a record: the range of its group, or the group's mean. */
  readonly publish: "range" | "mean";
  /** What becomes of records that cannot be grouped: a dead letter, or the widest range of all. */
  readonly whenTooFew: "suppress" | "generalize";
  /** Share of a window's records that may be suppressed so that the others' groups are narrower; 0 for `generalize`. */
  readonly suppressUpTo: number;
  /** A field whose values must differ within each group, or be spread as in the whole window. */
  readonly sensitive: {
    readonly field: string;
    /** Distinct values in each group; null: not asked for. */
    readonly lDiversity: number | null;
    /** Greatest earth mover's distance, 0 to 1, between a group's values and the window's; null: not asked for. */
    readonly tCloseness: number | null;
  } | null;
}

/** What happens to one field of a raw record, by its path. A field without a rule never leaves `desensitize`. */
export type DesensitizeRule =
  | { readonly field: string; readonly action: "keep" }
  | { readonly field: string; readonly action: "drop" }
  | {
      readonly field: string;
      readonly action: "mask";
      /** Unicode code points kept at either end; everything between becomes `with`, one for one. */
      readonly keepFirst: number;
      readonly keepLast: number;
      readonly with: string;
    }
  | { readonly field: string; readonly action: "replace"; readonly with: string }
  | {
      readonly field: string;
      readonly action: "pseudonymize";
      readonly key: SecretReference;
      /** Written before the pseudonym, with a colon, so that pseudonyms of different keys can be told apart. */
      readonly keyId?: string | undefined;
      readonly form?: DigestForm | undefined;
    }
  | { readonly field: string; readonly action: "hash"; readonly form?: DigestForm | undefined }
  | { readonly field: string; readonly action: "generalize"; readonly to: Generalization }
  | {
      /** Another value of a list, by keyed hash. */
      readonly field: string;
      readonly action: "pick";
      readonly from: readonly string[];
      readonly key: SecretReference;
    }
  /** A text of the same form, by keyed hash. */
  | { readonly field: string; readonly action: "fake"; readonly key: SecretReference }
  | {
      /** FF1 with AES-256. */
      readonly field: string;
      readonly action: "fpe";
      readonly key: SecretReference;
      /** The characters of a value, each once, 2 to 36. */
      readonly alphabet: string;
      readonly tweak: string;
    }
  | {
      /** Bounded noise on a number, by keyed hash of the record's position. */
      readonly field: string;
      readonly action: "perturb";
      readonly key: SecretReference;
      readonly noise: "laplace" | "gaussian";
      /** Scale of the Laplace distribution, or standard deviation, before it is cut off at `within`. */
      readonly scale: number;
      readonly within: number;
      readonly decimals: number;
    }
  | {
      /** What detectors find in the text is replaced. */
      readonly field: string;
      readonly action: "redact";
      readonly detectors: readonly DetectorSpec[];
      readonly replacement: DetectionReplacement;
    }
  | {
      /** Grouped with the other clustered fields, so that k subjects share what leaves. */
      readonly field: string;
      readonly action: "cluster";
      readonly domain: ClusterDomain;
      readonly cluster: ClusterOptions;
    };

export interface FeatureInput {
  readonly field: string;
  /** Numbers the field holds: 1 for a number, else an array of exactly this length. */
  readonly length: number;
  /** Public fixed range; values are scaled to 0..1, values outside are refused. */
  readonly range: readonly [number, number];
}

export type ZoneName = "owner" | "training" | "prediction" | "consumer";

/** Absolute paths of PEM files; `{role}` in them stands for who connects. Null: the system's, or none. */
export interface TlsSpec {
  readonly ca: string | null;
  readonly certificate: string | null;
  readonly privateKey: string | null;
}

/** How clients prove who they are; `{role}` in a name stands for who connects. */
export type SaslSpec =
  | {
      readonly mechanism: "plain" | "scram-sha-256" | "scram-sha-512";
      readonly username: string;
      readonly password: SecretReference;
    }
  | {
      readonly mechanism: "oauthbearer";
      readonly tokenEndpoint: string;
      readonly clientId: string;
      readonly clientSecret: SecretReference;
      readonly scope: string | null;
    };

/** A module of the user's that raw records pass before the rules. */
export interface PluginSpec {
  /** Absolute path. */
  readonly module: string;
  /** 64 lowercase hexadecimal digits; other bytes must not run. */
  readonly sha256: string;
  /** Handed to `configure`, as UTF-8; may be empty. */
  readonly config: string;
  readonly memoryMaxBytes: number;
  readonly deadlineMs: number;
}

/** Which fields of a desensitized record stand in topic `records`, and how; a field in neither list does not. */
export interface RecordFieldsSpec {
  /** Paths, as rules write them. */
  readonly clear: readonly string[];
  readonly sealed: readonly {
    readonly fields: readonly string[];
    /** Names of grants, sorted, each once. */
    readonly for: readonly string[];
  }[];
  /** Records sealed with one data key of a lane and an audience. */
  readonly rotateAfterRecords: number;
  readonly rotateAfterMs: number;
}

export interface PipelineSpec {
  readonly name: string;
  /** Absolute path of the pipeline file. */
  readonly file: string;
  readonly kafka: {
    /** `host:port` each; empty: the embedded broker. */
    readonly brokers: readonly string[];
    readonly partitions: number;
    readonly replicationFactor: number;
    readonly compression: "none" | "gzip" | "zstd";
    readonly sessionTimeoutMs: number;
    readonly transactionTimeoutMs: number;
    readonly shutdownTimeoutMs: number;
    readonly client: "kafkajs" | "confluent";
    /** Records that follow each other closely are gathered into one transaction for this long. */
    readonly transactionIntervalMs: number;
    /** What a lane does whose next records retention has removed; train and aggregate always stop. */
    readonly whenRecordsExpired: "stop" | "continue";
    /** Null: connections are not encrypted. */
    readonly tls: TlsSpec | null;
    /** Null: clients do not say who they are. */
    readonly sasl: SaslSpec | null;
  };
  readonly deadLetters: {
    /** A listed stage stops when more than this share of a lane's last `windowRecords` records is refused. */
    readonly maxShare: number;
    readonly windowRecords: number;
    readonly stages: readonly StageName[];
  };
  readonly record: {
    /** JSON Schema of a raw record, already read and parsed. */
    readonly schema: Readonly<Record<string, unknown>>;
    /** Field that names the record; must be kept or pseudonymized. */
    readonly id: string;
    /** Field that names the person; null: every record is its own subject. Must be kept or pseudonymized. */
    readonly subject: string | null;
    /** `subject`: `raw` is keyed and partitioned by the subject, and a record elsewhere is refused. */
    readonly partitioner: "none" | "subject";
    readonly maxBytes: number;
  };
  /** One rule a field, in file order; fields of the schema that are not here are dropped. */
  readonly desensitize: readonly DesensitizeRule[];
  /** What raw records pass before the rules, in order. */
  readonly plugins: readonly PluginSpec[];
  /** Pinned hashes of the plugins that Sealstream brings along; null: not pinned. */
  readonly builtInPlugins: { readonly desensitize: string | null };
  readonly features: {
    readonly inputs: readonly FeatureInput[];
    /** Applied to the inputs in order; what the network reads is what the last one gives. */
    readonly maps: readonly FeatureMapSpec[];
    readonly outputs: MapOutputs;
    /** An absent or null label makes the record one to predict. Labels are integers 0..classes-1. */
    readonly label: { readonly field: string; readonly classes: number };
    /** Shares of the labelled records; they sum to 1. */
    readonly split: { readonly train: number; readonly validate: number; readonly test: number };
  };
  readonly encrypt: {
    readonly examples: {
      readonly rotateAfterRecords: number;
      readonly rotateAfterMs: number;
      readonly cipher: "aes-256-gcm" | "chacha20-poly1305";
    };
    readonly packs: {
      readonly lingerMs: number;
      readonly maxBytesPerRecord: number;
      /** Unlabelled records a second that are expected over all partitions; null: not said. */
      readonly rate: number | null;
    };
    /** What other services read of the records; null: topic `records` stays empty. */
    readonly records: RecordFieldsSpec | null;
  };
  readonly train: TrainSpec;
  readonly privacy: PrivacySpec;
  readonly predict: {
    /** False: nothing is predicted on ciphertexts, and networks need not be polynomials. */
    readonly encrypted: boolean;
    readonly packing: "auto" | "batch" | "slots";
    /** What the consumer may learn of the model. */
    readonly model: "secret" | "shared" | "encrypted";
    /** Right bits behind the binary point that every logit must have. */
    readonly precisionBits: number;
    /** Threads that evaluate; auto: one for each core. */
    readonly workers: "auto" | number;
    /** Id of a parameter set, not yet judged; auto: the planner chooses. */
    readonly parameters: string;
  };
  /**
   * Pinned Ed25519 identities, 32 raw bytes each; null until `sealstream keys create` has written the first, and none of
   * a zone that has not held its ceremony yet.
   */
  readonly zones: Readonly<Record<ZoneName, readonly Uint8Array[]>> | null;
  /** Keys that are believed no more: the first 16 bytes of SHA-256 of each public key, hex. */
  readonly revoked: readonly string[];
}
