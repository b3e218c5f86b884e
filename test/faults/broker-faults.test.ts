/**
 * Three brokers under a steady load, one fault after the other: a leader killed and started again, the coordinators
 * killed, a broker stopped past the session timeout, one instance cut off from all brokers past it, a full disk.
 * After each, all lanes go on by themselves; in the end every record is there once and in order.
 *
 * Not covered here: two brokers at once (writes wait by design, `min.insync.replicas` is 2), a lost disk.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import kafkajs, { type Admin } from "kafkajs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type ClusterHandle, startEmbeddedCluster } from "../../pipeline/stream/broker-cluster.ts";
import type { ClusterNode } from "../../pipeline/stream/broker-node.ts";
import type { KafkaClient } from "../../pipeline/stream/port.ts";
import { ensureTopics } from "../../pipeline/stream/topics.ts";
import { topicName } from "../../schemas/topics.ts";
import { startTcpProxy, type TcpProxy } from "../lib/broker-proxies.ts";
import { connect, freshPipeline, until } from "../lib/kafka.ts";
import {
  committed,
  expectExactlyOnce,
  type Instance,
  type Load,
  longestGapMs,
  rawCount,
  startInstance,
  startLoad,
} from "../lib/lane-load.ts";

const LANES = 4;
const PER_SECOND = 200;
const SESSION_TIMEOUT_MS = 6_000;
/** `offsets.topic.num.partitions` and `transaction.state.log.num.partitions` of the embedded cluster. */
const COORDINATOR_PARTITIONS = 8;
const cacheDir = join(import.meta.dirname, "../../build/kafka");

let cluster: ClusterHandle;
let client: KafkaClient;
let admin: Admin;
let pipeline: string;
let load: Load;
let worker: ChildProcess;
const proxies: TcpProxy[] = [];
const instances: Instance[] = [];
/** What the process behind the proxies last said of itself. */
let proxied: { lanes: number[]; count: number; failures: number } = {
  lanes: [],
  count: 0,
  failures: 0,
};

beforeAll(async () => {
  cluster = await startEmbeddedCluster({
    ...{ nodes: 3, security: null, cacheDir, dataDir: null, environment: process.env },
    onProgress: () => undefined,
  });
  client = await connect(cluster.brokers);
  const kafka = new kafkajs.Kafka({
    brokers: [...cluster.brokers],
    logLevel: kafkajs.logLevel.NOTHING,
    retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 40 },
  });
  admin = kafka.admin();
  await admin.connect();
  pipeline = freshPipeline("faults");
  await ensureTopics(client, { pipeline, partitions: LANES, replicationFactor: 3 });
  load = startLoad({ client, pipeline, partitions: LANES, perSecond: PER_SECOND });
  instances.push(
    await startInstance({
      ...{ name: "direct", brokers: cluster.brokers, pipeline, partitions: LANES },
      sessionTimeoutMs: SESSION_TIMEOUT_MS,
    }),
  );
  await startProxied();
}, 240_000);

afterAll(async () => {
  await load?.stop();
  worker?.kill("SIGKILL");
  await Promise.allSettled(instances.map((instance) => instance.stop()));
  await Promise.allSettled(proxies.map((proxy) => proxy.close()));
  await admin?.disconnect();
  await client?.close();
  await cluster?.stop();
}, 60_000);

