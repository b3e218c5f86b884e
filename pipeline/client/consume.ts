/**
 * Reads predictions as a service does: batch by batch, going on where its own consumer group stopped.
 *
 * Each batch is handed out, then its position is kept. So a service that is killed is handed the batch in the making once
 * more and no other: what it does with a batch must bear being done twice, or it stores `next` itself, in the same
 * transaction as its results, and reads with `from` (`predictions.ts`). Every service has a group of its own; one process
 * of a group reads all lanes, since opening predictions is a matter of milliseconds a pack.
 * Must not join the group: who reads is decided by who is started.
 */
import { topicName } from "../../schemas/topics.ts";
import { SealstreamError } from "../errors.ts";
import type { GroupPlace, ReaderPositions } from "../stream/port.ts";
import {
  type PredictionBatch,
  type PredictionPosition,
  type PredictionReaderOptions,
  readPredictionBatches,
} from "./predictions.ts";

export interface ConsumeOptions extends Omit<PredictionReaderOptions, "from" | "lastSequence"> {
  /** Name of the service; its group is `<pipeline>.consumer.<group>`. Letters, digits, dots, dashes and underscores. */
  readonly group: string;
}

const GROUP = /^[\w.-]{1,100}$/;
/** The sequence of the last batch, beside the offset. */
const NOTE = /^sequence (0|[1-9]\d{0,15})$/;

/**
 * Predictions of all lanes, a pack at a time, from where the group stopped. A batch counts as done when the next one is
 * asked for, or when the loop that reads them ends by itself.
 * @throws SealstreamError `usage` for a name that is none, or a Kafka client that cannot keep positions; `state-mismatch`
 * when the group was set by something else
 */
export async function* consumePredictions(
  options: ConsumeOptions,
): AsyncGenerator<PredictionBatch> {
  const { client, pipeline, group } = options;
  const { positions } = client;
  if (!GROUP.test(group)) {
    throw new SealstreamError(
      "usage",
      "The name of a group has 1 to 100 letters, digits, dots, dashes and underscores.",
    );
  }
  if (positions === undefined) {
    throw new SealstreamError(
      "usage",
      "This Kafka client keeps no positions of readers: use the one that comes with Sealstream, or store the positions yourself and read with from.",
    );
  }
  const place = (partition: number): GroupPlace => ({
    ...{ group: `${pipeline}.consumer.${group}`, topic: topicName(pipeline, "predictions") },
    partition,
  });
  const from = (lane: number) => findPosition(positions, place(lane));
  for await (const batch of readPredictionBatches({ ...options, from })) {
    yield batch;
    const { offset, sequence } = batch.next;
    await positions.keep(place(batch.lane), { offset, note: `sequence ${sequence}` });
  }
}

async function findPosition(
  positions: ReaderPositions,
  place: GroupPlace,
): Promise<PredictionPosition | null> {
  const found = await positions.find(place);
  if (found === null) return null;
  const [, sequence] = NOTE.exec(found.note) ?? [];
  if (sequence !== undefined) return { offset: found.offset, sequence: Number(sequence) };
  throw new SealstreamError(
    "state-mismatch",
    `Group ${place.group} was not left by a reader of predictions: a replay could not be told. Use another name, or delete the group.`,
  );
}

/** {@link consumePredictions} with a function for each batch; resolves when the reader is stopped or at the end. */
export async function onPredictions(
  options: ConsumeOptions,
  handle: (batch: PredictionBatch) => Promise<void> | void,
): Promise<void> {
  for await (const batch of consumePredictions(options)) await handle(batch);
}
