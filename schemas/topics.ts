/**
 * The one table of the topics of a pipeline: who writes them, how many partitions they have, what is kept.
 *
 * A topic is named `<pipeline>.<role>`. "lanes" topics have as many partitions as `kafka.partitions` says: what
 * comes from partition p goes to partition p. More partitions means a new generation of the pipeline.
 * Must not import anything.
 */

export type TopicRole =
  | "raw"
  | "desensitized"
  | "examples"
  | "records"
  | "packs"
  | "contributions"
  | "models"
  | "ledger"
  | "predictions"
  | "keys";

export type StageName = "desensitize" | "encrypt" | "train" | "aggregate" | "predict";

/** The stages in the order in which records flow. */
export const STAGES = [
  "desensitize",
  "encrypt",
  "train",
  "aggregate",
  "predict",
] as const satisfies readonly StageName[];

export interface TopicShape {
  /** `lanes`: one partition per lane; `one`: a single, totally ordered partition. */
  readonly partitions: "lanes" | "one";
  /** `delete` with the broker's default retention, `forever`, or `compact`. */
  readonly retention: "delete" | "forever" | "compact";
}

/** Shape of every topic role. */
export const TOPICS: Readonly<Record<TopicRole, TopicShape>> = {
  raw: { partitions: "lanes", retention: "delete" },
  desensitized: { partitions: "lanes", retention: "delete" },
  examples: { partitions: "lanes", retention: "delete" },
  // Desensitized records for downstream services, some fields sealed; empty unless the file has encrypt.records.
  records: { partitions: "lanes", retention: "delete" },
  packs: { partitions: "lanes", retention: "delete" },
  predictions: { partitions: "lanes", retention: "delete" },
  contributions: { partitions: "one", retention: "delete" },
  // Chunks are keyed by content hash and tombstoned when no kept ledger entry names them.
  models: { partitions: "one", retention: "compact" },
  ledger: { partitions: "one", retention: "forever" },
  keys: { partitions: "one", retention: "compact" },
};

/** Input topic of every stage: its partitions are the stage's lanes. */
export const STAGE_INPUT: Readonly<Record<StageName, TopicRole>> = {
  desensitize: "raw",
  encrypt: "desensitized",
  train: "examples",
  aggregate: "contributions",
  predict: "packs",
};

/** Largest record value that Sealstream writes, in bytes: below Kafka's default `max.message.bytes` with headers. */
export const MAX_VALUE_BYTES = 900 * 1024;

/** Name of the topic of a role. */
export function topicName(pipeline: string, role: TopicRole): string {
  return `${pipeline}.${role}`;
}

/** Name of the dead-letter topic beside a stage's input topic. */
export function deadTopicName(pipeline: string, role: TopicRole): string {
  return `${pipeline}.${role}.dead`;
}

/** Name of a stage's changelog topic. */
export function changelogTopicName(pipeline: string, stage: StageName): string {
  return `${pipeline}.${stage}.changelog`;
}

/** Consumer group, and prefix of the transactional ids, of a stage. */
export function stageGroup(pipeline: string, stage: StageName): string {
  return `${pipeline}.${stage}`;
}
