/**
 * Runs one instance of a stage: joins its consumer group and keeps one lane per partition it is given.
 *
 * At a rebalance only what changed moves: lanes of lost partitions end between two transactions, those that stay go on.
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

/** Starts a stage instance; resolves once it has asked to join its group. */
export async function runStage(options: StageRunnerOptions): Promise<StageRunner> {
  const { client, pipeline, stage, logger } = options;
  const lanes = new Map<number, Lane>();
  const outcome = Promise.withResolvers<void>();
  // Because nobody may be waiting on `done` yet when it rejects; whoever waits later still sees it.
  outcome.promise.catch(() => undefined);
  let stopping = false;
  let work: Promise<void> = Promise.resolve();

  function open(lane: number): Lane {
    return startLane({
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
    });
  }

  async function reconcile(wanted: readonly number[]): Promise<void> {
    const lost = [...lanes.values()].filter(({ lane }) => !wanted.includes(lane));
    for (const { lane } of lost) {
      lanes.delete(lane);
    }
    // Gained lanes do not wait for lost ones, which may have a step of seconds to finish.
    const ending = Promise.all(lost.map((lane) => lane.stop()));
    if (!stopping) {
      gain(wanted);
    }
    await ending;
  }

  function gain(wanted: readonly number[]): void {
    const surplus = wanted.find((lane) => lane >= options.partitions);
    if (surplus !== undefined) {
      outcome.reject(grown(topicName(pipeline, STAGE_INPUT[stage.name]), options.partitions));
      return;
    }
    for (const lane of wanted) {
      if (!lanes.has(lane)) {
        lanes.set(lane, open(lane));
      }
    }
    options.onAssignment?.(wanted);
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
      work = work.then(() => reconcile([...partitions].sort((a, b) => a - b)));
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
    wake: () => {
      for (const lane of lanes.values()) {
        lane.wake();
      }
    },
    done: outcome.promise,
    async stop() {
      stopping = true;
      clearInterval(growth);
      // The group is left first: while it gives our lanes to others, we go on until we are done or fenced.
      const left = membership.close();
      await work;
      await Promise.all([...lanes.values()].map((lane) => lane.stop()));
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
