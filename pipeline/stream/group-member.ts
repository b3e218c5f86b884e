/**
 * A stage instance's membership of its consumer group, kept through whatever the group's coordinator does.
 *
 * Why: a client library gives a group up for errors that pass (no coordinator yet on a fresh cluster, or while it moves
 * between brokers). The lanes end, since others may have been given them, and the group is joined again. Only when
 * joining fails over and over without a single assignment in between does the instance end. Must not know lanes.
 */
import { isSealstreamError, SealstreamError } from "../errors.ts";
import { errorName } from "./error-name.ts";
import type { GroupMembership, KafkaClient, Logger } from "./port.ts";

const REJOIN_FIRST_MS = 200;
const REJOIN_MOST_MS = 5_000;
/** Together with the waits between, about a minute: longer than a broker's restart. */
const REJOIN_TRIES = 15;

export interface GroupMemberOptions {
  readonly client: KafkaClient;
  readonly group: string;
  readonly topic: string;
  readonly logger: Logger;
  /** Called after each join and rebalance. */
  readonly onAssignment: (partitions: readonly number[]) => void;
  /** Called at most once: the group could not be joined again. */
  readonly onGiveUp: (error: SealstreamError) => void;
}

/** Joins the group; resolves once that was asked for. @throws what the client throws when even asking fails */
export async function joinAndStay(options: GroupMemberOptions): Promise<GroupMembership> {
  const { client, group, topic, logger } = options;
  let current: GroupMembership | null = null;
  let failures = 0;
  let isClosed = false;
  /** Number of the latest attempt to join: whatever an earlier one still says is late. */
  let latest = 0;
  /** The first attempt has failed, even if it still hangs. */
  const firstFailed = Promise.withResolvers<void>();
  let timer: NodeJS.Timeout | undefined;

  function again(attempt: number, error: unknown): void {
    if (isClosed || attempt !== latest) {
      return;
    }
    latest += 1;
    firstFailed.resolve();
    if (isSealstreamError(error) && !error.retriable) {
      isClosed = true;
      options.onGiveUp(error);
      return;
    }
    // Others have been given our lanes by now; going on would only have us fence each other.
    options.onAssignment([]);
    failures += 1;
    if (failures > REJOIN_TRIES) {
      isClosed = true;
      options.onGiveUp(
        new SealstreamError(
          "kafka-failed",
          `Consumer group ${group} could not be joined (${errorName(error)}): check the brokers and the right to join it, then start again.`,
          { cause: error },
        ),
      );
      return;
    }
    const waitMs = Math.min(REJOIN_FIRST_MS * 2 ** (failures - 1), REJOIN_MOST_MS);
    logger.warn(
      { group, error: errorName(error) },
      `consumer group is joined again in ${waitMs} ms`,
    );
    clearTimeout(timer);
    timer = setTimeout(() => void rejoin(latest), waitMs);
  }

  async function join(attempt: number): Promise<void> {
    const isCurrent = () => !isClosed && attempt === latest;
    const membership = await client.joinGroup({
      group,
      topic,
      onAssignment: (partitions) => {
        if (isCurrent()) {
          failures = 0;
          options.onAssignment(partitions);
        }
      },
      onCrash: (error) => again(attempt, error),
    });
    if (isCurrent()) {
      current = membership;
    } else {
      await membership.close();
    }
  }

  async function rejoin(attempt: number): Promise<void> {
    try {
      await current?.close();
      current = null;
      if (!isClosed) {
        await join(attempt);
      }
    } catch (error) {
      again(attempt, error);
    }
  }

  try {
    await Promise.race([join(latest), firstFailed.promise]);
  } catch (error) {
    isClosed = true;
    throw error;
  }
  return {
    async close() {
      isClosed = true;
      clearTimeout(timer);
      await current?.close();
    },
  };
}
