/**
 * Random documents for a rule set: records that fit it, that nearly do and that do not, spelled in every way, whole or
 * broken. Cheap: a document takes some microseconds.
 */
import { mutate, stringText, valueText } from "../plugins/desensitize/json-text.ts";
import type { Action } from "../plugins/desensitize/one-rule.ts";
import type { Random } from "../plugins/desensitize/random.ts";
import { fittingText, numberText } from "./actions.ts";
import { breakDocument } from "./broken.ts";
import { MARKER_KINDS, markedText, randomMarker } from "./markers.ts";
import { ALL_NAMES, type Member, type Node, type RuleSet, type Top } from "./rule-sets.ts";

export interface Written {
  readonly bytes: Uint8Array | null;
  /** Stands in the document, but nowhere where a rule lets it out; null: there is none. */
  readonly marker: string | null;
}

interface Style {
  readonly random: Random;
  /** Chance of whitespace at each place where it may stand. */
  readonly spaces: number;
  /** Chance of each character to be escaped. */
  readonly escapes: number;
  /** Chance of a fault that is not one of spelling: a wrong type, a member that comes twice, an unknown one. */
  readonly faults: number;
  readonly marker: string | null;
  /** Characters of the one long text, until it is written. */
  long: number;
}

/** Levels from which on a document follows its rules almost always. */
const DEEP_FROM = 6;
const SPACES = [" ", "\n", "\t", "\r\n", "  ", " \t\r\n "];
const LONG_OF = ["~", "é", "x", "😀", '"', "\n", "7"];
const NUMBER = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/;

function space({ random, spaces }: Style): string {
  return spaces > 0 && random.chance(spaces) ? random.pick(SPACES) : "";
}

/** \\uXXXX for each unit of a character, in either case. */
function escapeCharacter(one: string, random: Random): string {
  let escapes = "";
  for (let i = 0; i < one.length; i++) {
    const digits = (0x10000 + one.charCodeAt(i)).toString(16).slice(1);
    escapes += random.chance(0.5) ? `\\u${digits}` : `\\u${digits.toUpperCase()}`;
  }
  return escapes;
}

/** A text as a JSON string; what must be escaped is. */
export function spelled(text: string, random: Random, escapes: number): string {
  if (escapes === 0) return JSON.stringify(text);
  let body = "";
  for (const one of text) {
    if (random.chance(escapes)) body += escapeCharacter(one, random);
    else if (one === "/" && random.chance(0.5)) body += "\\/";
    else body += JSON.stringify(one).slice(1, -1);
  }
  return `"${body}"`;
}

const spell = (text: string, { random, escapes }: Style): string => spelled(text, random, escapes);

function longText(style: Style): string {
  const one = style.random.pick(LONG_OF);
  const text = JSON.stringify(one.repeat(Math.ceil(style.long / Buffer.byteLength(one))));
  style.long = 0;
  return text;
}

/** A value for a rule. */
function leafText(action: Action, style: Style): string {
  const { random, marker } = style;
  if (marker !== null) {
    const marked = random.chance(0.7) ? markedText(action, marker) : null;
    if (marked !== null) {
      return NUMBER.test(marked) && random.chance(0.5) ? marked : spell(marked, style);
    }
  }
  if (style.long > 0 && random.chance(0.5)) return longText(style);
  if (random.chance(style.faults)) return valueText(random, 2);
  const kind = random.int(20);
  if (kind === 0) return "null";
  if (kind < 4 || (action.action === "perturb" && kind < 18)) return numberText(random);
  const fitting = kind < 16 ? fittingText(action, random) : null;
  if (fitting === null) return stringText(random);
  return NUMBER.test(fitting) && random.chance(0.6) ? fitting : spell(fitting, style);
}

/** @param level objects and arrays around it */
function nodeText(node: Node, style: Style, level: number): string {
  if (node.kind === "rule") return leafText(node.action, style);
  const { random } = style;
  if (level < DEEP_FROM && random.chance(style.faults)) {
    return random.pick(["null", "null", "7", '"x"', "[]", "{}", "[1]"]);
  }
  if (node.kind === "object") return objectText(node.members, style, level);
  const elements = Array.from({ length: lengthOf(random, level) }, () =>
    nodeText(node.element, style, level + 1),
  );
  return `[${space(style)}${elements.join(`${space(style)},${space(style)}`)}${space(style)}]`;
}

/** Elements of an array; one alone where rules are deep, or no document would reach their ends. */
function lengthOf(random: Random, level: number): number {
  if (level >= DEEP_FROM) return random.chance(0.005) ? 0 : 1;
  return random.chance(0.02) ? random.int(40) : random.int(4);
}

/** A value that no rule lets out. */
function unknownText({ random, marker }: Style): string {
  if (marker === null) return valueText(random, 2);
  return random.pick([`"${marker}"`, `[{"${marker}":"${marker}"}]`, `{"a":"${marker}"}`]);
}

