/**
 * An embedded Apache Kafka (KRaft) of one node or three out of Maven artifacts, run by the machine's Java 17.
 *
 * The jars are fetched once by Maven and cached; data lies in a folder of the cluster's own; every node ends with this
 * process, however this process ends. It listens on the loopback address only and is for development and tests.
 * With three nodes every topic may be replicated three times, and one node may be killed, stopped or started again.
 */
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import kafkajs from "kafkajs";
import { SealstreamError } from "../errors.ts";
import { checkJava, type Environment, ensureJars, KAFKA_VERSION } from "./broker-jars.ts";
import { type ClusterNode, createNode, storedClusterId } from "./broker-node.ts";
import { type ClusterSecurity, HOST, type NodeAddress } from "./broker-properties.ts";
import { quietly } from "./kafkajs-producer.ts";

const START_TRIES = 3;
const READY_TIMEOUT_MS = 60_000;
/**
 * Below the range from which the machine takes ports for outgoing connections (32768 and up on Linux): a port there
 * could be taken while its node is down.
 */
const LOWEST_PORT = 20_000;
const HIGHEST_PORT = 32_000;
const PORT_TRIES = 100;
/** Three nodes fit beside each other; one alone gets more. */
const HEAP_MIB = { 1: 512, 3: 384 } as const;

export interface ClusterOptions {
  readonly nodes: 1 | 3;
  /** null: plain text, everybody may do everything. */
  readonly security: ClusterSecurity | null;
  /** Folder that keeps the downloaded jars between runs. */
  readonly cacheDir: string;
  /** Folder for data and logs; made if missing. `null`: a fresh one, removed at the end. */
  readonly dataDir: string | null;
  /** Port of the first node's clients; null or missing: any free one. */
  readonly port?: number | null;
  readonly environment: Environment;
  readonly onProgress: (message: string) => void;
}

export interface ClusterHandle {
  /** `host:port` of each node. */
  readonly brokers: readonly string[];
  readonly nodes: readonly ClusterNode[];
  /** Ends all nodes; removes the data unless a folder was named. */
  stop(): Promise<void>;
}

function canListen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, HOST, () => server.close(() => resolve(true)));
  });
}

async function freePort(taken: Set<number>): Promise<number> {
  for (let attempt = 0; attempt < PORT_TRIES; attempt += 1) {
    const port = LOWEST_PORT + (randomBytes(2).readUInt16BE() % (HIGHEST_PORT - LOWEST_PORT));
    if (!taken.has(port) && (await canListen(port))) {
      taken.add(port);
      return port;
    }
  }
  throw new SealstreamError("broker-unavailable", "no free port was found for it");
}

