/**
 * A process with one Sealstream identity stage, exactly once from `desensitized` to `examples`, for the lane benchmarks.
 *
 * Argument: WorkerSettings as JSON. Sends `{lanes}` when it was given lanes and its memory every 5 s; ends on SIGTERM
 * and when its parent is gone.
 */
import type { Stage } from "../../pipeline/stream/contract.ts";
import {
  identityStage,
  type ProcessSettings,
  runStageProcess,
  settingsOf,
} from "../lib/stage-process.ts";

export type WorkerSettings = ProcessSettings;

/** What the worker tells its parent. */
export type WorkerMessage =
  | { readonly lanes: readonly number[] }
  | {
      readonly memory: {
        readonly rss: number;
        readonly heapUsed: number;
        readonly external: number;
      };
    };

const MEMORY_INTERVAL_MS = 5_000;

function send(message: WorkerMessage): void {
  process.send?.(message);
}

// Because a runner knows nothing of a stage's state.
const stage = identityStage("encrypt", "examples") as Stage;
await runStageProcess(settingsOf(), stage, {
  everyMs: MEMORY_INTERVAL_MS,
  onMemory: ({ rss, heapUsed, external }) => send({ memory: { rss, heapUsed, external } }),
  onLanes: (lanes) => send({ lanes }),
});