function memberText(name: string, value: string, style: Style): string {
  const gap = space(style);
  return `${gap}${spell(name, style)}${gap}:${space(style)}${value}${space(style)}`;
}

/** An object of some of the members, in random order, with others. */
function objectText(members: readonly Member[], style: Style, level: number): string {
  const { random } = style;
  const isDeep = level >= DEEP_FROM;
  const parts: string[] = [];
  for (const { name, node } of members) {
    if (!random.chance(isDeep ? 0.995 : 0.8)) continue;
    const value = nodeText(node, style, level + 1);
    parts.push(memberText(name, value, style));
    if (!isDeep && random.chance(style.faults / 4)) parts.push(memberText(name, value, style));
  }
  if (random.chance(isDeep ? 0.02 : 0.3)) {
    const { marker } = style;
    const name = marker !== null && random.chance(0.3) ? marker : otherName(members, style);
    if (name !== null) parts.push(memberText(name, unknownText(style), style));
  }
  if (random.chance(0.5)) parts.sort(() => random.int(3) - 1);
  return parts.length === 0 ? `{${space(style)}}` : `{${parts.join(",")}}`;
}

/** A name that none of the members has, though it may begin like one. */
function otherName(members: readonly Member[], { random }: Style): string | null {
  const name = random.chance(0.5)
    ? random.pick(ALL_NAMES)
    : `${random.pick(ALL_NAMES)}${random.pick(["x", "\u0000", " ", "é"])}`;
  return members.some((member) => member.name === name) ? null : name;
}

/** The members of a record: unknown ones only where they are not the end of it. */
function recordText(set: RuleSet, style: Style): string {
  const { random } = style;
  const parts: string[] = [];
  const share = set.top.length > 100 && random.chance(0.97) ? 0.02 : 0.8;
  const isThere = ({ name, required }: Top): boolean =>
    name === set.id || required ? random.chance(0.98) : random.chance(share);
  for (const field of set.top.filter(isThere)) {
    const value = field.ruled ? topText(field, style, set.id) : unknownText(style);
    parts.push(memberText(field.name, value, style));
    if (random.chance(style.faults / 8)) parts.push(memberText(field.name, value, style));
  }
  if (set.allowsUnknown ? random.chance(0.4) : random.chance(style.faults / 2)) {
    const name = otherName(set.top, style);
    if (name !== null) parts.push(memberText(name, unknownText(style), style));
  }
  if (random.chance(0.4)) parts.sort(() => random.int(3) - 1);
  const text = parts.length === 0 ? "{}" : `{${parts.join(",")}}`;
  return `${space(style)}${text}${space(style)}`;
}

/** A value for a field of the record: mostly of a type that its schema takes. */
function topText({ node, types, name }: Top, style: Style, id: string): string {
  const { random, marker } = style;
  const fits = types === null || types.includes("string");
  if (name === id && marker === null && random.chance(0.02)) return longId(style);
  if (name === id && marker === null && fits && random.chance(0.9)) return `"${random.int(1e6)}"`;
  if (node.kind === "rule" && !fits && random.chance(0.9)) {
    return types.includes("number") || types.includes("integer") ? numberText(random) : "null";
  }
  return nodeText(node, style, 1);
}

/** An id about as long as one may be, counted in bytes once it is decoded. */
function longId(style: Style): string {
  const bytes = 1020 + style.random.int(8);
  const wide = style.random.int(3);
  return spell(`${"é".repeat(wide)}${"i".repeat(bytes - 2 * wide)}`, style);
}

function randomStyle(random: Random, marker: string | null): Style {
  const spaces = random.pick([0, 0, 0, 0.1, 0.5]);
  const escapes = random.pick([0, 0, 0, 0, 0, 0, 0.03, 0.03, 0.3, 1]);
  const faults = marker === null ? random.pick([0, 0, 0.01, 0.05]) : 0;
  let long = 0;
  if (random.chance(1 / 4000)) long = random.int(100_000);
  if (random.chance(1 / 20_000)) long = 1_000_000 + random.int(48_576);
  return { random, spaces, escapes, faults, marker, long };
}

/**
 * A document. @param random of this document @param markers where a marker's characters come from: with other ones the
 * document is the same but for its marker
 */
export function randomDocument(set: RuleSet, random: Random, markers: Random): Written {
  if (random.chance(0.005)) return { bytes: null, marker: null };
  const isMarked = random.chance(0.3);
  const kind = random.pick(MARKER_KINDS);
  const marker = isMarked ? randomMarker(kind, markers) : null;
  const bytes = Buffer.from(recordText(set, randomStyle(random, marker)));
  if (isMarked || random.chance(0.65)) return { bytes, marker };
  return {
    bytes: random.chance(0.4) ? mutate(bytes, random) : breakDocument(bytes, random),
    marker,
  };
}
