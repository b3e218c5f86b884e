/** Runs the `sealstream` program as a user would: as processes, with their output kept. */
import { type ChildProcess, spawn } from "node:child_process";
import { createWriteStream, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { StageReport } from "../../../pipeline/observe/progress.ts";

const PROGRAM = join(import.meta.dirname, "../../../bin/sealstream.js");

export interface ProgramOptions {
  readonly environment: Readonly<Record<string, string>>;
  /** Folder for what the processes print. */
  readonly logs: string;
  /** Working directory of the processes; this one's unless said. */
  readonly cwd?: string | undefined;
  /** Ends a command that has not ended by itself after so many milliseconds. */
  readonly timeoutMs?: number | undefined;
}

export interface Finished {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs a command to its end, however it ends. */
export async function runProgram(
  options: ProgramOptions,
  name: string,
  args: readonly string[],
): Promise<Finished> {
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    env: options.environment,
    cwd: options.cwd,
    timeout: options.timeoutMs,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  const words = Buffer.concat(err).toString();
  writeFileSync(join(options.logs, `${name}.log`), words);
  return { code, out: Buffer.concat(out).toString(), err: words };
}

/** Runs a command to its end. @returns its standard output @throws Error with its last words when it fails */
export async function runCommand(
  options: ProgramOptions,
  name: string,
  args: readonly string[],
): Promise<string> {
  const { code, out, err } = await runProgram(options, name, args);
  if (code !== 0) {
    throw new Error(`sealstream ${args[0]} ended with ${code}: ${err.trim()}`);
  }
  return out;
}

export interface RunningStages {
  /** Newest report of each stage, with memory at its largest over restarts. */
  reports(): ReadonlyMap<string, StageReport>;
  /** Process id of a stage's newest process. */
  pid(stage: string): number | undefined;
  /** Rejects when a stage failed for good. */
  readonly failed: Promise<never>;
  stop(): Promise<void>;
}

/** Starts `sealstream run FILE --json`. */
export function startStages(options: ProgramOptions, args: readonly string[]): RunningStages {
  const child: ChildProcess = spawn(process.execPath, [PROGRAM, "run", ...args, "--json"], {
    env: options.environment,
    cwd: options.cwd,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const log = createWriteStream(join(options.logs, "run.log"));
  const reports = new Map<string, StageReport>();
  const base = new Map<string, StageReport>();
  const pids = new Map<string, number>();
  const failure = Promise.withResolvers<never>();
  failure.promise.catch(() => undefined);
  const lastWords: string[] = [];
  if (child.stdout === null || child.stderr === null) {
    throw new Error("the stages' output is not piped");
  }
  createInterface({ input: child.stdout }).on("line", (line) => {
    log.write(`${line}\n`);
    const event = JSON.parse(line) as
      | StageReport
      | { event: "start" | "exit"; stage: string; pid: number; willRestart: number | null };
    if (event.event === "progress") {
      reports.set(event.stage, withBase(event, base.get(event.stage)));
    } else if (event.event === "start") {
      pids.set(event.stage, event.pid);
      const before = reports.get(event.stage);
      if (before !== undefined) {
        base.set(event.stage, before);
      }
    } else if (event.willRestart === null) {
      failure.reject(new Error(`stage ${event.stage} failed: ${lastWords.join("\n")}`));
    }
  });
  createInterface({ input: child.stderr }).on("line", (line) => {
    log.write(`${line}\n`);
    lastWords.push(line);
    lastWords.splice(0, lastWords.length - 10);
  });
  const ended = new Promise<void>((resolve) => {
    child.once("close", () => {
      log.end();
      resolve();
      failure.reject(new Error(`the stages ended: ${lastWords.join("\n")}`));
    });
  });
  return {
    reports: () => reports,
    pid: (stage) => pids.get(stage),
    failed: failure.promise,
    async stop() {
      child.kill("SIGTERM");
      await ended;
    },
  };
}

/** A restarted process counts from zero; what its predecessor did stays counted. */
function withBase(report: StageReport, base: StageReport | undefined): StageReport {
  return base === undefined
    ? report
    : {
        ...report,
        records: report.records + base.records,
        outputs: report.outputs + base.outputs,
        deadLetters: report.deadLetters + base.deadLetters,
        busySeconds: report.busySeconds + base.busySeconds,
        rssMaxBytes: Math.max(report.rssMaxBytes, base.rssMaxBytes),
      };
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, () => server.close(() => resolve(true)));
  });
}

/** First of `count` consecutive free TCP ports. */
export async function freePorts(count: number): Promise<number> {
  // From the registered range upwards, in steps that leave other demos on this machine their room.
  for (let first = 19_464; first < 65_000; first += count) {
    const free = await Promise.all(
      Array.from({ length: count }, (_, index) => isFree(first + index)),
    );
    if (free.every(Boolean)) {
      return first;
    }
  }
  throw new Error("there are no free ports");
}
