/**
 * What goes into a lane's state machine and what comes out of it; see `lane-machine.ts`. Types only.
 */
import type { SealstreamError } from "../errors.ts";
import type { ChangelogValue } from "./changelog.ts";
import type { ChangelogEntry, LaneBounds, StreamRecord } from "./contract.ts";
import type { ProducerRecord } from "./port.ts";

export interface LaneMachineOptions {
  /** Names the stage in sentences. */
  readonly stage: string;
  /** Names the input partition in sentences. */
  readonly input: string;
  readonly group: string;
  readonly bounds: LaneBounds;
  /** A step follows the last one's beginning no sooner than this, unless the window is full or the stage asked. */
  readonly transactionIntervalMs: number;
  /** Whether to go on at the first record that is left when retention removed some. */
  readonly skipsExpired: boolean;
}

/** Records for one partition. */
export interface Write {
  readonly topic: string;
  readonly partition: number;
  readonly records: readonly ProducerRecord[];
}

/** What a call of the stage came to. */
export interface Step {
  /** All records with offset < consumedTo are final; null: nothing new is. */
  readonly consumedTo: number | null;
  /** Offsets of the records it refused: all before `consumedTo`. */
  readonly refused: readonly number[];
  /** Outputs and dead letters, one entry a target partition. */
  readonly writes: readonly Write[];
  /** The stage's state as it goes to the changelog; null: it has none. */
  readonly state: Uint8Array | null;
  /** Beside the state; none of a step that makes nothing final. */
  readonly entries: readonly ChangelogEntry[];
  readonly wakeAtMs: number | null;
}

/** An answer carries the `id` of the action it answers. */
export type LaneEvent =
  | { readonly type: "start" }
  | { readonly type: "fenced"; readonly id: number }
  | {
      readonly type: "located";
      readonly id: number;
      readonly committed: number | null;
      readonly earliest: number;
      readonly latest: number;
    }
  | { readonly type: "recalled"; readonly id: number; readonly remembered: ChangelogValue | null }
  | { readonly type: "opened"; readonly id: number }
  | { readonly type: "fetched"; readonly id: number; readonly records: readonly StreamRecord[] }
  | { readonly type: "processed"; readonly id: number; readonly step: Step }
  /** `begin`, `send`, `remember`, `sendOffset` and `commit` answer alike. */
  | { readonly type: "done"; readonly id: number }
  | { readonly type: "discarded"; readonly id: number }
  | { readonly type: "failed"; readonly id: number; readonly failure: Failure }
  /** The time asked for by `wait` has come; harmless at any other time. */
  | { readonly type: "time" }
  /** Something that is no record has changed: call the stage soon. */
  | { readonly type: "wake" }
  /** Going on would be wrong, for a reason outside the machine: ends after the transaction under way. */
  | { readonly type: "halt"; readonly error: SealstreamError }
  | { readonly type: "stop" };

export interface Failure {
  readonly error: SealstreamError;
  /** The input's records are gone from the log (seen by a fetch). */
  readonly isExpired: boolean;
}

export type LaneAction =
  | { readonly type: "fence"; readonly id: number }
  | { readonly type: "locate"; readonly id: number }
  | { readonly type: "recall"; readonly id: number }
  | {
      readonly type: "open";
      readonly id: number;
      readonly position: number;
      readonly state: Uint8Array | null;
    }
  | { readonly type: "fetch"; readonly id: number }
  | { readonly type: "process"; readonly id: number; readonly records: readonly StreamRecord[] }
  | { readonly type: "begin"; readonly id: number }
  | { readonly type: "send"; readonly id: number; readonly write: Write }
  | {
      readonly type: "remember";
      readonly id: number;
      readonly value: ChangelogValue;
      readonly entries: readonly ChangelogEntry[];
    }
  | { readonly type: "sendOffset"; readonly id: number; readonly offset: number }
  | { readonly type: "commit"; readonly id: number }
  /** A transaction is committed: nothing to answer. */
  | { readonly type: "report"; readonly report: CommitReport }
  /** Deliver `time` at this moment; replaces the wait before. */
  | { readonly type: "wait"; readonly untilMs: number }
  | { readonly type: "discard"; readonly id: number }
  /** The lane starts again after `waitMs`. */
  | { readonly type: "restart"; readonly error: SealstreamError; readonly waitMs: number }
  /** The lane has ended; `error` says why when going on would be wrong. */
  | { readonly type: "ended"; readonly error: SealstreamError | null };

export interface CommitReport {
  /** Records that became final. */
  readonly records: number;
  readonly refused: number;
  /** Offset of the next record that is held, or null. */
  readonly nextHeld: number | null;
  /** Milliseconds since the epoch of the oldest record that became final, as its producer set it; null: none did. */
  readonly oldestMs: number | null;
}

/** An answer to one of the machine's actions. */
export type LaneAnswer = Extract<LaneEvent, { readonly id: number }>;
