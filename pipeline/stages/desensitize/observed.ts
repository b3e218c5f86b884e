/**
 * Fields whose values the stage must see: to group records those that are clustered, whom a record is about, and what
 * must differ within a group; to know a record's lane, whom it is about. The plugin hands them over in a column of notes; grammar: plugins/desensitize/README.md.
 */
import { SealstreamError } from "../../errors.ts";
import type { ClusterOptions, DesensitizeRule, PipelineSpec } from "../../spec/pipeline-spec.ts";
import { listFields } from "./field-tree.ts";
import type { RecordSchema } from "./record-schema.ts";

/** place, type and bytes of a note. */
const HEAD_BYTES = 12;

type ClusterRule = Extract<DesensitizeRule, { action: "cluster" }>;
type Rules = Pick<PipelineSpec, "desensitize" | "record">;

export function clusterRules(rules: readonly DesensitizeRule[]): ClusterRule[] {
  return rules.filter((rule): rule is ClusterRule => rule.action === "cluster");
}

/** What the clustered fields share; null: nothing is clustered. */
export function clusterOptions(rules: readonly DesensitizeRule[]): ClusterOptions | null {
  return clusterRules(rules)[0]?.cluster ?? null;
}

/** Paths of the fields that are observed; none when nothing is clustered and `raw` is not partitioned by the subject. */
export function observedFields({ desensitize, record }: Rules): ReadonlySet<string> {
  const clustered = clusterRules(desensitize);
  const options = clusterOptions(desensitize);
  if (options === null) {
    const { partitioner, subject } = record;
    return new Set(partitioner === "subject" && subject !== null ? [subject] : []);
  }
  const beside = [record.subject, options.sensitive?.field ?? null];
  return new Set([
    ...clustered.map(({ field }) => field),
    ...beside.filter((field) => field !== null),
  ]);
}

/** Paths of the observed fields in the order of their notes: the plugin numbers them as its configuration does. */
export function observedSlots(spec: Rules, schema: RecordSchema): string[] {
  const observed = observedFields(spec);
  return listFields(spec.desensitize, schema)
    .map(({ path }) => path)
    .filter((path) => observed.has(path));
}

/** What the plugin says of an observed field of a record. */
export interface Note {
  /** Where in the written record a clustered value is to stand, in bytes. */
  readonly place: number;
  /** TYPE_BITS of record-schema.ts; 0: the record has no such value. */
  readonly type: number;
  /** UTF-8 of a string, decoded, or the text of another value. */
  readonly text: Uint8Array;
}

/** The notes of one record, one a slot. @throws plugin-failed when the plugin wrote something else */
export function readNotes(bytes: Uint8Array, slots: number): Note[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let end = slots * HEAD_BYTES;
  const notes: Note[] = [];
  for (let slot = 0; slot < slots && end <= bytes.length; slot++) {
    const at = slot * HEAD_BYTES;
    const length = view.getUint32(at + 8, true);
    const text = bytes.subarray(end, end + length);
    end += length;
    notes.push({ place: view.getUint32(at, true), type: view.getUint32(at + 4, true), text });
  }
  if (notes.length === slots && end === bytes.length) return notes;
  throw new SealstreamError("plugin-failed", "the plugin wrote notes that are none: build it anew");
}
