/**
 * `encrypt.records`: which fields other services get, in clear or sealed for some; its checks and its typed form.
 *
 * A field that is named wrongly would be left out or, worse, left in clear: every doubt is a complaint. Must not know
 * how fields are sealed.
 */
import type { PipelineFile } from "../../schemas/pipeline-file.ts";
import type { RecordSchema } from "../../schemas/record-schema.ts";
import type { Complaint, KeyPath } from "./complaint.ts";
import type { LocatedTree } from "./located-tree.ts";
import type { RecordFieldsSpec } from "./pipeline-spec.ts";
import { notInSchema, type PlacedRule, propertyAt, splitPath } from "./rule-fields.ts";

interface NamedField {
  readonly field: string;
  readonly isSealed: boolean;
  readonly path: KeyPath;
}

const RECORDS = ["encrypt", "records"] as const;

/** The typed form; null when the file has no `encrypt.records`. */
export function toRecordFields({ encrypt }: PipelineFile): RecordFieldsSpec | null {
  const { records } = encrypt;
  if (records === undefined) return null;
  const sealed = records.sealed.map((group) => ({
    fields: group.fields,
    for: [...group.for].sort(),
  }));
  return { ...records, sealed };
}

/** Everything that is wrong with the fields of `encrypt.records`. @param schema null when it could not be read */
export function checkRecordFields(
  file: PipelineFile,
  rules: readonly PlacedRule[],
  schema: RecordSchema | null,
  tree: LocatedTree,
): Complaint[] {
  const { records } = file.encrypt;
  if (records === undefined) return [];
  const named = namedFields(records);
  const complaints = [...checkAudiences(records, tree), ...checkOverlaps(named, tree)];
  for (const { field, isSealed, path } of named) {
    const message =
      schema !== null && propertyAt(schema, field) === "absent"
        ? notInSchema(field, schema)
        : checkReach(field, rules);
    if (message !== null) complaints.push(tree.complain(path, message));
    if (isSealed && splitPath(field)[0] === file.record.id) {
      const why = `'${field}' names the record, so it is the record's key, in clear: expected it under clear, or nowhere`;
      complaints.push(tree.complain(path, why));
    }
  }
  return complaints;
}

type FileFields = NonNullable<PipelineFile["encrypt"]["records"]>;

function namedFields({ clear, sealed }: FileFields): NamedField[] {
  const at = (path: KeyPath, isSealed: boolean) => (field: string, index: number) => ({
    ...{ field, isSealed, path: [...path, index] },
  });
  return [
    ...clear.map(at([...RECORDS, "clear"], false)),
    ...sealed.flatMap(({ fields }, group) =>
      fields.map(at([...RECORDS, "sealed", group, "fields"], true)),
    ),
  ];
}

function checkAudiences({ sealed }: FileFields, tree: LocatedTree): Complaint[] {
  return sealed.flatMap((group, index) =>
    group.for.flatMap((name, place) => {
      if (group.for.indexOf(name) === place) return [];
      const path = [...RECORDS, "sealed", index, "for", place];
      return [tree.complain(path, `'${name}' is named above already`)];
    }),
  );
}

/** No field twice, none inside another, and nothing that is both object and array. */
function checkOverlaps(named: readonly NamedField[], tree: LocatedTree): Complaint[] {
  const seen: { readonly field: string; readonly parts: readonly string[] }[] = [];
  return named.flatMap(({ field, path }) => {
    const parts = splitPath(field);
    const twin = seen
      .map((other) => clash(field, parts, other))
      .find((message) => message !== null);
    seen.push({ field, parts });
    return twin === undefined ? [] : [tree.complain(path, twin)];
  });
}

/** What is wrong with two fields beside each other, or null. */
function clash(
  field: string,
  parts: readonly string[],
  other: { readonly field: string; readonly parts: readonly string[] },
): string | null {
  const apart = parts.findIndex((part, index) => other.parts[index] !== part);
  const [mine, others] = [parts[apart], other.parts[apart]];
  if (apart === -1 || others === undefined) {
    return field === other.field
      ? `'${field}' is named above already`
      : `'${field}' and '${other.field}' are one inside the other; expected each part once`;
  }
  const [kind, otherKind] = [mine, others].map((part) => (part === "[]" ? "array" : "object"));
  return kind === otherKind
    ? null
    : `'${field}' needs an ${kind} where '${other.field}' needs an ${otherKind}`;
}

/** Why a field never reaches encrypt, or null. */
function checkReach(field: string, rules: readonly PlacedRule[]): string | null {
  const parts = splitPath(field);
  const near = rules.filter((placed) => {
    const ruled = splitPath(placed.field);
    return parts.every((part, index) => index >= ruled.length || ruled[index] === part);
  });
  if (near.some(({ rule }) => rule.action !== "drop")) return null;
  return near.length === 0
    ? `'${field}' has no rule under desensitize, so it never reaches encrypt`
    : `'${field}' is dropped by its rule, so it never reaches encrypt`;
}
