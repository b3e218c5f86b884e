/**
 * One lane of topic `records` as one of its readers believes it: what opens, what does not, what was tampered with.
 *
 * The pipeline file that the reader has decides what it expects: a field that should be sealed and is not, and one that
 * nobody named, are refused. A record's sequence must be above all before it, and be the same in all of its fields, so
 * that a copied record, or one put together from two, gives nothing. Must not know Kafka, nor wait.
 */
import type { DataKey } from "../crypto/data-key.ts";
import { isSealedField, openField } from "../crypto/sealed-field.ts";
import { isJsonObject, parseExact } from "../features/exact-json.ts";
import { elementPath, type FieldNode, type FieldTree, memberPath } from "../features/field-tree.ts";

/** Why a field, or a whole record (`field` null), does not count. */
export interface RefusedField {
  readonly lane: number;
  readonly offset: number;
  readonly field: string | null;
  /**
   * `envelope-refused`, `key-unknown` (its data key did not come in time), `replayed`, `sequence-differs`,
   * `not-sealed`, `unknown-field`; of a whole record `record-id` or `not-json`.
   */
  readonly reason: string;
}

/** What a reader gets of a record. */
export interface OpenedRecord {
  /** Record id after its desensitization rule. */
  readonly id: string;
  readonly lane: number;
  readonly offset: number;
  /** Of the record in its lane; null: this key opens none of its fields, so nothing says where the record belongs. */
  readonly sequence: number | null;
  /** What can be read, in place. Fields in clear are as trustworthy as whoever may write to the topic. */
  readonly fields: Readonly<Record<string, unknown>>;
  /** The same as JSON text, numbers as they were written. */
  readonly text: string;
  /** Paths that this key does not open. */
  readonly sealed: readonly string[];
  /** Paths of what was tampered with. */
  readonly refused: readonly string[];
}

export interface RecordStep {
  /** Null when the record gives nothing at all. */
  readonly record: OpenedRecord | null;
  readonly refused: readonly RefusedField[];
  /** Fields whose data key nobody has heard of yet: worth another look before {@link RecordLane.settle}. */
  readonly waits: boolean;
}

export interface LaneInput {
  readonly offset: number;
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
}

export interface RecordLane {
  /** Judges the lane's next record; may be asked again when more keys are known. */
  judge(record: LaneInput): RecordStep;
  /** Remembers that a judged record was taken. */
  settle(step: RecordStep): void;
}

export interface RecordLaneOptions {
  readonly pipeline: string;
  readonly lane: number;
  readonly tree: FieldTree;
  /** A handle that opens, or null. */
  readonly findKey: (kid: Uint8Array) => DataKey | null;
  /** Whether `keys` has an entry of this data key, for whomever. */
  readonly isAnnounced: (kid: Uint8Array) => boolean;
  /** Highest sequence that was taken before; null or absent: none. */
  readonly lastSequence?: number | null | undefined;
}

/** A lane of which nothing has been read. */
export function createRecordLane(options: RecordLaneOptions): RecordLane {
  let lastSequence = options.lastSequence ?? null;
  return {
    judge: (record) => judge(record, lastSequence, options),
    settle({ record }) {
      lastSequence = record?.sequence ?? lastSequence;
    },
  };
}

/** A value that opened; what becomes of it is known once the whole record was looked at. */
class OpenedValue {
  readonly path: string;
  readonly sequence: number;
  readonly value: unknown;

  constructor(path: string, sequence: number, value: unknown) {
    this.path = path;
    this.sequence = sequence;
    this.value = value;
  }
}

interface Findings {
  readonly opened: OpenedValue[];
  readonly sealed: string[];
  readonly refused: { readonly field: string; readonly reason: string }[];
  waits: boolean;
}

/** Nothing of a value is to be seen. */
const NOTHING = Symbol("nothing");

function judge(
  { key, value, offset }: LaneInput,
  lastSequence: number | null,
  options: RecordLaneOptions,
): RecordStep {
  const { lane, tree } = options;
  const whole = (reason: string): RecordStep => ({
    ...{ record: null, waits: false, refused: [{ lane, offset, field: null, reason }] },
  });
  const id = key === null ? null : textOf(key);
  if (key === null || id === null) return whole("record-id");
  const parsed = value === null ? null : parsedOf(value);
  if (!isJsonObject(parsed)) return whole("not-json");
  const findings: Findings = { opened: [], sealed: [], refused: [], waits: false };
  const looked = look(parsed, tree, "", { recordId: key, findings, options });
  const { sequence, reasons } = judgeSequence(findings.opened, lastSequence);
  for (const [field, reason] of reasons) findings.refused.push({ field, reason });
  const fields = withValues(looked, reasons);
  const text = JSON.stringify(fields);
  return {
    record: {
      ...{ id, lane, offset, sequence, text, sealed: findings.sealed },
      // Because what was read as an object is one.
      fields: JSON.parse(text) as Record<string, unknown>,
      refused: findings.refused.map(({ field }) => field),
    },
    refused: findings.refused.map(({ field, reason }) => ({ lane, offset, field, reason })),
    waits: findings.waits,
  };
}

