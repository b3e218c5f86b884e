/**
 * The Kafka port on @confluentinc/kafka-javascript (librdkafka): admin here; readers, producers and group membership
 * have files of their own.
 *
 * The second client: slower than the first as it stands, with librdkafka's own read_committed filter, fencing and
 * connection handling. It shares no code with the first, so that each is a check on the other in the conformance suite.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { isSealstreamError, SealstreamError } from "../errors.ts";
import { bridgeLogs, checkCompression, connectionSettings } from "./confluent-config.ts";
import { closeConsumer, groupMembers, joinGroup, openGroupHandle } from "./confluent-group.ts";
import {
  CODE,
  type ConfluentLibrary,
  call,
  codeOf,
  type LibraryAdmin,
  type LibraryConsumer,
  type LibraryError,
  loadConfluentLibrary,
  REFUSED,
  toSealstreamError,
} from "./confluent-library.ts";
import { createLaneProducer, createPlainProducer } from "./confluent-producer.ts";
import { createConfluentReader, type LogEnds } from "./confluent-reader.ts";
import type { ClientOptions } from "./open-client.ts";
import type { KafkaClient, NewTopic, TopicDescription } from "./port.ts";

const CONNECT_TIMEOUT_MS = 5_000;
/** A refusal comes with the first answer. */
const PROBE_TIMEOUT_MS = 2_000;
const PROBE_POLL_MS = 50;
const REQUEST_TIMEOUT_MS = 20_000;
const CREATE_TOPIC_RETRIES = 5;
/** How often a new topic is asked for its leaders, and how often at most. */
const LEADER_WAIT_MS = 50;
const LEADER_TRIES = 400;
/** Special timestamps of the ListOffsets request, and isolation levels of it. */
const EARLIEST = -2;
const LATEST = -1;
const READ_UNCOMMITTED = 0;
const READ_COMMITTED = 1;
/** A partition that does not exist, or whose leader is not known. */
const UNSETTLED: readonly number[] = [
  CODE.noEntry,
  CODE.unknownPartition,
  CODE.unknownTopic,
  CODE.unknownTopicOrPartition,
  CODE.leaderNotAvailable,
  CODE.notLeader,
];
/** Answers to the creation of a topic that stay the same however often it is asked for. */
const REFUSED_TOPIC: readonly number[] = [...REFUSED, CODE.invalidConfig, CODE.policyViolation];

/** Why a partition does not show: it is not there, or this user may not see it. */
async function missing(
  admin: LibraryAdmin,
  topic: string,
  partition: number,
): Promise<SealstreamError> {
  const [found] = await call<readonly { error?: LibraryError | null }[]>((done) =>
    admin.describeTopics([topic], { timeout: REQUEST_TIMEOUT_MS }, done),
  ).catch(() => []);
  return found?.error?.code === CODE.topicAuthorization
    ? toSealstreamError(found.error, `Topic ${topic}`)
    : new SealstreamError("topic-missing", `Topic ${topic} has no partition ${partition}.`);
}

/** One answer of ListOffsets. @throws SealstreamError `topic-missing` */
async function listOffset(
  admin: LibraryAdmin,
  [topic, partition]: readonly [string, number],
  [timestamp, isolationLevel]: readonly [number, number],
): Promise<number> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      const [answer] = await call<readonly { offset: number; error?: unknown }[]>((done) =>
        admin.listOffsets(
          [{ topic, partition, offset: { timestamp } }],
          { timeout: REQUEST_TIMEOUT_MS, isolationLevel },
          done,
        ),
      );
      if (answer?.error) {
        throw answer.error;
      }
      return answer?.offset ?? -1;
    } catch (error) {
      const code = codeOf(error);
      if (code === null || !UNSETTLED.includes(code) || attempt >= LEADER_TRIES) {
        throw toSealstreamError(error, `Asking for offsets of ${topic}/${partition}`);
      }
      const found = (await describe(admin, [topic])).at(0)?.partitions ?? 0;
      if (partition >= found) {
        throw await missing(admin, topic, partition);
      }
      // The partition is there and its leader is not yet: it is new, or has moved.
      await sleep(LEADER_WAIT_MS);
    }
  }
}

async function askEnds(admin: LibraryAdmin, topic: string, partition: number): Promise<LogEnds> {
  const where = [topic, partition] as const;
  const [earliest, lastStableOffset] = await Promise.all([
    listOffset(admin, where, [EARLIEST, READ_UNCOMMITTED]),
    listOffset(admin, where, [LATEST, READ_COMMITTED]),
  ]);
  // Asked last, so that it is never below the last stable offset.
  const highWatermark = await listOffset(admin, where, [LATEST, READ_UNCOMMITTED]);
  return { earliest, lastStableOffset, highWatermark };
}

