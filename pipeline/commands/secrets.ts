/** Secrets out of the environment: referenced by the pipeline file, never in it. */
import { SealstreamError } from "../errors.ts";
import type { CommandContext } from "./context.ts";

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
