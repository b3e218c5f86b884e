/**
 * Runs one instance of a stage: joins its consumer group and keeps one lane per partition it is given.
 *
 * At a rebalance only what changed moves: lanes of lost partitions end between two transactions, those that stay go on,
 * and gained ones begin at once; only a lane that is given back while it is still ending waits for its own end.
 * That is safe because a lane is owned through its producer, not through the group: should somebody else have owned it
 * in between, our next transaction is refused and the lane starts again. An instance without partitions stands by.
 */
import { STAGE_INPUT, stageGroup, topicName } from "../../schemas/topics.ts";
import { SealstreamError } from "../errors.ts";
import type { ChangelogGuard } from "./changelog.ts";
import type { Stage } from "./contract.ts";
import type { DeadLetterSealer } from "./dead-letter.ts";
import { joinAndStay } from "./group-member.ts";
import { startLane } from "./lane.ts";
import type { Lane, LaneProgress } from "./lane-options.ts";
import type { Clock, KafkaClient, Logger } from "./port.ts";

/** What is written to an added partition within this time is refused late, but never read by the wrong lane. */
const GROWTH_LOOK_MS = 5_000;

export interface StageRunnerOptions {
  readonly client: KafkaClient;
  readonly pipeline: string;
  /** Lanes of the pipeline: more partitions than that are refused. */
  readonly partitions: number;
  readonly stage: Stage;
  readonly sealDeadLetter: DeadLetterSealer;
  readonly changelog: ChangelogGuard;
  readonly clock: Clock;
  readonly logger: Logger;
  /** See `kafka.transactionIntervalMs`. */
  readonly transactionIntervalMs: number;
  /** See `kafka.whenRecordsExpired`; false unless said. */
  readonly skipsExpired?: boolean;
  /** Makes a lane's judge: asked after each transaction why it must not go on. Unless said, none. */
  readonly createJudge?: () => (progress: LaneProgress) => SealstreamError | null;
  readonly onProgress: (progress: LaneProgress) => void;
  /** A lane failed and starts again. @param code an error code, or the library's name for it */
  readonly onFailure?: (code: string) => void;
  readonly onAssignment?: (lanes: readonly number[]) => void;
}

export interface StageRunner {
  /** Calls `process` of every lane soon: something that is no record has changed (a key, a model). */
  wake(): void;
  /** Settles when the stage ended: resolves after `stop`, rejects with the reason it must not go on. */
  readonly done: Promise<void>;
  /** Finishes or abandons open transactions and leaves the group. */
  stop(): Promise<void>;
}

/** The lanes of an instance, one copy of each. Waits for none: one that does not end is nobody else's business. */
class LaneSet {
  readonly #open: (lane: number) => Lane;
  readonly #running = new Map<number, Lane>();
  readonly #ending = new Map<number, Promise<void>>();
  #wanted: readonly number[] = [];

  constructor(open: (lane: number) => Lane) {
    this.#open = open;
  }

  /** Stops what is lost, starts what is gained, and leaves alone what stays. */
  want(wanted: readonly number[]): void {
    this.#wanted = wanted;
    for (const lane of [...this.#running.values()]) {
      if (!wanted.includes(lane.lane)) {
        this.#end(lane);
      }
    }
    this.#openWanted();
  }

  wake(): void {
    for (const lane of this.#running.values()) {
      lane.wake();
    }
  }

  /** Resolves when every lane has ended. */
  async stop(): Promise<void> {
    this.want([]);
    await Promise.all(this.#ending.values());
  }

  #end(lane: Lane): void {
    this.#running.delete(lane.lane);
    const ended = lane.stop().then(() => {
      this.#ending.delete(lane.lane);
      // It may have been given back meanwhile.
      this.#openWanted();
    });
    this.#ending.set(lane.lane, ended);
  }

  #openWanted(): void {
    for (const lane of this.#wanted) {
      if (!(this.#running.has(lane) || this.#ending.has(lane))) {
        this.#running.set(lane, this.#open(lane));
      }
    }
  }
}

/** Starts a stage instance; resolves once it has asked to join its group. */
export async function runStage(options: StageRunnerOptions): Promise<StageRunner> {
  const { client, pipeline, stage, logger } = options;
  const outcome = Promise.withResolvers<void>();
  // Because nobody may be waiting on `done` yet when it rejects; whoever waits later still sees it.
  outcome.promise.catch(() => undefined);
  let stopping = false;

  const lanes = new LaneSet((lane) =>
    startLane({
      client,
      pipeline,
      stage,
      lane,
      changelog: options.changelog,
      sealDeadLetter: options.sealDeadLetter,
      clock: options.clock,
      logger,
      transactionIntervalMs: options.transactionIntervalMs,
      skipsExpired: options.skipsExpired ?? false,
      judge: options.createJudge?.() ?? (() => null),
      onProgress: options.onProgress,
      onFailure: (code) => options.onFailure?.(code),
      onFatal: (error) => outcome.reject(error),
    }),
  );

  function assign(assigned: readonly number[]): void {
    if (stopping) {
      return;
    }
    if (assigned.some((lane) => lane >= options.partitions)) {
      lanes.want([]);
      outcome.reject(grown(topicName(pipeline, STAGE_INPUT[stage.name]), options.partitions));
      return;
    }
    lanes.want(assigned);
    options.onAssignment?.(assigned);
  }

  const group = stageGroup(pipeline, stage.name);
  const topic = topicName(pipeline, STAGE_INPUT[stage.name]);
  await stage.warmUp?.();
  const membership = await joinAndStay({
    client,
    group,
    topic,
    logger,
    onAssignment: (partitions) => {
      logger.info({ lanes: partitions }, "lanes assigned");
      assign([...partitions].sort((a, b) => a - b));
    },
    onGiveUp: (error) => outcome.reject(error),
  });
  const growth = watchGrowth({
    client,
    topic,
    partitions: options.partitions,
    onGrown: (error) => outcome.reject(error),
  });
  return {
    wake: () => lanes.wake(),
    done: outcome.promise,
    async stop() {
      stopping = true;
      clearInterval(growth);
      // The group is left first: while it gives our lanes to others, we go on until we are done or fenced.
      const left = membership.close();
      await lanes.stop();
      await left;
      await stage.close?.();
      outcome.resolve();
    },
  };
}

/** Looks every few seconds whether somebody added partitions: the group itself would notice after minutes. */
function watchGrowth(watched: {
  readonly client: KafkaClient;
  readonly topic: string;
  readonly partitions: number;
  readonly onGrown: (error: SealstreamError) => void;
}): NodeJS.Timeout {
  const { client, topic, partitions } = watched;
  let isAsking = false;
  async function ask(): Promise<void> {
    isAsking = true;
    try {
      const [found] = await client.describeTopics([topic]);
      if (found !== undefined && found.partitions > partitions) {
        watched.onGrown(grown(topic, partitions));
      }
    } catch {
      // Because a broker that does not answer is the lanes' business; the next look sees what this one missed.
    } finally {
      isAsking = false;
    }
  }
  return setInterval(() => {
    if (!isAsking) {
      void ask();
    }
  }, GROWTH_LOOK_MS);
}

function grown(topic: string, partitions: number): SealstreamError {
  return new SealstreamError(
    "topic-missing",
    `Topic ${topic} has more partitions than the ${partitions} of the pipeline file: somebody added some while it ran, and what was written there is in no lane. Give the pipeline a new name for its new generation, and produce those records again.`,
  );
}
