/**
 * An embedded Apache Kafka 4.3.1 (KRaft, one node) out of Maven artifacts, run by the machine's Java 17.
 *
 * The jars are fetched once by Maven and cached; data lies in a folder of the broker's own; the broker ends with this
 * process, also when this process is killed: it runs below a small shell that watches a pipe held by us, and the
 * pipe closes when we are gone. It listens on the loopback address only and is for development and tests.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { SealstreamError } from "../errors.ts";
import type { BrokerHandle, BrokerOptions } from "./broker.ts";

/** 4.4.0 is only half published. */
const KAFKA_VERSION = "4.3.1";
const MIN_JAVA = 17;
const START_TIMEOUT_MS = 60_000;
const START_TRIES = 3;
const DOWNLOAD_TIMEOUT_MS = 300_000;
const STOP_TIMEOUT_MS = 10_000;

const run = promisify(execFile);

const POM = `<?xml version="1.0" encoding="UTF-8"?>
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>sealstream</groupId><artifactId>embedded-kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>${KAFKA_VERSION}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
`;

const LOGGER_PROPERTIES = [
  "org.slf4j.simpleLogger.defaultLogLevel=warn",
  "org.slf4j.simpleLogger.showDateTime=true",
  "org.slf4j.simpleLogger.showThreadName=false",
  "",
].join("\n");

/** Waits on standard input, which closes when our process ends however it ends, then ends the broker. */
const WATCHDOG = [
  "exec 3<&0",
  '"$@" </dev/null &',
  "broker=$!",
  '( cat <&3 >/dev/null 2>&1; kill -TERM "$broker" 2>/dev/null; sleep 8; kill -KILL "$broker" 2>/dev/null ) &',
  "watch=$!",
  'wait "$broker"',
  "code=$?",
  'kill "$watch" 2>/dev/null',
  'exit "$code"',
].join("\n");

type Environment = Record<string, string | undefined>;

function serverProperties(port: number, controllerPort: number, logDir: string): string {
  return [
    "process.roles=broker,controller",
    "node.id=1",
    `listeners=PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
    `advertised.listeners=PLAINTEXT://127.0.0.1:${port}`,
    "controller.listener.names=CONTROLLER",
    "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    `controller.quorum.bootstrap.servers=127.0.0.1:${controllerPort}`,
    `log.dirs=${logDir}`,
    "auto.create.topics.enable=false",
    "offsets.topic.replication.factor=1",
    "offsets.topic.num.partitions=8",
    "transaction.state.log.replication.factor=1",
    "transaction.state.log.min.isr=1",
    "transaction.state.log.num.partitions=8",
    "share.coordinator.state.topic.replication.factor=1",
    "share.coordinator.state.topic.min.isr=1",
    "share.coordinator.state.topic.num.partitions=1",
    "group.initial.rebalance.delay.ms=0",
    "group.min.session.timeout.ms=1000",
    "log.cleaner.dedupe.buffer.size=16777216",
    "",
  ].join("\n");
}

async function checkJava(environment: Environment): Promise<void> {
  let text: string;
  try {
    text = (await run("java", ["-version"], { env: environment })).stderr;
  } catch {
    throw new SealstreamError(
      "broker-unavailable",
      `java is not on the PATH: install Java ${MIN_JAVA}`,
    );
  }
  const major = Number(/version "(\d+)/.exec(text)?.[1] ?? 0);
  if (major < MIN_JAVA) {
    throw new SealstreamError(
      "broker-unavailable",
      `java is version ${major}: install Java ${MIN_JAVA} or newer`,
    );
  }
}

/** Fetches the jars into the cache unless they are there; safe against another process doing the same. */
async function ensureJars(options: BrokerOptions): Promise<string> {
  const home = join(options.cacheDir, `kafka-${KAFKA_VERSION}`);
  const complete = join(home, "complete");
  if (existsSync(complete)) {
    return join(home, "libs");
  }
  options.onProgress(`fetching Apache Kafka ${KAFKA_VERSION} with Maven (45 MB, once)`);
  await mkdir(options.cacheDir, { recursive: true });
  const draft = await mkdtemp(join(options.cacheDir, "fetch-"));
  try {
    await writeFile(join(draft, "pom.xml"), POM);
    await run(
      "mvn",
      [
        "-B",
        "-q",
        "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies",
        "-DincludeScope=runtime",
        "-DoutputDirectory=libs",
      ],
      { cwd: draft, timeout: DOWNLOAD_TIMEOUT_MS, env: options.environment, maxBuffer: 1 << 24 },
    ).catch((error: unknown) => {
      throw new SealstreamError(
        "broker-unavailable",
        "Maven could not fetch Kafka's jars (is mvn on the PATH?)",
        {
          cause: error,
        },
      );
    });
    await writeFile(join(draft, "complete"), `${KAFKA_VERSION}\n`);
    await rm(home, { recursive: true, force: true });
    await rename(draft, home).catch(async (error: unknown) => {
      // Because another process may have finished first; its copy is as good.
      if (!existsSync(complete)) {
        throw error;
      }
    });
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
  return join(home, "libs");
}

function freePort(wanted: number | null): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(wanted ?? 0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() =>
        resolve(typeof address === "object" && address !== null ? address.port : 0),
      );
    });
  });
}

