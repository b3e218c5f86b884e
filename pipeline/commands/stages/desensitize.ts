/** Wires `desensitize`: the plugins' modules, the secrets of the rules, and what its windows are like. */
import { readFile } from "node:fs/promises";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import { createDesensitizeStage, type DesensitizeOptions } from "../../stages/desensitize/stage.ts";
import { wasmPath } from "../../wasm/locate.ts";
import type { CommandContext } from "../context.ts";
import { secretFromEnvironment } from "../secrets.ts";
import type { WireStage } from "./world.ts";

/** What the stage is made of. The bytes read here are the bytes that the stage hashes and runs. */
export async function desensitizeOptions(
  context: CommandContext,
  spec: PipelineSpec,
): Promise<DesensitizeOptions> {
  return {
    spec,
    secrets: (name) => secretFromEnvironment(context, name),
    wasm: await readFile(wasmPath("desensitize")),
    sha256: spec.builtInPlugins.desensitize,
    plugins: await Promise.all(
      spec.plugins.map(async ({ module, ...plugin }) => ({
        ...plugin,
        wasm: await readFile(module),
      })),
    ),
  };
}

export const wire: WireStage = async ({ context, spec, counter, metrics, logger }) =>
  createDesensitizeStage({
    ...(await desensitizeOptions(context, spec)),
    onWindow: ({ lane, quality, delayMs }) => {
      metrics.window({ ...quality, lane, delayMs });
      counter.note("ncp", quality.ncp.toFixed(3));
      if (quality.smallestGroup !== null) counter.note("smallestGroup", quality.smallestGroup);
      logger.info({ lane, delayMs, ...quality }, "a window was grouped");
    },
  });
