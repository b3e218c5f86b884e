/**
 * Checks a located tree against a zod schema and turns every issue into a complaint a person can act on.
 *
 * Unknown keys get a suggestion, names of later versions are refused as such, and values are repeated only when they
 * stand in the file itself (never when they came from the environment).
 */
import { z } from "zod";
import type { Complaint, KeyPath } from "./complaint.ts";
import { isLaterKey, isLaterValue } from "./later.ts";
import type { LocatedTree } from "./located-tree.ts";
import { didYouMean } from "./suggest.ts";

type Issue = z.core.$ZodIssue;

export type Checked<T> =
  | { readonly status: "ok"; readonly value: T }
  | { readonly status: "invalid"; readonly complaints: readonly Complaint[] };

/** Values repeated in messages are cut to this many characters. */
const QUOTED_CHARACTERS = 40;
const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

/** Value at a path of a tree, or undefined. */
export function valueAt(value: unknown, path: KeyPath): unknown {
  let current = value;
  for (const part of path) {
    if (typeof current !== "object" || current === null) return undefined;
    // Because indexing an object or array by a key it may lack is what this function is for.
    current = (current as Record<string | number, unknown>)[part];
  }
  return current;
}

/** Issues that a number for a text may settle. */
const NUMBER_WANTED: ReadonlySet<string> = new Set(["invalid_type", "invalid_value"]);

/**
 * Checks a tree. Where a number was expected and the environment supplied one as text, the text is read as a number.
 * The tree's value is not changed.
 */
export function checkTree<T>(tree: LocatedTree, schema: z.ZodType<T>): Checked<T> {
  const first = schema.safeParse(tree.value);
  if (first.success) return { status: "ok", value: first.data };
  const filled = withNumbers(tree, first.error.issues);
  const result = filled === null ? first : schema.safeParse(filled);
  if (result.success) return { status: "ok", value: result.data };
  const complaints = result.error.issues
    .filter((issue) => !isShadowed(issue, tree, result.error.issues))
    .flatMap((issue) => explain(issue, tree, schema));
  return { status: "invalid", complaints };
}

/** A copy of the tree's value with numbers for interpolated number texts; null when there is nothing to do. */
function withNumbers(tree: LocatedTree, issues: readonly Issue[]): unknown {
  const wanted = pathsOf(issues).filter((path) => {
    const value = valueAt(tree.value, path);
    return tree.isInterpolated(path) && typeof value === "string" && NUMBER.test(value);
  });
  if (wanted.length === 0) return null;
  const copy: unknown = structuredClone(tree.value);
  for (const path of wanted) {
    const parent = valueAt(copy, path.slice(0, -1));
    const last = path.at(-1);
    if (typeof parent !== "object" || parent === null || last === undefined) continue;
    // Because `parent` is the object or array that holds this key: the value was just read from it.
    (parent as Record<string | number, unknown>)[last] = Number(valueAt(tree.value, path));
  }
  return copy;
}

/** Where a number for a text may settle something, in every alternative of a union, however deep. */
function pathsOf(issues: readonly Issue[], above: KeyPath = []): KeyPath[] {
  return issues.flatMap((issue) => {
    const path = [...above, ...toPath(issue)];
    if (issue.code === "invalid_union") {
      return [path, ...issue.errors.flatMap((errors) => pathsOf(errors, path))];
    }
    return NUMBER_WANTED.has(issue.code) ? [path] : [];
  });
}

function toPath(issue: Issue): KeyPath {
  return issue.path.map((part) => (typeof part === "number" ? part : String(part)));
}

/** A missing key beside a key of a later version is only that version's shape: one complaint is enough. */
function isShadowed(issue: Issue, tree: LocatedTree, all: readonly Issue[]): boolean {
  const path = toPath(issue);
  if (issue.code !== "invalid_type" || valueAt(tree.value, path) !== undefined) return false;
  const parent = path.slice(0, -1);
  return all.some(
    (other) =>
      other.code === "unrecognized_keys" &&
      JSON.stringify(toPath(other)) === JSON.stringify(parent) &&
      other.keys.some((key) => isLaterKey(parent, key)),
  );
}

function explain(issue: Issue, tree: LocatedTree, schema: z.ZodType): Complaint[] {
  const path = toPath(issue);
  if (issue.code === "unrecognized_keys") {
    const known = keysAt(schema, path, tree.value);
    return issue.keys.map((key) =>
      tree.complainAboutKey([...path, key], unknownKey(path, key, known)),
    );
  }
  if (issue.code === "invalid_union") {
    // Where the value has the shape of one alternative alone, that one's own faults say more than all alternatives.
    const meant = issue.errors.filter((errors) => errors.every(isInside));
    const [only] = meant;
    if (only !== undefined && meant.length === 1) {
      return only.flatMap((inner) =>
        // Because a copy with another path is an issue of the same kind.
        explain({ ...inner, path: [...issue.path, ...inner.path] } as Issue, tree, schema),
      );
    }
  }
  const value = valueAt(tree.value, path);
  const name = path.at(-1);
  if (value === undefined && typeof name === "string") {
    return [tree.complain(path, `missing; expected ${expectation(issue)}`)];
  }
  if (isLaterValue(path, value) && !tree.isInterpolated(path)) {
    return [
      tree.complain(
        path,
        `${String(name)} '${value}' is not in this version; expected ${expectation(issue)}`,
      ),
    ];
  }
  return [
    tree.complain(
      path,
      `expected ${expectation(issue)}${found(issue, value, tree.isInterpolated(path))}${meant(issue, value, tree.isInterpolated(path))}`,
    ),
  ];
}