async function listTopics(admin: LibraryAdmin): Promise<readonly string[]> {
  try {
    return await call<string[]>((done) => admin.listTopics({ timeout: REQUEST_TIMEOUT_MS }, done));
  } catch (error) {
    throw toSealstreamError(error, "Listing topics");
  }
}

/** Existing topics among `names`, and whether each of their partitions has a leader. */
async function describe(
  admin: LibraryAdmin,
  names: readonly string[],
): Promise<readonly (TopicDescription & { readonly isLed: boolean })[]> {
  const wanted = new Set(names);
  try {
    const { topics } = await call<{
      topics: readonly { name: string; partitions: readonly { leader: number }[] }[];
    }>((done) => admin.getMetadata({ allTopics: true, timeout: REQUEST_TIMEOUT_MS }, done));
    return topics
      .filter(({ name, partitions }) => wanted.has(name) && partitions.length > 0)
      .map(({ name, partitions }) => ({
        name,
        partitions: partitions.length,
        isLed: partitions.every(({ leader }) => leader >= 0),
      }));
  } catch (error) {
    throw toSealstreamError(error, "Describing topics");
  }
}

async function createTopic(admin: LibraryAdmin, topic: NewTopic): Promise<boolean> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      await call<unknown>((done) =>
        admin.createTopic(
          {
            topic: topic.name,
            num_partitions: topic.partitions,
            replication_factor: topic.replicationFactor,
            config: topic.config,
          },
          REQUEST_TIMEOUT_MS,
          done,
        ),
      );
      return true;
    } catch (error) {
      if (codeOf(error) === CODE.topicExists) {
        // Because another process may have created it meanwhile; and an answer may be lost on the way to a retry.
        return attempt > 0;
      }
      // Because a fresh cluster may refuse until its metadata has settled.
      const code = codeOf(error);
      if (attempt >= CREATE_TOPIC_RETRIES || (code !== null && REFUSED_TOPIC.includes(code))) {
        throw new SealstreamError("kafka-failed", "The broker would not create the topics.", {
          cause: error,
        });
      }
      await sleep(200 * 2 ** attempt);
    }
  }
}

async function createTopics(
  admin: LibraryAdmin,
  topics: readonly NewTopic[],
): Promise<readonly string[]> {
  const existing = new Set(await listTopics(admin));
  const created: string[] = [];
  for (const topic of topics) {
    if (!existing.has(topic.name) && (await createTopic(admin, topic))) {
      created.push(topic.name);
    }
  }
  for (let attempt = 0; ; attempt += 1) {
    const found = await describe(admin, created);
    if (found.filter(({ isLed }) => isLed).length === created.length) {
      return created;
    }
    if (attempt >= LEADER_TRIES) {
      throw new SealstreamError(
        "kafka-failed",
        "The new topics have no leaders: see whether enough brokers are running.",
      );
    }
    await sleep(LEADER_WAIT_MS);
  }
}

/** Handles of groups, opened when first asked for. */
class Groups {
  readonly #open: (group: string) => Promise<LibraryConsumer>;
  readonly #handles = new Map<string, Promise<LibraryConsumer>>();

  constructor(open: (group: string) => Promise<LibraryConsumer>) {
    this.#open = open;
  }

