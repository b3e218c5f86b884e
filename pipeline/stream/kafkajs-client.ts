/**
 * The Kafka port on kafkajs 2.2.4: admin and group membership; readers and producers have files of their own.
 *
 * What kafkajs does wrongly is not used: its consumer only holds the group membership (all partitions paused), reads
 * go through `kafkajs-reader.ts`, every transactional send targets exactly one partition (multi-partition sends lose
 * records when a leader moves), and a producer that saw an error is thrown away. Source: measurements kept with the
 * project's design notes; KIP-98, KIP-360 for the protocol.
 */
import { setTimeout as sleep } from "node:timers/promises";
import kafkajs, { type Admin, type ITopicConfig, type Kafka } from "kafkajs";
import { SealstreamError } from "../errors.ts";
import { connectKafkajs } from "./kafkajs-connection.ts";
import { KafkajsLink } from "./kafkajs-link.ts";
import { logOffsets } from "./kafkajs-offsets.ts";
import { createLaneProducer, createPlainProducer, quietly } from "./kafkajs-producer.ts";
import { createKafkajsReader } from "./kafkajs-reader.ts";
import type { ClientOptions } from "./open-client.ts";
import type { GroupMembership, KafkaClient } from "./port.ts";
import { accessDenied, naming } from "./security.ts";

const { PartitionAssigners } = kafkajs;

/** Paused consumers still heartbeat once per this wait. */
const GROUP_POLL_MS = 250;
/** A member learns of a rebalance by its heartbeat, so this bounds how long a leaving instance's lanes stand still. */
const MAX_HEARTBEAT_MS = 500;
/** A member is silent for a session at most, and for a rebalance, which may take two. */
const SILENT_SESSIONS = 4;
const WATCH_EVERY_MS = 1_000;
/** About ten seconds: longer than a coordinator's move. */
const COORDINATOR_RETRIES = 12;
const LEAVE_TIMEOUT_MS = 5_000;
const CREATE_TOPIC_RETRIES = 5;

/** What the broker refuses of many topics is in an error of each, which kafkajs gathers in `errors`. */
function deniedTopic(error: unknown, topics: readonly ITopicConfig[]): SealstreamError | null {
  // Because every field is optional, and only these two are looked at.
  const { errors } = error as { errors?: readonly { topic?: string }[] };
  for (const one of errors ?? []) {
    const denied = accessDenied(one, `creating topic ${one.topic ?? "?"}`);
    if (denied !== null) {
      return denied;
    }
  }
  return accessDenied(error, `creating ${topics.length} topics`);
}

async function createTopicsWithRetry(admin: Admin, topics: ITopicConfig[]): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      await admin.createTopics({ topics, waitForLeaders: true, timeout: 20_000 });
      return;
    } catch (error) {
      const denied = deniedTopic(error, topics);
      if (denied !== null) {
        throw denied;
      }
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

/** A group's refused coordinator looks like a missing one to kafkajs: asked for directly, the broker says which. */
async function groupError(kafka: Kafka, group: string, error: unknown): Promise<unknown> {
  const denied = accessDenied(error, `group ${group}`);
  // Because every error of kafkajs has a name.
  if (denied !== null || (error as Error).name !== "KafkaJSGroupCoordinatorNotFound") {
    return denied ?? error;
  }
  const link = new KafkajsLink(kafka);
  try {
    await link.coordinator("group", group);
    return error;
  } catch (reason) {
    return accessDenied(reason, `group ${group}`) ?? error;
  } finally {
    link.close();
  }
}

async function joinGroup(
  kafka: Kafka,
  options: ClientOptions,
  { group, topic, onAssignment, onCrash }: Parameters<KafkaClient["joinGroup"]>[0],
): Promise<GroupMembership> {
  const consumer = kafka.consumer({
    groupId: group,
    sessionTimeout: options.sessionTimeoutMs,
    rebalanceTimeout: options.sessionTimeoutMs * 2,
    heartbeatInterval: Math.min(MAX_HEARTBEAT_MS, Math.floor(options.sessionTimeoutMs / 6)),
    maxWaitTimeInMs: GROUP_POLL_MS,
    allowAutoTopicCreation: false,
    partitionAssigners: [PartitionAssigners.roundRobin],
    // Few: kafkajs asks the same dead coordinator again; only a new join (group-member.ts) looks for the new one.
    retry: { initialRetryTime: 100, maxRetryTime: 1_000, retries: 5 },
  });
  const watch = watchSilence(options.sessionTimeoutMs * SILENT_SESSIONS, () =>
    onCrash(new SealstreamError("kafka-failed", `Consumer group ${group} fell silent.`)),
  );
  consumer.on(consumer.events.HEARTBEAT, watch.heard);
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    watch.heard();
    // Nothing is fetched through the group: the lanes read from explicit offsets.
    consumer.pause([{ topic }]);
    onAssignment(payload.memberAssignment[topic] ?? []);
  });
  consumer.on(consumer.events.CRASH, ({ payload }) => {
    if (!payload.restart) {
      watch.end();
      // Because kafkajs gives an Error, and what is made of it is one too.
      void groupError(kafka, group, payload.error).then((error) => onCrash(error as Error));
    }
  });
  try {
    await naming(`group ${group}`, consumer.connect());
    await naming(`topic ${topic}`, consumer.subscribe({ topics: [topic], fromBeginning: true }));
    await consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      eachBatch: () => Promise.resolve(),
    });
  } catch (error) {
    watch.end();
    throw await groupError(kafka, group, error);
  }
  return {
    close: () => {
      watch.end();
      // A consumer that hangs in a join hangs in leaving too; its session ends without it.
      return Promise.race([
        quietly(consumer.disconnect()),
        sleep(LEAVE_TIMEOUT_MS, undefined, { ref: false }),
      ]);
    },
  };
}

