/**
 * The single values that leave under a rule: a kept array may hold objects, whose fields have names and types too.
 */
import type { RecordProperty, RecordSchema } from "../../../schemas/record-schema.ts";
import type { KeyPath } from "../complaint.ts";
import { typesOf } from "../read-record-schema.ts";
import { type PlacedRule, propertyOf, splitPath } from "../rule-fields.ts";
import { FREE_TEXT, IDENTIFIERS, type Kind, kindOf, QUASI_IDENTIFIERS } from "./names.ts";

export interface Leaf {
  /** As a rule would name it: `orders[].email`. */
  readonly path: string;
  /** Null: the record schema does not say. */
  readonly property: RecordProperty | null;
}

/** A rule with what it is about. */
export interface Subject extends PlacedRule {
  readonly leaves: readonly Leaf[];
}

/** Where a property stands in the record schema's file. */
export function schemaPath(field: string): KeyPath {
  return splitPath(field).flatMap((part) => (part === "[]" ? ["items"] : ["properties", part]));
}

function leavesOf(path: string, property: RecordProperty | null): Leaf[] {
  if (property === null) return [{ path, property }];
  const types = typesOf(property);
  const leaves: Leaf[] = [];
  if (types.includes("array")) leaves.push(...leavesOf(`${path}[]`, property.items ?? null));
  if (types.includes("object")) {
    const inside = Object.entries(property.properties ?? {});
    if (inside.length === 0) leaves.push({ path, property: null });
    leaves.push(...inside.flatMap(([name, one]) => leavesOf(`${path}.${name}`, one)));
  }
  const isScalar = types.some((type) => type !== "array" && type !== "object" && type !== "null");
  return isScalar || leaves.length === 0 ? [...leaves, { path, property }] : leaves;
}

export function withLeaves(placed: PlacedRule, schema: RecordSchema): Subject {
  return { ...placed, leaves: leavesOf(placed.field, propertyOf(schema, placed.field)) };
}

/** A field's own name and the one around it. */
function namesOf(path: string): readonly [own: string, around: string] {
  const names = splitPath(path).filter((part) => part !== "[]");
  return [names.at(-1) ?? "", names.at(-2) ?? ""];
}

function fits({ property }: Leaf, kind: Kind): boolean {
  if (property === null) return true;
  const types = typesOf(property);
  return types.includes("string") || (kind.numbers && types.some((type) => NUMBERS.has(type)));
}

const NUMBERS = new Set(["number", "integer"]);

/** Values that the schema lists are a choice, not somebody's own. */
export function isChoice({ property }: Leaf): boolean {
  return property?.enum !== undefined || property?.const !== undefined;
}

/** What the `format` of a text says it is. */
const FORMATS: Readonly<Record<string, string>> = {
  email: "an e-mail address",
  "idn-email": "an e-mail address",
  phone: "a phone number",
  ipv4: "an IP address",
  ipv6: "an IP address",
  uri: "a URL",
  "uri-reference": "a URL",
  iri: "a URL",
  hostname: "a host name",
};

/** Which direct identifier a value looks like, with its article; null: none. */
export function identifierOf(leaf: Leaf): string | null {
  if (isChoice(leaf)) return null;
  const format = FORMATS[leaf.property?.format ?? ""];
  if (format !== undefined) return format;
  const kind = kindOf(IDENTIFIERS, ...namesOf(leaf.path));
  return kind !== null && fits(leaf, kind) ? kind.says : null;
}

/** Which quasi-identifier a value looks like, with its article; null: none. */
export function quasiIdentifierOf(leaf: Leaf): string | null {
  const kind = kindOf(QUASI_IDENTIFIERS, ...namesOf(leaf.path));
  if (kind !== null && fits(leaf, kind)) return kind.says;
  return leaf.property?.format === "date" ? "a date" : null;
}

/** Texts up to this long are codes. */
const SHORT = 64;

/** Whether a value may be anything that somebody writes. */
export function isFreeText(leaf: Leaf): boolean {
  const { property } = leaf;
  if (property === null || isChoice(leaf) || !typesOf(property).includes("string")) return false;
  if (property.pattern !== undefined || property.format !== undefined) return false;
  if (kindOf([FREE_TEXT], ...namesOf(leaf.path)) !== null) return true;
  return (property.maxLength ?? Number.POSITIVE_INFINITY) > SHORT;
}
