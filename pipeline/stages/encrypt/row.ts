/**
 * One desensitized record as the stage sees it: an example to seal, a row to pack, or a reason to refuse it.
 *
 * Must not keep a view of the record's buffers: a row outlives the call that made it.
 */
import { MAX_VALUE_BYTES } from "../../../schemas/topics.ts";
import { createFeatureExtractor } from "../../features/extract.ts";
import { createFieldTree } from "../../features/field-tree.ts";
import { planMaps } from "../../features/maps/plan-maps.ts";
import { type Split, splitOf } from "../../features/split.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import type { Reason, StreamRecord } from "../../stream/contract.ts";
import { SUBJECT_HEADER } from "../../stream/subject-partition.ts";
import { fitsRecord } from "./record-projection.ts";
import { NAMING_BYTES } from "./state.ts";
import { subjectHash } from "./subject-limit.ts";

/** The ids of a full pack (4,096 records) stand in one message of at most 900 KiB: 4,096 * (192 + 2) is 776 KiB. */
export const MAX_RECORD_ID_BYTES = 192;

export interface CountedSubject {
  /** subjectHash (subject-limit.ts). */
  readonly hash: Uint8Array;
  /** How the desensitized record says that its subject is named. */
  readonly naming: Uint8Array;
}

export type Row =
  | {
      readonly kind: "example";
      readonly offset: number;
      readonly recordId: Uint8Array;
      /** What the network reads: the inputs behind the maps. */
      readonly x: Float32Array;
      readonly label: number;
      readonly split: Split;
      /** Whose record it is, where that is counted: `privacy.recordsPerSubject`, of records that are to train. */
      readonly subject: CountedSubject | null;
    }
  | {
      readonly kind: "predict";
      readonly offset: number;
      readonly recordId: string;
      readonly x: Float32Array;
      /** When the lane first saw it. */
      readonly seenMs: number;
    }
  /** Unlabelled, and the file predicts nothing (`predict.encrypted` false). */
  | { readonly kind: "dropped"; readonly offset: number }
  /** An example whose subject has had all the records that may train. */
  | { readonly kind: "above-limit"; readonly offset: number }
  | { readonly kind: "refused"; readonly offset: number; readonly reason: Reason };

export interface RowReader {
  /** Numbers in a row. */
  readonly features: number;
  /** Whether a row takes time that others may miss: the file has feature maps. */
  readonly isSlow: boolean;
  read(record: StreamRecord, nowMs: number): Row;
}

/** @param hmac keyed hash of the owner's zone, for the split and for counts of subjects */
export function createRowReader(
  spec: PipelineSpec,
  hmac: (message: Uint8Array) => Uint8Array,
): RowReader {
  const { features } = spec;
  const extractor = createFeatureExtractor(features);
  const maps = planMaps(features.maps, extractor.length, features.outputs.range);
  const { records } = spec.encrypt;
  const isBounded = spec.privacy.recordsPerSubject !== null;
  const tree = records === null ? null : createFieldTree(records);
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

  function idOf(key: Uint8Array | null): string | null {
    if (key === null || key.length === 0 || key.length > MAX_RECORD_ID_BYTES) return null;
    try {
      return decoder.decode(key);
    } catch {
      // Because a fatal decoder throws for nothing but bytes that are not UTF-8: no record id.
      return null;
    }
  }

  function subjectOf(
    record: Readonly<Record<string, unknown>>,
    recordId: Uint8Array,
  ): Uint8Array | null {
    const field = spec.record.subject;
    if (field === null) return recordId;
    const value = Object.hasOwn(record, field) ? record[field] : null;
    return typeof value === "string" && value !== "" ? Buffer.from(value) : null;
  }

  function countedOf({ headers }: StreamRecord, subject: Uint8Array): CountedSubject | "unproven" {
    const naming = headers[SUBJECT_HEADER];
    return naming?.length === NAMING_BYTES
      ? { hash: subjectHash(subject, hmac), naming: Uint8Array.from(naming) }
      : "unproven";
  }

  return {
    features: maps.outputs,
    isSlow: features.maps.length > 0,
    read(record, nowMs) {
      const { offset } = record;
      const refused = (reason: Reason): Row => ({ kind: "refused", offset, reason });
      const id = idOf(record.key);
      if (id === null || record.key === null) return refused("record-id");
      if (record.value !== null && record.value.length > MAX_VALUE_BYTES)
        return refused("too-large");
      const extracted = extractor.extract(record.value);
      if (extracted.status === "refused") return refused(extracted.reason);
      if (tree !== null && record.value !== null && !fitsRecord(record.value, tree)) {
        return refused("too-large");
      }
      if (extracted.status === "predict" && !spec.predict.encrypted) {
        return { kind: "dropped", offset };
      }
      const x = features.maps.length === 0 ? extracted.x : maps.apply(extracted.x);
      if (extracted.status === "predict") {
        return { kind: "predict", offset, recordId: id, x, seenMs: nowMs };
      }
      const recordId = Uint8Array.from(record.key);
      const subject = subjectOf(extracted.record, recordId);
      if (subject === null) return refused("missing-field");
      const split = splitOf({ subject, hmac, split: spec.features.split });
      const counted = isBounded && split === "train" ? countedOf(record, subject) : null;
      if (counted === "unproven") return refused("subject-unproven");
      const { label } = extracted;
      return { kind: "example", offset, recordId, x, label, split, subject: counted };
    },
  };
}
