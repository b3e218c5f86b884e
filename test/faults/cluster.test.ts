/** Three embedded nodes: one is killed and writing goes on; it comes back with its data; none outlives its owner. */
import { spawn } from "node:child_process";
import { connect as connectSocket } from "node:net";
import { join } from "node:path";
import kafkajs, { type Admin, type Kafka } from "kafkajs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type ClusterHandle, startEmbeddedCluster } from "../../pipeline/stream/broker-cluster.ts";
import type { ClusterNode } from "../../pipeline/stream/broker-node.ts";
import { until } from "../lib/kafka.ts";

const cacheDir = join(import.meta.dirname, "../../build/kafka");
/** A cluster and its jars, on a machine that does much else. */
const START_TIMEOUT_MS = 300_000;
const TOPIC = "three";

let cluster: ClusterHandle;
let kafka: Kafka;
let admin: Admin;

beforeAll(async () => {
  cluster = await startEmbeddedCluster({
    ...{ nodes: 3, security: null, cacheDir, dataDir: null },
    environment: process.env,
    onProgress: () => undefined,
  });
  kafka = new kafkajs.Kafka({
    brokers: [...cluster.brokers],
    logLevel: kafkajs.logLevel.NOTHING,
    // Below a test's patience: the client may be talking to the very node that is stopped.
    requestTimeout: 3_000,
    retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 60 },
  });
  admin = kafka.admin();
  await admin.connect();
}, START_TIMEOUT_MS);

afterAll(async () => {
  await admin?.disconnect();
  await cluster?.stop();
});

async function partition(): Promise<{ leader: number; isr: number[] }> {
  const { topics } = await admin.fetchTopicMetadata({ topics: [TOPIC] });
  const found = topics[0]?.partitions[0];
  return { leader: found?.leader ?? -1, isr: found?.isr ?? [] };
}

function nodeOf(id: number): ClusterNode {
  const node = cluster.nodes.find((candidate) => candidate.id === id);
  if (node === undefined) {
    throw new Error(`no node ${id}`);
  }
  return node;
}

it("goes on writing to all in-sync replicas when the leader is killed, and takes it back", async () => {
  await admin.createTopics({
    topics: [
      {
        ...{ topic: TOPIC, numPartitions: 1, replicationFactor: 3 },
        configEntries: [{ name: "min.insync.replicas", value: "2" }],
      },
    ],
    waitForLeaders: true,
  });
  await until("all replicas are in sync", async () => (await partition()).isr.length === 3);
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  const send = (value: string) =>
    producer.send({ topic: TOPIC, acks: -1, messages: [{ partition: 0, value }] });
  await send("0");
  const before = await partition();
  const leader = nodeOf(before.leader);
  const pid = leader.pid();
  expect(pid).not.toBeNull();
  leader.kill("SIGKILL");
  await send("1");
  await send("2");
  await until("another leads", async () => (await partition()).leader !== before.leader);
  expect(leader.pid()).toBeNull();
  await leader.start();
  await until("the killed node is in sync again", async () => (await partition()).isr.length === 3);
  expect(leader.pid()).not.toBe(pid);
  await send("3");
  await producer.disconnect();
  expect((await admin.fetchTopicOffsets(TOPIC))[0]?.high).toBe("4");
});

it("takes a node out of the in-sync set while it is stopped, not dead", async () => {
  const { leader } = await partition();
  const node = nodeOf(leader);
  node.kill("SIGSTOP");
  await until(
    "another leads",
    async () => {
      const now = await partition().catch(() => null);
      return now !== null && now.leader !== leader && !now.isr.includes(leader);
    },
    120_000,
  );
  expect(node.pid()).not.toBeNull();
  node.kill("SIGCONT");
  await until("it is in sync again", async () => (await partition()).isr.length === 3);
});

function answers(address: string): Promise<boolean> {
  const [host = "", port = ""] = address.split(":");
  return new Promise((resolve) => {
    const socket = connectSocket({ host, port: Number(port) });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

it("ends every node when its owner is killed, a stopped one too", async () => {
  const script = `
    const { startEmbeddedCluster } = await import(${JSON.stringify(join(import.meta.dirname, "../../pipeline/stream/broker-cluster.ts"))});
    const cluster = await startEmbeddedCluster({ nodes: 3, security: null, cacheDir: ${JSON.stringify(cacheDir)},
      dataDir: null, environment: process.env, onProgress() {} });
    cluster.nodes[1].kill("SIGSTOP");
    console.log(JSON.stringify(cluster.nodes.map((node) => [node.broker, node.pid()])));
    setInterval(() => {}, 1000);`;
  const owner = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const line = await new Promise<string>((resolve) => {
    owner.stdout.once("data", (chunk: Buffer) => resolve(String(chunk)));
  });
  // Because the script above prints exactly this.
  const nodes = JSON.parse(line) as [broker: string, pid: number][];
  owner.kill("SIGKILL");
  for (const [broker, pid] of nodes) {
    await until(`${broker} has ended`, async () => !isAlive(pid) && !(await answers(broker)));
  }
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
