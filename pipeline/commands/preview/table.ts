/** Records before and after their rules, side by side, for a person. */
import { styleText } from "node:util";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import type { CommandContext } from "../context.ts";
import { escapeUnsafe } from "../dead-letters/text.ts";
import { cell, textWidth } from "./cells.ts";
import { type Change, changesOf } from "./changes.ts";
import type { Result } from "./run-rules.ts";
import { jsonText } from "./values.ts";

type Tone = "bold" | "dim" | "green" | "red" | "yellow";

export interface Look {
  readonly columns: number;
  readonly paint: (tone: Tone, text: string) => string;
}

/** Where standard output is no terminal. */
const PLAIN_COLUMNS = 120;
const LEAST_COLUMNS = 40;
const BETWEEN = " │ ";
/** Shares of the line that names and rules get at the most. */
const FIELD_SHARE = 0.3;
const RULE_SHARE = 0.2;
/** A record of more fields than this is cut: nobody reads so many. */
const MOST_ROWS = 200;

/** Colours are for terminals, unless NO_COLOR is set (no-color.org) or the terminal has none. */
export function createLook({ environment, outputColumns }: CommandContext): Look {
  const isPlain =
    outputColumns === undefined ||
    (environment["NO_COLOR"] ?? "") !== "" ||
    environment["TERM"] === "dumb";
  return {
    columns: Math.max(LEAST_COLUMNS, outputColumns ?? PLAIN_COLUMNS),
    // The decision is made above; the library would ask process.stdout.
    paint: (tone, text) => (isPlain ? text : styleText(tone, text, { validateStream: false })),
  };
}

/** A heading, and a table where the record passes; several lines. */
export function showRecord(spec: PipelineSpec, result: Result, look: Look): string {
  const { columns, paint } = look;
  const name = paint("bold", `record ${result.record}`);
  if (result.status === "dropped") {
    return `${name} dropped by a plugin: nothing leaves, and there is no dead letter\n`;
  }
  if (result.status === "waiting") return `${name} waits: its group needs more records\n`;
  if (result.status === "refused") {
    const what = paint("red", `refused (${result.reason})`);
    const line = new TextDecoder().decode(result.raw);
    return `${name} ${what}: it would become a sealed dead letter\n${cell(line, columns).trimEnd()}\n`;
  }
  const key = new TextDecoder().decode(result.key);
  const heading = cell(`record ${result.record} passes with the key ${key}`, columns).trimEnd();
  const changes = changesOf(spec, result.raw, result.value);
  const rows = table(changes.slice(0, MOST_ROWS), look);
  const more = changes.length - MOST_ROWS;
  const rest = more > 0 ? [`... and ${more} fields more`] : [];
  return [paint("bold", heading), ...rows, ...rest, ""].join("\n");
}

interface Row {
  readonly cells: readonly [field: string, before: string, after: string, rule: string];
  /** Of what is left. */
  readonly tone: Tone;
}

function rowOf({ path, before, after, rule }: Change): Row {
  const text = jsonText(before);
  if (after === undefined) return { cells: [path, text, "(dropped)", rule], tone: "dim" };
  const left = jsonText(after);
  return { cells: [path, text, left, rule], tone: left === text ? "yellow" : "green" };
}

function table(changes: readonly Change[], { columns, paint }: Look): string[] {
  const rows = changes.map(rowOf);
  const head = ["field", "before", "after", "rule"] as const;
  const widest = (index: 0 | 3, share: number): number =>
    Math.min(
      Math.floor(columns * share),
      rows.reduce((most, row) => Math.max(most, widthCapped(row.cells[index])), head[index].length),
    );
  const field = widest(0, FIELD_SHARE);
  const rule = widest(3, RULE_SHARE);
  const values = columns - field - rule - 3 * BETWEEN.length;
  const before = Math.floor(values / 2);
  const widths = [field, before, values - before, rule] as const;
  const line = (cells: Row["cells"], tones: readonly (Tone | null)[]): string =>
    cells
      .map((text, index) => {
        const drawn = cell(text, widths[index] ?? 0);
        const tone = tones[index] ?? null;
        return tone === null ? drawn : paint(tone, drawn);
      })
      .join(BETWEEN)
      .trimEnd();
  return [
    line(head, ["dim", "dim", "dim", "dim"]),
    ...rows.map(({ cells, tone }) => line(cells, [null, null, tone, "dim"])),
  ];
}

/** Columns of a name; a longer one than any line need not be measured. */
function widthCapped(text: string): number {
  return textWidth(escapeUnsafe(text.slice(0, MOST_ROWS)));
}

/** `5 records: 3 pass, 2 refused (not-json 1, wrong-type 1)` */
export function summaryLine(results: readonly Result[]): string {
  const { passes, refused, dropped, waiting, reasons } = countResults(results);
  const why = Object.entries(reasons).map(([reason, count]) => `${reason} ${count}`);
  return [
    `${results.length} ${results.length === 1 ? "record" : "records"}: ${passes} pass`,
    refused === 0 ? "none refused" : `${refused} refused (${why.join(", ")})`,
    ...(dropped === 0 ? [] : [`${dropped} dropped by a plugin`]),
    ...(waiting === 0 ? [] : [`${waiting} wait`]),
  ].join(", ");
}

export interface Counts {
  readonly passes: number;
  readonly refused: number;
  readonly dropped: number;
  readonly waiting: number;
  readonly reasons: Readonly<Record<string, number>>;
}

export function countResults(results: readonly Result[]): Counts {
  const counts = { passes: 0, refused: 0, dropped: 0, waiting: 0 };
  const reasons: Record<string, number> = {};
  for (const result of results) {
    counts[result.status] += 1;
    if (result.status !== "refused") continue;
    reasons[result.reason] = (reasons[result.reason] ?? 0) + 1;
  }
  return { ...counts, reasons };
}
