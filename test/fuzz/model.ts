/**
 * What must become of a document under a rule set, said by the second reader and the reference of each technique.
 *
 * Order of faults, types and what leaves: plugins/desensitize/README.md. Results are texts; noise, which is known to
 * within a unit, leaves a NUL in the text and its number in a list.
 */
import type { Action } from "../plugins/desensitize/one-rule.ts";
import { decodeText, engineAccepts, readJson, TYPE, type Value } from "./json-reader.ts";
import { perturbed } from "./noise-reference.ts";
import type { Member, Node, RuleSet, Top } from "./rule-sets.ts";
import { makeText, REFUSED, UNSURE } from "./techniques.ts";

/** A note of an observed field, as the host reads it. */
export interface Note {
  readonly place: number;
  readonly type: number;
  readonly text: string;
}

export interface Leaving {
  readonly key: string;
  /** A NUL stands for each of `numbers`. */
  readonly value: string;
  readonly numbers: readonly { readonly sum: number; readonly decimals: number }[];
  /** One for each observed field, in the order of the fields; empty when none is. */
  readonly notes: readonly Note[];
}

/** A status, what leaves, or that the reference cannot say. */
export type Expected = string | Leaving | typeof UNSURE;

const ID_MAX_BYTES = 1024;

/** Thrown to leave the walk; made once each, since a stack for each of many refusals takes longer than the walk. */
class Refusal extends Error {
  readonly status: string;
  constructor(status: string) {
    super(status);
    this.status = status;
  }
}
const WRONG_TYPE = new Refusal("wrong-type");
const RECORD_ID = new Refusal("record-id");
const DUPLICATE = new Refusal("duplicate-field");
const UNKNOWN = new Refusal("unknown-field");
const MISSING = new Refusal("missing-field");
const CANNOT_SAY = new Error("unsure");

/** What is observed, in the order of the plugin's fields: what is clustered, whom a record is about, what must differ. */
export function observedNodes({ top, subject, sensitive }: RuleSet): Node[] {
  const clustered = new Set<Node>();
  const leaves: Node[] = [];
  const walk = (node: Node): void => {
    if (node.kind === "object") for (const one of node.members) walk(one.node);
    if (node.kind === "array") walk(node.element);
    if (node.kind !== "rule") return;
    leaves.push(node);
    if (node.action.action === "cluster") clustered.add(node);
  };
  for (const { node } of top) walk(node);
  if (clustered.size === 0) return [];
  const beside = top.filter(({ name }) => name === subject || name === sensitive);
  const observed = new Set([...clustered, ...beside.map(({ node }) => node)]);
  return leaves.filter((node) => observed.has(node));
}

/** Whether a schema's types take the value; what is an integer is judged by its spelling. */
function allows(types: readonly string[] | null, value: Value): boolean {
  if (types === null) return true;
  if (types.some((name) => TYPE[name as keyof typeof TYPE] === value.type)) return true;
  return value.type === TYPE.number && types.includes("integer") && isWhole(value.text);
}

/** Whether a number has no fraction, by its spelling. */
export function isWhole(text: string): boolean {
  const [mantissa = "", exponent = "0"] = text.toLowerCase().split("e");
  const [whole = "", fraction = ""] = mantissa.replace("-", "").split(".");
  const digits = `${whole}${fraction}`.replace(/0+$/, "");
  if (/^0*$/.test(digits)) return true;
  // Decimal places that are not zero, before the exponent.
  const places = BigInt(digits.length - whole.length);
  return places <= BigInt(exponent);
}

/** What is known of a rule set before any document. */
export interface Model {
  readonly set: RuleSet;
  readonly fields: ReadonlyMap<string, Top>;
  readonly observed: readonly Node[];
}

export function modelOf(set: RuleSet): Model {
  const fields = new Map(set.top.map((field) => [field.name, field]));
  return { set, fields, observed: observedNodes(set) };
}

interface Walk extends Model {
  readonly position: Uint8Array;
  value: string;
  key: string;
  readonly numbers: { sum: number; decimals: number }[];
  readonly notes: Map<Node, Note>;
}

function noteOf(walk: Walk, node: Node, value: Value, place: number): void {
  if (walk.observed.includes(node)) {
    walk.notes.set(node, { place, type: value.type, text: value.text });
  }
}

function perturb(walk: Walk, action: Extract<Action, { action: "perturb" }>, value: Value): void {
  if (value.type !== TYPE.number) throw WRONG_TYPE;
  const sum = perturbed(action, value.text, walk.position, walk.numbers.length);
  if (sum === REFUSED) throw WRONG_TYPE;
  if (sum === UNSURE) throw CANNOT_SAY;
  walk.numbers.push({ sum, decimals: action.decimals });
  walk.value += "\0";
}

