/**
 * Dead letters: what becomes of a record that a stage refuses.
 *
 * The whole record is sealed to the failing stage's own zone; the headers say where it lay and, from a closed list,
 * why. No value, key or exception text ever stands in a header. Header names are those of Kafka Connect (KIP-298).
 */
import type { StageName } from "../../schemas/topics.ts";
import type { Reason, StreamRecord } from "./contract.ts";
import type { ProducerRecord } from "./port.ts";

/** What is sealed: enough to put the record back where it was. */
export interface DeadLetter {
  readonly pipeline: string;
  readonly stage: StageName;
  readonly topic: string;
  readonly partition: number;
  readonly record: StreamRecord;
  readonly reason: Reason;
}

/** Seals a dead letter to the failing stage's zone; handed in, since this room holds no keys. */
export type DeadLetterSealer = (letter: DeadLetter) => Uint8Array;

const encoder = new TextEncoder();

/** The record to write to `<topic>.dead`; its key is null, since a raw key may be personal. */
export function deadLetterRecord({
  seal,
  nowMs,
  ...letter
}: DeadLetter & { readonly seal: DeadLetterSealer; readonly nowMs: number }): ProducerRecord {
  const header = (value: string | number): Uint8Array => encoder.encode(String(value));
  return {
    key: null,
    value: seal(letter),
    headers: {
      "__connect.errors.topic": header(letter.topic),
      "__connect.errors.partition": header(letter.partition),
      "__connect.errors.offset": header(letter.record.offset),
      "__connect.errors.connector.name": header(letter.pipeline),
      "__connect.errors.task.id": header(letter.partition),
      "__connect.errors.stage": header(letter.stage),
      "__connect.errors.class.name": header(letter.stage),
      "__connect.errors.exception.class.name": header(letter.reason),
      "__connect.errors.exception.message": header("redacted"),
      "__connect.errors.timestamp": header(nowMs),
    },
  };
}
