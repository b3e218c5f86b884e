/**
 * Consumer groups through librdkafka: a member that only holds its place, and a handle of a group that never joins it.
 *
 * The member answers a rebalance with an assignment of nothing, so that librdkafka fetches nothing: the lanes read from
 * explicit offsets. Both sides of a group must use the same client: the names of their assignors differ.
 */
import { bridgeLogs, connectionSettings } from "./confluent-config.ts";
import {
  CODE,
  type ConfluentLibrary,
  call,
  codeOf,
  type LibraryAdmin,
  type LibraryConsumer,
  type LibraryError,
  type LibraryGroups,
  REFUSED,
  type TopicPartition,
  toSealstreamError,
} from "./confluent-library.ts";
import type { ClientOptions } from "./open-client.ts";
import type { GroupMember, GroupMembership, KafkaClient } from "./port.ts";

const CONNECT_TIMEOUT_MS = 10_000;
const DESCRIBE_TIMEOUT_MS = 20_000;
/** A signal comes only when librdkafka's queue was empty before, and a member must be heard of regularly. */
const POLL_MS = 200;
/** Events taken at once; each is a rebalance or an error. */
const POLL_COUNT = 100;

async function openConsumer(
  library: ConfluentLibrary,
  options: ClientOptions,
  group: string,
  settings: Readonly<Record<string, unknown>>,
): Promise<LibraryConsumer> {
  const consumer = bridgeLogs(
    new library.KafkaConsumer(
      {
        ...connectionSettings(options),
        "group.id": group,
        "enable.auto.commit": false,
        "enable.auto.offset.store": false,
        // Committed offsets are read as stable ones only: not while a transaction over them is open (KIP-447).
        "isolation.level": "read_committed",
        "allow.auto.create.topics": false,
        ...settings,
      },
      {},
    ),
    options.logger,
  );
  consumer.setDefaultConsumeTimeout(0);
  try {
    await call((done) => consumer.connect({ allTopics: false, timeout: CONNECT_TIMEOUT_MS }, done));
  } catch (error) {
    await closeConsumer(consumer);
    throw toSealstreamError(error, `Reaching group ${group}`);
  }
  return consumer;
}

/** Leaves the group, if it is a member. */
export async function closeConsumer(consumer: LibraryConsumer): Promise<void> {
  try {
    await call<unknown>((done) => consumer.disconnect(done));
  } catch {
    // Because the broker forgets a member that did not get through after its session timeout.
  }
}

/** A handle of a group for reading its offsets and adding to them in transactions; never a member. */
export function openGroupHandle(
  library: ConfluentLibrary,
  options: ClientOptions,
  group: string,
): Promise<LibraryConsumer> {
  return openConsumer(library, options, group, {});
}

/** See {@link KafkaClient.groupMembers}. */
export async function groupMembers(
  admin: LibraryAdmin,
  group: string,
  topic: string,
): Promise<GroupMember[]> {
  try {
    const { groups } = await call<LibraryGroups>((done) =>
      admin.describeGroups([group], { timeout: DESCRIBE_TIMEOUT_MS }, done),
    );
    const found = groups.find(({ groupId }) => groupId === group);
    if (found?.error) throw found.error;
    return (found?.members ?? []).map(({ memberId: id, clientHost: host, assignment }) => ({
      ...{ id, host },
      partitions: assignment.topicPartitions
        .filter((place) => place.topic === topic)
        .map(({ partition }) => partition)
        .sort((a, b) => a - b),
    }));
  } catch (error) {
    // Newer brokers say so of a group that nobody has joined yet; older ones describe an empty one.
    if (codeOf(error) === CODE.groupIdNotFound) return [];
    throw toSealstreamError(error, `Asking who is in group ${group}`);
  }
}

/** Joins a group as `KafkaClient.joinGroup` says. */
export async function joinGroup(
  library: ConfluentLibrary,
  options: ClientOptions,
  { group, topic, onAssignment, onCrash }: Parameters<KafkaClient["joinGroup"]>[0],
): Promise<GroupMembership> {
  let isClosing = false;
  let isPolling = false;
  let isSignalled = false;
  const crash = (error: unknown): void => {
    if (!isClosing) {
      onCrash(toSealstreamError(error, `Membership of group ${group}`));
    }
  };
  /** Called by the library on its consumer, in the place of its own answer to a rebalance. */
  function rebalance(
    this: LibraryConsumer,
    error: LibraryError | undefined,
    assigned: readonly TopicPartition[],
  ): void {
    if (error?.code !== CODE.assignPartitions) {
      this.unassign();
      return;
    }
    this.assign([]);
    if (!isClosing) {
      onAssignment(
        assigned.filter((entry) => entry.topic === topic).map(({ partition }) => partition),
      );
    }
  }
  const poll = (): void => {
    if (isPolling || isClosing) {
      isSignalled = true;
      return;
    }
    isPolling = true;
    isSignalled = false;
    consumer.consume(POLL_COUNT, (error) => {
      isPolling = false;
      const code = codeOf(error);
      if (code !== null && (REFUSED.includes(code) || code === CODE.fatal)) {
        crash(error);
      }
      if (isSignalled) {
        poll();
      }
    });
  };
  const consumer = await openConsumer(library, options, group, {
    "session.timeout.ms": options.sessionTimeoutMs,
    // How long a rebalance waits for a member, and how long a member may be silent.
    "max.poll.interval.ms": options.sessionTimeoutMs * 2,
    "heartbeat.interval.ms": Math.max(100, Math.floor(options.sessionTimeoutMs / 6)),
    "partition.assignment.strategy": "roundrobin",
    rebalance_cb: rebalance,
    queue_non_empty_cb: () => poll(),
  });
  consumer.on("event.error", (error) => {
    if (error.code === CODE.fatal) {
      crash(error);
    }
  });
  consumer.subscribe([topic]);
  const timer = setInterval(poll, POLL_MS);
  poll();
  let closing: Promise<void> | null = null;
  return {
    close() {
      isClosing = true;
      clearInterval(timer);
      closing ??= closeConsumer(consumer);
      return closing;
    },
  };
}
