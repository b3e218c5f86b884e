/**
 * Writes zone identities into the text of a pipeline file, leaving every other character as it was.
 *
 * `sealstream keys create` uses it. The text is edited by the ranges of the parsed document instead of being printed
 * anew, so comments, order and style stay. The result is parsed again before it is returned: either only the zones
 * have changed, or nothing is returned.
 */
import { isDeepStrictEqual } from "node:util";
import { isMap, isScalar, type Node, type Pair, parseDocument, type YAMLMap } from "yaml";
import { zoneNames } from "../../schemas/pipeline-file.ts";
import { SealstreamError } from "../errors.ts";
import { formatIdentity } from "./identity.ts";
import type { ZoneName } from "./pipeline-spec.ts";

export type ZoneIdentities = Readonly<Partial<Record<ZoneName, Uint8Array>>>;

interface Edit {
  readonly from: number;
  readonly to: number;
  readonly text: string;
}

const INDENT = "  ";

/**
 * The text with these identities pinned; identities of other zones stay.
 * @param text a pipeline file that parses as YAML
 * @param identities 32 raw bytes each
 * @throws SealstreamError spec-invalid when the text has no place for zones
 */
export function pinZones(text: string, identities: ZoneIdentities): string {
  const wanted: [ZoneName, string][] = [];
  for (const zone of zoneNames) {
    const publicKey = identities[zone];
    if (publicKey !== undefined) wanted.push([zone, formatIdentity(publicKey)]);
  }
  const pinned = applyEdits(text, planEdits(text, wanted));
  assertOnlyZonesChanged(text, pinned, wanted);
  return pinned;
}

function planEdits(text: string, wanted: readonly [ZoneName, string][]): Edit[] {
  const root = parseDocument(text).contents;
  if (!isMap(root) || root.flow === true) throw cannotPin();
  const pair = find(root, "zones");
  const eol = text.includes("\r\n") ? "\r\n" : "\n";
  const block = wanted.map(([zone, value]) => `${INDENT}${zone}: "${value}"${eol}`).join("");
  if (pair === null) {
    const gap = text === "" || text.endsWith("\n") ? "" : eol;
    return [{ from: text.length, to: text.length, text: `${gap}zones:${eol}${block}` }];
  }
  if (isMap(pair.value)) {
    const zones = pair.value;
    if (zones.items.length === 0) {
      const [from, to] = rangeOf(zones);
      const inline = wanted.map(([zone, value]) => `${zone}: "${value}"`).join(", ");
      return [{ from, to, text: `{ ${inline} }` }];
    }
    return wanted.map(([zone, value]) => editZone(text, zones, { zone, value, eol }));
  }
  const range = rangeOf(pair.value);
  // `zones:`, `zones: null` or `zones: ~`: what is there gives way to a block on the following lines.
  if (isScalar(pair.value) && pair.value.value === null) {
    const lineEnd = text.indexOf("\n", range[1]);
    const next = lineEnd === -1 ? text.length : lineEnd + 1;
    const gap = lineEnd === -1 ? eol : "";
    return [
      { from: range[0], to: range[1], text: "" },
      { from: next, to: next, text: gap + block },
    ];
  }
  throw cannotPin();
}

function editZone(
  text: string,
  zones: YAMLMap,
  { zone, value, eol }: { readonly zone: ZoneName; readonly value: string; readonly eol: string },
): Edit {
  const pair = find(zones, zone);
  if (pair !== null) {
    const [from, to] = rangeOf(pair.value);
    return { from, to, text: `${from === to ? " " : ""}"${value}"` };
  }
  const first = zones.items[0];
  if (first === undefined) throw cannotPin();
  if (zones.flow === true) {
    const inside = rangeOf(zones)[0] + 1;
    return { from: inside, to: inside, text: ` ${zone}: "${value}",` };
  }
  // Because keys of a parsed document are nodes.
  const at = rangeOf(first.key as Node)[0];
  const indent = text.slice(text.lastIndexOf("\n", at - 1) + 1, at);
  return { from: at, to: at, text: `${zone}: "${value}"${eol}${indent}` };
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

function assertOnlyZonesChanged(
  before: string,
  after: string,
  wanted: readonly [ZoneName, string][],
): void {
  const document = parseDocument(after);
  if (document.errors.length > 0) throw cannotPin();
  const { zones: oldZones, ...oldRest } = toObject(parseDocument(before).toJS());
  const { zones: newZones, ...newRest } = toObject(document.toJS());
  const expected = { ...toObject(oldZones), ...Object.fromEntries(wanted) };
  if (!isDeepStrictEqual(oldRest, newRest) || !isDeepStrictEqual(toObject(newZones), expected)) {
    throw cannotPin();
  }
}

function toObject(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

function cannotPin(): SealstreamError {
  return new SealstreamError(
    "spec-invalid",
    "cannot write the identities into this pipeline file: give it a block `zones:` of its own and try again",
  );
}
