/**
 * Strict deterministic CBOR: one value has one encoding, and nothing else is read.
 *
 * Why strict: what is signed or authenticated must not have a second spelling, and a decoder that is handed bytes
 * from a topic must be bounded and must never throw. Refused when decoding: trailing bytes, indefinite lengths, tags,
 * duplicate or unsorted map keys, integers or floats that have a shorter form, whole floats beyond 2^53, `undefined`,
 * other simple values, invalid UTF-8, nesting beyond `maxDepth`.
 * Must not: interpret what it decodes. The only import site of cbor2.
 * Source: RFC 8949 sections 3 and 4.2.1 (core deterministic encoding).
 */
import { decode, encode, Simple, Tag } from "cbor2";
import { SealstreamError } from "../errors.ts";

/** What Sealstream writes in CBOR. Maps with text keys only are plain objects, all other maps are Map. */
export type CborValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | readonly CborValue[]
  | ReadonlyMap<CborValue, CborValue>
  | { readonly [key: string]: CborValue };

/** Our deepest format (a key entry with recipients) nests 6; a little room for fields of bundles. */
const DEFAULT_MAX_DEPTH = 16;

/** Most bytes decoded at once unless the caller says otherwise: far above any record, far below memory. */
const DEFAULT_MAX_BYTES = 16 * 1024 * 1024;

/** Major types of RFC 8949 section 3.1, as the high three bits of the initial byte. */
export const CBOR_UNSIGNED = 0x00;
export const CBOR_NEGATIVE = 0x20;
export const CBOR_BYTES = 0x40;
export const CBOR_TEXT = 0x60;
export const CBOR_ARRAY = 0x80;
export const CBOR_MAP = 0xa0;

const CBOR_SIMPLE = 0xe0;

/** First room for a map key: our names are shorter. */
const KEY_BYTES = 32;
const MAX_UINT64 = 2n ** 64n - 1n;
const TWO_32 = 0x1_0000_0000;

/**
 * Deterministic encoding of `value`.
 * @throws `internal` for what is not a {@link CborValue}: integers beyond 2^53 that are not bigint, bigints beyond
 * 64 bits, `undefined`, functions, class instances, typed arrays other than Uint8Array
 */
export function encodeCbor(value: CborValue): Uint8Array {
  const out: Output = { buffer: Buffer.allocUnsafe(FIRST_OUTPUT_BYTES), at: 0 };
  writeValue(out, value, 0);
  return new Uint8Array(out.buffer.subarray(0, out.at));
}

/**
 * Strict decoding of exactly one value.
 * @param limits `maxBytes` (default 16 MiB) and `maxDepth` (default 16)
 * @returns null for anything that {@link encodeCbor} would not have written. Byte strings are views of `bytes`
 */
export function decodeCbor(
  bytes: Uint8Array,
  limits: { readonly maxBytes?: number; readonly maxDepth?: number } = {},
): CborValue | null {
  if (bytes.length === 0 || bytes.length > (limits.maxBytes ?? DEFAULT_MAX_BYTES)) return null;
  try {
    const decoded: unknown = decode(plainBytes(bytes), {
      cde: true,
      ignoreGlobalTags: true,
      maxDepth: limits.maxDepth ?? DEFAULT_MAX_DEPTH,
      rejectBigInts: true,
      rejectDuplicateKeys: true,
      rejectLongFloats: true,
      rejectLongLoundNaN: true,
      rejectSimple: true,
      rejectUndefined: true,
    });
    return isCborValue(decoded) ? decoded : null;
  } catch {
    // Because malformed input is an outcome, and cbor2 reports every kind of it by throwing.
    return null;
  }
}

/** The same bytes as a plain Uint8Array view: cbor2 and comparisons in tests treat a Buffer as another type. */
export function plainBytes(bytes: Uint8Array): Uint8Array {
  return bytes.constructor === Uint8Array
    ? bytes
    : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** True for a text-keyed map as {@link decodeCbor} returns it (the empty map included). */
export function isTextMap(
  value: CborValue | undefined,
): value is { readonly [key: string]: CborValue } {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof Uint8Array) &&
    !(value instanceof Map)
  );
}

