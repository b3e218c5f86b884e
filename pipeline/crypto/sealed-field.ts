/**
 * A field sealed in place: one JSON value as an envelope in text, bound to its record and its path.
 *
 * ```
 * field     = "sealed:v1:" base64url-without-padding(envelope)      envelope as in envelope.ts
 * plaintext = the value as JSON text, UTF-8, of any JSON type, numbers as they were written
 * context   = topic "records", lane, record id, schema version 1, attributes {"field": path}
 * ```
 * A path names a part of one record: `name`, `address.city`, `visits[0].note`. All fields of a record carry the record's
 * sequence. Whoever holds a data key can also seal under it: what keeps readers from writing is access to the topic.
 */
import type { DataKey } from "./data-key.ts";
import {
  type EnvelopeContext,
  type OpenedEnvelope,
  openEnvelope,
  sealEnvelope,
} from "./envelope.ts";

const PREFIX = "sealed:v1:";
const SCHEMA_VERSION = 1;
/** Most bytes of an envelope beside its plaintext. */
const MAX_ENVELOPE_OVERHEAD = 81;

/** Where a field belongs. */
export interface FieldPlace {
  readonly pipeline: string;
  readonly lane: number;
  readonly recordId: Uint8Array;
  readonly path: string;
}

function contextOf({ pipeline, lane, recordId, path }: FieldPlace): EnvelopeContext {
  return {
    ...{ pipeline, topic: "records", lane, recordId },
    schemaVersion: SCHEMA_VERSION,
    attributes: { field: path },
  };
}

/** The text that stands in a field's place. @param json the field's value as JSON text */
export function sealField(options: {
  readonly dataKey: DataKey;
  readonly place: FieldPlace;
  readonly json: string;
  readonly sequence: number;
}): string {
  const { dataKey, place, json, sequence } = options;
  const plaintext = Buffer.from(json, "utf8");
  const envelope = sealEnvelope({ dataKey, plaintext, context: contextOf(place), sequence });
  plaintext.fill(0);
  return PREFIX + base64url(envelope);
}

/** Most characters of {@link sealField} for a value of so many bytes of JSON. */
export function sealedFieldLength(jsonBytes: number): number {
  return PREFIX.length + Math.ceil(((jsonBytes + MAX_ENVELOPE_OVERHEAD) * 4) / 3);
}

/** True for what has the form of a sealed field, authentic or not. */
export function isSealedField(value: unknown): value is string {
  return typeof value === "string" && value.startsWith(PREFIX);
}

/** Opens a sealed field in its place; never throws on bad input. One spelling of each envelope is accepted. */
export function openField(options: {
  readonly text: string;
  readonly place: FieldPlace;
  readonly findKey: (kid: Uint8Array) => DataKey | null;
}): OpenedEnvelope {
  const body = options.text.slice(PREFIX.length);
  const envelope = new Uint8Array(Buffer.from(body, "base64url"));
  if (!isSealedField(options.text) || base64url(envelope) !== body) return { status: "refused" };
  return openEnvelope({ envelope, context: contextOf(options.place), findKey: options.findKey });
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64url");
}
