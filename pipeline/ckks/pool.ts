/**
 * Workers that evaluate packs, each killed when it runs past its deadline or its heap is spent, and started anew.
 *
 * What a death means: the first time that a pack's worker dies the pack is tried once more in a fresh worker, because
 * the cause may lie outside it (memory, an operator's kill); the second time the pack is refused. So one pack can stop
 * neither the stage nor the lane. A worker that cannot even start is a broken world: worker-died, to be retried.
 * Must not load the library in the calling thread, nor keep a pack after its answer.
 */
import { availableParallelism } from "node:os";
import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import { SealstreamError } from "../errors.ts";
import type { EvaluationKeys, PackRequest, ResultLayout } from "./engine.ts";
import type { CkksParameters } from "./parameters.ts";
import type { WarmUpSample } from "./warm-up.ts";
import type { WorkerReply, WorkerRequest } from "./worker.ts";

/** Deadline of one pack: some 200 times what a full pack of a 64-32-10 network takes on one core. */
const DEADLINE_MS = 90_000;
/** Deadline of a worker's start: loading the library takes 0.1 s on an idle core. */
const START_DEADLINE_MS = 30_000;
/** Attempts before a pack that kills its worker is refused. */
const ATTEMPTS = 2;
/** JavaScript heap of a worker; ciphertexts lie outside it, their number and size are checked. */
const RESOURCE_LIMITS = {
  maxOldGenerationSizeMb: 192,
  maxYoungGenerationSizeMb: 32,
  stackSizeMb: 8,
};

export interface PoolKeys {
  readonly parameters: CkksParameters;
  /** Names `keys`: a worker loads them when it does not keep keys of this id. */
  readonly keyId: string;
  readonly keys: EvaluationKeys;
}

export type PoolRequest = PoolKeys & PackRequest;

export type PoolOutcome =
  /** Ciphertexts of the logits; `evaluationMs` is the wall time inside the worker. */
  | {
      readonly status: "ok";
      readonly blobs: readonly Uint8Array[];
      readonly layout: ResultLayout;
      readonly evaluationMs: number;
    }
  | { readonly status: "refused" }
  /** The model, and no pack, is at fault; `reason` is a sentence about sizes and shapes (`plan.ts`). */
  | { readonly status: "model-refused"; readonly reason: string };

export interface EvaluatorPool {
  /** Packs that are evaluated side by side. */
  readonly workers: number;
  /**
   * Starts every worker, loads the library in it and, when keys are known, loads them and evaluates a pack of zeros.
   * @throws worker-died when a worker cannot be started; what the sample meets is left for the packs to meet
   */
  warmUp(sample?: PoolKeys & WarmUpSample): Promise<void>;
  /**
   * Evaluates one pack; waits for a free worker. The ciphertexts are copied and stay the caller's.
   * @throws worker-died when a worker cannot be started; key-invalid as `evaluate.ts`
   */
  evaluate(request: PoolRequest): Promise<PoolOutcome>;
  /** Kills the workers; packs in the making fail with worker-died. */
  close(): Promise<void>;
}

export interface EvaluatorPoolOptions {
  /** Workers; 1 unless said. See {@link workersFor}. */
  readonly workers?: number | undefined;
  /** Milliseconds one attempt at one pack may take. */
  readonly deadlineMs?: number | undefined;
  /** Starts a worker of `worker.ts`; unless said, a thread with an empty environment. */
  readonly startWorker?: (() => Worker) | undefined;
}

/** What a predict process may have resident. */
const PROCESS_MIB = 700;
/** What every further worker takes beside its keys and packs: a thread with the library's and our own module. */
const THREAD_MIB = 100;
/** What the planner counts for a process before its first pack (`predict-plan.ts`). */
const PLANNED_BASE_MIB = 320;

/**
 * Workers that `predict.workers` stands for: as many as it says, or one for each core as far as memory goes.
 * @param memoryMiB of a process with one worker, as planned
 */
export function workersFor(setting: "auto" | number, memoryMiB: number): number {
  if (setting !== "auto") return setting;
  const eachMiB = THREAD_MIB + Math.max(0, memoryMiB - PLANNED_BASE_MIB);
  const most = 1 + Math.floor((PROCESS_MIB - memoryMiB) / eachMiB);
  return Math.max(1, Math.min(availableParallelism(), most));
}

function startCkksWorker(): Worker {
  // In the repository this file is .ts and so is the worker; in a built package both are .js.
  const file = `./worker${extname(import.meta.filename)}`;
  const worker = new Worker(new URL(file, import.meta.url), {
    name: "ckks",
    env: {},
    execArgv: [],
    resourceLimits: RESOURCE_LIMITS,
    stdout: true,
    stderr: true,
  });
  // What the library's runtime prints when it aborts is not for anybody's log.
  worker.stdout.resume();
  worker.stderr.resume();
  return worker;
}

/** Makes a pool; no worker is started before `warmUp` or the first pack. */
export function createEvaluatorPool(options: EvaluatorPoolOptions): EvaluatorPool {
  const startWorker = options.startWorker ?? startCkksWorker;
  const deadlineMs = options.deadlineMs ?? DEADLINE_MS;
  const slots = Array.from(
    { length: Math.max(1, options.workers ?? 1) },
    () => new Slot(startWorker),
  );
  const idle = [...slots];
  const waiting: ((slot: Slot) => void)[] = [];
  let closed = false;

  const acquire = (): Promise<Slot> => {
    const slot = idle.pop();
    return slot === undefined
      ? new Promise((resolve) => waiting.push(resolve))
      : Promise.resolve(slot);
  };
  const release = (slot: Slot): void => {
    const next = waiting.shift();
    if (next === undefined) idle.push(slot);
    else next(slot);
  };
  const open = (): void => {
    if (closed) throw new SealstreamError("worker-died", "The CKKS workers have been closed.");
  };

  return {
    workers: slots.length,
    async warmUp(sample) {
      open();
      const warmOne = async (slot: Slot): Promise<void> => {
        await slot.start();
        if (sample !== undefined) await slot.warmUp(sample);
      };
      await Promise.all(slots.map(warmOne));
    },
    async evaluate(request) {
      const slot = await acquire();
      try {
        for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
          open();
          await slot.start();
          const reply = await slot.ask(request, deadlineMs);
          if (reply !== null) return readReply(reply);
        }
        open();
        return { status: "refused" };
      } finally {
        release(slot);
      }
    },
    async close() {
      closed = true;
      await Promise.all(slots.map((slot) => slot.stop()));
    },
  };
}