/** Whether a fault is of a part of the value, not of its kind. */
function isInside(issue: Issue): boolean {
  return issue.path.length > 0 || issue.code === "unrecognized_keys";
}

function unknownKey(path: KeyPath, key: string, known: readonly string[]): string {
  if (isLaterKey(path, key)) return `option '${key}' is not in this version`;
  const hint = didYouMean(key, known);
  const choices = known.length === 0 ? "" : ` (known here: ${known.join(", ")})`;
  return `unknown key '${key.slice(0, QUOTED_CHARACTERS)}'${hint}${choices}`;
}

function expectation(issue: Issue): string {
  switch (issue.code) {
    case "invalid_type":
      return typeWords(issue.expected);
    case "invalid_value":
      return choice(issue.values);
    case "too_small":
      return bound(
        issue.origin,
        issue.inclusive === false ? "more than" : "at least",
        issue.minimum,
      );
    case "too_big":
      return bound(
        issue.origin,
        issue.inclusive === false ? "less than" : "at most",
        issue.maximum,
      );
    case "invalid_union": {
      if (issue.discriminator !== undefined && "options" in issue && Array.isArray(issue.options)) {
        return choice(issue.options);
      }
      const parts = issue.errors.map((errors) => errors[0]).filter((error) => error !== undefined);
      return parts.map((error) => expectation(error)).join(" or ");
    }
    case "invalid_format":
      return issue.format === "date" ? "a day that exists, YYYY-MM-DD" : issue.message;
    default:
      return issue.message;
  }
}

function choice(values: readonly unknown[]): string {
  return `${values.length > 1 ? "one of " : ""}${values.map((value) => String(value)).join(", ")}`;
}

function typeWords(expected: string): string {
  const words: Record<string, string> = {
    int: "a whole number",
    number: "a number",
    string: "text",
    boolean: "true or false",
    object: "keys and values",
    record: "keys and values",
    array: "a list",
    tuple: "a list",
  };
  return words[expected] ?? expected;
}

function bound(origin: string, relation: string, limit: number | bigint): string {
  if (origin === "array" || origin === "tuple") return `${relation} ${limit} entries`;
  if (origin === "string") return `${relation} ${limit} characters`;
  return `${relation} ${limit}`;
}

/** `, found ...` where that helps and gives nothing away. */
function found(issue: Issue, value: unknown, fromEnvironment: boolean): string {
  if (fromEnvironment) return ", found another value in the environment or its default";
  if (typeof value === "string") {
    return value.length > QUOTED_CHARACTERS ? ", found longer text" : `, found '${value}'`;
  }
  if (typeof value === "number" || typeof value === "boolean") return `, found ${value}`;
  if (value === null) return ", found nothing";
  if (issue.code === "too_small" || issue.code === "too_big") {
    return Array.isArray(value) ? `, found ${value.length}` : "";
  }
  return Array.isArray(value) ? ", found a list" : ", found keys and values";
}

/** `; did you mean ...?` for a word that is nearly one of those expected. */
function meant(issue: Issue, value: unknown, fromEnvironment: boolean): string {
  if (issue.code !== "invalid_value" || typeof value !== "string" || fromEnvironment) return "";
  return didYouMean(value, issue.values.map(String));
}

/** Keys that the schema knows for the object at a path. */
function keysAt(schema: z.ZodType, path: KeyPath, value: unknown): string[] {
  let current: z.core.$ZodType | undefined = schema;
  for (let index = 0; index <= path.length; index++) {
    current = unwrap(current, valueAt(value, path.slice(0, index)));
    if (index === path.length) break;
    const part = path[index];
    if (current instanceof z.ZodObject) current = current.shape[String(part)];
    else if (current instanceof z.ZodArray) current = current.element;
    else if (current instanceof z.ZodRecord) current = current.valueType;
    else return [];
  }
  return current instanceof z.ZodObject ? Object.keys(current.shape) : [];
}

function unwrap(schema: z.core.$ZodType | undefined, value: unknown): z.core.$ZodType | undefined {
  let current = schema;
  while (
    current instanceof z.ZodOptional ||
    current instanceof z.ZodDefault ||
    current instanceof z.ZodPrefault ||
    current instanceof z.ZodNullable
  ) {
    current = current.unwrap();
  }
  if (!(current instanceof z.ZodDiscriminatedUnion)) return onlyObject(current);
  const { discriminator } = current.def;
  const wanted = valueAt(value, [discriminator]);
  return current.options.find((option: z.core.$ZodType) => {
    if (!(option instanceof z.ZodObject)) return false;
    const literal = option.shape[discriminator];
    return literal instanceof z.ZodLiteral && literal.values.has(wanted as string); // because a set may be asked for anything
  });
}

/** Of a union in which one alternative has keys, that one. */
function onlyObject(schema: z.core.$ZodType | undefined): z.core.$ZodType | undefined {
  if (!(schema instanceof z.ZodUnion)) return schema;
  const objects = schema.options.filter((option) => option instanceof z.ZodObject);
  return objects.length === 1 ? objects[0] : schema;
}
