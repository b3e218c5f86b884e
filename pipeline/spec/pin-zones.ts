/**
 * Writes zone identities and revoked keys into the text of a pipeline file, leaving every other character as it was.
 *
 * `sealstream keys create`, `rotate` and `revoke` use it. The text is edited by the ranges of the parsed document instead
 * of being printed anew, so comments, order and style stay. The result is parsed again before it is returned: either
 * only `zones` and `revoked` have changed, as wanted, or nothing is returned.
 */
import { isDeepStrictEqual } from "node:util";
import { isMap, isScalar, isSeq, type Node, type Pair, parseDocument, type YAMLMap } from "yaml";
import { zoneNames } from "../../schemas/pipeline-file.ts";
import { SealstreamError } from "../errors.ts";
import { formatIdentity } from "./identity.ts";
import type { ZoneName } from "./pipeline-spec.ts";

/** 32 raw bytes; a list, the newest first, while one is being replaced. */
export type ZonePin = Uint8Array | readonly Uint8Array[];

export type ZoneIdentities = Readonly<Partial<Record<ZoneName, ZonePin>>>;

interface Edit {
  readonly from: number;
  readonly to: number;
  readonly text: string;
}

/** What a key of the file is to be: as JavaScript, and as YAML on one line. */
interface Wanted {
  readonly key: string;
  readonly value: string | readonly string[];
}

const INDENT = "  ";
const MAX_REVOKED = 1024;

/**
 * The text with these identities pinned; identities of other zones stay.
 * @param text a pipeline file that parses as YAML
 * @throws SealstreamError spec-invalid when the text has no place for zones
 */
export function pinZones(text: string, identities: ZoneIdentities): string {
  const wanted: Wanted[] = [];
  for (const zone of zoneNames) {
    const pin = identities[zone];
    if (pin === undefined) continue;
    const keys = pin instanceof Uint8Array ? [pin] : pin;
    const texts = keys.map(formatIdentity);
    const [only, second] = texts;
    if (only === undefined) continue;
    wanted.push({ key: zone, value: second === undefined ? only : texts });
  }
  if (wanted.length === 0) return text;
  const pinned = applyEdits(text, planZones(text, wanted));
  const { zones } = toObject(parseDocument(text).toJS());
  const entries = wanted.map(({ key, value }) => [key, value] as const);
  assertOnlyChanged(text, pinned, {
    key: "zones",
    value: { ...toObject(zones), ...Object.fromEntries(entries) },
  });
  return pinned;
}

/**
 * The text with these keys revoked too.
 * @param kids 32 hex digits each
 * @throws SealstreamError spec-invalid when the text has no place for them
 */
export function pinRevoked(text: string, kids: readonly string[]): string {
  const before = revokedIn(text);
  const added = [...new Set(kids)].filter((kid) => !before.includes(kid));
  if (added.length === 0) return text;
  if (before.length + added.length > MAX_REVOKED) {
    throw new SealstreamError(
      "limit-exceeded",
      `A pipeline file names ${MAX_REVOKED} revoked keys.`,
    );
  }
  const edits = planRevoked(text, added);
  const pinned = applyEdits(text, edits.edits);
  const value = edits.first ? [...added, ...before] : [...before, ...added];
  assertOnlyChanged(text, pinned, { key: "revoked", value });
  return pinned;
}

/** How many of these keys, from the first on, the text can name as revoked; those that it names already take no room. */
export function roomForRevoked(text: string, kids: readonly string[]): number {
  const before = new Set(revokedIn(text));
  let room = MAX_REVOKED - before.size;
  for (const [index, kid] of kids.entries()) {
    if (!before.has(kid) && --room < 0) return index;
  }
  return kids.length;
}

function revokedIn(text: string): readonly unknown[] {
  const { revoked } = toObject(parseDocument(text).toJS());
  return Array.isArray(revoked) ? revoked : [];
}

const inYaml = (value: string | readonly string[]): string =>
  typeof value === "string" ? `"${value}"` : `[${value.map((one) => `"${one}"`).join(", ")}]`;

function rootOf(text: string): YAMLMap {
  const root = parseDocument(text).contents;
  if (!isMap(root) || root.flow === true) throw cannotPin();
  return root;
}

function eolOf(text: string): string {
  return text.includes("\r\n") ? "\r\n" : "\n";
}

/** A key at the end of the file, with a block below it. */
function appended(text: string, key: string, block: string): Edit {
  const eol = eolOf(text);
  const gap = text === "" || text.endsWith("\n") ? "" : eol;
  return { from: text.length, to: text.length, text: `${gap}${key}:${eol}${block}` };
}

