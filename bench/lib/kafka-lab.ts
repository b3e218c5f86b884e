/**
 * One Kafka broker for a benchmark, with topics that are filled, counted and removed.
 *
 * The broker is that of `KAFKA_BROKERS`, else a temporary embedded one. Topics and groups bear a prefix of their own
 * and are removed at the end, also on Ctrl-C and SIGTERM.
 */
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import kafkajs, { type Admin } from "kafkajs";
import { openBroker } from "../../pipeline/stream/broker.ts";
import { createKafkajsClient } from "../../pipeline/stream/kafkajs-client.ts";
import type { KafkaClient, Logger } from "../../pipeline/stream/port.ts";
import { type Child, startChild } from "./child.ts";
import { type Defer, withCleanup } from "./cleanup.ts";
import { KafkaWire } from "./kafka-wire.ts";
import { encodeNumbered, type Tallied, Tally } from "./record-batch.ts";

/** Bytes of a record's value in every benchmark here. */
export const VALUE_BYTES = 200;
/** A batch of these stays below Kafka's default `max.message.bytes` of 1,048,588. */
const FILL_RECORDS = 4_500;
const FETCH_BYTES = 8 * 2 ** 20;
/** A topic just deleted may still be there, a group just left may still have its member. */
const SETTLE_TRIES = 60;
const SETTLE_MS = 250;

export interface KafkaLab {
  readonly brokers: readonly string[];
  /** Begins the names of all topics, groups and pipelines of this benchmark. */
  readonly prefix: string;
  readonly cacheDir: string;
  /** An empty folder, removed at the end. */
  readonly scratch: string;
  readonly wire: KafkaWire;
  /** The product's own client. */
  readonly client: KafkaClient;
  readonly defer: Defer;
  createTopics(names: readonly string[], partitions: number): Promise<void>;
  /** Deletes topics and consumer groups; those that are not there are passed over. */
  remove(topics: readonly string[], groups: readonly string[]): Promise<void>;
  start(command: string, args: readonly string[], channel: boolean): Child;
}

/** Because a contender's failures show as records that do not arrive. */
const silent: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

/** Says how far the benchmark is. */
export function tell(message: string): void {
  console.log(`${new Date().toISOString().slice(11, 19)} ${message}`);
}

/** Where downloads are kept: the same folder as the embedded broker's. */
function cacheFolder(): string {
  return join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "sealstream");
}

async function persist(what: string, attempt: () => Promise<unknown>): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      await attempt();
      return;
    } catch (error) {
      if (tries >= SETTLE_TRIES) throw new Error(`could not ${what}`, { cause: error });
      await sleep(SETTLE_MS);
    }
  }
}

function createTopicPart(admin: Admin, wire: KafkaWire): Pick<KafkaLab, "createTopics" | "remove"> {
  return {
    async createTopics(names, numPartitions) {
      const topics = names.map((topic) => ({ topic, numPartitions, replicationFactor: 1 }));
      await persist("create topics", () => admin.createTopics({ topics, waitForLeaders: true }));
      // The controller has made them; until the brokers know, they say that they lead nothing.
      for (const name of names) {
        await persist("reach a new topic", async () => {
          wire.forget(name);
          const { length } = await wire.committedEnds(name);
          if (length !== numPartitions) throw new Error(`${length} of ${numPartitions} partitions`);
        });
      }
    },
    async remove(names, groups) {
      const existing = new Set(await admin.listTopics());
      const topics = names.filter((name) => existing.has(name));
      if (topics.length > 0) await persist("delete topics", () => admin.deleteTopics({ topics }));
      await persist("delete groups", async () => {
        const known = (await admin.listGroups()).groups.map(({ groupId }) => groupId);
        const leftover = groups.filter((group) => known.includes(group));
        if (leftover.length > 0) await admin.deleteGroups(leftover);
      });
    },
  };
}

