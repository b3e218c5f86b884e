/**
 * A reader's own place in a topic, kept with its consumer group by a request of our own: no membership, no rebalance.
 *
 * kafkajs commits only for members, or joins a group to set its offsets. A group that nobody has joined takes an
 * OffsetCommit of generation -1 (Kafka protocol guide, OffsetCommit version 5), as it does from `kafka-consumer-groups`.
 * While members of that group are there the coordinator refuses it, so that it cannot undo what they do.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Kafka } from "kafkajs";
import { asSealstreamError, KafkajsLink, mayPass } from "./kafkajs-link.ts";
import type { GroupPlace, ReaderPosition } from "./port.ts";
import { isStaleCoordinator, NONE, protocolError } from "./wire/protocol-errors.ts";
import { RequestWriter, type WireRequest } from "./wire/request-writer.ts";
import { readPartitionCodeAnswer } from "./wire/requests.ts";

const OFFSET_COMMIT = { key: 8, version: 5, name: "OffsetCommit" };
/** Of somebody who is no member. */
const NO_GENERATION = -1;
const RETRY_FIRST_MS = 50;
const RETRY_MOST_MS = 1_000;
/** About ten seconds: longer than a coordinator's move. */
const MAX_RETRIES = 14;

function request(clientId: string, place: GroupPlace, position: ReaderPosition): WireRequest {
  const writer = new RequestWriter(OFFSET_COMMIT, clientId);
  return writer
    .string(place.group)
    .int32(NO_GENERATION)
    .string("")
    .array([place.topic], (topic) => {
      writer.string(topic).array([place.partition], (partition) => {
        writer.int32(partition).int64(BigInt(position.offset)).string(position.note);
      });
    })
    .finish();
}

/**
 * Keeps a position. Asking twice does no harm, so that an unanswered request is asked again.
 * @throws SealstreamError `access-denied`, or `kafka-failed` when the group has members or no coordinator answers
 */
export async function keepPosition(
  kafka: Kafka,
  place: GroupPlace,
  position: ReaderPosition,
): Promise<void> {
  const doing = `keeping the position of group ${place.group}`;
  const link = new KafkajsLink(kafka);
  try {
    for (let attempt = 0; ; attempt += 1) {
      let failure: unknown;
      try {
        const connection = await link.coordinator("group", place.group);
        const asked = request(link.clientId, place, position);
        const { errorCode } = await link.ask(connection, asked, readPartitionCodeAnswer);
        if (errorCode === NONE) return;
        failure = protocolError(errorCode, doing);
        if (!isStaleCoordinator(errorCode)) throw failure;
        link.forgetCoordinator("group", place.group);
      } catch (error) {
        if (error === failure || !mayPass(error)) throw asSealstreamError(error, doing);
        failure = error;
        link.sever();
      }
      if (attempt >= MAX_RETRIES) throw asSealstreamError(failure, doing);
      await sleep(Math.min(RETRY_FIRST_MS * 2 ** attempt, RETRY_MOST_MS));
    }
  } finally {
    link.close();
  }
}
