/** JSON values of a record, with numbers as they are written: a preview must not round them. */

/** A number by its own characters. */
export class NumberText {
  readonly source: string;

  constructor(source: string) {
    this.source = source;
  }
}

/** A string, boolean or null, a {@link NumberText}, or an array or object of values. */
export type Value = unknown;

type Reviver = (key: string, value: unknown, context: { readonly source?: string }) => unknown;
// Because the library's types do not have the reviver's third argument yet (ECMAScript 2026, in Node since 22).
const parse = JSON.parse as (text: string, reviver: Reviver) => Value;

/** @throws SyntaxError for what is not JSON */
export function parseRecord(bytes: Uint8Array): Value {
  return parse(new TextDecoder().decode(bytes), (_key, value, { source }) =>
    typeof value === "number" ? new NumberText(source ?? String(value)) : value,
  );
}

export function isObject(value: Value): value is Readonly<Record<string, Value>> {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof NumberText)
  );
}

/** JSON text of a value; a terminal may still act on it. */
export function jsonText(value: Value): string {
  if (value instanceof NumberText) return value.source;
  if (Array.isArray(value)) return `[${value.map(jsonText).join(", ")}]`;
  if (!isObject(value)) return JSON.stringify(value);
  const entries = Object.entries(value).map(
    ([name, one]) => `${JSON.stringify(name)}: ${jsonText(one)}`,
  );
  return `{${entries.join(", ")}}`;
}

/** What a value is and how long, without a part of it. */
export function sizeOf(value: Value): { readonly type: string; readonly length?: number } {
  if (typeof value === "string") return { type: "string", length: [...value].length };
  if (Array.isArray(value)) return { type: "array", length: value.length };
  if (value instanceof NumberText) return { type: "number" };
  if (value === null) return { type: "null" };
  return { type: typeof value };
}
