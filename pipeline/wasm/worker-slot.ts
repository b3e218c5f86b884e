/**
 * One killable worker with a plugin in it: started, given batches, ended when it takes too long.
 *
 * The worker gets no environment, no arguments, no standard streams and a small heap; what it computes on comes with
 * each message. Whoever owns a slot runs one batch at a time in it and replaces it once it is dead.
 */
import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import { SealstreamError } from "../errors.ts";
import { buffersOf, type PackedBatch, type PluginResult } from "./columns.ts";
import type { Reply, WorkerSetup } from "./messages.ts";

/** A worker starts in about 50 ms; on an overloaded machine two hundred times that is still a start. */
const START_DEADLINE_MS = 10_000;

/** JavaScript heap of a worker: it only moves buffers about, and those are outside the heap. */
const HEAP_LIMITS = {
  maxOldGenerationSizeMb: 64,
  maxYoungGenerationSizeMb: 16,
  stackSizeMb: 4,
} as const;

export interface WorkerSlot {
  /** Resolves when the plugin is instantiated and configured. */
  readonly ready: Promise<void>;
  /** True once the worker has ended, for whatever reason. */
  isDead(): boolean;
  /**
   * Runs a batch; its buffers are gone afterwards.
   * @throws plugin-failed or limit-exceeded by the guest's doing (the slot lives on), worker-died after the deadline or
   * when the thread ended (the slot is dead)
   */
  run(batch: PackedBatch, deadlineMs: number): Promise<PluginResult>;
  end(): Promise<void>;
}

/** What the host waits for: the answer to a batch, or the report that the worker is ready. */
interface Waiter {
  resolve(reply: Reply): void;
  reject(error: SealstreamError): void;
}

function startWorker(setup: WorkerSetup): Worker {
  // In the repository this file is .ts, in the published package .js; the worker lies beside it in either.
  const entry = new URL(`./worker${extname(import.meta.url)}`, import.meta.url);
  try {
    return new Worker(entry, {
      workerData: setup,
      env: {},
      argv: [],
      execArgv: [],
      stdin: false,
      stdout: true,
      stderr: true,
      resourceLimits: HEAP_LIMITS,
      name: "plugin",
    });
  } catch (cause) {
    throw new SealstreamError(
      "worker-died",
      "a plugin worker cannot be started: with --permission, Node also needs --allow-worker",
      { cause },
    );
  }
}

/** Starts a worker. Failing to start shows in `ready`. */
export function createWorkerSlot(setup: WorkerSetup): WorkerSlot {
  const worker = startWorker(setup);
  let dead = false;
  let waiter: Waiter | null = null;

  const settle = (use: (waiter: Waiter) => void): void => {
    const current = waiter;
    waiter = null;
    if (current !== null) use(current);
  };
  const die = (): void => {
    dead = true;
    settle(({ reject }) => {
      reject(new SealstreamError("worker-died", "the plugin worker ended: it is started again"));
    });
  };
  worker.on("message", (reply: Reply) => settle(({ resolve }) => resolve(reply)));
  // The error's text may hold record content: "exit" follows and says all that is said.
  worker.on("error", die);
  worker.on("messageerror", die);
  worker.on("exit", die);

  const waitForReply = (deadlineMs: number, what: string): Promise<Reply> => {
    const { promise, resolve, reject } = Promise.withResolvers<Reply>();
    if (dead) {
      reject(
        new SealstreamError("worker-died", "the plugin worker has ended: it is started again"),
      );
      return promise;
    }
    waiter = { resolve, reject };
    // An idle worker must not keep the process alive; one that is being waited for must.
    worker.ref();
    const timer = setTimeout(() => {
      settle(() => {
        dead = true;
        void worker.terminate();
        reject(
          new SealstreamError(
            "worker-died",
            `the plugin ${what} for over ${deadlineMs} ms and was ended`,
          ),
        );
      });
    }, deadlineMs);
    return promise.finally(() => {
      clearTimeout(timer);
      worker.unref();
    });
  };

  const started = waitForReply(START_DEADLINE_MS, "was starting").then(async (reply) => {
    if (reply.type !== "failed") return;
    dead = true;
    await worker.terminate();
    throw new SealstreamError(reply.code, reply.message);
  });
  // A standby that failed to start is noticed when it is needed, not as an unhandled rejection.
  started.catch(() => {});

  return {
    ready: started,
    isDead: () => dead,
    async run(batch, deadlineMs) {
      const answered = waitForReply(deadlineMs, "ran");
      if (!dead) worker.postMessage(batch, buffersOf(batch.columns));
      const reply = await answered;
      if (reply.type === "result") return reply.result;
      throw reply.type === "failed"
        ? new SealstreamError(reply.code, reply.message)
        : new SealstreamError(
            "internal",
            "the plugin worker answered out of turn: report this as a bug",
          );
    },
    async end() {
      dead = true;
      await worker.terminate();
    },
  };
}
