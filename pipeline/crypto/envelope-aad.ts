/**
 * The Enc_structure of an envelope: what is authenticated beside the plaintext. The grammar stands in envelope.ts.
 *
 * Runs once a record, so it is written into one buffer that is used again: the view that it returns holds until the
 * next call. external_aad is written first, at a fixed place, and the head that tells its length in front of it.
 * Must not: know keys or ciphers. Source: RFC 9052 section 5.3.
 */
import { SealstreamError } from "../errors.ts";
import {
  CBOR_ARRAY,
  CBOR_BYTES,
  CBOR_MAP,
  CBOR_TEXT,
  CBOR_UNSIGNED,
  copySmall,
  headBytes,
  writeHead,
} from "./cbor.ts";
import type { SealedTopic } from "./key-purposes.ts";

/** Where a sealed value belongs; all of it is authenticated. */
export interface EnvelopeContext {
  readonly pipeline: string;
  /** Logical role of the topic, not its name in one cluster. */
  readonly topic: SealedTopic;
  readonly lane: number;
  readonly recordId: Uint8Array;
  readonly schemaVersion: number;
  readonly attributes?: Readonly<Record<string, string>> | undefined;
}

/** Array head, text head, "Encrypt0", bstr head with one length byte. */
const HEAD = Buffer.from("8368456e63727970743058", "hex");
/** Array of 7 and the text "sealstream/envelope/v1". */
const CONTEXT_HEAD = Buffer.concat([
  Buffer.from([CBOR_ARRAY | 7, CBOR_TEXT | 22]),
  Buffer.from("sealstream/envelope/v1", "latin1"),
]);

/** Room in front of external_aad: HEAD, a length byte, a protected header of 255 bytes at most, and a head. */
const EXTERNAL_AT = 288;
const FIRST_BYTES = 4096;
/** Of a CBOR head, and of one UTF-16 unit in UTF-8. */
const MAX_HEAD_BYTES = 9;
const MAX_UNIT_BYTES = 3;
/** UTF-8 of one unit below this is the unit itself. */
const ASCII_END = 0x80;

let scratch: Uint8Array = new Uint8Array(FIRST_BYTES);
let text: Buffer = bufferOf(scratch);

/** The last (pipeline, topic, lane), which stands encoded from EXTERNAL_AT to `placeEnd`: a lane's records share it. */
let place: Pick<EnvelopeContext, "pipeline" | "topic" | "lane"> | null = null;
let placeEnd = 0;

/**
 * @param source holds the protected header from `from` to `to`, 255 bytes at most
 * @returns the Enc_structure, a view that holds until the next call
 * @throws `internal` when the schema version is no unsigned integer
 */
export function encryptStructure(
  source: Uint8Array,
  from: number,
  to: number,
  context: EnvelopeContext,
): Uint8Array {
  const { recordId, schemaVersion, attributes } = context;
  if (!Number.isSafeInteger(schemaVersion) || schemaVersion < 0) {
    throw new SealstreamError("internal", "A schema version is an unsigned integer.");
  }
  writePlace(context);
  reserve(placeEnd, recordId.length + 3 * MAX_HEAD_BYTES);
  let at = writeHead(scratch, placeEnd, CBOR_BYTES, recordId.length);
  scratch.set(recordId, at);
  at = writeHead(scratch, at + recordId.length, CBOR_UNSIGNED, schemaVersion);
  const end = writeAttributes(at, attributes);
  const externalBytes = end - EXTERNAL_AT;
  const protectedAt = EXTERNAL_AT - headBytes(externalBytes) - (to - from);
  const start = protectedAt - 1 - HEAD.length;
  copySmall(scratch, start, HEAD);
  scratch[protectedAt - 1] = to - from;
  for (let i = from; i < to; i++) scratch[protectedAt + i - from] = source[i] ?? 0;
  writeHead(scratch, protectedAt + to - from, CBOR_BYTES, externalBytes);
  return scratch.subarray(start, end);
}

function writePlace({ pipeline, topic, lane }: EnvelopeContext): void {
  if (
    place !== null &&
    place.lane === lane &&
    place.topic === topic &&
    place.pipeline === pipeline
  ) {
    return;
  }
  place = null;
  copySmall(scratch, EXTERNAL_AT, CONTEXT_HEAD);
  let at = writeText(EXTERNAL_AT + CONTEXT_HEAD.length, pipeline);
  at = writeText(at, topic);
  reserve(at, MAX_HEAD_BYTES);
  placeEnd = writeHead(scratch, at, CBOR_UNSIGNED, lane);
  place = { pipeline, topic, lane };
}

/** Map of text to text, keys in the order of RFC 8949 section 4.2.1: the shorter first, then bytewise. */
function writeAttributes(
  at: number,
  attributes: Readonly<Record<string, string>> | undefined,
): number {
  const names = attributes === undefined ? [] : Object.keys(attributes);
  if (names.length > 1) names.sort(byEncoding);
  reserve(at, MAX_HEAD_BYTES);
  let end = writeHead(scratch, at, CBOR_MAP, names.length);
  for (const name of names) {
    end = writeText(end, name);
    end = writeText(end, attributes?.[name] ?? "");
  }
  return end;
}

/** The order of the encodings: a head of a longer text is the greater one. */
function byEncoding(a: string, b: string): number {
  const [first, second] = [Buffer.from(a), Buffer.from(b)];
  return first.length - second.length || Buffer.compare(first, second);
}

/** A text at `at`; returns the position after it. */
function writeText(at: number, value: string): number {
  reserve(at, MAX_HEAD_BYTES + MAX_UNIT_BYTES * value.length);
  const { length } = value;
  const start = writeHead(scratch, at, CBOR_TEXT, length);
  // Short ASCII, which is nearly every text here, is written faster by a loop than by a call into the runtime.
  for (let i = 0; i < length; i++) {
    const unit = value.charCodeAt(i);
    if (unit >= ASCII_END) return writeUnicode(at, value);
    scratch[start + i] = unit;
  }
  return start + length;
}

function writeUnicode(at: number, value: string): number {
  const start = writeHead(scratch, at, CBOR_TEXT, Buffer.byteLength(value));
  return start + text.write(value, start, "utf8");
}

/** Room for `bytes` more from `at`; what stands before is kept. */
function reserve(at: number, bytes: number): void {
  if (at + bytes <= scratch.length) return;
  const larger = new Uint8Array(Math.max(2 * scratch.length, at + bytes));
  larger.set(scratch);
  scratch = larger;
  text = bufferOf(larger);
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
