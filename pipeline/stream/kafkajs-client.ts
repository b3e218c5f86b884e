/**
 * The Kafka port on kafkajs 2.2.4: admin and group membership; readers and producers have files of their own.
 *
 * What kafkajs does wrongly is not used: its consumer only holds the group membership (all partitions paused), reads
 * go through `kafkajs-reader.ts`, every transactional send targets exactly one partition (multi-partition sends lose
 * records when a leader moves), and a producer that saw an error is thrown away. Source: measurements kept with the
 * project's design notes; KIP-98, KIP-360 for the protocol.
 */
import { setTimeout as sleep } from "node:timers/promises";
import kafkajs, { type Admin, type ITopicConfig, type Kafka as KafkaType } from "kafkajs";
import { SealstreamError } from "../errors.ts";
import { installCodecs, installTimerFix } from "./kafkajs-internals.ts";
import {
  createLaneProducer,
  createPlainProducer,
  type KafkajsOptions,
  quietly,
} from "./kafkajs-producer.ts";
import { createKafkajsReader } from "./kafkajs-reader.ts";
import type { GroupMembership, KafkaClient, Logger } from "./port.ts";

const { Kafka, logLevel, PartitionAssigners } = kafkajs;

/** Paused consumers still heartbeat once per this wait. */
const GROUP_POLL_MS = 250;
const CREATE_TOPIC_RETRIES = 5;

function createLogBridge(logger: Logger) {
  return () =>
    ({ namespace, level, log }: { namespace: string; level: number; log: { message: string } }) => {
      // Only the library's own fixed sentence is passed on: its extra fields may name anything.
      const fields = { client: "kafkajs", namespace };
      if (level === logLevel.ERROR || level === logLevel.WARN) {
        logger.debug(fields, log.message);
      }
    };
}

async function createTopicsWithRetry(admin: Admin, topics: ITopicConfig[]): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      await admin.createTopics({ topics, waitForLeaders: true, timeout: 20_000 });
      return;
    } catch (error) {
      // Because a fresh cluster may answer UNKNOWN_TOPIC_OR_PARTITION until its metadata has settled.
      if (attempt >= CREATE_TOPIC_RETRIES) {
        throw new SealstreamError("kafka-failed", "The broker would not create the topics.", {
          cause: error,
        });
      }
      await sleep(200 * 2 ** attempt);
    }
  }
}

async function joinGroup(
  kafka: KafkaType,
  options: KafkajsOptions,
  { group, topic, onAssignment, onCrash }: Parameters<KafkaClient["joinGroup"]>[0],
): Promise<GroupMembership> {
  const consumer = kafka.consumer({
    groupId: group,
    sessionTimeout: options.sessionTimeoutMs,
    rebalanceTimeout: options.sessionTimeoutMs * 2,
    heartbeatInterval: Math.max(100, Math.floor(options.sessionTimeoutMs / 6)),
    maxWaitTimeInMs: GROUP_POLL_MS,
    allowAutoTopicCreation: false,
    partitionAssigners: [PartitionAssigners.roundRobin],
    retry: { initialRetryTime: 100, maxRetryTime: 2_000, retries: 20 },
  });
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    // Nothing is fetched through the group: the lanes read from explicit offsets.
    consumer.pause([{ topic }]);
    onAssignment(payload.memberAssignment[topic] ?? []);
  });
  consumer.on(consumer.events.CRASH, ({ payload }) => {
    if (!payload.restart) {
      onCrash(payload.error);
    }
  });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    eachBatch: () => Promise.resolve(),
  });
  return { close: () => quietly(consumer.disconnect()) };
}

/** What kafkajs's admin client answers, in the port's words. */
function createAdminPart(
  admin: Admin,
): Pick<
  KafkaClient,
  "describeTopics" | "listTopics" | "createTopics" | "offsets" | "committedOffset"
> {
  return {
    async describeTopics(names) {
      const existing = new Set(await admin.listTopics());
      const present = names.filter((name) => existing.has(name));
      if (present.length === 0) {
        return [];
      }
      const { topics } = await admin.fetchTopicMetadata({ topics: present });
      return topics.map(({ name, partitions }) => ({ name, partitions: partitions.length }));
    },
    async listTopics(prefix) {
      return (await admin.listTopics()).filter((name) => name.startsWith(prefix));
    },
    async createTopics(topics) {
      const existing = new Set(await admin.listTopics());
      const missing = topics.filter(({ name }) => !existing.has(name));
      if (missing.length > 0) {
        await createTopicsWithRetry(
          admin,
          missing.map(({ name, partitions, replicationFactor, config }) => ({
            topic: name,
            numPartitions: partitions,
            replicationFactor,
            configEntries: Object.entries(config).map(([key, value]) => ({ name: key, value })),
          })),
        );
      }
      return missing.map(({ name }) => name);
    },
    async offsets(topic, partition) {
      const found = (await admin.fetchTopicOffsets(topic)).find(
        (entry) => entry.partition === partition,
      );
      if (found === undefined) {
        throw new SealstreamError("topic-missing", `Topic ${topic} has no partition ${partition}.`);
      }
      return { earliest: Number(found.low), latest: Number(found.high) };
    },
    async committedOffset(group, topic, partition) {
      const [answer] = await admin.fetchOffsets({ groupId: group, topics: [topic] });
      const offset = Number(
        answer?.partitions.find((entry) => entry.partition === partition)?.offset ?? -1,
      );
      return offset < 0 ? null : offset;
    },
  };
}

/** Connects to a cluster. @throws SealstreamError `broker-unavailable` when no broker answers */
export async function createKafkajsClient(options: KafkajsOptions): Promise<KafkaClient> {
  installCodecs();
  installTimerFix();
  const kafka = new Kafka({
    clientId: options.clientId,
    brokers: [...options.brokers],
    logLevel: logLevel.WARN,
    logCreator: createLogBridge(options.logger),
    connectionTimeout: 5_000,
    retry: { initialRetryTime: 20, maxRetryTime: 1_000, retries: 12 },
  });
  const admin = kafka.admin();
  try {
    await admin.connect();
  } catch (error) {
    throw new SealstreamError(
      "broker-unavailable",
      `No Kafka broker answers at ${options.brokers.join(", ")}: check KAFKA_BROKERS or kafka.brokers, or start one with "sealstream broker".`,
      { cause: error },
    );
  }
  return {
    ...createAdminPart(admin),
    createReader: (topic, partition, offset, isolation = "committed") =>
      createKafkajsReader(kafka, { topic, partition, offset, isolation }),
    createLaneProducer: (transactionalId) => createLaneProducer(kafka, options, transactionalId),
    createPlainProducer: () => createPlainProducer(kafka, admin, options),
    joinGroup: (request) => joinGroup(kafka, options, request),
    close: () => quietly(admin.disconnect()),
  };
}
