/**
 * The desensitize plugin in this thread, for tests: a short way to say rules and schema, and to read what came out.
 */
import { readFileSync } from "node:fs";
import type { DesensitizeRule, PipelineSpec } from "../../../pipeline/spec/pipeline-spec.ts";
import { encodePluginConfig } from "../../../pipeline/stages/desensitize/plugin-config.ts";
import { encodePosition, needsPositions } from "../../../pipeline/stages/desensitize/positions.ts";
import { readRecordSchema } from "../../../pipeline/stages/desensitize/record-schema.ts";
import { STATUS_NAMES } from "../../../pipeline/wasm/abi.ts";
import { packBatch, valueAt } from "../../../pipeline/wasm/columns.ts";
import { createInstance } from "../../../pipeline/wasm/instance.ts";
import { wasmPath } from "../../../pipeline/wasm/locate.ts";
import { compilePlugin } from "../../../pipeline/wasm/module-check.ts";

export const BUILDS = ["desensitize", "desensitize.debug"] as const;
export type Build = (typeof BUILDS)[number];

export const KEYS: Readonly<Record<string, Buffer>> = {
  A: Buffer.alloc(32, 0x41),
  /** Longer than a block: it is hashed first. */
  B: Buffer.alloc(100, 0x42),
};

/** What became of one record: the status, or the outgoing key and record. */
export type Answer = string | { readonly key: string; readonly value: string };

export interface Rules {
  readonly id: string;
  readonly schema: Readonly<Record<string, unknown>>;
  readonly rules: readonly DesensitizeRule[];
}

export function specOf({ id, schema, rules }: Rules): PipelineSpec {
  const spec = { record: { id, subject: null, maxBytes: 1_000_000, schema }, desensitize: rules };
  // Because nothing under test reads another part of the spec.
  return spec as unknown as PipelineSpec;
}

/** Takes raw records of lane 3 through the plugin, all in one batch; the first is at offset 0 unless it is said. */
export function createGuest(
  build: Build,
  about: Rules,
): (records: readonly (string | Uint8Array | null)[], firstOffset?: number) => Answer[] {
  const spec = specOf(about);
  const config = encodePluginConfig(spec, readRecordSchema(about.schema), (env) => KEYS[env]!);
  const limits = { maxOutputBytes: 2 ** 28 };
  const module = compilePlugin(readFileSync(wasmPath(build)), 2 ** 28);
  const instance = createInstance({ module, config, limits });
  return (records, firstOffset = 0) => {
    const column = records.map((one) => (typeof one === "string" ? Buffer.from(one) : one));
    const positions = column.map((_, i) => encodePosition(3, firstOffset + i));
    const batch = needsPositions(about.rules) ? [column, positions] : [column];
    const { status, rowIndex, columns } = instance.transform(packBatch(batch, 0, column.length));
    const answers: Answer[] = Array.from(status, (code) => STATUS_NAMES[code]!);
    rowIndex.forEach((row, i) => {
      const [key, value] = columns.map((one) => Buffer.from(valueAt(one, i)!).toString());
      answers[row] = { key: key!, value: value! };
    });
    return answers;
  };
}
