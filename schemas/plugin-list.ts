/**
 * The pipeline file's `plugins` list: modules of the user's that records pass before the rules, each pinned by its hash.
 *
 * An entry with `name` instead of `module` pins a plugin that Sealstream brings along. What a module's bytes must be is
 * checked in `pipeline/spec/`. Must not import any room.
 */
import { z } from "zod";

/** SHA-256 in lowercase hexadecimal digits. */
const SHA256 = /^[0-9a-f]{64}$/;

const pluginEntry = z.strictObject({
  module: z
    .string()
    .min(1)
    .max(1024)
    .optional()
    .describe("WebAssembly module that speaks plugins/ABI.md; path relative to this file."),
  name: z
    .enum(["desensitize"])
    .optional()
    .describe("Instead of module: the built-in plugin whose hash is pinned."),
  // Optional here, so that the check that has the file's bytes can say which hash belongs here.
  sha256: z
    .string()
    .regex(SHA256, "64 lowercase hexadecimal digits")
    .optional()
    .describe("SHA-256 of the module: other bytes do not run. Required."),
  config: z
    .json()
    .optional()
    .describe(
      "Handed to the plugin's configure: text as it is, any other value as JSON. No secrets: this file has none.",
    ),
  memoryMaxMb: z
    .int()
    .min(1)
    .max(1024)
    .default(64)
    .describe("Most memory of the plugin, in units of 1024 * 1024 bytes."),
  deadlineMs: z
    .int()
    .min(10)
    .max(600_000)
    .default(2000)
    .describe("A batch that takes longer costs the plugin its worker and the rows at fault."),
});

export const pluginList = z
  .array(pluginEntry)
  .max(9)
  .default([])
  .describe("Plugins of your own that raw records pass, in this order, before the rules.");
