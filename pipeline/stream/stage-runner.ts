/**
 * Runs one instance of a stage: joins its consumer group and keeps one lane per partition it is given.
 *
 * Rebalances are handled one after another: lanes of lost partitions stop between two transactions, lanes of kept
 * ones start again, so that each generation fences anew. An instance without partitions is idle and harmless.
 */
import { STAGE_INPUT, stageGroup, topicName } from "../../schemas/topics.ts";
import { SealstreamError } from "../errors.ts";
import type { ChangelogGuard } from "./changelog.ts";
import type { Stage } from "./contract.ts";
import type { DeadLetterSealer } from "./dead-letter.ts";
import { errorName } from "./error-name.ts";
import { type Lane, type LaneProgress, startLane } from "./lane.ts";
import type { Clock, KafkaClient, Logger } from "./port.ts";

export interface StageRunnerOptions {
  readonly client: KafkaClient;
  readonly pipeline: string;
  readonly stage: Stage;
  readonly sealDeadLetter: DeadLetterSealer;
  readonly changelog: ChangelogGuard;
  readonly clock: Clock;
  readonly logger: Logger;
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

  async function reconcile(wanted: readonly number[]): Promise<void> {
    await Promise.all([...lanes.values()].map((lane) => lane.stop()));
    lanes.clear();
    if (stopping) {
      return;
    }
    for (const lane of wanted) {
      lanes.set(
        lane,
        startLane({
          client,
          pipeline,
          stage,
          lane,
          changelog: options.changelog,
          sealDeadLetter: options.sealDeadLetter,
          clock: options.clock,
          logger,
          onProgress: options.onProgress,
          onFailure: (code) => options.onFailure?.(code),
          onFatal: (error) => outcome.reject(error),
        }),
      );
    }
    options.onAssignment?.(wanted);
  }

  await stage.warmUp?.();
  const membership = await client.joinGroup({
    group: stageGroup(pipeline, stage.name),
    topic: topicName(pipeline, STAGE_INPUT[stage.name]),
    onAssignment: (partitions) => {
      logger.info({ lanes: partitions }, "lanes assigned");
      work = work.then(() => reconcile([...partitions].sort((a, b) => a - b)));
    },
    onCrash: (error) => {
      outcome.reject(
        new SealstreamError(
          "kafka-failed",
          `The consumer group failed for good (${errorName(error)}).`,
          {
            cause: error,
          },
        ),
      );
    },
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
      await work;
      await Promise.all([...lanes.values()].map((lane) => lane.stop()));
      await membership.close();
      await stage.close?.();
      outcome.resolve();
    },
  };
}
