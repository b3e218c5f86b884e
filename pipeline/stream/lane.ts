/**
 * One lane: the exactly-once consume-process-produce loop over one input partition.
 *
 * Start of a lane, in this order and never another: make the lane's producer (which fences the previous owner and
 * settles its open transaction), only then read the committed offset, then the changelog, then the first record.
 * Each step: hand the stage what is there, and commit outputs, dead letters, changelog and offset in one transaction.
 * After any error, an unknown commit outcome included, everything of the lane is thrown away and it starts again.
 *
 * Safety does not rest on group membership: a mistaken second owner and the true one only fence each other.
 *
 * Failures covered: crash at any point, a zombie that wakes up, a broker that restarts, an unknown commit outcome.
 * Not failures: a rebalance (the lane is stopped between two transactions), a stage that waits.
 * Must not know the client library, nor look into records.
 */
import { isSealstreamError, SealstreamError } from "../errors.ts";
import { type ChangelogGuard, readChangelog } from "./changelog.ts";
import type { LaneProcessor, Stage } from "./contract.ts";
import type { DeadLetterSealer } from "./dead-letter.ts";
import { errorName } from "./error-name.ts";
import { LaneSession, laneNames } from "./lane-session.ts";
import type { Clock, KafkaClient, Logger, PartitionReader } from "./port.ts";

const RESTART_FIRST_MS = 100;
const RESTART_MOST_MS = 5_000;

/** What a lane reports about each committed transaction. */
export interface LaneProgress {
  readonly lane: number;
  /** Records that became final. */
  readonly records: number;
  readonly outputs: number;
  readonly deadLetters: number;
  readonly reasons: readonly string[];
  /** Position after this transaction. */
  readonly position: number;
  /** Records known to wait: last stable offset minus position. */
  readonly lag: number;
  /** Milliseconds spent in the stage's `process` for this transaction. */
  readonly processMs: number;
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
  readonly onProgress: (progress: LaneProgress) => void;
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

class RunningLane implements Lane {
  readonly lane: number;
  readonly #options: LaneOptions;
  readonly #names: ReturnType<typeof laneNames>;
  readonly #done: Promise<void>;
  #session: LaneSession | null = null;
  #stopping = false;
  #endWait: () => void = () => undefined;

  constructor(options: LaneOptions) {
    this.#options = options;
    this.lane = options.lane;
    this.#names = laneNames(options);
    this.#done = this.#run();
  }

  wake(): void {
    this.#session?.wake();
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#endWait();
    this.#session?.wake();
    await this.#done;
  }

  async #run(): Promise<void> {
    let failures = 0;
    while (!this.#stopping) {
      try {
        await this.#own(() => {
          failures = 0;
        });
      } catch (error) {
        if (this.#stopping) {
          return;
        }
        if (isSealstreamError(error) && !error.retriable) {
          this.#options.onFatal(error);
          return;
        }
        failures += 1;
        const waitMs = Math.min(RESTART_FIRST_MS * 2 ** (failures - 1), RESTART_MOST_MS);
        const code = errorName(error);
        this.#options.logger.warn(
          { lane: this.lane, failures, error: code },
          `lane starts again in ${waitMs} ms`,
        );
        this.#options.onFailure(code);
        await this.#wait(waitMs);
      }
    }
  }

  /** Owns the lane until it is stopped or something fails. */
  async #own(onCommit: () => void): Promise<void> {
    const { client, stage } = this.#options;
    const { group, input, changelog: changelogTopic } = this.#names;
    const producer = await client.createLaneProducer(`${group}.${input}.${this.lane}`);
    let reader: PartitionReader | null = null;
    let processor: LaneProcessor<unknown> | null = null;
    try {
      const position = await this.#startPosition();
      const remembered = await readChangelog({
        client,
        topic: changelogTopic,
        lane: this.lane,
        guard: this.#options.changelog,
      });
      if (remembered !== null && remembered.position !== position) {
        throw new SealstreamError(
          "state-mismatch",
          `Group ${group} stands at ${position} of ${input}/${this.lane}, and the stage's changelog at ${remembered.position}: the group's offsets were lost or changed. Set the group back to ${remembered.position}, or start a new generation of the pipeline.`,
        );
      }
      processor = await stage.openLane(this.lane);
      const state = await processor.restore(remembered?.state ?? null, position);
      reader = await client.createReader(input, this.lane, position);
      this.#session = new LaneSession(this.#options, {
        producer,
        reader,
        processor,
        state,
        position,
        remembered,
      });
      await this.#session.run(() => this.#stopping, onCommit);
    } finally {
      this.#session = null;
      await processor?.close?.();
      await reader?.close();
      await producer.close();
    }
  }

  async #startPosition(): Promise<number> {
    const { client } = this.#options;
    const committed = await client.committedOffset(this.#names.group, this.#names.input, this.lane);
    const { earliest, latest } = await client.offsets(this.#names.input, this.lane);
    if (committed === null) {
      return earliest;
    }
    if (committed < earliest || committed > latest) {
      throw new SealstreamError(
        "state-mismatch",
        `Group ${this.#names.group} stands at ${committed} of ${this.#names.input}/${this.lane}, whose log is ${earliest}..${latest}: records expired or the topic was made anew. Start a new generation of the pipeline.`,
      );
    }
    return committed;
  }

  /** Waits, unless the lane is stopped first. */
  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#endWait = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** Starts a lane. */
export function startLane(options: LaneOptions): Lane {
  return new RunningLane(options);
}