/** True for an array as {@link decodeCbor} returns it. */
export function isCborArray(value: CborValue | undefined): value is readonly CborValue[] {
  return Array.isArray(value);
}

/** True for an integer 0..2^53-1. */
export function isUnsigned(value: CborValue | undefined): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

/** True for a byte string of exactly `length` bytes. */
export function isBytes(value: CborValue | undefined, length: number): value is Uint8Array {
  return value instanceof Uint8Array && value.length === length;
}

/** Bytes that {@link writeHead} takes for an argument of 0..2^53-1. */
export function headBytes(argument: number): number {
  if (argument < 24) return 1;
  if (argument < 0x100) return 2;
  if (argument < 0x1_0000) return 3;
  return argument < TWO_32 ? 5 : 9;
}

/**
 * Writes the head of a data item in its shortest form.
 * @param major one of the CBOR_* constants
 * @param argument 0..2^53-1
 * @returns the position after the head
 */
export function writeHead(target: Uint8Array, at: number, major: number, argument: number): number {
  if (argument < 24) {
    target[at] = major | argument;
    return at + 1;
  }
  if (argument < 0x100) {
    target[at] = major | 24;
    target[at + 1] = argument;
    return at + 2;
  }
  if (argument < 0x1_0000) {
    target[at] = major | 25;
    return writeBigEndian(target, at + 1, 2, argument);
  }
  if (argument < TWO_32) {
    target[at] = major | 26;
    return writeBigEndian(target, at + 1, 4, argument);
  }
  target[at] = major | 27;
  writeBigEndian(target, at + 1, 4, Math.floor(argument / TWO_32));
  return writeBigEndian(target, at + 5, 4, argument % TWO_32);
}

/** @param bytes 1..4; returns the position after them */
function writeBigEndian(target: Uint8Array, at: number, bytes: number, value: number): number {
  for (let i = 0; i < bytes; i++) target[at + i] = value >>> (8 * (bytes - 1 - i));
  return at + bytes;
}

/** Copies a few bytes: faster than `set` below some 32 of them, because it stays out of the runtime. */
export function copySmall(target: Uint8Array, at: number, source: Uint8Array): void {
  for (let i = 0; i < source.length; i++) target[at + i] = source[i] ?? 0;
}

/**
 * Reads a head in its shortest form.
 * @returns the argument, or -1 when the major type differs, bytes are missing, the form is not the shortest or the
 * argument is above 2^53-1. The head is `headBytes(argument)` long
 */
export function readHead(source: Uint8Array, at: number, major: number): number {
  const first = source[at];
  if (first === undefined || (first & 0xe0) !== major) return -1;
  const info = first & 0x1f;
  if (info < 24) return info;
  if (info > 27) return -1;
  const length = 1 << (info - 24);
  if (at + 1 + length > source.length) return -1;
  let argument = 0;
  for (let i = 1; i <= length; i++) argument = argument * 256 + (source[at + i] ?? 0);
  return Number.isSafeInteger(argument) && headBytes(argument) === 1 + length ? argument : -1;
}

/** What an encoding grows in. Written here and not by cbor2, whose sorting of maps costs ten times the rest. */
interface Output {
  buffer: Buffer;
  at: number;
}

/** Holds an ordinary record without growing. */
const FIRST_OUTPUT_BYTES = 1024;
const MAX_HEAD_BYTES = 9;

function reserve(out: Output, bytes: number): void {
  if (out.at + bytes <= out.buffer.length) return;
  const larger = Buffer.allocUnsafe(Math.max(2 * out.buffer.length, out.at + bytes));
  out.buffer.copy(larger, 0, 0, out.at);
  out.buffer = larger;
}

function head(out: Output, major: number, argument: number, bytes = 0): void {
  reserve(out, MAX_HEAD_BYTES + bytes);
  out.at = writeHead(out.buffer, out.at, major, argument);
}

function raw(out: Output, bytes: Uint8Array): void {
  reserve(out, bytes.length);
  out.buffer.set(bytes, out.at);
  out.at += bytes.length;
}

