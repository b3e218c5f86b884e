/** What a lane is made of and what it reports. */
import {
  changelogTopicName,
  deadTopicName,
  STAGE_INPUT,
  stageGroup,
  topicName,
} from "../../schemas/topics.ts";
import type { SealstreamError } from "../errors.ts";
import type { ChangelogGuard } from "./changelog.ts";
import type { Outcome, Stage } from "./contract.ts";
import type { DeadLetterSealer } from "./dead-letter.ts";
import type { Clock, KafkaClient, Logger } from "./port.ts";

/** What a lane reports about each committed transaction. */
export interface LaneProgress {
  readonly lane: number;
  /** Records that became final. */
  readonly records: number;
  readonly outputs: number;
  readonly deadLetters: number;
  readonly reasons: readonly Outcome["reason"][];
  /** Why records were left out on purpose, without a letter: one a record. */
  readonly drops: readonly Outcome["reason"][];
  /** Position after this transaction. */
  readonly position: number;
  /** Records known to wait: last stable offset minus position. */
  readonly lag: number;
  /** Milliseconds spent in the stage's `process` for this transaction. */
  readonly processMs: number;
  /** Milliseconds from the end of `process` to the committed transaction. */
  readonly commitMs: number;
  /** Age of the oldest record that became final, by its own timestamp, in ms; null when none became final. */
  readonly latencyMs: number | null;
}

export interface LaneOptions {
  readonly client: KafkaClient;
  readonly pipeline: string;
  readonly stage: Stage;
  readonly lane: number;
  readonly changelog: ChangelogGuard;
  readonly sealDeadLetter: DeadLetterSealer;
  readonly clock: Clock;
  readonly logger: Logger;
  /** See `kafka.transactionIntervalMs`. */
  readonly transactionIntervalMs: number;
  /** See `kafka.whenRecordsExpired`. */
  readonly skipsExpired: boolean;
  /** Called after each transaction. */
  readonly onProgress: (progress: LaneProgress) => void;
  /** Asked after each transaction: why the lane must not go on, or null. */
  readonly judge: (progress: LaneProgress) => SealstreamError | null;
  /** Called when the lane starts again after a failure. @param code its error code, or the library's name for it */
  readonly onFailure: (code: string) => void;
  /** Called once when the lane ends because going on would be wrong; retriable failures restart it instead. */
  readonly onFatal: (error: SealstreamError) => void;
}

/** A running lane. */
export interface Lane {
  readonly lane: number;
  /** Calls `process` soon even if nothing arrived. */
  wake(): void;
  /** Finishes or abandons the current step, then ends. Never throws. */
  stop(): Promise<void>;
}

/** Names of a lane's topics and group. */
export function laneNames({ pipeline, stage }: Pick<LaneOptions, "pipeline" | "stage">) {
  const role = STAGE_INPUT[stage.name];
  return {
    input: topicName(pipeline, role),
    dead: deadTopicName(pipeline, role),
    changelog: changelogTopicName(pipeline, stage.name),
    group: stageGroup(pipeline, stage.name),
  };
}