async function startProxied(): Promise<void> {
  const ports = cluster.brokers.map((broker) => Number(broker.split(":")[1]));
  const routes: string[] = [];
  for (const port of ports) {
    const proxy = await startTcpProxy(port);
    proxies.push(proxy);
    routes.push(`${port}:${proxy.port}`);
  }
  worker = spawn(
    process.execPath,
    [
      join(import.meta.dirname, "proxied-worker.ts"),
      ...[pipeline, String(LANES), String(SESSION_TIMEOUT_MS)],
      ...[cluster.brokers.join(","), routes.join(",")],
    ],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  if (worker.stdout !== null) {
    createInterface({ input: worker.stdout }).on("line", (line) => {
      // Because the worker prints exactly this.
      proxied = JSON.parse(line) as typeof proxied;
    });
  }
}

/** Asks until there is an answer: kafkajs's admin client gives up when the broker it asks has just died. */
async function patiently<T>(what: string, ask: () => Promise<T>): Promise<T> {
  const found: T[] = [];
  await until(`the cluster says ${what}`, async () => {
    try {
      found.push(await ask());
    } catch {
      // Because brokers are meant to fail here; the deadline of `until` judges.
    }
    return found.length > 0;
  });
  // Because the line above waited for it.
  return found[0] as T;
}

/** Ids of the brokers that lead a topic's partitions. */
async function leaders(topic: string): Promise<Map<number, number>> {
  const { topics } = await patiently("who leads", () =>
    admin.fetchTopicMetadata({ topics: [topic] }),
  );
  return new Map(topics[0]?.partitions.map(({ partitionId, leader }) => [partitionId, leader]));
}

function node(id: number | undefined): ClusterNode {
  const found = cluster.nodes.find((candidate) => candidate.id === id);
  if (found === undefined) {
    throw new Error(`no node ${id}`);
  }
  return found;
}

/** Which partition of a coordinator's topic a group or a transactional id belongs to: Java's String.hashCode. */
function coordinatorPartition(id: string): number {
  let hash = 0;
  for (const character of id) {
    hash = (Math.imul(31, hash) + character.charCodeAt(0)) | 0;
  }
  return (hash & 0x7fffffff) % COORDINATOR_PARTITIONS;
}

async function allInSync(): Promise<boolean> {
  const { topics } = await patiently("what is in sync", () =>
    admin.fetchTopicMetadata({
      topics: [topicName(pipeline, "raw"), "__consumer_offsets", "__transaction_state"],
    }),
  );
  return topics.flatMap(({ partitions }) => partitions).every(({ isr }) => isr.length === 3);
}

/** Committed position of each lane. */
async function positions(): Promise<number[]> {
  const ends: number[] = [];
  for (let lane = 0; lane < LANES; lane += 1) {
    ends.push(
      (await client.committedOffset(`${pipeline}.desensitize`, topicName(pipeline, "raw"), lane)) ??
        0,
    );
  }
  return ends;
}

/** Waits until every lane has passed what is in `raw` now. */
async function allGoOn(what: string): Promise<void> {
  const targets: number[] = [];
  for (let lane = 0; lane < LANES; lane += 1) {
    const raw = topicName(pipeline, "raw");
    targets.push((await patiently("its end", () => client.offsets(raw, lane))).latest);
  }
  await until(
    `all lanes go on after ${what}`,
    async () => {
      const ends = await positions().catch(() => []);
      return targets.every((target, lane) => (ends[lane] ?? 0) >= target);
    },
    90_000,
  );
}

/** Does harm, waits until all lanes went on during or after it, and prints how long the lanes stood still. */
async function fault(what: string, harm: () => Promise<void>): Promise<void> {
  const fromMs = performance.now();
  await harm();
  await allGoOn(what);
  const toMs = performance.now();
  const gaps = Array.from({ length: LANES }, (_, lane) => {
    const own = instances.flatMap(({ commits }) => commits).filter((one) => one.lane === lane);
    return Math.round(
      longestGapMs(
        own.map(({ atMs }) => atMs),
        fromMs,
        toMs,
      ),
    );
  });
  const failures = instances.flatMap((instance) => instance.failures.splice(0));
  process.stdout.write(
    `faults: ${what}: all lanes went on after ${Math.round(toMs - fromMs)} ms; longest time without a commit of the direct instance ${gaps.join(", ")} ms; lanes started again: ${[...new Set(failures)].join(" ") || "none"} (${failures.length})\n`,
  );
}

it("starts with lanes in both instances", async () => {
  await until("both have lanes", () => proxied.lanes.length === 2 && proxied.count > 0);
  await allGoOn("the start");
  expect(proxies.map((proxy) => proxy.taken() > 0)).toContain(true);
});

it("goes on when the leader of a lane is killed, and when it comes back", async () => {
  const leader = node((await leaders(topicName(pipeline, "raw"))).get(0));
  await fault("a killed leader", async () => {
    leader.kill("SIGKILL");
    await until(
      "another leads",
      async () => (await leaders(topicName(pipeline, "raw"))).get(0) !== leader.id,
    );
  });
  await fault("its return", () => leader.start());
  await until("all are in sync", allInSync);
});

it("goes on when the coordinators of its group and of a transaction are killed", async () => {
  const group = `${pipeline}.desensitize`;
  const ofGroup = (await leaders("__consumer_offsets")).get(coordinatorPartition(group));
  const id = `${group}.${topicName(pipeline, "raw")}.0`;
  const ofTransactions = (await leaders("__transaction_state")).get(coordinatorPartition(id));
  for (const [what, victim] of [
    ["group", ofGroup],
    ["transaction", ofTransactions],
  ] as const) {
    await fault(`the ${what} coordinator's death`, async () => node(victim).kill("SIGKILL"));
    await node(victim).start();
    await until("all are in sync", allInSync);
  }
});

it("goes on when a broker is stopped for longer than the session timeout", async () => {
  const leader = node((await leaders(topicName(pipeline, "raw"))).get(1));
  await fault("a stopped broker", async () => {
    leader.kill("SIGSTOP");
    await new Promise((resolve) => setTimeout(resolve, SESSION_TIMEOUT_MS + 2_000));
    leader.kill("SIGCONT");
  });
  await until("all are in sync", allInSync);
});

it("gives the lanes of an instance that is cut off to the other, and some back when it returns", async () => {
  await until("both have lanes", () => proxied.lanes.length === 2);
  const direct = instances[0];
  await fault("an instance cut off", async () => {
    for (const proxy of proxies) {
      proxy.cut();
    }
    await until("the other has all lanes", () => direct?.lanes().length === LANES, 120_000);
  });
  const before = proxied.count;
  for (const proxy of proxies) {
    proxy.heal();
  }
  await until(
    "both have lanes again and work",
    () => proxied.lanes.length === 2 && direct?.lanes().length === 2 && proxied.count > before,
    90_000,
  );
  await fault("all connections of one instance reset", async () => {
    for (const proxy of proxies) {
      proxy.reset();
    }
  });
});

it("goes on when a broker's disk is full, and when there is room again", async () => {
  const leader = node((await leaders(topicName(pipeline, "raw"))).get(2));
  // A limit on the size of files answers writes as a full disk does, to this process alone.
  const limit = ["--pid", String(leader.pid()), "--fsize=4096:4096"];
  const limited = await promisify(execFile)("prlimit", limit).catch(() => null);
  if (limited === null) {
    process.stdout.write("SKIPPED: a broker whose disk is full (no prlimit here)\n");
    return;
  }
  await fault("a full disk", async () => {
    await until(
      "another leads",
      async () => (await leaders(topicName(pipeline, "raw"))).get(2) !== leader.id,
    );
  });
  // A broker that lost its only disk ends itself, or is ended by its operator.
  leader.kill("SIGKILL");
  await fault("a disk with room again", () => leader.start());
  await until("all are in sync", allInSync);
});

it("has every record once and in order after all that", async () => {
  await load.stop();
  const total = await patiently("its end", () => rawCount(client, pipeline, LANES));
  await allGoOn("the end of the load");
  worker.kill("SIGTERM");
  await new Promise((resolve) => worker.once("exit", resolve));
  await Promise.all(instances.map((instance) => instance.stop()));
  expect(await expectExactlyOnce(client, pipeline, load)).toBe(total);
  process.stdout.write(
    `faults: ${total} records, ${committed(instances)} by the direct instance, ${proxied.count} by the one behind proxies (its lanes started again ${proxied.failures} times)\n`,
  );
});