function portOpen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    const finish = (open: boolean): void => {
      socket.destroy();
      resolve(open);
    };
    socket.once("connect", () => finish(true));
    socket.once("error", () => finish(false));
  });
}

/** Removes data folders whose broker and owner are gone after a crash. */
async function removeStale(root: string): Promise<void> {
  for (const name of await readdir(root)) {
    const owner = Number(/^data-(\d+)-/.exec(name)?.[1] ?? 0);
    if (owner > 0 && !isAlive(owner)) {
      await rm(join(root, name), { recursive: true, force: true });
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function waitForExit(child: ChildProcess, timeoutMs: number): Promise<boolean> {
  if (child.exitCode !== null || child.signalCode !== null) {
    return true;
  }
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), timeoutMs);
    child.once("exit", () => {
      clearTimeout(timer);
      resolve(true);
    });
  });
}

interface Launch {
  readonly libs: string;
  readonly dataDir: string;
  readonly port: number;
  readonly environment: Environment;
}

/** Gives a new data folder its cluster id; a folder that has one, after a restart, stays as it is. */
async function formatStorage(options: {
  readonly classPath: string;
  readonly dataDir: string;
  readonly properties: string;
  readonly environment: Environment;
}): Promise<void> {
  if (existsSync(join(options.dataDir, "log", "meta.properties"))) {
    return;
  }
  const tool = (...args: string[]) =>
    run("java", ["-cp", options.classPath, "kafka.tools.StorageTool", ...args], {
      env: options.environment,
    });
  try {
    const id = (await tool("random-uuid")).stdout.trim();
    await tool("format", "-t", id, "-c", options.properties, "--standalone", "--ignore-formatted");
  } catch (error) {
    throw new SealstreamError(
      "broker-unavailable",
      `Kafka could not prepare its data folder ${options.dataDir}`,
      {
        cause: error,
      },
    );
  }
}

async function launch({ libs, dataDir, port, environment }: Launch): Promise<ChildProcess> {
  const controllerPort = await freePort(null);
  const properties = join(dataDir, "server.properties");
  await writeFile(properties, serverProperties(port, controllerPort, join(dataDir, "log")));
  await writeFile(join(dataDir, "simplelogger.properties"), LOGGER_PROPERTIES);
  const classPath = `${dataDir}:${join(libs, "*")}`;
  await formatStorage({ classPath, dataDir, properties, environment });
  const log = openSync(join(dataDir, "broker.log"), "a");
  const java = [
    "-Xms256m",
    "-Xmx512m",
    "-XX:+ExitOnOutOfMemoryError",
    "-cp",
    classPath,
    "kafka.Kafka",
    properties,
  ];
  const child = spawn("sh", ["-c", WATCHDOG, "sealstream-broker", "java", ...java], {
    stdio: ["pipe", log, log],
    detached: true,
    env: environment,
  });
  closeSync(log);
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (!(await portOpen(port))) {
    if (child.exitCode !== null || performance.now() > deadline) {
      child.stdin?.end();
      const text = await readFile(join(dataDir, "broker.log"), "utf8").catch(() => "");
      const busy = text.includes("Address already in use");
      throw new SealstreamError(
        "broker-unavailable",
        busy ? "its port was taken" : `Kafka did not start: see ${join(dataDir, "broker.log")}`,
      );
    }
    await sleep(100);
  }
  return child;
}

/** Starts the embedded broker. @throws SealstreamError `broker-unavailable` */
export async function startEmbeddedBroker(options: BrokerOptions): Promise<BrokerHandle> {
  const environment: Environment = { ...options.environment };
  await checkJava(environment);
  const libs = await ensureJars(options);
  const temporary = options.dataDir === null;
  if (temporary) {
    await removeStale(options.cacheDir);
  }
  const dataDir =
    options.dataDir ?? (await mkdtemp(join(options.cacheDir, `data-${process.pid}-`)));
  mkdirSync(dataDir, { recursive: true });
  let child: ChildProcess | null = null;
  let port = 0;
  for (let attempt = 1; child === null; attempt += 1) {
    // Between finding a free port and using it somebody else may take it.
    port = await freePort(options.port);
    options.onProgress(`starting Apache Kafka ${KAFKA_VERSION} on 127.0.0.1:${port}`);
    child = await launch({ libs, dataDir, port, environment }).catch((error: unknown) => {
      if (attempt >= START_TRIES) {
        throw error;
      }
      return null;
    });
  }
  const running = child;
  return {
    brokers: [`127.0.0.1:${port}`],
    kind: "embedded",
    logFile: join(dataDir, "broker.log"),
    async stop() {
      running.stdin?.end();
      if (!(await waitForExit(running, STOP_TIMEOUT_MS)) && running.pid !== undefined) {
        process.kill(-running.pid, "SIGKILL");
      }
      if (temporary) {
        await rm(dataDir, { recursive: true, force: true });
      }
    },
  };
}
