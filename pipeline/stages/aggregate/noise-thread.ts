/**
 * A maker of noise in a thread of its own: off the path on which contributions are unsealed and summed.
 *
 * The thread is started with the first job and again after it died or ran past its deadline; jobs that it had then are
 * rejected, and noise-source.ts makes them anew. It holds up no end of the process. Must not hold a key longer than it
 * takes to post it.
 */
import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import { SealstreamError } from "../../errors.ts";
import type { NoiseJob, NoiseMaker } from "./noise-rows.ts";
import type { NoiseThreadReply, NoiseThreadRequest } from "./noise-worker.ts";

/** Of one job, which after a restart makes all rows of a block. */
const DEADLINE_MS = 120_000;
/** JavaScript heap of the thread; rows are buffers outside it. */
const RESOURCE_LIMITS = { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 8, stackSizeMb: 4 };

interface Waiting {
  resolve(values: Float64Array): void;
  reject(error: SealstreamError): void;
  readonly timer: NodeJS.Timeout;
}

export interface NoiseThreadOptions {
  readonly deadlineMs?: number | undefined;
  /** Starts a thread of noise-worker.ts; unless said, one with an empty environment. */
  readonly startThread?: (() => Worker) | undefined;
}

function startNoiseThread(): Worker {
  // In the repository this file is .ts and so is the worker; in a built package both are .js.
  const file = `./noise-worker${extname(import.meta.filename)}`;
  return new Worker(new URL(file, import.meta.url), {
    name: "noise",
    env: {},
    execArgv: [],
    resourceLimits: RESOURCE_LIMITS,
  });
}

export function createNoiseThread(options: NoiseThreadOptions = {}): NoiseMaker {
  const deadlineMs = options.deadlineMs ?? DEADLINE_MS;
  const start = options.startThread ?? startNoiseThread;
  let thread: Worker | null = null;
  let lastJobId = 0;
  const waiting = new Map<number, Waiting>();

  /** Gives up a thread and everything that it was asked for. */
  function drop(dead: Worker): void {
    if (thread !== dead) return;
    thread = null;
    const error = new SealstreamError("worker-died", "The thread that makes noise has died.");
    for (const { reject, timer } of waiting.values()) {
      clearTimeout(timer);
      reject(error);
    }
    waiting.clear();
    void dead.terminate();
  }

  function open(): Worker {
    if (thread !== null) return thread;
    const started = start();
    thread = started;
    started.on("message", ({ jobId, values }: NoiseThreadReply) => {
      const asked = waiting.get(jobId);
      if (asked === undefined) return;
      waiting.delete(jobId);
      clearTimeout(asked.timer);
      if (waiting.size === 0) started.unref();
      if (values === null) {
        asked.reject(new SealstreamError("internal", "The noise of an update cannot be made."));
      } else {
        asked.resolve(values);
      }
    });
    started.on("error", () => drop(started));
    started.once("exit", () => drop(started));
    return started;
  }

  return {
    make(job: NoiseJob) {
      return new Promise((resolve, reject) => {
        const to = open();
        const jobId = ++lastJobId;
        const timer = setTimeout(() => drop(to), deadlineMs);
        waiting.set(jobId, { resolve, reject, timer });
        to.ref();
        to.postMessage({ jobId, job } satisfies NoiseThreadRequest);
        for (const { key } of job.rows) key.fill(0);
      });
    },
    async close() {
      if (thread !== null) drop(thread);
    },
  };
}
