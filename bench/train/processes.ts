/**
 * The contenders of the kernel rows: our worker and Opacus, each in a process of its own, all pinned to one core.
 */

import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { BackendName } from "../../pipeline/stages/train/backend.ts";
import { type Child, startChild } from "../lib/child.ts";
import { openPythonPeer, type PythonPeer } from "../lib/python-peer.ts";
import { CASES, type CaseName, CLIP, NOISE_MULTIPLIER, requestOf } from "./cases.ts";
import type { KernelAnswer, KernelRequest } from "./kernel-worker.ts";

export const OPACUS_VERSIONS = { opacus: "1.6.0", torch: "2.15.0" } as const;
const WORKER = join(import.meta.dirname, "kernel-worker.ts");
const SCRIPT = join(import.meta.dirname, "opacus-peer.py");
/** Micro-batches that lie ready for the peer. */
const MICRO_BATCHES = 8;
const ANSWER_TIMEOUT_MS = 120_000;

/** How a process is kept on the last core; empty where the system has no `taskset`. */
export function pinned(): readonly string[] {
  return process.platform === "linux" ? ["taskset", "-c", `${availableParallelism() - 1}`] : [];
}

export interface OursKernel {
  ask(request: KernelRequest): Promise<KernelAnswer>;
  stop(): Promise<void>;
}

/** @throws Error in `ask` with the words of the worker, when its backend is not to be had */
export function startOurs(backend: BackendName): OursKernel {
  const [command = process.execPath, ...args] = [...pinned(), process.execPath, WORKER, backend];
  const child: Child = startChild(command, args, { channel: true, cwd: process.cwd() });
  let waiting = Promise.withResolvers<KernelAnswer>();
  // Because the worker sends nothing else.
  child.onMessage((message) => waiting.resolve(message as KernelAnswer));
  return {
    async ask(request) {
      waiting = Promise.withResolvers();
      child.send(request);
      const late = setTimeout(() => {
        waiting.reject(new Error(`no answer: ${child.failure() ?? "still running"}`));
      }, ANSWER_TIMEOUT_MS);
      const answer = await waiting.promise.finally(() => clearTimeout(late));
      if ("fault" in answer) throw new Error(answer.fault);
      return answer;
    },
    stop: () => child.stop(),
  };
}

export type OpacusMode = "ghost" | "hooks";

export interface Opacus {
  /** @returns the clipped sum of the first micro-batch, in our order */
  open(id: string, job: OpacusJob): Promise<readonly number[]>;
  /** @returns examples a second */
  turn(id: string, ms: number): Promise<number>;
  close(): void;
}

export interface OpacusJob {
  readonly case: CaseName;
  readonly batch: number;
  readonly mode: OpacusMode;
  readonly withNoise: boolean;
  readonly device?: "cuda";
}

/** Opacus, or in words why it cannot be had. */
export async function openOpacus(tell: (message: string) => void): Promise<Opacus | string> {
  const peer: PythonPeer | string = await openPythonPeer(
    {
      folder: "opacus",
      packages: OPACUS_VERSIONS,
      module: "opacus",
      script: SCRIPT,
      prefix: pinned(),
    },
    tell,
  );
  if (typeof peer === "string") return peer;
  return {
    async open(id, { case: name, batch, mode, withNoise, device }) {
      const { flat, inputs, labels } = requestOf(CASES[name], batch * MICRO_BATCHES);
      const answer = await peer.ask({
        ...{ op: "open", id, mode, batch, clip: CLIP, ...CASES[name].peer },
        ...{ noise: withNoise ? NOISE_MULTIPLIER : 0, device: device ?? "cpu" },
        ...{ weights: [...flat], inputs: [...inputs], labels: [...labels] },
      });
      // Because the script answers nothing else.
      return (answer as { sum: number[] }).sum;
    },
    async turn(id, ms) {
      return ((await peer.ask({ op: "turn", id, ms })) as { perSecond: number }).perSecond;
    },
    close: () => peer.close(),
  };
}