  handle(group: string): Promise<LibraryConsumer> {
    let handle = this.#handles.get(group);
    if (handle === undefined) {
      handle = this.#open(group);
      this.#handles.set(group, handle);
      handle.catch(() => this.#handles.delete(group));
    }
    return handle;
  }

  async committed(group: string, topic: string, partition: number): Promise<number | null> {
    try {
      const consumer = await this.handle(group);
      // Takes what librdkafka reported since the last time, or it would pile up in the handle.
      consumer.consume(100, () => undefined);
      const [answer] = await call<(object | Error)[]>((done) =>
        consumer.committed([{ topic, partition }], REQUEST_TIMEOUT_MS, done),
      );
      if (answer === undefined || answer instanceof Error) {
        throw answer ?? new Error("no answer");
      }
      // Because the library leaves the field out when the group never committed.
      const { offset } = answer as { offset?: number };
      return offset === undefined || offset < 0 ? null : offset;
    } catch (error) {
      throw toSealstreamError(error, `Reading the offset of group ${group}`);
    }
  }

  async close(): Promise<void> {
    const handles = await Promise.allSettled(this.#handles.values());
    this.#handles.clear();
    await Promise.all(
      handles.map((result) =>
        result.status === "fulfilled" ? closeConsumer(result.value) : undefined,
      ),
    );
  }
}

/**
 * Why no connection comes about: librdkafka tells it in passing, and an admin handle not at all, so a consumer tries
 * again and is listened to.
 */
async function findRefusal(
  library: ConfluentLibrary,
  options: ClientOptions,
): Promise<LibraryError | null> {
  let refusal: LibraryError | null = null;
  const consumer = bridgeLogs(
    new library.KafkaConsumer(
      { ...connectionSettings(options), "group.id": `${options.clientId}-probe` },
      {},
    ),
    options.logger,
  );
  consumer.setDefaultConsumeTimeout(0);
  consumer.on("event.error", (error) => {
    refusal = error.code === CODE.ssl || REFUSED.includes(error.code) ? error : refusal;
  });
  const timer = setInterval(() => consumer.consume(1, () => undefined), PROBE_POLL_MS);
  try {
    await call((done) => consumer.connect({ allTopics: false, timeout: PROBE_TIMEOUT_MS }, done));
  } catch {
    // Because that it does not connect is known; only what was reported meanwhile counts.
  } finally {
    clearInterval(timer);
    await closeConsumer(consumer);
  }
  return refusal;
}

/** Why the cluster could not be used. @param refusal what librdkafka reported while it tried */
function cannotConnect(
  { brokers }: ClientOptions,
  error: unknown,
  refusal: LibraryError | null,
): SealstreamError {
  const where = brokers.join(", ");
  if (refusal === null) {
    return new SealstreamError(
      "broker-unavailable",
      `No Kafka broker answers at ${where}: check KAFKA_BROKERS or kafka.brokers, or start one with "sealstream broker".`,
      { cause: error },
    );
  }
  return new SealstreamError(
    "access-denied",
    refusal.code === CODE.ssl
      ? `No TLS connection to ${where} comes about: check kafka.tls, the broker's certificate and the host names in it, and that the port speaks TLS.`
      : `Kafka at ${where} refuses this user or its password or token: check kafka.sasl in the pipeline file and the secret in the environment.`,
    { cause: error },
  );
}

/**
 * Connects to a cluster.
 * @throws SealstreamError `broker-unavailable` when no broker answers, `access-denied` when the cluster or we refuse,
 * `backend-unavailable` when the library is not installed or lacks the compression
 */
export async function createConfluentClient(options: ClientOptions): Promise<KafkaClient> {
  const library: ConfluentLibrary = loadConfluentLibrary();
  checkCompression(library, options);
  const admin = bridgeLogs(
    library.AdminClient.create({ ...connectionSettings(options) }, {}),
    options.logger,
  );
  try {
    await call((done) =>
      admin.getMetadata({ allTopics: false, timeout: CONNECT_TIMEOUT_MS }, done),
    );
  } catch (error) {
    admin.disconnect();
    throw cannotConnect(options, error, await findRefusal(library, options));
  }
  const groups = new Groups((group) => openGroupHandle(library, options, group));
  let closing: Promise<void> | null = null;
  return {
    async describeTopics(names) {
      return (await describe(admin, names)).map(({ name, partitions }) => ({ name, partitions }));
    },
    async listTopics(prefix) {
      return (await listTopics(admin)).filter((name) => name.startsWith(prefix));
    },
    createTopics: (topics) => createTopics(admin, topics),
    async offsets(topic, partition) {
      const { earliest, highWatermark } = await askEnds(admin, topic, partition);
      return { earliest, latest: highWatermark };
    },
    committedOffset: (group, topic, partition) => groups.committed(group, topic, partition),
    groupMembers: (group, topic) => groupMembers(admin, group, topic),
    async createReader(topic, partition, offset, isolation = "committed") {
      const ask = () => askEnds(admin, topic, partition);
      const request = { topic, partition, offset, isolation, askEnds: ask };
      try {
        return await createConfluentReader(library, options, request);
      } catch (error) {
        throw isSealstreamError(error, "topic-missing")
          ? await missing(admin, topic, partition)
          : error;
      }
    },
    createLaneProducer: (transactionalId) =>
      createLaneProducer(library, options, transactionalId, (group) => groups.handle(group)),
    createPlainProducer: () => createPlainProducer(library, options),
    joinGroup: (request) => joinGroup(library, options, request),
    close() {
      closing ??= groups.close().then(() => admin.disconnect());
      return closing;
    },
  };
}
