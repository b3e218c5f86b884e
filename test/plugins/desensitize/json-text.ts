/**
 * Random JSON as text: every way of writing a value that RFC 8259 allows, and bytes that break it.
 */
import type { Random } from "./random.ts";

const SPACES = ["", "", "", " ", "\n", "\t\r ", "  "];
const CHARACTERS = [
  ..."abcXYZ019 _-*@.",
  "é",
  "ß",
  "€",
  "漢",
  "😀",
  "\u{10ffff}",
  "\u007f",
  "\u0080",
  "\u07ff",
  "\u0800",
  "\ud7ff",
  "\ue000",
  "\u2028",
];
const SHORT_ESCAPES = ['\\"', "\\\\", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t"];
const NUMBERS = [
  "0",
  "-0",
  "1",
  "-1",
  "12",
  "0.5",
  "1.0",
  "1.50",
  "-3.25",
  "1e3",
  "1E+3",
  "12e-1",
  "10e-1",
  "1500e-2",
  "0e0",
  "0.0e-5",
  "9007199254740993",
  "1.0000000000000000000000001",
  "123456789012345678901234567890",
];

export function space(random: Random): string {
  return random.pick(SPACES);
}

/** \uXXXX for each UTF-16 unit of a character, in either case. */
export function escapeCharacter(character: string, random: Random): string {
  return Array.from({ length: character.length }, (_, i) => {
    const digits = character.charCodeAt(i).toString(16).padStart(4, "0");
    return `\\u${random.chance(0.5) ? digits : digits.toUpperCase()}`;
  }).join("");
}

/** The inside of a JSON string. */
export function stringBody(random: Random): string {
  const length = random.chance(0.1) ? random.int(200) : random.int(24);
  let body = "";
  for (let i = 0; i < length; i++) {
    const character = random.pick(CHARACTERS);
    const way = random.int(20);
    if (way === 0) body += random.pick(SHORT_ESCAPES);
    else body += way === 1 ? escapeCharacter(character, random) : character;
  }
  return body;
}

export function stringText(random: Random): string {
  return `"${stringBody(random)}"`;
}

/** Any JSON value, nested `depth` levels at most. */
export function valueText(random: Random, depth: number): string {
  const kind = random.int(depth > 0 ? 7 : 5);
  if (kind < 2) return stringText(random);
  if (kind === 2) return random.pick(NUMBERS);
  if (kind < 5) return random.pick(["true", "false", "null"]);
  const members = Array.from({ length: random.int(5) }, () => {
    const value = `${space(random)}${valueText(random, depth - 1)}${space(random)}`;
    return kind === 5 ? value : `${space(random)}${stringText(random)}${space(random)}:${value}`;
  });
  const inside = members.length > 0 ? members.join(",") : space(random);
  return kind === 5 ? `[${inside}]` : `{${inside}}`;
}

/** A copy with a few bytes changed, removed, doubled or cut off. */
export function mutate(bytes: Buffer, random: Random): Buffer {
  let copy = Buffer.from(bytes);
  for (let times = 1 + random.int(3); times > 0; times--) {
    const at = random.int(copy.length + 1);
    const byte = random.chance(0.5)
      ? random.pick([...'{}[]",:\\u0 e.-\n\0']).charCodeAt(0)
      : random.int(256);
    const removed = random.int(3);
    const added = random.chance(0.7) ? Buffer.of(byte) : copy.subarray(at, at + random.int(6));
    copy = Buffer.concat([copy.subarray(0, at), added, copy.subarray(at + removed)]);
    if (random.chance(0.1)) copy = copy.subarray(0, random.int(copy.length + 1));
  }
  return copy;
}
