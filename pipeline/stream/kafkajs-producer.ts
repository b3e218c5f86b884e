/**
 * Producing: transactional for lanes, idempotent for people who feed `raw`. Both on our own requests over kafkajs's
 * connections; what makes them safe is in kafkajs-sender.ts and kafkajs-transactions.ts.
 *
 * kafkajs's own producer is not used: it loses records of requests to several partitions when a leader moves, groups
 * messages in O(n^2), and has one request under way. A lane's producer that saw an error is thrown away.
 */
import kafkajs, { type Kafka, type Message } from "kafkajs";
import type { KafkajsAdmin } from "./kafkajs-admin.ts";
import { KafkajsLink } from "./kafkajs-link.ts";
import { KafkajsSender, MAX_BATCH_BYTES } from "./kafkajs-sender.ts";
import { initProducer, KafkajsLaneProducer } from "./kafkajs-transactions.ts";
import type {
  Clock,
  Compression,
  LaneProducer,
  Logger,
  PlainProducer,
  ProducerRecord,
} from "./port.ts";
import { nextChunk } from "./wire/record-batch-encoder.ts";

const { Partitioners } = kafkajs;

export interface KafkajsOptions {
  readonly brokers: readonly string[];
  readonly clientId: string;
  readonly compression: Compression;
  readonly sessionTimeoutMs: number;
  readonly transactionTimeoutMs: number;
  readonly logger: Logger;
  /** For the records' timestamps; unless given, the process's monotonic clock counted from when it started. */
  readonly clock?: Clock | undefined;
}

/** How long refused requests are repeated: longer than a leader election at Kafka's default settings. */
const RETRY_MS = 30_000;

/** Cuts records into batches below {@link MAX_BATCH_BYTES}; one record above it goes alone and the broker judges. */
export function chunkByBytes<R extends ProducerRecord>(records: readonly R[]): R[][] {
  const chunks: R[][] = [];
  for (let from = 0; from < records.length; ) {
    const { to } = nextChunk(records, from, MAX_BATCH_BYTES);
    chunks.push(records.slice(from, to));
    from = to;
  }
  return chunks;
}

/** Requests on a closed kafkajs object may settle late; their failure has no reader. */
export async function quietly(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch {
    // Because the object is being thrown away and whatever it left open is fenced by its successor.
  }
}

function monotonicNow(): number {
  return performance.timeOrigin + performance.now();
}

function producerOptions({ compression, transactionTimeoutMs, clock }: KafkajsOptions) {
  return { compression, transactionTimeoutMs, retryMs: RETRY_MS, clock: clock ?? monotonicNow };
}

/** Makes a lane's producer and fences whoever had its transactional id. */
export async function createLaneProducer(
  kafka: Kafka,
  options: KafkajsOptions,
  transactionalId: string,
): Promise<LaneProducer> {
  const link = new KafkajsLink(kafka);
  const common = producerOptions(options);
  try {
    const { producerId, producerEpoch } = await initProducer(link, transactionalId, common);
    return new KafkajsLaneProducer({ ...common, link, transactionalId, producerId, producerEpoch });
  } catch (error) {
    link.close();
    throw error;
  }
}

/** Makes a producer outside transactions. After a failed `send` the next one begins with a new producer id. */
export async function createPlainProducer(
  kafka: Kafka,
  admin: KafkajsAdmin,
  options: KafkajsOptions,
): Promise<PlainProducer> {
  const link = new KafkajsLink(kafka);
  const common = producerOptions(options);
  const createSender = async (): Promise<KafkajsSender> => {
    const identity = await initProducer(link, null, common);
    return new KafkajsSender({ ...common, ...identity, link, transactionalId: null });
  };
  let sender: KafkajsSender;
  try {
    sender = await createSender();
  } catch (error) {
    link.close();
    throw error;
  }
  let reviving: Promise<KafkajsSender> | null = null;
  /** One for all calls, also after a death: two would break the order between them. */
  const living = async (): Promise<KafkajsSender> => {
    if (sender.death === null) {
      return sender;
    }
    reviving ??= createSender()
      .then((born) => {
        // Before anybody can see that the revival is over.
        sender = born;
        return born;
      })
      .finally(() => {
        reviving = null;
      });
    return reviving;
  };
  const choosePartition = Partitioners.DefaultPartitioner();
  return {
    async send(topic, records) {
      const { topics } = await admin.ask((on) => on.fetchTopicMetadata({ topics: [topic] }));
      const partitionMetadata = topics.at(0)?.partitions ?? [];
      const groups = Map.groupBy(records, ({ key, partition }) => {
        // Because the partitioner reads the key and the partition only; a key that is no Buffer it would hash as text.
        const message = {
          key: key === null ? null : Buffer.from(key.buffer, key.byteOffset, key.byteLength),
          ...(partition === null ? {} : { partition }),
        } as Message;
        return choosePartition({ topic, partitionMetadata, message });
      });
      const current = await living();
      const sends = [...groups].map(([partition, group]) => current.send(topic, partition, group));
      await Promise.all(sends);
    },
    close() {
      link.close();
      return Promise.resolve();
    },
  };
}
