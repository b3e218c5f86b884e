/** Wires `desensitize`: the plugin's module, its secrets out of the environment, and what its windows are like. */
import { readFile } from "node:fs/promises";
import { createDesensitizeStage } from "../../stages/desensitize/stage.ts";
import { wasmPath } from "../../wasm/locate.ts";
import { secretFromEnvironment } from "../secrets.ts";
import type { WireStage } from "./world.ts";

export const wire: WireStage = async ({ context, spec, counter, metrics, logger }) =>
  createDesensitizeStage({
    spec,
    secrets: (name) => secretFromEnvironment(context, name),
    wasm: await readFile(wasmPath("desensitize")),
    onWindow: ({ lane, quality, delayMs }) => {
      metrics.window({ ...quality, lane, delayMs });
      counter.note("ncp", quality.ncp.toFixed(3));
      if (quality.groups > 0) counter.note("smallestGroup", quality.smallestGroup);
      logger.info({ lane, delayMs, ...quality }, "a window was grouped");
    },
  });
