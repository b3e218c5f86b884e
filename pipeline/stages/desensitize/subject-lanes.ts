/**
 * Where `raw` is partitioned by the subject: which lane a record belongs to, and what `encrypt` is told of it.
 *
 * The subject is the value of `record.subject` as the rules see it: after the user's plugins, before its own rule. So
 * what is held against the partition is what the counted name is made of. Whoever counts records of a subject in a lane
 * counts all of them only if no other lane has some and the subject never changes its name: both are said in a header of
 * each record, which no record of raw can bring along.
 *
 *   header = the first 16 bytes of HMAC-SHA-256 under the rule's key (without one: of 32 zero bytes) of
 *            "sealstream/subject-naming/v1|" and JSON [field, action, keyId or null, encoding, bits]
 *
 * Must not put a subject into a message, header or log.
 */
import { createHmac } from "node:crypto";
import { SealstreamError } from "../../errors.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import type { Headers, Reason } from "../../stream/contract.ts";
import { partitionOf, SUBJECT_HEADER } from "../../stream/subject-partition.ts";
import type { SecretLookup } from "./config-keys.ts";
import { observedSlots, readNotes } from "./observed.ts";
import { type RecordSchema, TYPE_BITS } from "./record-schema.ts";

export interface SubjectLanes {
  /** Of every record that leaves. */
  readonly headers: Headers;
  /** The lane of a record that the plugin let pass, or why it has none. @param notes the plugin's, of this record */
  laneOf(notes: Uint8Array | null): number | Reason;
}

const NAMING_BYTES = 16;
const NO_KEY = new Uint8Array(32);

/**
 * Null where `raw` is not partitioned by the subject.
 * @throws what `secrets` throws
 */
export function createSubjectLanes(
  spec: PipelineSpec,
  schema: RecordSchema,
  secrets: SecretLookup,
): SubjectLanes | null {
  const { subject, partitioner } = spec.record;
  if (partitioner !== "subject" || subject === null) return null;
  const slots = observedSlots(spec, schema);
  const slot = slots.indexOf(subject);
  const { partitions } = spec.kafka;
  return {
    headers: { [SUBJECT_HEADER]: namingOf(spec, subject, secrets) },
    laneOf(notes) {
      const note = readNotes(notes ?? new Uint8Array(0), slots.length)[slot];
      if (note === undefined || note.type === 0 || note.type === TYPE_BITS["null"]) {
        return "missing-field";
      }
      if (note.type !== TYPE_BITS["string"]) return "wrong-type";
      return note.text.length === 0 ? "missing-field" : partitionOf(note.text, partitions);
    },
  };
}

/** Says by which rule and key subjects get their names, and nothing about either. */
function namingOf(spec: PipelineSpec, subject: string, secrets: SecretLookup): Uint8Array {
  const rule = spec.desensitize.find(({ field }) => field === subject);
  if (rule?.action !== "keep" && rule?.action !== "pseudonymize") {
    throw new SealstreamError(
      "spec-invalid",
      `desensitize must keep or pseudonymize the subject ${subject}`,
    );
  }
  const named =
    rule.action === "keep"
      ? [null, null, null]
      : [rule.keyId ?? null, rule.form?.encoding ?? "hex", rule.form?.bits ?? 256];
  const key = rule.action === "keep" ? NO_KEY : secrets(rule.key.env);
  const text = `sealstream/subject-naming/v1|${JSON.stringify([subject, rule.action, ...named])}`;
  const mac = createHmac("sha256", key).update(text).digest();
  return Uint8Array.from(mac.subarray(0, NAMING_BYTES));
}