async function chooseAddresses(count: number, first: number | null): Promise<NodeAddress[]> {
  if (first !== null && !(await canListen(first))) {
    throw new SealstreamError("broker-unavailable", `port ${first} is taken`);
  }
  const taken = new Set<number>(first === null ? [] : [first]);
  const addresses: NodeAddress[] = [];
  for (let id = 1; id <= count; id += 1) {
    const client = id === 1 && first !== null ? first : await freePort(taken);
    const [controller, internal] = [await freePort(taken), await freePort(taken)];
    addresses.push({ id, ports: { client, controller, internal } });
  }
  return addresses;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Removes data folders whose cluster and owner are gone after a crash. */
async function removeStale(root: string): Promise<void> {
  for (const name of await readdir(root)) {
    const owner = Number(/^data-(\d+)-/.exec(name)?.[1] ?? 0);
    if (owner > 0 && !isAlive(owner)) {
      await rm(join(root, name), { recursive: true, force: true });
    }
  }
}

/** Kafka's ids are 16 bytes in base64url; one that starts with `-` looks like an option. */
function freshClusterId(): string {
  const bytes = randomBytes(16);
  bytes.writeUInt8(bytes.readUInt8(0) & 0x7f, 0);
  return bytes.toString("base64url");
}

/** Asks one broker until all are registered: a topic with three replicas can be made from then on. */
async function waitForAll(
  addresses: readonly NodeAddress[],
  security: ClusterSecurity | null,
): Promise<void> {
  const pem = (file: string): Promise<string> => readFile(file, "utf8");
  const ssl =
    security === null
      ? false
      : {
          ca: await pem(security.trustStoreFile),
          key: await pem(security.keyStoreFile),
          cert: await pem(security.keyStoreFile),
        };
  const port = (address: NodeAddress): number =>
    security === null ? address.ports.client : address.ports.internal;
  const kafka = new kafkajs.Kafka({
    brokers: addresses.map((address) => `${HOST}:${port(address)}`),
    ssl,
    logLevel: kafkajs.logLevel.NOTHING,
    retry: { retries: 2 },
  });
  const deadline = performance.now() + READY_TIMEOUT_MS;
  for (;;) {
    const admin = kafka.admin();
    try {
      await admin.connect();
      if ((await admin.describeCluster()).brokers.length === addresses.length) {
        return;
      }
    } catch {
      // Because a cluster that is still starting may refuse; the deadline below judges.
    } finally {
      await quietly(admin.disconnect());
    }
    if (performance.now() > deadline) {
      throw new SealstreamError("broker-unavailable", "its nodes did not find each other");
    }
    await sleep(100);
  }
}

async function startNodes(
  options: ClusterOptions,
  libs: string,
  dataDir: string,
): Promise<ClusterNode[]> {
  const addresses = await chooseAddresses(options.nodes, options.port ?? null);
  // One node alone keeps its data in the folder itself, as it always did.
  const folder = ({ id }: NodeAddress): string =>
    options.nodes === 1 ? dataDir : join(dataDir, `node-${id}`);
  const stored = addresses.map((address) => storedClusterId(folder(address)));
  const clusterId = stored.find((id) => id !== null) ?? freshClusterId();
  const ports = addresses.map((address) => `${HOST}:${address.ports.client}`);
  options.onProgress(`starting Apache Kafka ${KAFKA_VERSION} on ${ports.join(", ")}`);
  const nodes = addresses.map((node) =>
    createNode({
      ...{ node, nodes: addresses, dataDir: folder(node), clusterId, libs },
      ...{ heapMiB: HEAP_MIB[options.nodes], security: options.security },
      environment: options.environment,
    }),
  );
  try {
    // All settle before any is stopped: a node must not be launched after it was told to end.
    const starts = await Promise.allSettled(nodes.map((node) => node.start()));
    const failed = starts.find((start) => start.status === "rejected");
    if (failed !== undefined) {
      throw failed.reason;
    }
    if (options.nodes > 1) {
      await waitForAll(addresses, options.security);
    }
  } catch (error) {
    await Promise.all(nodes.map((node) => node.stop()));
    throw error;
  }
  return nodes;
}

/** Starts the cluster; resolves when all its nodes are in it. @throws SealstreamError `broker-unavailable` */
export async function startEmbeddedCluster(options: ClusterOptions): Promise<ClusterHandle> {
  await checkJava(options.environment);
  const libs = await ensureJars(options);
  const temporary = options.dataDir === null;
  if (temporary) {
    await removeStale(options.cacheDir);
  }
  const dataDir =
    options.dataDir ?? (await mkdtemp(join(options.cacheDir, `data-${process.pid}-`)));
  if (!existsSync(dataDir)) {
    await mkdir(dataDir, { recursive: true });
  }
  let nodes: ClusterNode[] | null = null;
  for (let attempt = 1; nodes === null; attempt += 1) {
    // Between finding a free port and using it somebody else may take it.
    nodes = await startNodes(options, libs, dataDir).catch((error: unknown) => {
      if (attempt >= START_TRIES) {
        throw error;
      }
      return null;
    });
  }
  const started = nodes;
  return {
    brokers: started.map(({ broker }) => broker),
    nodes: started,
    async stop() {
      await Promise.all(started.map((node) => node.stop()));
      if (temporary) {
        await rm(dataDir, { recursive: true, force: true });
      }
    },
  };
}
