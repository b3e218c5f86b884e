/**
 * Where the stages stand as Kafka knows it: who owns their lanes, what they have committed, and what is left to read.
 *
 * Offsets count places in a log: records, but also the markers that end transactions. So what is left is told as the most
 * that it can be; a lane that has read everything has 0. Reads offsets and group members, and no record but dead letters.
 */
import {
  deadTopicName,
  STAGE_INPUT,
  type StageName,
  stageGroup,
  TOPICS,
  type TopicRole,
  topicName,
} from "../../../schemas/topics.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import { isReceipt } from "../../stream/dead-letter-replay.ts";
import type { GroupMember, KafkaClient } from "../../stream/port.ts";
import { readTopic } from "../../stream/tail.ts";

export interface LaneStand {
  readonly lane: number;
  /** Null: the group has committed nothing yet. */
  readonly committed: number | null;
  readonly earliest: number;
  /** Offset after the last place of the log. */
  readonly end: number;
  /** Records left to read, at most. */
  readonly lag: number;
  /** Places that retention removed before they were read. */
  readonly expired: number;
}

/** A number of records, or the most that it can be. */
export interface RecordCount {
  readonly records: number;
  readonly isExact: boolean;
}

export interface StageStand {
  readonly stage: StageName;
  readonly group: string;
  readonly topic: string;
  readonly members: readonly GroupMember[];
  readonly lanes: readonly LaneStand[];
  readonly deadLetters: RecordCount;
}

/** Beyond as many places in a dead-letter topic they are not counted one by one: a letter may be as large as a pack. */
const MOST_READ = 1_000;

/** Records between two offsets, at most: where stages alone write, the last place is the marker of a transaction. */
function mostRecords(from: number, to: number, { isPlain = false } = {}): number {
  return Math.max(0, to - from - (isPlain ? 0 : 1));
}

/** Partitions of a topic of this pipeline. */
function partitionsOf(spec: Pick<PipelineSpec, "kafka">, role: TopicRole): number[] {
  const count = TOPICS[role].partitions === "lanes" ? spec.kafka.partitions : 1;
  return Array.from({ length: count }, (_, partition) => partition);
}

type Spec = Pick<PipelineSpec, "name" | "kafka">;

export async function stageStand(
  client: KafkaClient,
  spec: Spec,
  stage: StageName,
): Promise<StageStand> {
  const role = STAGE_INPUT[stage];
  const topic = topicName(spec.name, role);
  const group = stageGroup(spec.name, stage);
  const members = await client.groupMembers(group, topic);
  const lanes: LaneStand[] = [];
  for (const lane of partitionsOf(spec, role)) {
    // Committed first: the log's end, asked for later, is never before it.
    const committed = await client.committedOffset(group, topic, lane);
    const { earliest, latest: end } = await client.offsets(topic, lane);
    // Producers write to raw outside transactions.
    const isPlain = role === "raw";
    const lag = mostRecords(Math.max(committed ?? earliest, earliest), end, { isPlain });
    const expired = Math.max(0, earliest - (committed ?? earliest));
    lanes.push({ lane, committed, earliest, end, lag, expired });
  }
  const deadLetters = await countDeadLetters(client, spec, stage);
  return { stage, group, topic, members, lanes, deadLetters };
}

/** Letters that lie in a stage's dead-letter topic, also those that were replayed. */
async function countDeadLetters(
  client: KafkaClient,
  spec: Spec,
  stage: StageName,
): Promise<RecordCount> {
  const role = STAGE_INPUT[stage];
  const topic = deadTopicName(spec.name, role);
  const most = await mostInTopic(client, spec, { role, topic });
  if (most > MOST_READ) return { records: most, isExact: false };
  let records = 0;
  for (const partition of partitionsOf(spec, role)) {
    await readTopic({
      ...{ client, topic, partition },
      apply: (record) => {
        if (!isReceipt(record)) records += 1;
      },
    });
  }
  return { records, isExact: true };
}

/** Records that lie in a topic, at most. */
async function mostInTopic(
  client: KafkaClient,
  spec: Spec,
  { role, topic }: { readonly role: TopicRole; readonly topic: string },
): Promise<number> {
  let most = 0;
  for (const partition of partitionsOf(spec, role)) {
    const { earliest, latest } = await client.offsets(topic, partition);
    most += mostRecords(earliest, latest);
  }
  return most;
}

/** Bundles of predictions that lie in the topic, at most. */
export function countPredictions(client: KafkaClient, spec: Spec): Promise<number> {
  const role = "predictions";
  return mostInTopic(client, spec, { role, topic: topicName(spec.name, role) });
}
