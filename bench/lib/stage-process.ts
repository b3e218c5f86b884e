/**
 * A benchmark's process with one stage on a real broker, exactly once, and a stage that passes records on.
 *
 * Its settings are the process's argument, as JSON. Ends on SIGTERM and when its parent is gone.
 */
import type { Stage } from "../../pipeline/stream/contract.ts";
import { createKafkajsClient } from "../../pipeline/stream/kafkajs-client.ts";
import type { Logger } from "../../pipeline/stream/port.ts";
import { runStage } from "../../pipeline/stream/stage-runner.ts";
import type { StageName, TopicRole } from "../../schemas/topics.ts";

export interface ProcessSettings {
  readonly brokers: readonly string[];
  readonly pipeline: string;
  readonly partitions: number;
  readonly transactionIntervalMs: number;
}

/** The settings that the parent handed over. */
export function settingsOf<S extends ProcessSettings>(): S {
  // Because the parent is ours and hands in exactly this.
  return JSON.parse(process.argv[2] ?? "") as S;
}

const logger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: (fields, message) => console.error(message, fields),
  error: (fields, message) => console.error(message, fields),
};

/** A stage that passes records on, from the input of `name` to `role`. */
export function identityStage(name: StageName, role: TopicRole): Stage<null> {
  return {
    name,
    // Generous: what bounds a transaction here is its time.
    bounds: { maxRecords: 131_072, maxBytes: 32 * 2 ** 20 },
    openLane: () => ({
      restore: () => null,
      process: (records) => ({
        outputs: records.map(({ key, value, headers }) => ({ role, key, value, headers })),
        outcomes: [],
        state: null,
        consumedTo: records.length === 0 ? null : records.at(-1)!.offset + 1,
        wakeAtMs: null,
      }),
    }),
  };
}

/** Runs the stage until the process is asked to end; tells memory over and over, and lanes when they are given. */
export async function runStageProcess(
  settings: ProcessSettings,
  stage: Stage,
  told: {
    readonly everyMs: number;
    readonly onMemory: (memory: NodeJS.MemoryUsage) => void;
    readonly onLanes?: (lanes: readonly number[]) => void;
  },
): Promise<void> {
  await stage.warmUp?.();
  const client = await createKafkajsClient({
    brokers: settings.brokers,
    clientId: "bench-stage",
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
    stage,
    changelog: {
      protect: (value) => value,
      open: (value) => value,
      protectEntry: ({ value }) => value,
      openEntry: ({ protectedValue }) => protectedValue,
    },
    sealDeadLetter: () => new Uint8Array(1),
    clock: Date.now,
    logger,
    onProgress: () => undefined,
    onAssignment: (lanes) => told.onLanes?.(lanes),
  });
  const memory = setInterval(() => told.onMemory(process.memoryUsage()), told.everyMs);
  const end = async (): Promise<never> => {
    clearInterval(memory);
    await runner.stop();
    await client.close();
    process.exit(0);
  };
  process.once("SIGTERM", () => void end());
  process.once("SIGINT", () => void end());
  process.once("disconnect", () => process.exit(0));
  await runner.done;
}
