/**
 * The thread in which a plugin runs: one instance, one batch at a time.
 *
 * It is started by worker-slot.ts without environment, arguments or streams, and may be killed at any moment. After a
 * failure the instance is thrown away; the next batch gets a fresh one. Must not be imported.
 */
import { parentPort, workerData } from "node:worker_threads";
import { isSealstreamError } from "../errors.ts";
import { buffersOf } from "./columns.ts";
import { createInstance, type PluginInstance } from "./instance.ts";
import type { Reply, Request, WorkerSetup } from "./messages.ts";

// Because worker-slot.ts is the only one who starts this file, and it hands over a WorkerSetup.
const setup = workerData as WorkerSetup;
const port = parentPort;

function answer(reply: Reply, move: ArrayBuffer[] = []): void {
  port?.postMessage(reply, move);
}

/** Our own errors keep their code; anything else is named without its text, which may hold record content. */
function failure(error: unknown): Reply {
  return isSealstreamError(error)
    ? { type: "failed", code: error.code, message: error.message }
    : {
        type: "failed",
        code: "internal",
        message: "the plugin worker failed: report this as a bug",
      };
}

let instance: PluginInstance | null = null;

port?.on("message", (batch: Request) => {
  try {
    instance ??= createInstance(setup);
    const result = instance.transform(batch);
    answer({ type: "result", result }, buffersOf(result.columns));
  } catch (error) {
    instance = null;
    answer(failure(error));
  }
});

try {
  instance = createInstance(setup);
  answer({ type: "ready" });
} catch (error) {
  answer(failure(error));
}