/** `key:`, `key: null` or `key: ~`: what is there gives way to a block on the following lines. */
function inPlaceOfNull(text: string, value: unknown, block: string): Edit[] {
  const range = rangeOf(value);
  const lineEnd = text.indexOf("\n", range[1]);
  const next = lineEnd === -1 ? text.length : lineEnd + 1;
  const gap = lineEnd === -1 ? eolOf(text) : "";
  return [
    { from: range[0], to: range[1], text: "" },
    { from: next, to: next, text: gap + block },
  ];
}

function planZones(text: string, wanted: readonly Wanted[]): Edit[] {
  const pair = find(rootOf(text), "zones");
  const eol = eolOf(text);
  const block = wanted.map(({ key, value }) => `${INDENT}${key}: ${inYaml(value)}${eol}`).join("");
  if (pair === null) return [appended(text, "zones", block)];
  if (isMap(pair.value)) {
    const zones = pair.value;
    if (zones.items.length === 0) {
      const [from, to] = rangeOf(zones);
      const inline = wanted.map(({ key, value }) => `${key}: ${inYaml(value)}`).join(", ");
      return [{ from, to, text: `{ ${inline} }` }];
    }
    return wanted.map((one) => editZone(text, zones, one));
  }
  if (isScalar(pair.value) && pair.value.value === null) {
    return inPlaceOfNull(text, pair.value, block);
  }
  throw cannotPin();
}

/** @returns `first`: the new ones stand before the others */
function planRevoked(text: string, added: readonly string[]): { edits: Edit[]; first: boolean } {
  const pair = find(rootOf(text), "revoked");
  const eol = eolOf(text);
  const block = added.map((kid) => `${INDENT}- "${kid}"${eol}`).join("");
  if (pair === null) return { edits: [appended(text, "revoked", block)], first: false };
  const { value } = pair;
  if (isScalar(value) && value.value === null) {
    return { edits: inPlaceOfNull(text, value, block), first: false };
  }
  if (!isSeq(value)) throw cannotPin();
  const [from, to] = rangeOf(value);
  if (value.items.length === 0) return { edits: [{ from, to, text: inYaml(added) }], first: false };
  // Before the first, so that a comment behind the last one stays where it is.
  const indent = text.slice(text.lastIndexOf("\n", from - 1) + 1, from);
  const [at, items] =
    value.flow === true
      ? [from + 1, added.map((kid) => `"${kid}", `)]
      : [from, added.map((kid) => `- "${kid}"${eol}${indent}`)];
  return { edits: [{ from: at, to: at, text: items.join("") }], first: true };
}

function editZone(text: string, zones: YAMLMap, { key, value }: Wanted): Edit {
  const yaml = inYaml(value);
  const pair = find(zones, key);
  if (pair !== null) {
    const [from, to] = rangeOf(pair.value);
    // Block lists end behind their last line.
    const end = from + text.slice(from, to).trimEnd().length;
    return { from, to: end, text: `${from === to ? " " : ""}${yaml}` };
  }
  const first = zones.items[0];
  if (first === undefined) throw cannotPin();
  if (zones.flow === true) {
    const inside = rangeOf(zones)[0] + 1;
    return { from: inside, to: inside, text: ` ${key}: ${yaml},` };
  }
  // Because keys of a parsed document are nodes.
  const at = rangeOf(first.key as Node)[0];
  const indent = text.slice(text.lastIndexOf("\n", at - 1) + 1, at);
  return { from: at, to: at, text: `${key}: ${yaml}${eolOf(text)}${indent}` };
}

function find(map: YAMLMap, key: string): Pair | null {
  return map.items.find((pair) => isScalar(pair.key) && pair.key.value === key) ?? null;
}

function rangeOf(node: unknown): readonly [number, number] {
  // Because nodes of a parsed document have ranges; anything else is refused right here.
  const range = (node as Node | null)?.range;
  if (range === null || range === undefined) throw cannotPin();
  return [range[0], range[1]];
}

function applyEdits(text: string, edits: readonly Edit[]): string {
  // Insertions at one place keep their order: a stable sort, applied from the end.
  const ordered = edits.map((edit, index) => ({ edit, index }));
  ordered.sort((a, b) => b.edit.from - a.edit.from || b.index - a.index);
  let result = text;
  for (const { edit } of ordered) {
    result = result.slice(0, edit.from) + edit.text + result.slice(edit.to);
  }
  return result;
}

function assertOnlyChanged(
  before: string,
  after: string,
  wanted: { readonly key: "zones" | "revoked"; readonly value: unknown },
): void {
  const document = parseDocument(after);
  if (document.errors.length > 0) throw cannotPin();
  const expected = { ...toObject(parseDocument(before).toJS()), [wanted.key]: wanted.value };
  if (!isDeepStrictEqual(toObject(document.toJS()), expected)) throw cannotPin();
}

function toObject(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

function cannotPin(): SealstreamError {
  return new SealstreamError(
    "spec-invalid",
    "cannot write identities or revoked keys into this pipeline file: give it a block `zones:` and a list `revoked:` of its own and try again",
  );
}
