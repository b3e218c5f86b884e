/**
 * The Kafka port on kafkajs 2.2.4: admin and group membership; readers and producers have files of their own.
 *
 * What kafkajs does wrongly is not used: its consumer only holds the group membership (all partitions paused), reads
 * go through `kafkajs-reader.ts`, every transactional send targets exactly one partition (multi-partition sends lose
 * records when a leader moves), and a producer that saw an error is thrown away. Source: measurements kept with the
 * project's design notes; KIP-98, KIP-360 for the protocol.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Admin, ITopicConfig } from "kafkajs";
import { SealstreamError } from "../errors.ts";
import { KafkajsAdmin } from "./kafkajs-admin.ts";
import { connectKafkajs, type KafkajsRoots } from "./kafkajs-connection.ts";
import { groupError, groupMembers, joinKafkajsGroup } from "./kafkajs-group.ts";
import { logOffsets } from "./kafkajs-offsets.ts";
import { keepPosition } from "./kafkajs-positions.ts";
import { createLaneProducer, createPlainProducer } from "./kafkajs-producer.ts";
import { createKafkajsReader } from "./kafkajs-reader.ts";
import type { ClientOptions } from "./open-client.ts";
import type { GroupPlace, KafkaClient, ReaderPosition } from "./port.ts";
import { accessDenied, naming } from "./security.ts";

/** About ten seconds: longer than a coordinator's move. */
const COORDINATOR_RETRIES = 12;
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

async function createTopicsWithRetry(admin: KafkajsAdmin, topics: ITopicConfig[]): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      await admin.ask((on) => on.createTopics({ topics, waitForLeaders: true, timeout: 20_000 }));
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

async function describeTopics(admin: Admin, names: readonly string[]) {
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
}

/** What kafkajs's admin client answers, in the port's words. */
function createAdminPart(
  { kafka, links }: KafkajsRoots,
  admin: KafkajsAdmin,
): Pick<
  KafkaClient,
  | "describeTopics"
  | "listTopics"
  | "createTopics"
  | "offsets"
  | "committedOffset"
  | "groupMembers"
  | "positions"
> {
  return {
    describeTopics: (names) => admin.ask((on) => describeTopics(on, names)),
    async listTopics(prefix) {
      return (await admin.ask((on) => on.listTopics())).filter((name) => name.startsWith(prefix));
    },
    async createTopics(topics) {
      const existing = new Set(await admin.ask((on) => on.listTopics()));
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
    offsets: (topic, partition) => logOffsets(links, { topic, partition }),
    async committedOffset(group, topic, partition) {
      const position = await findPosition({ kafka, admin }, { group, topic, partition });
      return position?.offset ?? null;
    },
    groupMembers: (group, topic) =>
      patiently(() => admin.ask((on) => groupMembers(on, group, topic))).catch(
        async (error: unknown) => {
          throw await groupError(kafka, group, error);
        },
      ),
    positions: {
      find: (place) => findPosition({ kafka, admin }, place),
      keep: (place, position) => keepPosition(links, place, position),
    },
  };
}

/** What a group has committed for a partition. */
async function findPosition(
  { kafka, admin }: Pick<KafkajsRoots, "kafka"> & { readonly admin: KafkajsAdmin },
  { group, topic, partition }: GroupPlace,
): Promise<ReaderPosition | null> {
  const [answer] = await patiently(() =>
    admin.ask((on) => on.fetchOffsets({ groupId: group, topics: [topic] })),
  ).catch(async (error: unknown) => {
    throw await groupError(kafka, group, error);
  });
  const found = answer?.partitions.find((entry) => entry.partition === partition);
  const offset = Number(found?.offset ?? -1);
  return offset < 0 ? null : { offset, note: found?.metadata ?? "" };
}

/**
 * Connects to a cluster.
 * @throws SealstreamError `broker-unavailable` when no broker answers, `access-denied` when the cluster or we refuse
 */
export async function createKafkajsClient(options: ClientOptions): Promise<KafkaClient> {
  const { kafka, links } = await connectKafkajs(options);
  const admin = new KafkajsAdmin(kafka);
  return {
    ...createAdminPart({ kafka, links }, admin),
    createReader: (topic, partition, offset, isolation = "committed") =>
      naming(`topic ${topic}`, createKafkajsReader(links, { topic, partition, offset, isolation })),
    createLaneProducer: (transactionalId) =>
      naming(
        `transactional id ${transactionalId}`,
        createLaneProducer(links, options, transactionalId),
      ),
    createPlainProducer: () => createPlainProducer(links, admin, options),
    joinGroup: (request) => joinKafkajsGroup(kafka, options, request),
    close: () => admin.close(),
  };
}
