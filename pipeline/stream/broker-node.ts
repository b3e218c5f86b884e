/**
 * One process of an embedded Kafka: its data folder, its start, its death.
 *
 * The node ends with this process, also when this process is killed: it runs below a small shell that watches a pipe
 * held by us, and the pipe closes when we are gone. Signals meant for Kafka go to the Java process itself.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync } from "node:fs";
import { mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { SealstreamError } from "../errors.ts";
import type { Environment } from "./broker-jars.ts";
import {
  type ClusterSecurity,
  HOST,
  type NodeAddress,
  serverProperties,
} from "./broker-properties.ts";

/** Seconds on an idle machine; a busy one needs far longer, and a second attempt helps nobody then. */
const START_TIMEOUT_MS = 120_000;
/** Above the watchdog's own patience of 8 s. */
const STOP_TIMEOUT_MS = 12_000;
const POLL_MS = 100;

const run = promisify(execFile);

const LOGGER_PROPERTIES = [
  "org.slf4j.simpleLogger.defaultLogLevel=warn",
  "org.slf4j.simpleLogger.showDateTime=true",
  "org.slf4j.simpleLogger.showThreadName=false",
  "",
].join("\n");

/**
 * Waits on standard input, which closes when our process ends however it ends, then ends the broker. A stopped
 * (SIGSTOP) Java takes no TERM, so the KILL after it is what ends that one.
 */
const WATCHDOG = [
  "exec 3<&0",
  "pid_file=$1; shift",
  '"$@" </dev/null &',
  "broker=$!",
  'echo "$broker" > "$pid_file"',
  '( cat <&3 >/dev/null 2>&1; kill -TERM "$broker" 2>/dev/null; sleep 8; kill -KILL "$broker" 2>/dev/null ) &',
  "watch=$!",
  'wait "$broker"',
  "code=$?",
  'kill "$watch" 2>/dev/null',
  'exit "$code"',
].join("\n");

/** A node of an embedded cluster. */
export interface ClusterNode {
  readonly id: number;
  /** `host:port` for clients. */
  readonly broker: string;
  readonly logFile: string;
  /** Process id of Java itself; null when it does not run. */
  pid(): number | null;
  /** Sends a signal to Java itself. Does nothing when it does not run. */
  kill(signal: "SIGKILL" | "SIGSTOP" | "SIGCONT" | "SIGTERM"): void;
  /** Ends the node as an operator would. */
  stop(): Promise<void>;
  /**
   * Starts it again after `stop` or `kill`, on the same ports with the same data; resolves when it listens.
   * @throws SealstreamError `broker-unavailable`
   */
  start(): Promise<void>;
}

export interface NodeOptions {
  readonly node: NodeAddress;
  readonly nodes: readonly NodeAddress[];
  readonly dataDir: string;
  readonly clusterId: string;
  readonly libs: string;
  readonly heapMiB: number;
  readonly security: ClusterSecurity | null;
  readonly environment: Environment;
}

function portOpen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: HOST, port });
    const finish = (open: boolean): void => {
      socket.destroy();
      resolve(open);
    };
    socket.once("connect", () => finish(true));
    socket.once("error", () => finish(false));
  });
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

