/**
 * Where a partition's log begins and ends, asked for with our own ListOffsets request.
 *
 * kafkajs's admin asks read_committed, so that its "end" is the last stable offset: keys behind somebody's open
 * transaction would look as if they were not there. Source: Kafka protocol guide, ListOffsets version 2.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Kafka } from "kafkajs";
import { SealstreamError } from "../errors.ts";
import { asSealstreamError, KafkajsLink, mayPass } from "./kafkajs-link.ts";
import { ByteReader } from "./wire/byte-reader.ts";
import { isRetriableByLeader, NONE, protocolError } from "./wire/protocol-errors.ts";
import { RequestWriter, type WireRequest } from "./wire/request-writer.ts";
import type { Throttled } from "./wire/requests.ts";

const LIST_OFFSETS = { key: 2, version: 2, name: "ListOffsets" };
/** What stands for the two ends of a log in place of a timestamp. */
const LATEST = -1n;
const EARLIEST = -2n;
/** Isolation level of this request (KIP-98): open transactions count. */
const READ_UNCOMMITTED = 0;
/** We are no replica. */
const CONSUMER = -1;
const RETRY_FIRST_MS = 50;
const RETRY_MOST_MS = 1_000;
/** About ten seconds: longer than a leader election. */
const MAX_RETRIES = 14;

interface Place {
  readonly topic: string;
  readonly partition: number;
}

function request(clientId: string, { topic, partition }: Place, timestamp: bigint): WireRequest {
  return new RequestWriter(LIST_OFFSETS, clientId)
    .int32(CONSUMER)
    .int8(READ_UNCOMMITTED)
    .int32(1)
    .string(topic)
    .int32(1)
    .int32(partition)
    .int64(timestamp)
    .finish();
}

/** The one partition's entry of an answer. */
function readAnswer(payload: Buffer): Throttled<{ errorCode: number; offset: number }> {
  const reader = new ByteReader(payload, "a ListOffsets answer");
  const throttleMs = reader.int32();
  if (reader.int32() !== 1) {
    throw new SealstreamError("kafka-failed", "The broker answered for another topic.");
  }
  reader.nullableString();
  if (reader.int32() !== 1) {
    throw new SealstreamError("kafka-failed", "The broker answered for another partition.");
  }
  reader.int32();
  const errorCode = reader.int16();
  reader.int64();
  return { throttleMs, answer: { errorCode, offset: Number(reader.int64()) } };
}

async function ask(link: KafkajsLink, place: Place, timestamp: bigint): Promise<number> {
  const doing = `topic ${place.topic}`;
  for (let attempt = 0; ; attempt += 1) {
    let failure: unknown;
    try {
      const connection = await link.leader(place.topic, place.partition);
      const { errorCode, offset } = await link.ask(
        connection,
        request(link.clientId, place, timestamp),
        readAnswer,
      );
      if (errorCode === NONE) {
        return offset;
      }
      failure = protocolError(errorCode, doing);
      if (!isRetriableByLeader(errorCode)) {
        throw failure;
      }
    } catch (error) {
      if (error === failure || !mayPass(error)) {
        throw asSealstreamError(error, doing);
      }
      failure = error;
      link.sever();
    }
    if (attempt >= MAX_RETRIES) {
      throw asSealstreamError(failure, doing);
    }
    await sleep(Math.min(RETRY_FIRST_MS * 2 ** attempt, RETRY_MOST_MS));
    await link.refresh().catch(() => {
      // Because the next attempt fails the same way and is counted.
    });
  }
}

/** First offset in the log, and the offset after its last record. @throws SealstreamError `topic-missing` */
export async function logOffsets(
  kafka: Kafka,
  place: Place,
): Promise<{ earliest: number; latest: number }> {
  const link = new KafkajsLink(kafka);
  try {
    const earliest = await ask(link, place, EARLIEST);
    return { earliest, latest: await ask(link, place, LATEST) };
  } finally {
    link.close();
  }
}