/** Opens a laboratory for the time of `work`. */
export function withKafkaLab<T>(work: (lab: KafkaLab) => Promise<T>): Promise<T> {
  return withCleanup(async (defer) => {
    const cacheDir = cacheFolder();
    const named = (process.env["KAFKA_BROKERS"] ?? "").split(",").filter((one) => one !== "");
    const broker = await openBroker({
      brokers: named,
      cacheDir,
      dataDir: null,
      port: null,
      environment: process.env,
      onProgress: tell,
    });
    defer("the broker", () => broker.stop());
    const scratch = await mkdtemp(join(tmpdir(), "sealstream-bench-"));
    defer("the scratch folder", () => rm(scratch, { recursive: true, force: true }));
    const wire = new KafkaWire(broker.brokers[0]!);
    defer("the observer", () => wire.close());
    // Before the admin client, since it mends a timer of kafkajs.
    const client = await createKafkajsClient({
      brokers: broker.brokers,
      clientId: "bench",
      compression: "none",
      sessionTimeoutMs: 10_000,
      transactionTimeoutMs: 60_000,
      logger: silent,
    });
    defer("the client", () => client.close());
    const admin = new kafkajs.Kafka({
      clientId: "bench",
      brokers: [...broker.brokers],
      logLevel: kafkajs.logLevel.NOTHING,
    }).admin();
    await admin.connect();
    defer("the admin client", () => admin.disconnect());
    const prefix = `bench-${randomBytes(4).toString("hex")}`;
    const part = createTopicPart(admin, wire);
    if (broker.kind === "external") {
      defer("the topics", async () => {
        const groups = (await admin.listGroups()).groups.map(({ groupId }) => groupId);
        const mine = (name: string) => name.startsWith(prefix);
        await part.remove((await admin.listTopics()).filter(mine), groups.filter(mine));
      });
    }
    return work({
      brokers: broker.brokers,
      prefix,
      cacheDir,
      scratch,
      wire,
      client,
      defer,
      ...part,
      start(command, args, channel) {
        const child = startChild(command, args, { channel, cwd: scratch });
        defer("a contender", () => (child.failure() === null ? child.stop() : undefined));
        return child;
      },
    });
  });
}

/** Fills each partition of a topic with numbered records of its own lane. */
export async function fill(lab: KafkaLab, topic: string, recordsPerLane: readonly number[]) {
  await Promise.all(
    recordsPerLane.map(async (records, lane) => {
      for (let first = 0; first < records; first += FILL_RECORDS) {
        const count = Math.min(FILL_RECORDS, records - first);
        const timestampMs = Date.now();
        const about = { lane, first, count, valueBytes: VALUE_BYTES, timestampMs };
        await lab.wire.produce(topic, lane, encodeNumbered(about));
      }
    }),
  );
}

/** Reads a topic's committed records back, all of them, and compares with what went in. */
export async function tally(
  lab: KafkaLab,
  topic: string,
  recordsPerLane: readonly number[],
): Promise<Tallied> {
  const result = new Tally(recordsPerLane, VALUE_BYTES);
  const ends = await lab.wire.committedEnds(topic);
  for (const [partition, end] of ends.entries()) {
    for (let offset = 0; offset < end; ) {
      const fetched = await lab.wire.fetch(topic, partition, offset, FETCH_BYTES);
      const next = result.add(partition, offset, fetched.bytes, fetched.aborted);
      if (next === offset) throw new Error(`${topic}/${partition} cannot be read beyond ${offset}`);
      offset = next;
    }
  }
  return result.result();
}

/** What is wrong with a tally, or null when every record is there once and in order. */
export function faultOf({ missing, duplicated, outOfOrder, foreign }: Tallied): string | null {
  return missing + duplicated + outOfOrder + foreign === 0
    ? null
    : `missing ${missing}, duplicated ${duplicated}, out of order ${outOfOrder}, foreign ${foreign}`;
}
