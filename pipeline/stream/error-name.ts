/** What may be known of any error: its name, which may be logged (its text may quote a record), and whose it is. */
import { isSealstreamError } from "../errors.ts";

/** Name of an error for a log line: its code or class, never its text, which may quote a record. */
export function errorName(error: unknown): string {
  if (isSealstreamError(error)) {
    return error.code;
  }
  // Because kafkajs's protocol errors have a `type` that says more than their class.
  const { name, type } = error as { name?: string; type?: string };
  return type ?? name ?? "unknown";
}

/**
 * Whether a client library's own error got out of the stream room: trouble with Kafka that may pass, since whatever of
 * them is for good is made one of ours.
 */
export function isClientTrouble(error: unknown): boolean {
  // Because kafkajs names all its errors so, and the confluent adapter gives librdkafka's as ours.
  return error instanceof Error && error.name.startsWith("KafkaJS");
}