/** The text that a rule makes; what it refuses makes the record fail. */
function made(action: Action, value: Value): string {
  const text = makeText(action, value.text);
  if (text === REFUSED) throw WRONG_TYPE;
  if (text === UNSURE) throw CANNOT_SAY;
  return text;
}

/** Writes what a rule makes of a value. */
function writeLeaf(walk: Walk, node: Node, action: Action, value: Value): void {
  if (action.action === "keep") walk.value += value.raw;
  else if (action.action === "replace") walk.value += JSON.stringify(action.with);
  else if ((value.type & (TYPE.string | TYPE.number | TYPE.null)) === 0) {
    throw WRONG_TYPE;
  } else if (value.type === TYPE.null) walk.value += "null";
  else if (action.action === "perturb") perturb(walk, action, value);
  else if (action.action === "cluster") noteOf(walk, node, value, Buffer.byteLength(walk.value));
  else walk.value += JSON.stringify(made(action, value));
}

function takeId(walk: Walk, action: Action, value: Value): void {
  const isText = value.type === TYPE.string || value.type === TYPE.number;
  const bytes = isText ? Buffer.byteLength(value.text) : 0;
  if (bytes === 0 || bytes > ID_MAX_BYTES) throw RECORD_ID;
  walk.key = action.action === "keep" ? value.text : made(action, value);
}

function writeArray(walk: Walk, element: Node, value: Value): void {
  walk.value += "[";
  let comma = "";
  for (const one of value.elements) {
    if (writePart(walk, element, one, comma)) comma = ",";
  }
  walk.value += "]";
}

function writeObject(walk: Walk, members: readonly Member[], value: Value): void {
  walk.value += "{";
  let comma = "";
  const seen = new Set<string>();
  for (const [name, inner] of value.members) {
    const member = members.find((one) => one.name === name);
    if (member === undefined) continue;
    if (seen.has(name)) throw DUPLICATE;
    seen.add(name);
    if (writePart(walk, member.node, inner, `${comma}${JSON.stringify(name)}:`)) comma = ",";
  }
  walk.value += "}";
}

/** Writes a member or element after its prefix; false when it is dropped. */
function writePart(walk: Walk, node: Node, value: Value, prefix: string): boolean {
  if (node.kind === "rule") {
    if (node.action.action !== "cluster") noteOf(walk, node, value, 0);
    if (node.action.action === "drop") return false;
    walk.value += prefix;
    writeLeaf(walk, node, node.action, value);
    return true;
  }
  walk.value += prefix;
  if (value.type === TYPE.null) walk.value += "null";
  else if (value.type !== TYPE[node.kind]) throw WRONG_TYPE;
  else if (node.kind === "array") writeArray(walk, node.element, value);
  else writeObject(walk, node.members, value);
  return true;
}

function writeRecord(walk: Walk, record: Value): void {
  if (record.type !== TYPE.object) throw WRONG_TYPE;
  const { set, fields } = walk;
  walk.value = "{";
  let comma = "";
  const seen = new Set<string>();
  for (const [name, value] of record.members) {
    const field = fields.get(name);
    if (field === undefined) {
      if (!set.allowsUnknown) throw UNKNOWN;
      continue;
    }
    if (seen.has(name)) throw DUPLICATE;
    seen.add(name);
    if (!allows(field.types, value)) throw WRONG_TYPE;
    if (name === set.id && field.node.kind === "rule") takeId(walk, field.node.action, value);
    if (writePart(walk, field.node, value, `${comma}${JSON.stringify(name)}:`)) comma = ",";
  }
  walk.value += "}";
  if (!seen.has(set.id)) throw RECORD_ID;
  if (set.top.some(({ name, required }) => required && !seen.has(name))) {
    throw MISSING;
  }
}

/** A disagreement of the reference with the engine: the fuzz is wrong, not the plugin. */
export class ReferenceFault extends Error {}

/** What must become of a document; null is a tombstone. @param position of the record, as noise is keyed by it */
export function expectedOf(
  model: Model,
  document: Uint8Array | null,
  position: Uint8Array,
): Expected {
  if (document === null) return "tombstone";
  const text = decodeText(document);
  if (text === null) return "not-utf8";
  const read = readJson(text);
  if (read !== "too-large" && engineAccepts(text) !== (read !== "not-json")) {
    throw new ReferenceFault(`JSON.parse and the second reader disagree: ${JSON.stringify(text)}`);
  }
  if (typeof read === "string") return read;
  const walk: Walk = {
    ...{ set: model.set, fields: model.fields, observed: model.observed, position },
    ...{ value: "", key: "", numbers: [], notes: new Map() },
  };
  try {
    writeRecord(walk, read);
  } catch (error) {
    if (error instanceof Refusal) return error.status;
    if (error === CANNOT_SAY) return UNSURE;
    throw error;
  }
  const { key, value, numbers, observed } = walk;
  const notes = observed.map((node) => walk.notes.get(node) ?? { place: 0, type: 0, text: "" });
  return { key, value, numbers, notes };
}
