/**
 * Which fields the rules of a pipeline file are about, and what the record schema says about them.
 */
import type { PipelineFile } from "../../schemas/pipeline-file.ts";
import type { RecordProperty, RecordSchema } from "../../schemas/record-schema.ts";
import type { KeyPath } from "./complaint.ts";
import { typesOf } from "./read-record-schema.ts";
import { didYouMean } from "./suggest.ts";

/** One field's rule and where the file names the field. */
export interface PlacedRule {
  readonly field: string;
  readonly rule: PipelineFile["desensitize"][number];
  readonly path: KeyPath;
}

/** Rules with one field each, in file order. */
export function placeRules(file: PipelineFile): PlacedRule[] {
  return file.desensitize.flatMap((rule, index) => {
    const placed: PlacedRule[] = [];
    const path = ["desensitize", index] as const;
    if (rule.field !== undefined)
      placed.push({ field: rule.field, rule, path: [...path, "field"] });
    for (const [position, field] of (rule.fields ?? []).entries()) {
      placed.push({ field, rule, path: [...path, "fields", position] });
    }
    return placed;
  });
}

/** What to say about a field that the record schema does not have. */
export function notInSchema(field: string, schema: RecordSchema): string {
  return `'${field}' is not in the record schema${didYouMean(field, Object.keys(schema.properties))}`;
}

/** `a.b[].c` as `a`, `b`, `[]`, `c`. */
export function splitPath(path: string): string[] {
  return path.split(".").flatMap((part) => {
    const name = part.replace(/(?:\[\])+$/, "");
    return [name, ...Array<string>((part.length - name.length) / 2).fill("[]")];
  });
}

/** What the record schema says about a path: its property, `open` when it says nothing, `absent` when there is none. */
export function propertyAt(schema: RecordSchema, path: string): RecordProperty | "open" | "absent" {
  const [first = "", ...rest] = splitPath(path);
  let here: RecordProperty | undefined = schema.properties[first];
  if (here === undefined) return "absent";
  for (const part of rest) {
    if (!typesOf(here).includes(part === "[]" ? "array" : "object")) return "absent";
    const inside: Readonly<Record<string, RecordProperty>> | undefined = here.properties;
    const next: RecordProperty | undefined = part === "[]" ? here.items : inside?.[part];
    if (next === undefined) return part === "[]" || inside === undefined ? "open" : "absent";
    here = next;
  }
  return here;
}

/** The property at a path, or null when the schema says nothing of it or has no such path. */
export function propertyOf(schema: RecordSchema, path: string): RecordProperty | null {
  const property = propertyAt(schema, path);
  return typeof property === "string" ? null : property;
}
