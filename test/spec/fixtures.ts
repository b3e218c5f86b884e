/**
 * The digits example and ways to change it, shared by the tests of the spec room.
 */
import { readFileSync } from "node:fs";
import { type Complaint, formatComplaint } from "../../pipeline/spec/complaint.ts";
import { type LoadedPipeline, loadPipelineSpec } from "../../pipeline/spec/load.ts";
import type { PipelineSpec } from "../../pipeline/spec/pipeline-spec.ts";

const folder = new URL("../fixtures/digits/", import.meta.url);

/** Text of the example's pipeline file. */
export const exampleText = readFileSync(new URL("pipeline.yaml", folder), "utf8");
/** Text of the example's record schema. */
export const exampleSchema = readFileSync(new URL("form.schema.json", folder), "utf8");

/** Loads `pipeline.yaml` out of files by name, as if they lay in one folder. */
export function loadFiles(
  files: Readonly<Record<string, string | Uint8Array>>,
  env: Record<string, string> = {},
): LoadedPipeline {
  return loadPipelineSpec({
    path: "/p/pipeline.yaml",
    env,
    readFile: (path) => {
      const content = files[path.replace("/p/", "")];
      if (content === undefined) throw new Error("ENOENT");
      return typeof content === "string" ? Buffer.from(content) : content;
    },
  });
}

/** The spec of what must have loaded. */
export function specOf(loaded: LoadedPipeline): PipelineSpec {
  if (loaded.status === "ok") return loaded.spec;
  throw new Error(loaded.complaints.map(formatComplaint).join("\n"));
}

/** Loads a text as if it stood beside the example's record schema. */
export function load(
  text: string | Uint8Array,
  env: Record<string, string> = {},
  schema: string = exampleSchema,
): LoadedPipeline {
  return loadFiles({ "pipeline.yaml": text, "form.schema.json": schema }, env);
}

/** The spec of a text that must load. */
export function loadGood(text: string, env: Record<string, string> = {}): PipelineSpec {
  return specOf(load(text, env));
}

/** The complaints of a text that must not load. */
export function complaintsOf(
  text: string | Uint8Array,
  env: Record<string, string> = {},
  schema: string = exampleSchema,
): readonly Complaint[] {
  const loaded = load(text, env, schema);
  if (loaded.status === "ok") throw new Error("expected complaints, but the file loads");
  return loaded.complaints;
}

/** The example with one part replaced; fails when the part is not in there exactly once. */
export function edited(from: string, to: string, text: string = exampleText): string {
  if (text.split(from).length !== 2) throw new Error(`expected once: ${from}`);
  return text.replace(from, () => to);
}

/** Line (from 1) on which a part stands. */
export function lineOf(part: string, text: string): number {
  const offset = text.indexOf(part);
  if (offset === -1) throw new Error(`expected: ${part}`);
  return text.slice(0, offset).split("\n").length;
}
