/**
 * The builds of the plugin in this thread, and what each makes of a batch of documents, compared and read.
 */
import { readFileSync } from "node:fs";
import type { PipelineSpec } from "../../pipeline/spec/pipeline-spec.ts";
import { encodePluginConfig } from "../../pipeline/stages/desensitize/plugin-config.ts";
import { encodePosition, needsPositions } from "../../pipeline/stages/desensitize/positions.ts";
import { readRecordSchema } from "../../pipeline/stages/desensitize/record-schema.ts";
import { STATUS_NAMES } from "../../pipeline/wasm/abi.ts";
import {
  type PackedColumn,
  type PluginResult,
  packBatch,
  valueAt,
} from "../../pipeline/wasm/columns.ts";
import { createInstance, type PluginInstance } from "../../pipeline/wasm/instance.ts";
import { wasmPath } from "../../pipeline/wasm/locate.ts";
import { compilePlugin } from "../../pipeline/wasm/module-check.ts";
import { type Build, KEYS } from "../plugins/desensitize/guest.ts";
import type { Note } from "./model.ts";
import { pipelineOf, type RuleSet } from "./rule-sets.ts";

export type Document = Uint8Array | null;

/** What became of one document, as bytes, so that nothing is lost by reading them. */
export type Answer =
  | string
  | { readonly key: Buffer; readonly value: Buffer; readonly notes: readonly Note[] | null };

const LANE = 3;
const MEMORY_MAX_BYTES = 2 ** 28;
const HEAD_BYTES = 12;

const modules = new Map<Build, WebAssembly.Module>();

function moduleOf(build: Build): WebAssembly.Module {
  const known = modules.get(build);
  if (known !== undefined) return known;
  const compiled = compilePlugin(readFileSync(wasmPath(build)), MEMORY_MAX_BYTES);
  modules.set(build, compiled);
  return compiled;
}

function secretOf(env: string): Buffer {
  const key = KEYS[env];
  if (key === undefined) throw new Error(`no key ${env}`);
  return key;
}

/** Where the document of a row lies, as noise is keyed by it. */
export function positionOf(row: number): Uint8Array {
  return encodePosition(LANE, row);
}

/** The notes of one record; null: these are not so many. */
function readNotes(bytes: Buffer, slots: number): Note[] | null {
  let at = slots * HEAD_BYTES;
  if (bytes.length < at) return null;
  const notes: Note[] = [];
  for (let head = 0; head < slots * HEAD_BYTES; head += HEAD_BYTES) {
    const length = bytes.readUInt32LE(head + 8);
    const text = bytes.toString("utf8", at, at + length);
    at += length;
    notes.push({ place: bytes.readUInt32LE(head), type: bytes.readUInt32LE(head + 4), text });
  }
  return at === bytes.length ? notes : null;
}

function answersOf(result: PluginResult, slots: number): Answer[] {
  const answers: Answer[] = Array.from(
    result.status,
    (code) => STATUS_NAMES[code] ?? `code ${code}`,
  );
  const [keys, values, observed] = result.columns;
  const bytes = (column: PackedColumn | undefined, row: number): Buffer => {
    const value = column === undefined ? null : valueAt(column, row);
    if (value === null) return Buffer.from("no column, or a null");
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  };
  result.rowIndex.forEach((row, i) => {
    const hasNotes = slots > 0 || observed !== undefined;
    const notes = hasNotes ? readNotes(bytes(observed, i), slots) : [];
    answers[row] = { key: bytes(keys, i), value: bytes(values, i), notes };
  });
  return answers;
}

/** Whether two results are the same bytes. */
function isSame(a: PluginResult, b: PluginResult): boolean {
  const same = (one: Uint8Array | Uint32Array, other: Uint8Array | Uint32Array): boolean =>
    Buffer.from(one.buffer, one.byteOffset, one.byteLength).equals(
      Buffer.from(other.buffer, other.byteOffset, other.byteLength),
    );
  return (
    same(a.status, b.status) &&
    same(a.rowIndex, b.rowIndex) &&
    a.columns.length === b.columns.length &&
    a.columns.every((column, i) => {
      const other = b.columns[i];
      return (
        other !== undefined && same(column.data, other.data) && same(column.offsets, other.offsets)
      );
    })
  );
}

export interface Guests {
  /**
   * Runs the same documents through each build: what the first made of them, and whether another made something else.
   * @throws plugin-failed when a build traps or answers what is impossible
   */
  run(documents: readonly Document[]): {
    readonly answers: readonly Answer[];
    readonly differ: boolean;
  };
}

/** @param slots how many fields are observed */
export function createGuests(builds: readonly Build[], set: RuleSet, slots: number): Guests {
  const { id, subject, schema, rules } = pipelineOf(set);
  const record = { id, subject, maxBytes: 2 ** 20, schema };
  // Because nothing under test reads another part of the spec.
  const spec = { record, desensitize: rules } as unknown as PipelineSpec;
  const config = encodePluginConfig(spec, readRecordSchema(schema), secretOf);
  const limits = { maxOutputBytes: MEMORY_MAX_BYTES };
  const instances: readonly PluginInstance[] = builds.map((build) =>
    createInstance({ module: moduleOf(build), config, limits }),
  );
  const withPositions = needsPositions(rules);
  return {
    run(documents) {
      const positions = withPositions ? documents.map((_, row) => positionOf(row)) : [];
      const columns = withPositions ? [documents, positions] : [documents];
      const batch = packBatch(columns, 0, documents.length);
      const results = instances.map((instance) => instance.transform(batch));
      const [first] = results;
      if (first === undefined) throw new Error("no build to run");
      const differ = results.some((other) => !isSame(first, other));
      return { answers: answersOf(first, slots), differ };
    },
  };
}
