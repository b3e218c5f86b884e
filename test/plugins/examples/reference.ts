/**
 * What the plugin examples do, in plain TypeScript after the table of their READMEs, and rows to try it on.
 */
import { STATUS_NAMES } from "../../../pipeline/wasm/abi.ts";

const MAX_FIELDS = 64;

/** A status, or the value. */
export type Expected = { readonly status: string } | { readonly value: string };

const trim = (text: string): string => text.replace(/^[ \t\r\n]+|[ \t\r\n]+$/g, "");

function valueText(text: string, lower: boolean): string {
  if (lower) return quoted(text.replace(/[A-Z]/g, (letter) => letter.toLowerCase()));
  if (text === "true" || text === "false") return text;
  const isNumber =
    /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?$/.test(text) && text.replace(/[^0-9]/g, "").length <= 15;
  return isNumber ? text : quoted(text);
}

function quoted(text: string): string {
  const escaped = [...text].map((character) => {
    if (character === '"' || character === "\\") return `\\${character}`;
    const code = character.codePointAt(0) ?? 0;
    return code < 32 ? `\\u${code.toString(16).padStart(4, "0")}` : character;
  });
  return `"${escaped.join("")}"`;
}

export function reference(row: Uint8Array | null, lowered: readonly string[]): Expected {
  if (row === null) return { status: "tombstone" };
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(row);
  } catch {
    return { status: "not-utf8" };
  }
  if (text === "" || text.startsWith("#")) return { status: "dropped" };
  if (text.startsWith("{")) return { value: text };
  const names: string[] = [];
  const fields: string[] = [];
  for (const part of text.split(";").map(trim)) {
    if (part === "") continue;
    const equals = part.indexOf("=");
    const name = trim(part.slice(0, Math.max(0, equals)));
    if (equals === -1 || name === "") return { status: "not-json" };
    if (names.includes(name)) return { status: "duplicate-field" };
    if (names.length === MAX_FIELDS) return { status: "too-large" };
    names.push(name);
    fields.push(
      `${quoted(name)}:${valueText(trim(part.slice(equals + 1)), lowered.includes(name))}`,
    );
  }
  return fields.length === 0 ? { status: "not-json" } : { value: `{${fields.join(",")}}` };
}

/** A row's end as text, for comparison. */
export function endOf(status: number, value: Uint8Array | null): string {
  return status === 0 ? Buffer.from(value ?? []).toString() : (STATUS_NAMES[status] ?? "unknown");
}

const PIECES = [
  ...'aB=;; \t\r\n#{}"\\'.split(""),
  ...[
    "email",
    "note",
    "id=",
    "=1",
    "-0",
    "-0.5",
    "12.",
    ".5",
    "01",
    "123456789012345",
    "1234567890123456",
  ],
  ...[
    "true",
    "false",
    "truefalse",
    "Ünïcödé",
    "😀",
    "\u0000",
    "\u001f",
    "\u007f",
    "\ufeff",
    "email=ADA@X.org;",
  ],
];
const BROKEN = [
  [0xff],
  [0xc3],
  [0xed, 0xa0, 0x80],
  [0xf4, 0x90, 0x80, 0x80],
  [0xc0, 0x80],
  [0xe0, 0x9f, 0xbf],
];

/** Rows that are nearly what the examples read, some not UTF-8, some null. @param random 0 to 1, seeded */
export function randomRows(count: number, random: () => number): (Uint8Array | null)[] {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  return Array.from({ length: count }, () => {
    const kind = random();
    if (kind < 0.03) return null;
    const pieces = Array.from({ length: Math.floor(random() * 12) }, () => pick(PIECES));
    const fields = Array.from(
      { length: Math.floor(random() * (random() < 0.05 ? 90 : 6)) },
      (_, i) => ` ${random() < 0.1 ? "email" : `f${i}`} = ${pick(PIECES)}${pick(PIECES)} ;`,
    );
    const text = Buffer.from(kind < 0.4 ? pieces.join("") : fields.join(""));
    return random() < 0.05 ? Buffer.concat([text, Buffer.from(pick(BROKEN))]) : text;
  });
}
