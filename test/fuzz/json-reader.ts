/**
 * A second reader of JSON (RFC 8259) for the fuzz, written from the RFC and plugins/desensitize/README.md: it keeps what
 * JSON.parse drops, which are the spelling of values, members that came twice, and where the text breaks first.
 *
 * fuzz.ts holds it against JSON.parse for every document. Must not know rules, nor anything of the guest's code.
 */

/** Kinds of value by the bits that the host's notes and schemas use. */
export const TYPE = {
  string: 1,
  number: 2,
  integer: 4,
  boolean: 8,
  null: 16,
  object: 32,
  array: 64,
} as const;

/** Containers that may be open at a time, the record itself counted. */
export const DEEPEST = 64;

export interface Value {
  /** One bit of TYPE; `number` for every number. */
  readonly type: number;
  /** As it is spelled, quotes included. */
  readonly raw: string;
  /** Decoded: a string's characters, or the spelling of another value. */
  readonly text: string;
  readonly members: readonly (readonly [name: string, value: Value])[];
  readonly elements: readonly Value[];
}

export type Fault = "not-utf8" | "too-large" | "not-json";

const SPACE = /[ \t\n\r]*/y;
// biome-ignore lint/suspicious/noControlCharactersInRegex: a bare control character ends a string's text
const STRING = /"[^"\\\u0000-\u001f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\u0000-\u001f]*)*"/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const WORD = /true|false|null/y;

const NONE: readonly never[] = [];
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

// Made once: a stack for each of many faults takes longer than to find them.
const BROKEN = new Error("broken");
const TOO_DEEP = new Error("too deep");

interface Cursor {
  readonly text: string;
  at: number;
  /** A string had half a surrogate pair. */
  lone: boolean;
}

function skip(cursor: Cursor): void {
  SPACE.lastIndex = cursor.at;
  SPACE.test(cursor.text);
  cursor.at = SPACE.lastIndex;
}

function take(cursor: Cursor, pattern: RegExp): string {
  pattern.lastIndex = cursor.at;
  if (!pattern.test(cursor.text)) throw BROKEN;
  const from = cursor.at;
  cursor.at = pattern.lastIndex;
  return cursor.text.slice(from, cursor.at);
}

function expectSign(cursor: Cursor, sign: string): void {
  if (cursor.text[cursor.at] !== sign) throw BROKEN;
  cursor.at++;
}

function readString(cursor: Cursor): { readonly raw: string; readonly text: string } {
  const raw = take(cursor, STRING);
  if (!raw.includes("\\")) return { raw, text: raw.slice(1, -1) };
  const text = JSON.parse(raw) as string;
  if (!text.isWellFormed()) cursor.lone = true;
  return { raw, text };
}

function leaf(type: number, raw: string, text = raw): Value {
  return { type, raw, text, members: NONE, elements: NONE };
}

/** Reads what is between two brackets, parted by commas. */
function readList(cursor: Cursor, closing: string, one: () => void): void {
  cursor.at++;
  skip(cursor);
  if (cursor.text[cursor.at] === closing) {
    cursor.at++;
    return;
  }
  for (;;) {
    one();
    skip(cursor);
    if (cursor.text[cursor.at] !== ",") break;
    cursor.at++;
    skip(cursor);
  }
  expectSign(cursor, closing);
}

function readContainer(cursor: Cursor, open: number): Value {
  if (open >= DEEPEST) throw TOO_DEEP;
  const from = cursor.at;
  const isObject = cursor.text[from] === "{";
  const members: [string, Value][] = [];
  const elements: Value[] = [];
  readList(cursor, isObject ? "}" : "]", () => {
    if (!isObject) {
      elements.push(readValue(cursor, open + 1));
      return;
    }
    const { text } = readString(cursor);
    skip(cursor);
    expectSign(cursor, ":");
    skip(cursor);
    members.push([text, readValue(cursor, open + 1)]);
  });
  const raw = cursor.text.slice(from, cursor.at);
  return { type: isObject ? TYPE.object : TYPE.array, raw, text: raw, members, elements };
}

function readValue(cursor: Cursor, open: number): Value {
  const first = cursor.text[cursor.at];
  if (first === '"') {
    const { raw, text } = readString(cursor);
    return leaf(TYPE.string, raw, text);
  }
  if (first === "{" || first === "[") return readContainer(cursor, open);
  if (first !== undefined && /[-0-9]/.test(first)) return leaf(TYPE.number, take(cursor, NUMBER));
  const word = take(cursor, WORD);
  return leaf(word === "null" ? TYPE.null : TYPE.boolean, word);
}

/** Whether JSON.parse takes the text. */
export function engineAccepts(text: string): boolean {
  // Half of all documents are broken, and nobody reads the stacks.
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  } finally {
    Error.stackTraceLimit = limit;
  }
}

/** The text of some bytes; null when they are not UTF-8. */
export function decodeText(bytes: Uint8Array): string | null {
  try {
    return decoder.decode(bytes);
  } catch {
    return null;
  }
}

/** The value that a text is, or the first thing that is wrong with it as JSON. */
export function readJson(text: string): Value | Fault {
  const cursor: Cursor = { text, at: 0, lone: false };
  try {
    skip(cursor);
    const value = readValue(cursor, 0);
    skip(cursor);
    if (cursor.at !== text.length) return "not-json";
    return cursor.lone ? "not-utf8" : value;
  } catch (error) {
    if (error === TOO_DEEP) return "too-large";
    if (error === BROKEN) return "not-json";
    throw error;
  }
}
