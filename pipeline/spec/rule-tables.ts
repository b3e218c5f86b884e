/**
 * Files that `desensitize` rules name: value hierarchies and lists to pick from.
 *
 * CSV with semicolons (RFC 4180 quoting) or YAML for hierarchies, lines or YAML for lists. They are the data owner's, like
 * the pipeline file; complaints name the file and the line, never a value of it.
 */
import type { Complaint } from "./complaint.ts";
import { readTree } from "./located-tree.ts";

/** Some hundred thousand short values; the plugin takes 16 MiB. */
const MAX_FILE_BYTES = 8 * 1024 * 1024;
const MAX_ROWS = 262_144;

export type ReadTable<T> =
  | { readonly status: "ok"; readonly rows: readonly T[] }
  | { readonly status: "invalid"; readonly complaints: readonly Complaint[] };

interface Line {
  readonly cells: readonly string[];
  readonly line: number;
}

function fault(file: string, line: number, message: string): ReadTable<never> {
  return { status: "invalid", complaints: [{ file, line, column: 1, path: "", message }] };
}

function isYaml(file: string): boolean {
  return /\.(?:ya?ml|json)$/i.test(file);
}

/** Text of a file, or null when it is not UTF-8. */
function decode(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    // Because a decoder's only failure here is that the bytes are not UTF-8.
    return null;
  }
}

/** Cells of CSV text, trimmed unless quoted; null when a quote has no end or text stands behind one. */
function parseCsv(text: string): Line[] | { readonly badLine: number } {
  const lines: Line[] = [];
  let cells: string[] = [];
  let line = 1;
  const cell = /[ \t]*(?:"((?:[^"]|"")*)"[ \t]*|([^";\r\n]*))(;|\r?\n|$)/y;
  for (let start = line; cell.lastIndex < text.length || cells.length > 0; ) {
    const match = cell.exec(text);
    if (match === null) return { badLine: line };
    const [whole, quoted, plain = "", end] = match;
    cells.push(quoted === undefined ? plain.trim() : quoted.replaceAll('""', '"'));
    line += whole.split("\n").length - 1;
    if (end === ";") continue;
    if (cells.length > 1 || cells[0] !== "") lines.push({ cells, line: start });
    cells = [];
    start = line;
    if (end === "") break;
  }
  return lines;
}

/** `value: [level 1, level 2]` for each value. */
function parseYaml(bytes: Uint8Array, file: string): Line[] | ReadTable<never> {
  const read = readTree(bytes, file, null);
  if (read.status === "invalid") return read;
  const { value, complain } = read.tree;
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return fault(file, 1, "expected values, each with a list of its levels");
  }
  return Object.entries(value).map(([key, levels]) => ({
    cells: [key, ...(Array.isArray(levels) ? levels : [levels]).map(String)],
    line: complain([key], "").line,
  }));
}

/** Every line of a hierarchy file, each value once. */
function readLines(bytes: Uint8Array, file: string): ReadTable<Line> {
  if (bytes.length > MAX_FILE_BYTES)
    return fault(file, 1, `expected at most ${MAX_FILE_BYTES} bytes`);
  const text = decode(bytes);
  if (text === null) return fault(file, 1, "expected UTF-8 text");
  const parsed = isYaml(file) ? parseYaml(bytes, file) : parseCsv(text);
  if ("badLine" in parsed)
    return fault(file, parsed.badLine, "expected cells with semicolons between");
  if ("status" in parsed) return parsed;
  if (parsed.length === 0 || parsed.length > MAX_ROWS) {
    return fault(file, 1, `expected 1 to ${MAX_ROWS} values, found ${parsed.length}`);
  }
  const values = new Set<string>();
  for (const { cells, line } of parsed) {
    const [value = ""] = cells;
    if (values.has(value)) return fault(file, line, "this value stands above already");
    values.add(value);
  }
  return { status: "ok", rows: parsed };
}

/** What each value becomes at a level of a hierarchy. @param level from 1 */
export function readHierarchy(
  bytes: Uint8Array,
  file: string,
  level: number,
): ReadTable<readonly [value: string, becomes: string]> {
  const lines = readLines(bytes, file);
  if (lines.status === "invalid") return lines;
  const rows: (readonly [string, string])[] = [];
  for (const { cells, line } of lines.rows) {
    const [value = ""] = cells;
    const becomes = cells[level];
    if (becomes === undefined || becomes === "")
      return fault(file, line, `expected a level ${level}`);
    rows.push([value, becomes]);
  }
  return { status: "ok", rows };
}

/** Each value of a hierarchy with all of its levels, the lowest first; every value has as many. */
export function readHierarchyPaths(
  bytes: Uint8Array,
  file: string,
): ReadTable<readonly [value: string, ...levels: string[]]> {
  const lines = readLines(bytes, file);
  if (lines.status === "invalid") return lines;
  const levels = (lines.rows[0]?.cells.length ?? 1) - 1;
  const rows: (readonly [string, ...string[]])[] = [];
  for (const { cells, line } of lines.rows) {
    const [value = "", ...rest] = cells;
    if (rest.length !== levels || rest.includes("")) {
      return fault(file, line, `expected ${levels} levels, as on the first line`);
    }
    rows.push([value, ...rest]);
  }
  return { status: "ok", rows };
}

/** A list: one text a line, empty lines aside, or a YAML list. */
export function readList(bytes: Uint8Array, file: string): ReadTable<string> {
  if (bytes.length > MAX_FILE_BYTES)
    return fault(file, 1, `expected at most ${MAX_FILE_BYTES} bytes`);
  const text = decode(bytes);
  if (text === null) return fault(file, 1, "expected UTF-8 text");
  let rows = text.split(/\r?\n/).filter((line) => line !== "");
  if (isYaml(file)) {
    const read = readTree(bytes, file, null);
    if (read.status === "invalid") return read;
    const { value } = read.tree;
    if (!Array.isArray(value)) return fault(file, 1, "expected a list of texts");
    rows = value.map(String);
  }
  if (rows.length === 0 || rows.length > MAX_ROWS) {
    return fault(file, 1, `expected 1 to ${MAX_ROWS} texts, found ${rows.length}`);
  }
  return { status: "ok", rows };
}
