/**
 * Dead letters: what becomes of a record that a stage refuses.
 *
 * The whole record is sealed to the failing stage's own zone; the headers say where it lay and, from a closed list,
 * why. No value, key or exception text ever stands in a header: where Kafka Connect would put such text, "redacted"
 * stands. Header names are exactly those of Kafka Connect's DeadLetterQueueReporter (KIP-298), so that tools that read
 * its letters read ours; one header of our own counts replays.
 * Reading headers back: whoever can write to the topic can write anything there, so nothing but numbers and words of
 * closed lists comes out of here.
 */
import { STAGES, type StageName } from "../../schemas/topics.ts";
import type { Headers, Reason, StreamRecord } from "./contract.ts";
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

/** How often a record was replayed: on a replayed record, and on the letter it becomes when it is refused again. */
export const REPLAYS_HEADER = "sealstream-replays";

const PREFIX = "__connect.errors.";
const REDACTED = "redacted";
const MOST_REPLAYS = 999;

/** Every reason; the type checks that none is missing. */
const REASONS: Readonly<Record<Reason, true>> = {
  tombstone: true,
  "too-large": true,
  "not-utf8": true,
  "not-json": true,
  "duplicate-field": true,
  "unknown-field": true,
  "missing-field": true,
  schema: true,
  "wrong-type": true,
  "record-id": true,
  "feature-invalid": true,
  "label-invalid": true,
  "envelope-refused": true,
  "key-unknown": true,
  "sequence-not-rising": true,
  "pack-incomplete": true,
  "pack-refused": true,
  "ciphertext-refused": true,
  "contribution-refused": true,
  "other-run": true,
  suppressed: true,
  "plugin-failed": true,
  "wrong-partition": true,
  "subject-unproven": true,
  dropped: true,
  "subject-limit": true,
};

const encoder = new TextEncoder();

/** Whether a text is a reason of the closed list. */
export function isReason(text: string): text is Reason {
  return Object.hasOwn(REASONS, text);
}

/** The record to write to `<topic>.dead`; its key is null, since a raw key may be personal. */
export function deadLetterRecord({
  seal,
  ...letter
}: DeadLetter & { readonly seal: DeadLetterSealer }): ProducerRecord {
  const header = (value: string | number): Uint8Array => encoder.encode(String(value));
  const replays = replaysOf(letter.record.headers);
  return {
    key: null,
    value: seal(letter),
    headers: {
      [`${PREFIX}topic`]: header(letter.topic),
      [`${PREFIX}partition`]: header(letter.partition),
      [`${PREFIX}offset`]: header(letter.record.offset),
      [`${PREFIX}connector.name`]: header(letter.pipeline),
      [`${PREFIX}task.id`]: header(letter.partition),
      [`${PREFIX}stage`]: header(letter.stage),
      [`${PREFIX}class.name`]: header(letter.stage),
      [`${PREFIX}exception.class.name`]: header(letter.reason),
      [`${PREFIX}exception.message`]: header(REDACTED),
      [`${PREFIX}exception.stacktrace`]: header(REDACTED),
      ...(replays === 0 ? {} : { [REPLAYS_HEADER]: header(replays) }),
    },
  };
}

/** What the headers of a letter claim; authentic only once its value has opened under them. */
export interface LetterHeaders {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly stage: StageName;
  readonly reason: Reason;
  /** How often its record was replayed before. */
  readonly replays: number;
}

/**
 * Reads a letter's headers.
 * @param place stage, input topic and partition that letters of this dead-letter partition come from
 * @returns null when they are not those of a letter of that place, whoever wrote them
 */
export function readLetterHeaders(
  headers: Headers,
  place: { readonly stage: StageName; readonly topic: string; readonly partition: number },
): LetterHeaders | null {
  const topic = textOf(headers, "topic");
  const partition = countOf(textOf(headers, "partition"));
  const offset = countOf(textOf(headers, "offset"));
  const stage = STAGES.find((name) => name === textOf(headers, "stage"));
  const reason = textOf(headers, "exception.class.name");
  const isOfPlace = topic === place.topic && partition === place.partition && stage === place.stage;
  if (!isOfPlace || offset === null || reason === null || !isReason(reason)) {
    return null;
  }
  return { ...place, offset, reason, replays: replaysOf(headers) };
}

/** How often a record says it was replayed, 0..999; anything else in the header is 0. */
export function replaysOf(headers: Headers): number {
  const bytes = headers[REPLAYS_HEADER];
  const count = bytes === undefined ? null : countOf(shortText(bytes));
  return count === null || count > MOST_REPLAYS ? 0 : count;
}

function textOf(headers: Headers, name: string): string | null {
  const bytes = headers[`${PREFIX}${name}`];
  return bytes === undefined ? null : shortText(bytes);
}

/** Bytes as Latin-1; null when longer than any header that we write (a topic has at most 249 characters). */
function shortText(bytes: Uint8Array): string | null {
  return bytes.byteLength > 249
    ? null
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
}

/** A whole number in its one decimal spelling, or null. */
function countOf(text: string | null): number | null {
  if (text === null || !/^(?:0|[1-9][0-9]{0,15})$/.test(text)) {
    return null;
  }
  const count = Number(text);
  return Number.isSafeInteger(count) ? count : null;
}
