/**
 * What an encrypt lane remembers across restarts, and its bytes in the changelog topic.
 *
 * Sequences must rise for ever: readers refuse an envelope or pack whose sequence does not. The data key is not part
 * of the bytes: a lane that starts again makes a new one, so that no nonce can come twice.
 *
 * Grammar, version 3, 57 bytes, integers big-endian; version 2 ends before naming: no subject was ever counted; version 1
 * ends before recordSequence, which is then 0:
 *   state           = version exampleSequence packSequence recordSequence naming subjects sealed
 *   version         = 0x03
 *   exampleSequence = u64   of the next example
 *   packSequence    = u64   of the next pack
 *   recordSequence  = u64   of the next record of topic records
 *   naming          = 16 bytes   how the counted subjects are named
 *   subjects        = u64   subjects that are counted
 *   sealed          = u64   the sum of their counts
 */
import type { DataKey } from "../../crypto/data-key.ts";
import { SealstreamError } from "../../errors.ts";
import type { SubjectCount } from "./subject-limit.ts";

/** The data key in use. It lives in the state, so that a result that was thrown away takes its key with it. */
export interface ExampleKey {
  readonly dataKey: DataKey;
  /** Who announced it, and who can open it (partiesOf). */
  readonly parties: string;
  readonly sealed: number;
  /** By the clock of the step that made it. */
  readonly madeAtMs: number;
}

/** A data key of `records` in use: of one audience. */
export interface RecordKey {
  readonly dataKey: DataKey;
  /** Who announced it, and who can open it (partiesOf). */
  readonly parties: string;
  /** Records sealed with it. */
  readonly sealed: number;
  readonly madeMs: number;
}

/** What the counts of subjects add up to (subject-limit.ts). */
export interface SubjectTotals {
  /** Says by which rule and key they are named; another naming would count everybody anew. */
  readonly naming: Uint8Array;
  readonly subjects: number;
  readonly sealed: number;
}

export interface EncryptState {
  readonly exampleSequence: number;
  readonly packSequence: number;
  readonly recordSequence: number;
  readonly key: ExampleKey | null;
  /** By the audience's names, joined. */
  readonly recordKeys: ReadonlyMap<string, RecordKey>;
  /** Null: none was ever counted. Stays as it is while the file has no privacy.recordsPerSubject. */
  readonly subjects: SubjectTotals | null;
  /** What this state's step counted, by hash: no part of the bytes, since it lies in entries. */
  readonly counted: ReadonlyMap<string, SubjectCount>;
}

/** Bytes by version. */
const STATE_BYTES: Readonly<Record<number, number>> = { 1: 17, 2: 25, 3: 57 };
const NAMING_AT = 25;
export const NAMING_BYTES = 16;

/** Changelog value of a state; a new buffer. */
export function encodeState(state: EncryptState): Uint8Array {
  const { subjects } = state;
  const version = subjects === null ? 2 : 3;
  const bytes = new Uint8Array(STATE_BYTES[version] ?? 0);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, version);
  view.setBigUint64(1, BigInt(state.exampleSequence));
  view.setBigUint64(9, BigInt(state.packSequence));
  view.setBigUint64(17, BigInt(state.recordSequence));
  if (subjects !== null) {
    bytes.set(subjects.naming, NAMING_AT);
    view.setBigUint64(NAMING_AT + NAMING_BYTES, BigInt(subjects.subjects));
    view.setBigUint64(NAMING_AT + NAMING_BYTES + 8, BigInt(subjects.sealed));
  }
  return bytes;
}

/**
 * State at a lane's start, without data keys.
 * @param changelog last committed changelog value, or null for a lane that never committed
 * @throws SealstreamError state-mismatch when the bytes are not a state of version 1 to 3
 */
export function restoreState(changelog: Uint8Array | null): EncryptState {
  const none = { key: null, recordKeys: new Map(), counted: new Map() };
  if (changelog === null) {
    const first = { exampleSequence: 0, packSequence: 0, recordSequence: 0 };
    return { ...first, subjects: null, ...none };
  }
  const view = new DataView(changelog.buffer, changelog.byteOffset, changelog.byteLength);
  if (changelog.length > 0 && changelog.length === STATE_BYTES[view.getUint8(0)]) {
    const u64 = (at: number): number => (at < changelog.length ? Number(view.getBigUint64(at)) : 0);
    const counters = {
      exampleSequence: u64(1),
      packSequence: u64(9),
      recordSequence: u64(17),
    };
    const totals = {
      subjects: u64(NAMING_AT + NAMING_BYTES),
      sealed: u64(NAMING_AT + NAMING_BYTES + 8),
    };
    if ([counters, totals].flatMap(Object.values).every(Number.isSafeInteger)) {
      const naming = Uint8Array.from(changelog.subarray(NAMING_AT, NAMING_AT + NAMING_BYTES));
      return { ...counters, subjects: naming.length === 0 ? null : { naming, ...totals }, ...none };
    }
  }
  throw new SealstreamError(
    "state-mismatch",
    "The changelog of an encrypt lane is not a state of version 1 to 3; restore the topics together or start a new generation.",
  );
}
