/**
 * The thread that makes noise while the stage's own thread unseals contributions.
 *
 * It gets keys of single rows, never the secret, and its environment is empty. It answers each job in the order they
 * came or dies; noise-thread.ts decides what a death means. Must not hold anything but the mixer of the block it is in.
 */
import { parentPort } from "node:worker_threads";
import { SealstreamError } from "../../errors.ts";
import { createRowMixing, type NoiseJob } from "./noise-rows.ts";

export interface NoiseThreadRequest {
  readonly jobId: number;
  readonly job: NoiseJob;
}

export interface NoiseThreadReply {
  readonly jobId: number;
  /** Null: it could not be made. */
  readonly values: Float64Array | null;
}

function serve(): void {
  const port = parentPort;
  if (port === null) throw new SealstreamError("internal", "This file is a worker's entry.");
  const mix = createRowMixing();
  const reply = (message: NoiseThreadReply): void => {
    // Because a mixture is a new, unshared buffer.
    port.postMessage(
      message,
      message.values === null ? [] : [message.values.buffer as ArrayBuffer],
    );
  };
  port.on("message", ({ jobId, job }: NoiseThreadRequest) => {
    try {
      reply({ jobId, values: mix(job) });
    } catch {
      // Because whoever asked makes it again and is told by that attempt what is wrong.
      reply({ jobId, values: null });
    }
  });
}

serve();
