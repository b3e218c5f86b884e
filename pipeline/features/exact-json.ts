/**
 * Reads and writes a record's JSON so that no number changes: 1.0, 1e400 and integers beyond 2^53 stay as written.
 *
 * A number that would print otherwise becomes a raw number of ECMAScript 2026 (in Node since 22), which JSON.stringify
 * writes as it was. Must not be used for arithmetic: a number may be such an object.
 */

type Reviver = (key: string, value: unknown, context: { readonly source?: string }) => unknown;
// Because the library's types have neither the reviver's third argument nor raw JSON yet.
const { parse, rawJSON, isRawJSON } = JSON as unknown as {
  readonly parse: (text: string, reviver?: Reviver) => unknown;
  readonly rawJSON: (text: string) => object;
  readonly isRawJSON: (value: unknown) => boolean;
};

/**
 * The value that a text is; `JSON.stringify` of it or of its parts gives the numbers back as they were written.
 * @throws SyntaxError for what is not JSON
 */
export function parseExact(text: string): unknown {
  const value = parse(text);
  // What prints as it was read has lost nothing. The reviver is called for every value: five times slower.
  if (JSON.stringify(value) === text) return value;
  return parse(text, (_key, one, { source }) =>
    typeof one === "number" && source !== undefined && String(one) !== source
      ? rawJSON(source)
      : one,
  );
}

/** True for an object of a record, not for an array, null or a raw number. */
export function isJsonObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !isRawJSON(value);
}
