/** Wires `desensitize`: the plugin's module, and its secrets out of the environment. */
import { readFile } from "node:fs/promises";
import { SealstreamError } from "../../errors.ts";
import { createDesensitizeStage } from "../../stages/desensitize/stage.ts";
import { wasmPath } from "../../wasm/locate.ts";
import type { CommandContext } from "../context.ts";
import type { WireStage } from "./world.ts";

const MIN_SECRET_BYTES = 32;

/** A secret of at least 32 bytes, hex or base64. @throws SealstreamError `key-missing`, `key-invalid` */
export function secretFromEnvironment(context: CommandContext, name: string): Uint8Array {
  const text = context.environment[name];
  if (text === undefined || text === "") {
    throw new SealstreamError(
      "key-missing",
      `The environment has no ${name}: set it to a secret of ${MIN_SECRET_BYTES} bytes, for example out of "openssl rand -hex 32".`,
    );
  }
  const secret = /^([0-9a-fA-F]{2})+$/.test(text)
    ? Buffer.from(text, "hex")
    : Buffer.from(text, "base64");
  if (secret.byteLength < MIN_SECRET_BYTES) {
    throw new SealstreamError(
      "key-invalid",
      `${name} holds less than ${MIN_SECRET_BYTES} bytes of hex or base64.`,
    );
  }
  return secret;
}

export const wire: WireStage = async ({ context, spec }) =>
  createDesensitizeStage({
    spec,
    secrets: (name) => secretFromEnvironment(context, name),
    wasm: await readFile(wasmPath("desensitize")),
  });
