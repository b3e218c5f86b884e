/**
 * One probed instance of a plugin in a worker that can be killed: batches go in, answers a row or a fault come out.
 */
import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import { type InputColumn, type PluginResult, packBatch, valueAt } from "../columns.ts";
import type { ProbeFault, ProbeReply, ProbeSetup } from "./messages.ts";

/** Output rows of an input row, each the text of its columns; bytes as Latin-1, so that texts compare as bytes do. */
export interface RowAnswer {
  readonly status: number;
  readonly outputs: readonly (readonly (string | null)[])[];
}

export type Answer =
  | {
      readonly type: "answer";
      readonly rows: readonly RowAnswer[];
      readonly columns: number;
      readonly memoryBytes: readonly [halfWay: number, after: number];
    }
  | { readonly type: "fault"; readonly fault: ProbeFault; readonly memoryBytes: number };

export interface Probe {
  /** Bytes of the guest's memory before any batch, or what kept it from starting. */
  readonly started: Promise<number | ProbeFault>;
  /** Runs a batch of one column, so often. After a fault the next batch meets a fresh instance, or another fault. */
  run(rows: InputColumn, times?: number): Promise<Answer>;
  /** True when no batch can be run any more. */
  hasEnded(): boolean;
  end(): Promise<void>;
}

/** A worker and a guest start in far less; a machine that is busy is not the plugin's fault. */
const START_MS = 5000;

function readAnswer({ status, rowIndex, columns }: PluginResult): RowAnswer[] {
  const outputs: (string | null)[][][] = Array.from(status, () => []);
  rowIndex.forEach((row, i) => {
    const values = columns.map((column) => {
      const value = valueAt(column, i);
      return value === null ? null : Buffer.from(value).toString("latin1");
    });
    outputs[row]?.push(values);
  });
  return Array.from(status, (code, row) => ({ status: code, outputs: outputs[row] ?? [] }));
}

function answerOf(reply: ProbeReply): Answer {
  if (reply.type === "fault") return reply;
  if (reply.type === "ready") {
    return { type: "fault", fault: { kind: "died", message: "out of turn" }, memoryBytes: 0 };
  }
  const { result, memoryBytes } = reply;
  return { type: "answer", rows: readAnswer(result), columns: result.columns.length, memoryBytes };
}

/**
 * Starts a worker for one instance.
 * @param deadlineMs most time of one batch
 * @param manyDeadlineMs most time of one that is run many times
 */
export function startProbe(setup: ProbeSetup, deadlineMs: number, manyDeadlineMs: number): Probe {
  const entry = new URL(`./probe-worker${extname(import.meta.url)}`, import.meta.url);
  const worker = new Worker(entry, {
    workerData: setup,
    env: {},
    argv: [],
    execArgv: [],
    stdout: true,
    stderr: true,
    name: "plugin probe",
  });
  let settle: ((reply: ProbeReply) => void) | null = null;
  let ended: ProbeFault | null = null;
  const fault = (what: ProbeFault): ProbeReply => ({ type: "fault", fault: what, memoryBytes: 0 });
  const die = (): void => {
    ended ??= { kind: "died", message: "the plugin took its worker with it" };
    settle?.(fault(ended));
  };
  worker.on("message", (reply: ProbeReply) => settle?.(reply));
  worker.on("error", die);
  worker.on("messageerror", die);
  worker.on("exit", die);

  const wait = async (ms: number, what: string): Promise<ProbeReply> => {
    if (ended !== null) return fault(ended);
    const { promise, resolve } = Promise.withResolvers<ProbeReply>();
    settle = resolve;
    const timer = setTimeout(() => {
      ended = { kind: "deadline", message: `the plugin ${what} for over ${ms} ms and was ended` };
      resolve(fault(ended));
      void worker.terminate();
    }, ms);
    const reply = await promise;
    clearTimeout(timer);
    settle = null;
    return reply;
  };

  const started = wait(Math.max(START_MS, deadlineMs), "was starting").then((reply) => {
    if (reply.type === "ready") return reply.memoryBytes;
    return reply.type === "fault"
      ? reply.fault
      : { kind: "died" as const, message: "the probe answered out of turn" };
  });
  return {
    started,
    async run(rows, times = 1) {
      await started;
      const waiting = wait(times === 1 ? deadlineMs : manyDeadlineMs, "ran");
      if (ended === null) worker.postMessage({ batch: packBatch([rows], 0, rows.length), times });
      const reply = await waiting;
      return answerOf(reply);
    },
    hasEnded: () => ended !== null,
    async end() {
      ended ??= { kind: "died", message: "the probe was ended" };
      await worker.terminate();
    },
  };
}