/** Calls back once when nothing was heard for a while: kafkajs may hang in a join without another word. */
function watchSilence(afterMs: number, onSilent: () => void) {
  let heardMs = performance.now();
  const timer = setInterval(() => {
    if (performance.now() - heardMs > afterMs) {
      clearInterval(timer);
      onSilent();
    }
  }, WATCH_EVERY_MS);
  return {
    heard: () => {
      heardMs = performance.now();
    },
    end: () => clearInterval(timer),
  };
}

/**
 * A topic that is not listed may be missing, or hidden from this user: asked for by name, the broker says which.
 * @throws SealstreamError `access-denied` naming the first hidden one
 */
async function assertOnlyMissing(admin: Admin, names: readonly string[]): Promise<void> {
  for (const name of names) {
    try {
      await admin.fetchTopicMetadata({ topics: [name] });
    } catch (error) {
      const denied = accessDenied(error, `topic ${name}`);
      if (denied !== null) {
        throw denied;
      }
      // Because any other answer about a topic that is not listed is for the caller, who finds it missing.
    }
  }
}

/** Asks again while a coordinator moves or loads: kafkajs does not for this request. */
async function patiently<T>(ask: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await ask();
    } catch (error) {
      // Because kafkajs's errors say whether they may pass, and other errors have no such field.
      const mayPass = (error as { retriable?: boolean }).retriable === true;
      if (!mayPass || attempt >= COORDINATOR_RETRIES) {
        throw error;
      }
      await sleep(Math.min(100 * 2 ** attempt, 1_000));
    }
  }
}

/** What kafkajs's admin client answers, in the port's words. */
function createAdminPart(
  kafka: Kafka,
  admin: Admin,
): Pick<
  KafkaClient,
  "describeTopics" | "listTopics" | "createTopics" | "offsets" | "committedOffset"
> {
  return {
    async describeTopics(names) {
      const existing = new Set(await admin.listTopics());
      const present = names.filter((name) => existing.has(name));
      await assertOnlyMissing(
        admin,
        names.filter((name) => !existing.has(name)),
      );
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
    offsets: (topic, partition) => logOffsets(kafka, { topic, partition }),
    async committedOffset(group, topic, partition) {
      const [answer] = await patiently(() =>
        admin.fetchOffsets({ groupId: group, topics: [topic] }),
      ).catch(async (error: unknown) => {
        throw await groupError(kafka, group, error);
      });
      const offset = Number(
        answer?.partitions.find((entry) => entry.partition === partition)?.offset ?? -1,
      );
      return offset < 0 ? null : offset;
    },
  };
}

/**
 * Connects to a cluster.
 * @throws SealstreamError `broker-unavailable` when no broker answers, `access-denied` when the cluster or we refuse
 */
export async function createKafkajsClient(options: ClientOptions): Promise<KafkaClient> {
  const kafka = await connectKafkajs(options);
  const admin = kafka.admin();
  await admin.connect();
  return {
    ...createAdminPart(kafka, admin),
    createReader: (topic, partition, offset, isolation = "committed") =>
      naming(`topic ${topic}`, createKafkajsReader(kafka, { topic, partition, offset, isolation })),
    createLaneProducer: (transactionalId) =>
      naming(
        `transactional id ${transactionalId}`,
        createLaneProducer(kafka, options, transactionalId),
      ),
    createPlainProducer: () => createPlainProducer(kafka, admin, options),
    joinGroup: (request) => joinGroup(kafka, options, request),
    close: () => quietly(admin.disconnect()),
  };
}
