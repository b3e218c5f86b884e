/**
 * From the observed values of a window's records to the records that leave: codes, groups, and the ranges in their holes.
 *
 * Which records share a group is decided in cluster/; here is how records get there and back. Must not know time, lanes
 * or Kafka.
 */
import { MAX_VALUE_BYTES } from "../../../schemas/topics.ts";
import type { ClusterDomain, ClusterOptions, PipelineSpec } from "../../spec/pipeline-spec.ts";
import { splitPath } from "../../spec/rule-fields.ts";
import type { Reason } from "../../stream/contract.ts";
import { createDomain, type Domain } from "./cluster/domain.ts";
import { type ClusterWindow, type Group, groupWindow } from "./cluster/group.ts";
import { measureWindow, type WindowQuality } from "./cluster/quality.ts";
import { isRefusal, type Judged, type Passed } from "./judge-rows.ts";
import { clusterOptions, clusterRules, type Note, observedSlots, readNotes } from "./observed.ts";
import { type RecordSchema, TYPE_BITS } from "./record-schema.ts";

/** Rank of what is no value. */
const NO_VALUE = 0;
/** No value at all, and null. */
const TYPES_OF_NOTHING = TYPE_BITS["null"] ?? 0;
/** Bytes of the longest range of numbers, days, digits or texts, with room to spare. */
const OTHER_TEXT_BYTES = 128;
const TYPES_OF_NUMBERS = (TYPE_BITS["number"] ?? 0) | (TYPE_BITS["integer"] ?? 0);

/** What is kept of a record until its window is final. */
export interface Waiting extends Passed {
  readonly codes: readonly number[];
  /** Where the clustered values are to stand, one a field. */
  readonly places: readonly number[];
  /** Null: the pipeline names no subject, so each record is one of its own. */
  readonly subject: string | null;
  /** Null: the record has no such value. */
  readonly sensitive: string | null;
}

/** What leaves of a record of a window, or why it does not. */
export type Grouped = Reason | { readonly key: Uint8Array; readonly value: Uint8Array };

export interface WindowGrouper {
  /** What of a record waits for its window, or why it is refused. */
  waitingOf(judged: Judged): Reason | Waiting;
  /** One answer a record, in order. */
  group(items: readonly { readonly record: Reason | Waiting }[]): {
    readonly records: readonly Grouped[];
    readonly quality: WindowQuality;
  };
}

interface ClusteredField {
  readonly domain: Domain;
  /** Numbers leave as numbers when their mean does. */
  readonly isNumber: boolean;
  readonly slot: number;
}

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** Numbers 0, 1, ... of values in the order in which they first come. */
function numberOff<T>(values: readonly (T | null)[]): Uint32Array {
  const seen = new Map<T, number>();
  let next = 0;
  return Uint32Array.from(values, (value) => {
    if (value === null) return next++;
    const known = seen.get(value);
    if (known !== undefined) return known;
    seen.set(value, next);
    return next++;
  });
}

/**
 * Sensitive values as ranks from 1 on, numbers in their order, texts in theirs; NO_VALUE: there is none. A number and its text
 * are the same value, however they are spelled.
 */
function rankSensitive(values: readonly (string | null)[], isOrdered: boolean): Uint32Array {
  const distinct = [...new Set(values.filter((value) => value !== null))].sort((a, b) =>
    isOrdered ? Number(a) - Number(b) : a < b ? -1 : 1,
  );
  const ranks = new Map(distinct.map((value, index) => [value, index + 1]));
  return Uint32Array.from(values, (value) =>
    value === null ? NO_VALUE : (ranks.get(value) ?? NO_VALUE),
  );
}

/** Whether a field's values are numbers by the record schema, so that some are nearer to each other than others. */
function isOrderedField(schema: Readonly<Record<string, unknown>>, field: string): boolean {
  let here: unknown = schema;
  for (const name of splitPath(field)) {
    here = inside(inside(here, "properties"), name);
  }
  const type = inside(here, "type");
  const types: readonly unknown[] = Array.isArray(type) ? type : [type];
  return types.every((one) => one === "number" || one === "integer" || one === "null");
}

function inside(value: unknown, key: string): unknown {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) return undefined;
  // Because the line above has found the key in it.
  return (value as Record<string, unknown>)[key];
}

/** Most bytes that stand in a record for a group's range of a field. */
function widestText(domain: ClusterDomain): number {
  if (domain.kind !== "hierarchy") return OTHER_TEXT_BYTES;
  const labels = domain.paths.flat().map((label) => encoder.encode(JSON.stringify(label)).length);
  return labels.reduce((most, bytes) => Math.max(most, bytes), OTHER_TEXT_BYTES);
}

