/**
 * Creates and checks the topics of a pipeline after the table in `schemas/topics.ts`.
 *
 * Topics are never altered: another number of partitions is a new generation of the pipeline.
 */
import { setTimeout as sleep } from "node:timers/promises";
import {
  changelogTopicName,
  deadTopicName,
  STAGE_INPUT,
  STAGES,
  TOPICS,
  type TopicRole,
  type TopicShape,
  topicName,
} from "../../schemas/topics.ts";
import { isSealstreamError, SealstreamError } from "../errors.ts";
import type { KafkaClient, NewTopic } from "./port.ts";

export interface TopicSettings {
  readonly pipeline: string;
  readonly partitions: number;
  readonly replicationFactor: number;
}

/** `retention.ms` / `retention.bytes` value that keeps a record for ever. */
const FOREVER = "-1";

/** From this replication factor on, one broker may be away while every record still lies on two. */
const SAFE_COPIES = 3;

/** Small segments, so that the cleaner finds something to compact although the newest segment is never cleaned. */
const CHANGELOG_CONFIG = {
  "cleanup.policy": "compact",
  "segment.bytes": String(4 * 1024 * 1024),
  "min.cleanable.dirty.ratio": "0.2",
};

function configOf(shape: TopicShape): Record<string, string> {
  switch (shape.retention) {
    case "forever":
      return { "cleanup.policy": "delete", "retention.ms": FOREVER, "retention.bytes": FOREVER };
    case "compact":
      return { "cleanup.policy": "compact" };
    case "delete":
      return { "cleanup.policy": "delete" };
  }
}

/** Every topic of a pipeline, with its shape and configuration. */
export function plannedTopics(settings: TopicSettings): NewTopic[] {
  const { pipeline, partitions, replicationFactor } = settings;
  const make = (name: string, shape: TopicShape, config: Record<string, string>): NewTopic => ({
    name,
    partitions: shape.partitions === "lanes" ? partitions : 1,
    replicationFactor,
    // Kafka's default of 1 would call a record safe that one disk holds.
    config: replicationFactor >= SAFE_COPIES ? { ...config, "min.insync.replicas": "2" } : config,
  });
  // Because Object.keys of a Record has exactly the record's keys.
  const roles = Object.keys(TOPICS) as TopicRole[];
  return [
    ...roles.map((role) => make(topicName(pipeline, role), TOPICS[role], configOf(TOPICS[role]))),
    ...STAGES.map((stage) => {
      const role = STAGE_INPUT[stage];
      return make(deadTopicName(pipeline, role), TOPICS[role], { "cleanup.policy": "delete" });
    }),
    ...STAGES.map((stage) =>
      make(changelogTopicName(pipeline, stage), TOPICS[STAGE_INPUT[stage]], CHANGELOG_CONFIG),
    ),
  ];
}

/** How often, and how far apart in milliseconds, topics just created are looked for. */
const MOST_LOOKS = 20;
const LOOK_AGAIN_MS = 500;

/** Creates the topics that are missing and checks all; returns the names created. */
export async function ensureTopics(
  client: KafkaClient,
  settings: TopicSettings,
): Promise<readonly string[]> {
  const created = await client.createTopics(plannedTopics(settings));
  // A busy broker tells of topics some seconds after it made them.
  for (let looks = created.length > 0 ? MOST_LOOKS : 1; ; looks -= 1) {
    try {
      await checkTopics(client, settings);
      return created;
    } catch (error) {
      if (looks <= 1 || !isSealstreamError(error, "topic-missing")) throw error;
      await sleep(LOOK_AGAIN_MS);
    }
  }
}

/**
 * Checks that topics are there with the planned partitions.
 * @param inReach the topics to check, by default all: a user sees only those that its ACLs name
 * @throws SealstreamError `topic-missing` naming what is missing or has another number of partitions
 */
export async function checkTopics(
  client: KafkaClient,
  settings: TopicSettings,
  inReach?: ReadonlySet<string>,
): Promise<void> {
  const planned = plannedTopics(settings).filter(({ name }) => inReach?.has(name) ?? true);
  const found = new Map(
    (await client.describeTopics(planned.map(({ name }) => name))).map((topic) => [
      topic.name,
      topic,
    ]),
  );
  const missing = planned.filter(({ name }) => !found.has(name)).map(({ name }) => name);
  if (missing.length > 0) {
    throw new SealstreamError(
      "topic-missing",
      `Missing topics: ${missing.join(", ")}. Create them with "sealstream topics FILE".`,
    );
  }
  for (const { name, partitions } of planned) {
    const actual = found.get(name)?.partitions;
    if (actual !== partitions) {
      throw new SealstreamError(
        "topic-missing",
        `Topic ${name} has ${actual} partitions and the pipeline file says ${partitions}: partitions cannot change, so give the pipeline a new name for its new generation.`,
      );
    }
  }
}
