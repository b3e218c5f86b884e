/** Wires `desensitize`: the plugin's module, and its secrets out of the environment. */
import { readFile } from "node:fs/promises";
import { createDesensitizeStage } from "../../stages/desensitize/stage.ts";
import { wasmPath } from "../../wasm/locate.ts";
import { secretFromEnvironment } from "../secrets.ts";
import type { WireStage } from "./world.ts";

export const wire: WireStage = async ({ context, spec }) =>
  createDesensitizeStage({
    spec,
    secrets: (name) => secretFromEnvironment(context, name),
    wasm: await readFile(wasmPath("desensitize")),
  });
