/**
 * Membership of a consumer group on kafkajs 2.2.4, whose consumer holds the membership and fetches nothing.
 *
 * kafkajs restarts a consumer that crashed, even one that was told to leave while it was joining, and may hang in a join
 * without another word. Either makes a member that the group gives lanes to and that nobody works for. So it never
 * restarts here, a silent membership is over, and one that is over and speaks again is sent away.
 */
import { setTimeout as sleep } from "node:timers/promises";
import kafkajs, { type Admin, type Kafka } from "kafkajs";
import { SealstreamError } from "../errors.ts";
import { KafkajsLink } from "./kafkajs-link.ts";
import { quietly } from "./kafkajs-producer.ts";
import type { ClientOptions } from "./open-client.ts";
import type { GroupMember, GroupMembership, KafkaClient } from "./port.ts";
import { accessDenied, naming } from "./security.ts";

const { AssignerProtocol, PartitionAssigners } = kafkajs;

/** Paused consumers still heartbeat once per this wait. */
const GROUP_POLL_MS = 250;
/** A member learns of a rebalance by its heartbeat, so this bounds how long a leaving instance's lanes stand still. */
const MAX_HEARTBEAT_MS = 500;
/** A member is silent for a session at most, and for a rebalance, which may take two. */
const SILENT_SESSIONS = 4;
const WATCH_EVERY_MS = 1_000;
const LEAVE_TIMEOUT_MS = 5_000;

/** A group's refused coordinator looks like a missing one to kafkajs: asked for directly, the broker says which. */
export async function groupError(kafka: Kafka, group: string, error: unknown): Promise<unknown> {
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

/** See {@link KafkaClient.groupMembers}. */
export async function groupMembers(
  admin: Admin,
  group: string,
  topic: string,
): Promise<GroupMember[]> {
  const { groups } = await admin.describeGroups([group]);
  const members = groups.find(({ groupId }) => groupId === group)?.members ?? [];
  return members.map(({ memberId: id, clientHost: host, memberAssignment }) => {
    // Null while the group gives its lanes out anew: the bytes are empty then.
    const decoded = AssignerProtocol.MemberAssignment.decode(memberAssignment);
    const partitions = [...(decoded?.assignment[topic] ?? [])].sort((a, b) => a - b);
    return { id, host, partitions };
  });
}

/** Calls back once when nothing was heard for a while. */
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

/** Joins a group; see {@link KafkaClient.joinGroup}. After `onCrash` or `close` nothing is called any more. */
export async function joinKafkajsGroup(
  kafka: Kafka,
  options: Pick<ClientOptions, "sessionTimeoutMs">,
  { group, topic, onAssignment, onCrash }: Parameters<KafkaClient["joinGroup"]>[0],
): Promise<GroupMembership> {
  const { sessionTimeoutMs } = options;
  const consumer = kafka.consumer({
    groupId: group,
    sessionTimeout: sessionTimeoutMs,
    rebalanceTimeout: sessionTimeoutMs * 2,
    heartbeatInterval: Math.min(MAX_HEARTBEAT_MS, Math.floor(sessionTimeoutMs / 6)),
    maxWaitTimeInMs: GROUP_POLL_MS,
    allowAutoTopicCreation: false,
    partitionAssigners: [PartitionAssigners.roundRobin],
    retry: {
      initialRetryTime: 100,
      maxRetryTime: 1_000,
      // Few: kafkajs asks the same dead coordinator again; only a new join (group-member.ts) looks for the new one.
      retries: 5,
      restartOnFailure: () => Promise.resolve(false),
    },
  });
  const silence = () => new SealstreamError("kafka-failed", `Consumer group ${group} fell silent.`);
  let isOver = false;
  let isClosed = false;

  function leave(): Promise<unknown> {
    isOver = true;
    watch.end();
    // A consumer that hangs in a join hangs in leaving too; its session ends without it.
    return Promise.race([
      quietly(consumer.disconnect()),
      sleep(LEAVE_TIMEOUT_MS, undefined, { ref: false }),
    ]);
  }

  const watch = watchSilence(sessionTimeoutMs * SILENT_SESSIONS, () => {
    void leave();
    onCrash(silence());
  });

  /** Whether this membership still counts; one that is over leaves once more, now that it can. */
  function heard(): boolean {
    if (isOver) {
      // Not from within its join, which would go on.
      setTimeout(() => void quietly(consumer.disconnect()), 0);
    }
    watch.heard();
    return !isOver;
  }

  consumer.on(consumer.events.HEARTBEAT, heard);
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    if (heard()) {
      // Nothing is fetched through the group: the lanes read from explicit offsets.
      consumer.pause([{ topic }]);
      onAssignment(payload.memberAssignment[topic] ?? []);
    }
  });
  consumer.on(consumer.events.CRASH, ({ payload }) => {
    if (!isOver) {
      isOver = true;
      watch.end();
      void groupError(kafka, group, payload.error).then((error) => {
        if (!isClosed) {
          // Because kafkajs gives an Error, and what is made of it is one too.
          onCrash(error as Error);
        }
      });
    }
  });
  try {
    await naming(`group ${group}`, consumer.connect());
    await naming(`topic ${topic}`, consumer.subscribe({ topics: [topic], fromBeginning: true }));
    if (isOver) {
      throw silence();
    }
    await consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      eachBatch: () => Promise.resolve(),
    });
  } catch (error) {
    void leave();
    throw await groupError(kafka, group, error);
  }
  return {
    async close() {
      isClosed = true;
      await leave();
    },
  };
}
