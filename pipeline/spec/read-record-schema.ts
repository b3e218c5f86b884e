/**
 * Reads and checks the JSON Schema of a raw record.
 *
 * Complaints name lines of the schema file itself. The schema is authority of the data owner, like the pipeline
 * file; no record is read here.
 * Source: JSON Schema draft 2020-12, the part that `schemas/record-schema.ts` allows.
 */
import { type RecordSchema, recordSchemaSchema } from "../../schemas/record-schema.ts";
import type { Complaint } from "./complaint.ts";
import { checkTree } from "./explain.ts";
import { type LocatedTree, readTree } from "./located-tree.ts";

/** A plugin gets one column per field; more fields than this want another shape of record. */
const MAX_FIELDS = 256;

export type ReadRecordSchema =
  | {
      readonly status: "ok";
      readonly schema: RecordSchema;
      readonly document: Record<string, unknown>;
      /** Where its parts stand in the file. */
      readonly tree: LocatedTree;
    }
  | { readonly status: "invalid"; readonly complaints: readonly Complaint[] };

/**
 * @param bytes content of the schema file
 * @param file its name in complaints
 */
export function readRecordSchema(bytes: Uint8Array, file: string): ReadRecordSchema {
  const read = readTree(bytes, file, null);
  if (read.status === "invalid") return read;
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    // Because YAML reads more than JSON does; JSON.parse's own message would quote the file.
    return { status: "invalid", complaints: [read.tree.complain([], "expected JSON")] };
  }
  const checked = checkTree(read.tree, recordSchemaSchema);
  if (checked.status === "invalid") return checked;
  const complaints = checkFields(checked.value, read.tree);
  if (complaints.length > 0) return { status: "invalid", complaints };
  // Because the check above has established that the document is an object.
  return {
    status: "ok",
    schema: checked.value,
    document: document as Record<string, unknown>,
    tree: read.tree,
  };
}

/** JSON types of a property. */
export function typesOf(property: {
  readonly type: string | readonly string[];
}): readonly string[] {
  return typeof property.type === "string" ? [property.type] : property.type;
}

function checkFields(schema: RecordSchema, tree: LocatedTree): Complaint[] {
  const complaints: Complaint[] = [];
  const names = Object.keys(schema.properties);
  if (names.length === 0 || names.length > MAX_FIELDS) {
    const message = `expected 1 to ${MAX_FIELDS} properties, found ${names.length}`;
    complaints.push(tree.complain(["properties"], message));
  }
  for (const [index, name] of (schema.required ?? []).entries()) {
    if (names.includes(name)) continue;
    complaints.push(tree.complain(["required", index], `'${name}' is not one of the properties`));
  }
  for (const [name, property] of Object.entries(schema.properties)) {
    const path = ["properties", name];
    if (property.items !== undefined && !typesOf(property).includes("array")) {
      complaints.push(tree.complain([...path, "items"], "items needs type array"));
    }
    for (const [low, high] of [
      ["minLength", "maxLength"],
      ["minimum", "maximum"],
      ["minItems", "maxItems"],
    ] as const) {
      const least = property[low];
      const most = property[high];
      if (least !== undefined && most !== undefined && least > most) {
        complaints.push(tree.complain([...path, low], `expected ${low} at most ${high}`));
      }
    }
  }
  return complaints;
}