function writeValue(out: Output, value: unknown, depth: number): void {
  if (depth > DEFAULT_MAX_DEPTH) throw notCbor();
  if (value === null) head(out, CBOR_SIMPLE, 22);
  else if (typeof value === "boolean") head(out, CBOR_SIMPLE, value ? 21 : 20);
  else if (typeof value === "number") writeNumber(out, value);
  else if (typeof value === "bigint") writeBigInt(out, value);
  else if (typeof value === "string") {
    const bytes = Buffer.byteLength(value);
    head(out, CBOR_TEXT, bytes, bytes);
    out.at += out.buffer.write(value, out.at, "utf8");
  } else if (value instanceof Uint8Array) {
    head(out, CBOR_BYTES, value.length, value.length);
    raw(out, value);
  } else if (Array.isArray(value)) {
    head(out, CBOR_ARRAY, value.length);
    for (const item of value) writeValue(out, item, depth + 1);
  } else writeMap(out, entriesOf(value), depth);
}

function writeNumber(out: Output, value: number): void {
  if (Number.isSafeInteger(value) && !Object.is(value, -0)) {
    if (value >= 0) head(out, CBOR_UNSIGNED, value);
    else head(out, CBOR_NEGATIVE, -1 - value);
  } else if (Number.isInteger(value) && !Object.is(value, -0)) {
    throw notCbor();
  } else {
    // The shortest of three float widths: rare here, so left to cbor2.
    raw(out, encode(value, { cde: true }));
  }
}

function writeBigInt(out: Output, value: bigint): void {
  const argument = value >= 0n ? value : -1n - value;
  // -2^53 because cbor2 reads that one value back as a number, which cannot be told from its neighbour.
  if (argument > MAX_UINT64 || value === -(2n ** 53n)) throw notCbor();
  const major = value >= 0n ? CBOR_UNSIGNED : CBOR_NEGATIVE;
  if (argument <= BigInt(Number.MAX_SAFE_INTEGER)) {
    head(out, major, Number(argument));
    return;
  }
  reserve(out, MAX_HEAD_BYTES);
  out.buffer[out.at] = major | 27;
  out.at = out.buffer.writeBigUInt64BE(argument, out.at + 1);
}

/** Entries of a Map or plain object; anything else has no encoding. */
function entriesOf(value: unknown): readonly (readonly [unknown, unknown])[] {
  if (value instanceof Map) return [...value];
  if (typeof value === "object" && value !== null) {
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype === Object.prototype || prototype === null) return Object.entries(value);
  }
  throw notCbor();
}

/** Keys in the bytewise order of their encodings (RFC 8949 section 4.2.1). */
function writeMap(
  out: Output,
  entries: readonly (readonly [unknown, unknown])[],
  depth: number,
): void {
  head(out, CBOR_MAP, entries.length);
  const encoded = entries.map(([key, value]) => {
    const own: Output = { buffer: Buffer.allocUnsafe(KEY_BYTES), at: 0 };
    writeValue(own, key, depth + 1);
    return { key: own.buffer.subarray(0, own.at), value };
  });
  encoded.sort((a, b) => Buffer.compare(a.key, b.key));
  for (const [i, { key, value }] of encoded.entries()) {
    if (i > 0 && encoded[i - 1]?.key.equals(key)) throw notCbor();
    raw(out, key);
    writeValue(out, value, depth + 1);
  }
}

function notCbor(): SealstreamError {
  return new SealstreamError("internal", "A value handed to encodeCbor has no CBOR encoding here.");
}

/** False when a tag, another simple value or an unsafe number is anywhere inside. Depth is already bounded by the decoder. */
function isCborValue(value: unknown): value is CborValue {
  if (value === undefined || value instanceof Tag || value instanceof Simple) return false;
  // A whole number beyond 2^53 as a float: an integer to read, but no integer that was written.
  if (typeof value === "number") return !Number.isInteger(value) || Number.isSafeInteger(value);
  if (Array.isArray(value)) return value.every(isCborValue);
  if (value instanceof Map) {
    return [...value].every(([key, item]) => isCborValue(key) && isCborValue(item));
  }
  if (typeof value === "object" && value !== null && !(value instanceof Uint8Array)) {
    return Object.values(value).every(isCborValue);
  }
  return true;
}
