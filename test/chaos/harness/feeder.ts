/**
 * Feeds `raw` at a bounded rate, one partition a request, and keeps what was acknowledged, in order.
 *
 * A request whose outcome is unknown is repeated by the same idempotent producer, so that the broker tells a repetition
 * from something new. Only when that does not come through is a producer made anew; what may be twice in `raw` then is
 * counted, and the check of `raw` against the acknowledgements allows for it.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { KafkaClient, PlainProducer } from "../../../pipeline/stream/port.ts";
import type { InputRecord } from "./input.ts";
import type { Random } from "./random.ts";

const TICK_MS = 100;
const RETRY_MS = 200;
const TRIES_PER_PRODUCER = 20;

export interface FeederOptions {
  readonly client: KafkaClient;
  readonly topic: string;
  readonly partitions: number;
  readonly next: () => InputRecord;
  readonly random: Random;
  readonly recordsPerSecond: number;
}

export interface Feeder {
  /** Acknowledged records by partition: form id, or null for garbage. */
  readonly acknowledged: readonly (string | null)[][];
  readonly repeated: () => number;
  /** Records that may be in `raw` more than once, because a new producer repeated them. */
  readonly doubtful: () => number;
  /** Ends after the request under way was acknowledged. */
  stop(): Promise<void>;
}

export function startFeeder(options: FeederOptions): Feeder {
  const { client, topic, partitions, next, random, recordsPerSecond } = options;
  const acknowledged: (string | null)[][] = Array.from({ length: partitions }, () => []);
  const size = Math.max(1, Math.round((recordsPerSecond * TICK_MS) / 1_000));
  let repeated = 0;
  let doubtful = 0;
  let stopping = false;

  async function sendUntilAcknowledged(
    before: PlainProducer,
    partition: number,
    batch: readonly InputRecord[],
  ): Promise<PlainProducer> {
    let producer = before;
    for (let attempt = 1; ; attempt += 1) {
      try {
        await producer.send(
          topic,
          batch.map(({ key, value }) => ({ key, value, partition })),
        );
        return producer;
      } catch {
        // Because a broker may be down: repeated until it is acknowledged, which the run's own deadline bounds.
        repeated += 1;
        if (attempt % TRIES_PER_PRODUCER === 0) {
          doubtful += batch.length;
          await producer.close();
          producer = await client.createPlainProducer();
        }
        await sleep(RETRY_MS);
      }
    }
  }

  async function feed(): Promise<void> {
    let producer = await client.createPlainProducer();
    while (!stopping) {
      const batch = Array.from({ length: size }, next);
      const partition = random.between(0, partitions - 1);
      producer = await sendUntilAcknowledged(producer, partition, batch);
      acknowledged[partition]?.push(...batch.map(({ id }) => id));
      await sleep(TICK_MS);
    }
    await producer.close();
  }

  const done = feed();
  // Because it is looked at by `stop`.
  done.catch(() => undefined);
  return {
    acknowledged,
    repeated: () => repeated,
    doubtful: () => doubtful,
    async stop() {
      stopping = true;
      await done;
    },
  };
}
