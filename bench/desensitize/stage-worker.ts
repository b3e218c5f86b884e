/**
 * A process with one stage from `raw` to `desensitized`, exactly once: the desensitize stage, or one that passes records on.
 *
 * Argument: StageSettings as JSON. Sends its resident memory every second; ends on SIGTERM and when its parent is gone.
 */
import { readFileSync } from "node:fs";
import type { PipelineSpec } from "../../pipeline/spec/pipeline-spec.ts";
import { createDesensitizeStage } from "../../pipeline/stages/desensitize/stage.ts";
import type { Stage } from "../../pipeline/stream/contract.ts";
import { wasmPath } from "../../pipeline/wasm/locate.ts";
import {
  identityStage,
  type ProcessSettings,
  runStageProcess,
  settingsOf,
} from "../lib/stage-process.ts";
import { SPEC } from "./records.ts";

export interface StageSettings extends ProcessSettings {
  readonly identity: boolean;
}

const MEMORY_INTERVAL_MS = 1_000;

function openStage(isIdentity: boolean) {
  if (isIdentity) return identityStage("desensitize", "desensitized");
  // Because the stage reads no other part of the spec than these two.
  const spec = SPEC as PipelineSpec;
  const wasm = readFileSync(wasmPath("desensitize"));
  return createDesensitizeStage({ spec, secrets: () => Buffer.alloc(32, 1), wasm });
}

const settings = settingsOf<StageSettings>();
// Because a runner knows nothing of a stage's state.
await runStageProcess(settings, openStage(settings.identity) as Stage, {
  everyMs: MEMORY_INTERVAL_MS,
  onMemory: ({ rss }) => process.send?.({ rss }),
});