/** The bytes that stand in the records of a group, one a field. */
function textsOf(group: Group, fields: readonly ClusteredField[], options: ClusterOptions) {
  return fields.map(({ domain, isNumber }, i) => {
    if (options.publish === "mean" && domain.mean !== null) {
      const mean = domain.mean(group.mean[i] ?? 0);
      return encoder.encode(isNumber ? mean : JSON.stringify(mean));
    }
    return encoder.encode(JSON.stringify(domain.render(group.low[i] ?? 0, group.high[i] ?? 0)));
  });
}

/** The record with texts in its holes. */
function fill(record: Waiting, texts: readonly Uint8Array[]): Uint8Array {
  const holes = record.places
    .map((place, i) => ({ place, text: texts[i] ?? new Uint8Array(0) }))
    .sort((a, b) => a.place - b.place);
  const bytes = holes.reduce((sum, { text }) => sum + text.length, record.value.length);
  const filled = new Uint8Array(bytes);
  let from = 0;
  let at = 0;
  for (const { place, text } of holes) {
    filled.set(record.value.subarray(from, place), at);
    at += place - from;
    filled.set(text, at);
    at += text.length;
    from = place;
  }
  filled.set(record.value.subarray(from), at);
  return filled;
}

function readSensitive(note: Note | undefined): string | null {
  if (note === undefined || (note.type & TYPES_OF_NOTHING) === note.type) return null;
  const text = decoder.decode(note.text);
  return (note.type & TYPES_OF_NUMBERS) === 0 ? text : String(Number(text));
}

/**
 * Makes the grouper of a pipeline; null when nothing is clustered.
 * @throws spec-invalid when a domain has no values, or more than can be ordered
 */
export function createWindowGrouper(
  spec: Pick<PipelineSpec, "desensitize" | "record">,
  schema: RecordSchema,
): WindowGrouper | null {
  const options = clusterOptions(spec.desensitize);
  if (options === null) return null;
  const slots = observedSlots(spec, schema);
  const rules = clusterRules(spec.desensitize);
  const fields = rules.map(
    ({ field, domain }): ClusteredField => ({
      domain: createDomain(domain),
      isNumber: domain.kind === "number",
      slot: slots.indexOf(field),
    }),
  );
  const subjectSlot = spec.record.subject === null ? -1 : slots.indexOf(spec.record.subject);
  const sensitiveSlot = options.sensitive === null ? -1 : slots.indexOf(options.sensitive.field);

  const isOrdered =
    options.sensitive !== null && isOrderedField(spec.record.schema, options.sensitive.field);
  const widest = rules.reduce((sum, { domain }) => sum + widestText(domain), 0);

  function wait(passed: Passed): Reason | Waiting {
    // Before anybody counts on it: a record that became too large after it was grouped would leave its group short.
    if (passed.value.length + widest > MAX_VALUE_BYTES) return "too-large";
    const notes = readNotes(passed.notes ?? new Uint8Array(0), slots.length);
    const codes: number[] = [];
    const places: number[] = [];
    for (const { domain, slot } of fields) {
      const note = notes[slot];
      if (note === undefined || note.type === 0) return "missing-field";
      const code = domain.encode(decoder.decode(note.text));
      if (code === null) return "wrong-type";
      codes.push(code);
      places.push(note.place);
    }
    const subject = notes[subjectSlot];
    // Without a subject, nobody knows whether it is another person than the others.
    if (subjectSlot !== -1 && (subject === undefined || subject.type === 0)) return "missing-field";
    return {
      ...passed,
      codes,
      places,
      subject: subject === undefined ? null : decoder.decode(subject.text),
      sensitive: readSensitive(notes[sensitiveSlot]),
    };
  }

  return {
    waitingOf: (judged) => (isRefusal(judged) ? judged : wait(judged)),
    group(items) {
      const waiting = items.flatMap(({ record }) => (isRefusal(record) ? [] : [record]));
      const window: ClusterWindow = {
        rows: waiting.length,
        columns: fields.map((_, i) => Float64Array.from(waiting, ({ codes }) => codes[i] ?? 0)),
        subjects: numberOff(waiting.map(({ subject }) => subject)),
        sensitive:
          options.sensitive === null
            ? null
            : rankSensitive(
                waiting.map((record) => record.sensitive),
                isOrdered,
              ),
        sensitiveNone: NO_VALUE,
        sensitiveOrdered: isOrdered,
      };
      const domains = fields.map(({ domain }) => domain);
      const grouping = groupWindow(window, domains, options);
      const texts = grouping.groups.map((group) => textsOf(group, fields, options));
      const filled = waiting.map((record, row): Grouped => {
        const own = texts[grouping.group[row] ?? -1];
        if (own === undefined) return "suppressed";
        return { key: record.key, value: fill(record, own) };
      });
      const inOrder = filled.values();
      return {
        records: items.map(({ record }) =>
          isRefusal(record) ? record : (inOrder.next().value ?? "plugin-failed"),
        ),
        quality: measureWindow(window, domains, grouping, options),
      };
    },
  };
}
