/**
 * A process with one stage from `raw` to `desensitized`, exactly once: the desensitize stage, or one that passes records on.
 *
 * Argument: StageSettings as JSON. Sends its resident memory every second; ends on SIGTERM and when its parent is gone.
 */
import { readFileSync } from "node:fs";
import type { PipelineSpec } from "../../pipeline/spec/pipeline-spec.ts";
import type { DesensitizeState } from "../../pipeline/stages/desensitize/cluster-state.ts";
import { createDesensitizeStage } from "../../pipeline/stages/desensitize/stage.ts";
import type { Stage } from "../../pipeline/stream/contract.ts";
import { createKafkajsClient } from "../../pipeline/stream/kafkajs-client.ts";
import type { Logger } from "../../pipeline/stream/port.ts";
import { runStage } from "../../pipeline/stream/stage-runner.ts";
import { wasmPath } from "../../pipeline/wasm/locate.ts";
import { SPEC } from "./records.ts";

export interface StageSettings {
  readonly brokers: readonly string[];
  readonly pipeline: string;
  readonly transactionIntervalMs: number;
  readonly identity: boolean;
}

const MEMORY_INTERVAL_MS = 1_000;

// Because the parent is ours and hands in exactly this.
const settings = JSON.parse(process.argv[2] ?? "") as StageSettings;
const logger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: (fields, message) => console.error(message, fields),
  error: (fields, message) => console.error(message, fields),
};

const identity: Stage<null> = {
  name: "desensitize",
  bounds: { maxRecords: 131_072, maxBytes: 32 * 2 ** 20 },
  openLane: () => ({
    restore: () => null,
    process: (records) => ({
      outputs: records.map(({ key, value, headers }) => ({
        role: "desensitized" as const,
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

function openStage(): Stage<DesensitizeState> | Stage<null> {
  if (settings.identity) return identity;
  // Because the stage reads no other part of the spec than these two.
  const spec = SPEC as PipelineSpec;
  const wasm = readFileSync(wasmPath("desensitize"));
  return createDesensitizeStage({ spec, secrets: () => Buffer.alloc(32, 1), wasm });
}

const stage = openStage();
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
  partitions: 1,
  transactionIntervalMs: settings.transactionIntervalMs,
  // Because a runner knows nothing of a stage's state.
  stage: stage as Stage,
  changelog: { protect: (value) => value, open: (value) => value },
  sealDeadLetter: () => new Uint8Array(1),
  clock: Date.now,
  logger,
  onProgress: () => undefined,
  onAssignment: () => undefined,
});
const memory = setInterval(
  () => process.send?.({ rss: process.memoryUsage.rss() }),
  MEMORY_INTERVAL_MS,
);

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