/** Models of ciphertexts (tens of MiB) by the file they were handed in as: workers read one copy, whatever packs come. */
const sharedFiles = new WeakMap<Uint8Array, Uint8Array>();

function sharedWeights(weights: PackRequest["weights"]): PackRequest["weights"] {
  if (!("file" in weights)) return weights;
  const { file } = weights;
  const known = sharedFiles.get(file);
  if (known !== undefined) return { file: known };
  const shared = new Uint8Array(new SharedArrayBuffer(file.length));
  shared.set(file);
  sharedFiles.set(file, shared);
  return { file: shared };
}

function readReply(reply: Exclude<WorkerReply, { kind: "ready" }>): PoolOutcome {
  if (reply.kind === "done") {
    const { outcome, evaluationMs } = reply;
    return outcome.status === "ok" ? { ...outcome, evaluationMs } : { status: "refused" };
  }
  if (reply.code === "ciphertext-refused") return { status: "refused" };
  // What `planEvaluation` throws; nothing else in a worker does.
  if (reply.code === "limit-exceeded" || reply.code === "checkpoint-invalid") {
    return { status: "model-refused", reason: reply.message };
  }
  throw new SealstreamError(reply.code, reply.message);
}

/** One worker at a time, and the ids of the keys that it keeps. */
class Slot {
  readonly #startWorker: () => Worker;
  #worker: Worker | null = null;
  #keyIds: readonly string[] = [];
  #lastRequestId = 0;

  constructor(startWorker: () => Worker) {
    this.#startWorker = startWorker;
  }

  /** Has a worker that has loaded the library. */
  async start(): Promise<void> {
    if (this.#worker !== null) return;
    const worker = this.#startWorker();
    this.#worker = worker;
    this.#keyIds = [];
    worker.once("exit", () => this.#forget(worker));
    // An error event without a listener would end the process; the exit that follows is what counts.
    worker.on("error", () => this.#forget(worker));
    const reply = await nextReply(worker, START_DEADLINE_MS, () => undefined);
    if (reply?.kind !== "ready") {
      await this.stop();
      throw new SealstreamError("worker-died", "A CKKS worker could not be started; trying again.");
    }
    worker.unref();
  }

  /** Evaluates a pack of zeros; a worker that dies over it is started anew by the first pack. */
  async warmUp({ parameters, keyId, keys, ...sample }: PoolKeys & WarmUpSample): Promise<void> {
    const message = { kind: "warm-up", parameters: parameters.id, keyId, keys, sample } as const;
    await this.#send({ ...message, requestId: this.#nextId() }, [], START_DEADLINE_MS);
  }

  /** The answer to a request, or null when the worker died over it. */
  async ask({ parameters, keyId, keys, ...pack }: PoolRequest, deadlineMs: number) {
    const requestId = this.#nextId();
    // Copies of their own buffers (a slice of a Buffer is a view): a retry needs the original.
    const ciphertexts = pack.ciphertexts.map((blob) => new Uint8Array(blob));
    const message: WorkerRequest = {
      ...{ kind: "evaluate", requestId, parameters: parameters.id, keyId },
      keys: this.#keyIds.includes(keyId) ? null : keys,
      pack: { ...pack, ciphertexts, weights: sharedWeights(pack.weights) },
    };
    const buffers = ciphertexts.map(({ buffer }) => buffer as ArrayBuffer);
    return this.#send(message, buffers, deadlineMs);
  }

  async stop(): Promise<void> {
    const worker = this.#worker;
    this.#worker = null;
    await worker?.terminate();
  }

  #nextId(): number {
    this.#lastRequestId += 1;
    return this.#lastRequestId;
  }

  async #send(message: WorkerRequest, buffers: ArrayBuffer[], deadlineMs: number) {
    const worker = this.#worker;
    if (worker === null) return null;
    worker.ref();
    const reply = await nextReply(worker, deadlineMs, () => worker.postMessage(message, buffers));
    worker.unref();
    const died =
      reply === null ||
      reply.kind === "ready" ||
      reply.requestId !== message.requestId ||
      (reply.kind === "failed" && reply.code === "worker-died");
    if (died) {
      await this.stop();
      return null;
    }
    this.#keyIds = reply.keyIds;
    return reply;
  }

  #forget(worker: Worker): void {
    if (this.#worker === worker) this.#worker = null;
  }
}

/** The worker's next message, or null when it died or the deadline passed first. */
function nextReply(
  worker: Worker,
  deadlineMs: number,
  post: () => void,
): Promise<WorkerReply | null> {
  return new Promise((resolve) => {
    const settle = (reply: WorkerReply | null): void => {
      clearTimeout(timer);
      worker.off("message", settle);
      worker.off("error", fail);
      worker.off("exit", fail);
      resolve(reply);
    };
    const fail = (): void => settle(null);
    const timer = setTimeout(fail, deadlineMs);
    worker.on("message", settle);
    worker.on("error", fail);
    worker.on("exit", fail);
    post();
  });
}
