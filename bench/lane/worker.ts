/**
 * A process with one Sealstream identity stage, exactly once from `desensitized` to `examples`, for the lane benchmarks.
 *
 * Argument: WorkerSettings as JSON. Sends `{lanes}` when it was given lanes and its memory every 5 s; ends on SIGTERM
 * and when its parent is gone.
 */
import type { Stage } from "../../pipeline/stream/contract.ts";
import { createKafkajsClient } from "../../pipeline/stream/kafkajs-client.ts";
import type { Logger } from "../../pipeline/stream/port.ts";
import { runStage } from "../../pipeline/stream/stage-runner.ts";

export interface WorkerSettings {
  readonly brokers: readonly string[];
  readonly pipeline: string;
  readonly partitions: number;
  readonly transactionIntervalMs: number;
}

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

// Because the parent is ours and hands in exactly this.
const settings = JSON.parse(process.argv[2] ?? "") as WorkerSettings;
const logger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: (fields, message) => console.error(message, fields),
  error: (fields, message) => console.error(message, fields),
};

const stage: Stage<null> = {
  name: "encrypt",
  // Generous: what bounds a transaction here is its time.
  bounds: { maxRecords: 131_072, maxBytes: 32 * 2 ** 20 },
  openLane: () => ({
    restore: () => null,
    process: (records) => ({
      outputs: records.map(({ key, value, headers }) => ({
        role: "examples" as const,
        key,
        value,
        headers,
      })),
      outcomes: [],
      state: null,
      consumedTo: records.length === 0 ? null : records.at(-1)!.offset + 1,
      wakeAtMs: null,
    }),
  }),
};

function send(message: WorkerMessage): void {
  process.send?.(message);
}

const client = await createKafkajsClient({
  brokers: settings.brokers,
  clientId: "bench-lane",
  compression: "none",
  sessionTimeoutMs: 10_000,
  transactionTimeoutMs: 60_000,
  logger,
});
const runner = await runStage({
  client,
  pipeline: settings.pipeline,
  partitions: settings.partitions,
  transactionIntervalMs: settings.transactionIntervalMs,
  // Because a runner knows nothing of a stage's state.
  stage: stage as Stage,
  changelog: { protect: (value) => value, open: (value) => value },
  sealDeadLetter: () => new Uint8Array(1),
  clock: Date.now,
  logger,
  onProgress: () => undefined,
  onAssignment: (lanes) => send({ lanes }),
});
const memory = setInterval(() => {
  const { rss, heapUsed, external } = process.memoryUsage();
  send({ memory: { rss, heapUsed, external } });
}, MEMORY_INTERVAL_MS);

async function end(): Promise<never> {
  clearInterval(memory);
  await runner.stop();
  await client.close();
  process.exit(0);
}
process.once("SIGTERM", () => void end());
process.once("SIGINT", () => void end());
process.once("disconnect", () => process.exit(0));
await runner.done;
