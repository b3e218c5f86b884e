/**
 * The contract between a stage and the lane that runs it: a stage is a pure function of a batch.
 *
 * A lane owns one input partition exactly once. It hands the stage every committed record from the lane's position
 * on, and commits what the stage says is final (outputs, dead letters, changelog state and the input offset) in one
 * Kafka transaction. What is not final is handed in again, together with newer records, so a window in the making
 * needs no store: a restart re-reads it. Nothing in here knows Kafka.
 */
import type { StageName, TopicRole } from "../../schemas/topics.ts";

export type Headers = Readonly<Record<string, Uint8Array>>;

/**
 * One committed record. The buffers are views of what was fetched: copy what is to outlive the record, since a view
 * keeps the whole fetch in memory. Fields may be getters: name them, `{ ...record }` would lose them.
 */
export interface StreamRecord {
  readonly offset: number;
  /** Milliseconds since the epoch, as the broker stored it. */
  readonly timestampMs: number;
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  readonly headers: Headers;
  /** Bytes of key, value and headers, where the reader knows them without making the views. */
  readonly sizeBytes?: number;
}

/** A record to write. It goes to the lane's own partition of a "lanes" topic, or to partition 0 of a "one" topic. */
export interface OutputRecord {
  readonly role: TopicRole;
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  readonly headers?: Headers;
}

/** Why a record was refused: the only text about it that ever appears in a header, log or metric. */
export type Reason =
  | "tombstone"
  | "too-large"
  | "not-utf8"
  | "not-json"
  | "duplicate-field"
  | "unknown-field"
  | "missing-field"
  | "schema"
  | "wrong-type"
  | "record-id"
  | "feature-invalid"
  | "label-invalid"
  | "envelope-refused"
  | "key-unknown"
  | "sequence-not-rising"
  | "pack-incomplete"
  | "pack-refused"
  | "ciphertext-refused"
  | "contribution-refused"
  | "other-run"
  | "suppressed"
  | "plugin-failed"
  /** The partition of `raw` is not its subject's. */
  | "wrong-partition"
  /** A desensitized record does not say that it lies in its subject's lane, under the name that is counted. */
  | "subject-unproven"
  /**
   * Of an outcome of kind `drop` alone: a plugin took the record out on purpose, or it has no label and the file
   * predicts nothing; there is no letter.
   */
  | "dropped"
  /** Of an outcome of kind `drop` alone: its subject has had all the records that may train; no fault of the record. */
  | "subject-limit";

/** What became of a record that produced no output in the ordinary way. Records without an outcome are fine. */
export interface Outcome {
  readonly offset: number;
  readonly kind: "dead-letter" | "drop";
  readonly reason: Reason;
}

/**
 * What a lane remembers of one of many things, beside its state: the newest value of a key counts. Written in the
 * step's transaction, restored before the first record. A key that was written stays: nothing is deleted.
 */
export interface ChangelogEntry {
  /** 1 to 64 bytes. */
  readonly key: Uint8Array;
  /** At most 1,024 bytes. */
  readonly value: Uint8Array;
}

export interface StepResult<State> {
  readonly outputs: readonly OutputRecord[];
  /** Only about records before `consumedTo`. */
  readonly outcomes: readonly Outcome[];
  readonly state: State;
  /** For the lane's changelog, each key once; only of a step that makes records final. */
  readonly entries?: readonly ChangelogEntry[];
  /** All records with offset < consumedTo are final. `null`: nothing new is final. */
  readonly consumedTo: number | null;
  /** Call again at this time even if nothing arrives (ms since the epoch); `null`: only when records arrive or on wake. */
  readonly wakeAtMs: number | null;
}

/** One lane's processor. `process` is never called again before its last result was committed or thrown away. */
export interface LaneProcessor<State> {
  /**
   * Called before `restore` for each entry of the lane's changelog, oldest first; a later one replaces an earlier of the
   * same key. What compaction has not removed yet comes too. Where it is absent, entries are not read.
   * @param entry a view: copy what is kept
   */
  restoreEntry?(entry: ChangelogEntry): void;
  /**
   * State at the lane's start, after the previous owner was fenced and before the first record.
   * @param changelog state bytes of the last commit, or null
   * @param position offset of the first record that will be handed in
   */
  restore(changelog: Uint8Array | null, position: number): State | Promise<State>;
  /** Bytes of a state, for the lane's changelog; a change of them alone is committed too. */
  encode?(state: State): Uint8Array;
  /**
   * @param records every committed record from the lane's position on that fits in the lane's buffer, in order;
   * may be empty. The same records come again, with more behind them, until `consumedTo` passes them.
   */
  process(
    records: readonly StreamRecord[],
    state: State,
    nowMs: number,
  ): StepResult<State> | Promise<StepResult<State>>;
  /**
   * Records that were just fetched and will be handed to `process`, perhaps while a step is being written: a stage may begin
   * what depends on nothing but them. What it finds must not depend on whether this was called.
   */
  prepare?(records: readonly StreamRecord[]): void;
  /** Called once when the lane ends for good or starts again. */
  close?(): void | Promise<void>;
}

export interface LaneBounds {
  /** Most records handed to one `process` call. */
  readonly maxRecords: number;
  /** Bytes of keys, values and headers held for the lane; one record above it still passes alone. */
  readonly maxBytes: number;
}

/** A stage as the stream room sees it. `openLane` is called anew for each start of each lane. */
export interface Stage<State = unknown> {
  readonly name: StageName;
  readonly bounds: LaneBounds;
  openLane(lane: number): LaneProcessor<State> | Promise<LaneProcessor<State>>;
  /** Warm kernels, load models: awaited before the instance joins its consumer group. */
  warmUp?(): Promise<void>;
  close?(): Promise<void>;
}
