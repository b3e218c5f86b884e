/** A folder with a pipeline, and the preview command with what it printed. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CommandContext } from "../../pipeline/commands/context.ts";
import type { Options } from "../../pipeline/commands/options.ts";
import { preview } from "../../pipeline/commands/preview.ts";
import { recordingContext } from "./recording-context.ts";

export const DIGITS = join(import.meta.dirname, "../fixtures/digits");

export interface World {
  readonly folder: string;
  readonly file: string;
  /** Writes lines, and gives the file's name. */
  input(...lines: readonly (string | object)[]): string;
  run(input: string, options?: Options, more?: Partial<CommandContext>): Promise<Ran>;
}

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly told: readonly string[];
}

const folders: string[] = [];

export function removeWorlds(): void {
  for (const folder of folders) rmSync(folder, { recursive: true });
}

/** The example's pipeline, with other rules and another record schema where they are given. */
export function previewWorld(rules?: string, schema?: object): World {
  const folder = mkdtempSync(join(tmpdir(), "sealstream-preview-"));
  folders.push(folder);
  const file = join(folder, "pipeline.yaml");
  const text = readFileSync(join(DIGITS, "pipeline.yaml"), "utf8");
  const [head, rest] = text.split(/^desensitize:\n(?: {2}.*\n)*/m);
  writeFileSync(file, rules === undefined ? text : `${head}desensitize:\n${rules}\n${rest}`);
  const example = JSON.parse(readFileSync(join(DIGITS, "form.schema.json"), "utf8"));
  // Without the limits that a short test record would break.
  const free = { pixels: { type: "array", items: { type: "number" } }, note: { type: "string" } };
  const properties = { ...example.properties, ...free, ...schema };
  writeFileSync(
    join(folder, "form.schema.json"),
    JSON.stringify({ ...example, properties, required: ["formId"] }),
  );
  let inputs = 0;
  return {
    folder,
    file,
    input(...lines) {
      inputs += 1;
      const path = join(folder, `input-${inputs}.ndjson`);
      const written = lines.map((line) => (typeof line === "string" ? line : JSON.stringify(line)));
      writeFileSync(path, written.map((line) => `${line}\n`).join(""));
      return path;
    },
    async run(input, options = {}, more = {}) {
      const { context, printed, told } = recordingContext(more);
      const code = await preview(context, file, input, options);
      return { code, out: printed.join("\n"), told };
    },
  };
}

/** Cells of each line of the tables. */
export function rowsOf(out: string): string[][] {
  return out
    .split("\n")
    .filter((line) => line.includes(" │ "))
    .map((line) => line.split(" │ ").map((text) => text.trim()));
}