async function waitForExit(child: ChildProcess, timeoutMs: number): Promise<boolean> {
  if (hasEnded(child)) {
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

function metaFile(dataDir: string): string {
  return join(dataDir, "log", "meta.properties");
}

/** The cluster id in a node's data folder, or null when it was never formatted. */
export function storedClusterId(dataDir: string): string | null {
  const file = metaFile(dataDir);
  if (!existsSync(file)) {
    return null;
  }
  return /^cluster\.id=(.+)$/m.exec(readFileSync(file, "utf8"))?.[1]?.trim() ?? null;
}

class EmbeddedNode implements ClusterNode {
  readonly #options: NodeOptions;
  readonly #properties: string;
  readonly #pidFile: string;
  readonly logFile: string;
  #child: ChildProcess | null = null;
  #pid: number | null = null;

  constructor(options: NodeOptions) {
    this.#options = options;
    this.#properties = join(options.dataDir, "server.properties");
    this.#pidFile = join(options.dataDir, "broker.pid");
    this.logFile = join(options.dataDir, "broker.log");
  }

  get id(): number {
    return this.#options.node.id;
  }

  get broker(): string {
    return `${HOST}:${this.#options.node.ports.client}`;
  }

  pid(): number | null {
    return this.#child === null || hasEnded(this.#child) ? null : this.#pid;
  }

  kill(signal: "SIGKILL" | "SIGSTOP" | "SIGCONT" | "SIGTERM"): void {
    const pid = this.pid();
    if (pid !== null) {
      try {
        process.kill(pid, signal);
      } catch {
        // Because it may end between the two lines; then there is nothing to signal.
      }
    }
  }

  #classPath(): string {
    return `${this.#options.dataDir}:${join(this.#options.libs, "*")}`;
  }

  /** Gives a new data folder its cluster id and users; a folder that has them, after a restart, stays as it is. */
  async #format(): Promise<void> {
    const { dataDir, clusterId, nodes, security, environment } = this.#options;
    if (storedClusterId(dataDir) !== null) {
      return;
    }
    const scram = (security?.mechanisms ?? []).filter((name) => name.startsWith("SCRAM-"));
    const users = scram.flatMap((mechanism) =>
      (security?.users ?? []).flatMap(({ name, password }) => [
        "--add-scram",
        `${mechanism}=[name=${name},password=${password}]`,
      ]),
    );
    // One node alone is a quorum that may grow; three name each other in their properties.
    const quorum = nodes.length === 1 ? ["--standalone"] : [];
    const what = ["format", "-t", clusterId, "-c", this.#properties, "--ignore-formatted"];
    try {
      await run(
        "java",
        ["-cp", this.#classPath(), "kafka.tools.StorageTool", ...what, ...quorum, ...users],
        { env: environment },
      );
    } catch (error) {
      throw new SealstreamError(
        "broker-unavailable",
        `Kafka could not prepare its data folder ${dataDir}`,
        { cause: error },
      );
    }
  }

  #spawn(): ChildProcess {
    const log = openSync(this.logFile, "a");
    const java = [
      "-Xms256m",
      `-Xmx${this.#options.heapMiB}m`,
      "-XX:+ExitOnOutOfMemoryError",
      ...["-cp", this.#classPath(), "kafka.Kafka", this.#properties],
    ];
    const child = spawn(
      "sh",
      ["-c", WATCHDOG, "sealstream-broker", this.#pidFile, "java", ...java],
      { stdio: ["pipe", log, log], detached: true, env: { ...this.#options.environment } },
    );
    closeSync(log);
    return child;
  }

  async start(): Promise<void> {
    if (this.#child !== null && !(await waitForExit(this.#child, STOP_TIMEOUT_MS))) {
      throw new SealstreamError("internal", `Kafka node ${this.id} still runs.`);
    }
    const { dataDir, node, nodes, security } = this.#options;
    await mkdir(dataDir, { recursive: true });
    await writeFile(this.#properties, serverProperties({ node, nodes, dataDir, security }));
    await writeFile(join(dataDir, "simplelogger.properties"), LOGGER_PROPERTIES);
    await this.#format();
    await rm(this.#pidFile, { force: true });
    const logged = existsSync(this.logFile) ? (await stat(this.logFile)).size : 0;
    const child = this.#spawn();
    this.#child = child;
    const deadline = performance.now() + START_TIMEOUT_MS;
    while (!(await portOpen(node.ports.client))) {
      if (hasEnded(child) || performance.now() > deadline) {
        child.stdin?.end();
        const text = (await readFile(this.logFile)).subarray(logged).toString("utf8");
        throw new SealstreamError(
          "broker-unavailable",
          text.includes("Address already in use")
            ? "its port was taken"
            : `Kafka did not start: see ${this.logFile}`,
        );
      }
      await sleep(POLL_MS);
    }
    this.#pid = Number((await readFile(this.#pidFile, "utf8")).trim());
  }

  async stop(): Promise<void> {
    const child = this.#child;
    if (child === null || hasEnded(child)) {
      return;
    }
    this.kill("SIGCONT");
    child.stdin?.end();
    if (!(await waitForExit(child, STOP_TIMEOUT_MS)) && child.pid !== undefined) {
      process.kill(-child.pid, "SIGKILL");
      await waitForExit(child, STOP_TIMEOUT_MS);
    }
  }
}

/** A node that does not run yet: `start` it. */
export function createNode(options: NodeOptions): ClusterNode {
  return new EmbeddedNode(options);
}
