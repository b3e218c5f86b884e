/**
 * Seals no more than `privacy.recordsPerSubject` records of a subject for training: the first ones in the lane's log.
 *
 * Which ones those are depends on the committed log and the owner's keys alone, so a retry seals the same. Counts are
 * over the whole life of the pipeline, all runs together. They lie in the lane's changelog, one entry a subject, and what
 * they add up to in the lane's signed state: entries that were lost, set back or made by somebody else do not add up,
 * since a genuine count only rises. Records that are not to train are not counted, nor those that are refused.
 * Must not hold a subject's name: only a keyed hash of it.
 *
 *   hash        = the first 12 bytes of HMAC-SHA-256 under `split` of "sealstream/subject-count/v1|", subject
 *   entry       = key: hash; value: u8 version = 1, u16be count
 */
import { SealstreamError } from "../../errors.ts";
import type { ChangelogEntry } from "../../stream/contract.ts";
import type { Row } from "./row.ts";
import type { EncryptState, SubjectTotals } from "./state.ts";
import { SUBJECT_BYTES, SubjectCounts } from "./subject-counts.ts";

const LABEL = new TextEncoder().encode("sealstream/subject-count/v1|");
const VERSION = 1;
const VALUE_BYTES = 3;

/** What a count is kept under. @param hmac keyed hash of the owner's zone */
export function subjectHash(
  subject: Uint8Array,
  hmac: (message: Uint8Array) => Uint8Array,
): Uint8Array {
  const message = new Uint8Array(LABEL.length + subject.length);
  message.set(LABEL);
  message.set(subject, LABEL.length);
  return Uint8Array.from(hmac(message).subarray(0, SUBJECT_BYTES));
}

/** A subject's count that the last step changed. */
export interface SubjectCount {
  readonly hash: Uint8Array;
  readonly count: number;
}

export interface Limited {
  /** As many rows, in order; what may not be sealed has become another kind. */
  readonly rows: readonly Row[];
  readonly entries: readonly ChangelogEntry[];
  readonly state: EncryptState;
}

/** Counts of one lane. */
export interface SubjectLimit {
  restoreEntry(entry: ChangelogEntry): void;
  /** @throws SealstreamError `state-mismatch` when the entries are not those that the state tells of */
  check(state: EncryptState): void;
  /**
   * @param rows those that become final
   * @param state the lane's; what its last step counted is taken over now, since it was committed
   */
  limit(rows: readonly Row[], state: EncryptState): Limited;
  readonly memoryBytes: number;
}

/** @param most records of a subject that may train */
export function createSubjectLimit(most: number): SubjectLimit {
  const counts = new SubjectCounts();

  function takeOver({ counted }: EncryptState): void {
    for (const { hash, count } of counted.values()) counts.set(hash, count);
  }

  return {
    get memoryBytes() {
      return counts.memoryBytes;
    },
    restoreEntry({ key, value }) {
      if (key.length !== SUBJECT_BYTES || value.length !== VALUE_BYTES) return;
      const count = ((value[1] ?? 0) << 8) | (value[2] ?? 0);
      if (value[0] === VERSION && count > 0) counts.set(key, count);
    },
    check({ subjects: totals }) {
      const { subjects, sealed } = totals ?? { subjects: 0, sealed: 0 };
      if (counts.subjects === subjects && counts.sealed === sealed) return;
      throw new SealstreamError(
        "state-mismatch",
        `The changelog of an encrypt lane counts ${counts.sealed} records of ${counts.subjects} subjects, and its state says ${sealed} of ${subjects}: entries were lost or changed, or the key split is another. Restore the changelog topic and the key, or start a new generation of the pipeline.`,
      );
    },
    limit(rows, state) {
      takeOver(state);
      const counted = new Map<string, SubjectCount>();
      let totals = state.subjects;
      const judge = (row: Row): Row => {
        if (row.kind !== "example" || row.subject === null) return row;
        const { offset, subject } = row;
        const { hash, naming } = subject;
        if (totals !== null && Buffer.compare(totals.naming, naming) !== 0) {
          return { kind: "refused", offset, reason: "subject-unproven" };
        }
        const name = Buffer.from(hash).toString("latin1");
        const before = counted.get(name)?.count ?? counts.get(hash);
        if (before >= most) return { kind: "above-limit", offset };
        counted.set(name, { hash, count: before + 1 });
        totals = added(totals ?? { naming, subjects: 0, sealed: 0 }, before === 0);
        return row;
      };
      const limited = rows.map(judge);
      return {
        rows: limited,
        entries: [...counted.values()].map(entryOf),
        state: { ...state, subjects: totals, counted },
      };
    },
  };
}

function added({ naming, subjects, sealed }: SubjectTotals, isNew: boolean): SubjectTotals {
  return { naming, subjects: subjects + (isNew ? 1 : 0), sealed: sealed + 1 };
}

function entryOf({ hash, count }: SubjectCount): ChangelogEntry {
  return { key: hash, value: Uint8Array.of(VERSION, count >> 8, count & 0xff) };
}