interface Looking {
  readonly recordId: Uint8Array;
  readonly findings: Findings;
  readonly options: RecordLaneOptions;
}

/** What is to be seen of a value, with {@link OpenedValue} for what was sealed. */
function look(
  value: unknown,
  node: FieldNode | undefined,
  path: string,
  looking: Looking,
): unknown {
  const refuse = (reason: string) => {
    looking.findings.refused.push({ field: path, reason });
    return NOTHING;
  };
  if (node === undefined) return refuse("unknown-field");
  switch (node.kind) {
    case "clear":
      // Never opened, whatever it looks like: a person may have typed it, and nobody sealed it for this place.
      return value;
    case "sealed":
      return isSealedField(value) ? open(value, path, looking) : refuse("not-sealed");
    case "array":
      if (!Array.isArray(value)) return refuse("unknown-field");
      return value.map((one, index) => {
        // The writer puts null for an element of another kind.
        const at = elementPath(path, index);
        const seen = one === null ? null : look(one, node.element, at, looking);
        return seen === NOTHING ? null : seen;
      });
    case "object":
      if (!isJsonObject(value)) return refuse("unknown-field");
      return Object.fromEntries(
        Object.entries(value).flatMap(([name, one]) => {
          const seen = look(one, node.fields.get(name), memberPath(path, name), looking);
          return seen === NOTHING ? [] : [[name, seen]];
        }),
      );
  }
}

function open(text: string, path: string, { recordId, findings, options }: Looking): unknown {
  const { pipeline, lane, findKey, isAnnounced } = options;
  const place = { pipeline, lane, recordId, path };
  const opened = openField({ text, place, findKey });
  if (opened.status === "unknown-key") {
    if (isAnnounced(opened.kid)) {
      findings.sealed.push(path);
    } else {
      findings.waits = true;
      findings.refused.push({ field: path, reason: "key-unknown" });
    }
    return NOTHING;
  }
  const json = opened.status === "ok" ? textOf(opened.plaintext) : null;
  if (opened.status !== "ok" || json === null) {
    findings.refused.push({ field: path, reason: "envelope-refused" });
    return NOTHING;
  }
  try {
    const found = new OpenedValue(path, opened.sequence, parseExact(json));
    findings.opened.push(found);
    return found;
  } catch {
    // Because whoever sealed it wrote no JSON: JSON.parse's message would quote it.
    findings.refused.push({ field: path, reason: "envelope-refused" });
    return NOTHING;
  }
}

/** The record's sequence, and why some of what opened does not count, by path. */
function judgeSequence(
  opened: readonly OpenedValue[],
  lastSequence: number | null,
): { readonly sequence: number | null; readonly reasons: ReadonlyMap<string, string> } {
  const isNew = ({ sequence }: OpenedValue) => lastSequence === null || sequence > lastSequence;
  const sequences = new Set(opened.filter(isNew).map(({ sequence }) => sequence));
  const [sequence = null] = sequences;
  const reasons = new Map<string, string>();
  for (const one of opened) {
    if (!isNew(one)) reasons.set(one.path, "replayed");
    else if (sequences.size > 1) reasons.set(one.path, "sequence-differs");
  }
  return { sequence: sequences.size > 1 ? null : sequence, reasons };
}

/** The record with the values that count; elements that do not are null. */
function withValues(seen: unknown, reasons: ReadonlyMap<string, string>): unknown {
  const isOut = (one: unknown) => one instanceof OpenedValue && reasons.has(one.path);
  if (seen instanceof OpenedValue) return isOut(seen) ? null : seen.value;
  if (Array.isArray(seen)) return seen.map((one) => withValues(one, reasons));
  if (!isJsonObject(seen)) return seen;
  return Object.fromEntries(
    Object.entries(seen).flatMap(([name, one]) =>
      isOut(one) ? [] : [[name, withValues(one, reasons)]],
    ),
  );
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function textOf(bytes: Uint8Array): string | null {
  try {
    return decoder.decode(bytes);
  } catch {
    // Because a fatal decoder throws for nothing but bytes that are not UTF-8.
    return null;
  }
}

function parsedOf(value: Uint8Array): unknown {
  const text = textOf(value);
  try {
    return text === null ? null : parseExact(text);
  } catch {
    // Because bad input is an outcome, and JSON.parse's message would quote the record.
    return null;
  }
}
