/**
 * Envelopes: one sealed value, bound to the place it belongs to.
 *
 * ```
 * envelope     = 16([ protected: bstr, unprotected: {5: iv (12 bytes)}, ciphertext: bstr (plaintext + 16) ])
 * protected    = {1: 3 (A256GCM) or 24 (ChaCha20/Poly1305), 4: kid (16 bytes), -70001: sequence (unsigned, < 2^53)}
 * AAD          = ["Encrypt0", protected, external_aad: bstr]
 * external_aad = [ "sealstream/envelope/v1", pipeline, topic, lane, recordId: bstr, schemaVersion, {* tstr => tstr} ]
 * ```
 * Nothing of external_aad is transmitted: opening an envelope in another record, lane, topic or pipeline fails. There
 * is one accepted spelling of each envelope; another algorithm, header or length form is refused before a key is
 * asked for. The algorithm must be the key's own, which the key's signed entry says: an envelope cannot choose it.
 * The sequence is visible and authenticated; that it rises is the reader's check.
 * Written by hand instead of through cbor2 because this runs once a record.
 * Must not: choose nonces, keep keys. Sources: RFC 9052 sections 5.2 and 5.3, RFC 9053 sections 4.1 and 4.3.
 */
import { SealstreamError } from "../errors.ts";
import { type CipherName, IV_BYTES, TAG_BYTES } from "./aead.ts";
import {
  CBOR_ARRAY,
  CBOR_BYTES,
  CBOR_MAP,
  CBOR_TEXT,
  CBOR_UNSIGNED,
  headBytes,
  plainBytes,
  readHead,
  writeHead,
} from "./cbor.ts";
import type { DataKey } from "./data-key.ts";
import { KID_BYTES } from "./key-handles.ts";
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

export type OpenedEnvelope =
  | {
      readonly status: "ok";
      /** In a buffer of its own. */
      readonly plaintext: Uint8Array;
      readonly sequence: number;
      /** A view of the envelope. */
      readonly kid: Uint8Array;
    }
  | { readonly status: "unknown-key"; readonly kid: Uint8Array }
  | { readonly status: "refused" };

/** Tag 16, array of 3, bstr with a one-byte length ... */
const HEAD = Buffer.from("d08358", "hex");
/** ... of {1: algorithm, 4: bstr of 16 bytes ... */
const PROTECTED_HEAD: Readonly<Record<CipherName, Buffer>> = {
  "aes-256-gcm": Buffer.from("a301030450", "hex"),
  "chacha20-poly1305": Buffer.from("a30118180450", "hex"),
};
/** ... -70001: the sequence follows}. */
const SEQUENCE_LABEL = Buffer.from("3a00011170", "hex");
/** {5: bstr of 12 bytes ... */
const UNPROTECTED_HEAD = Buffer.from("a1054c", "hex");

const PROTECTED_AT = HEAD.length + 1;

/** Array head, text head, "Encrypt0", bstr head with one length byte. */
const AAD_HEAD = Buffer.from("8368456e63727970743058", "hex");
/** Array of 7 and the text "sealstream/envelope/v1". */
const CONTEXT_HEAD = Buffer.concat([
  Buffer.from([CBOR_ARRAY | 7, CBOR_TEXT | 22]),
  Buffer.from("sealstream/envelope/v1", "latin1"),
]);

/**
 * Seals `plaintext` for `context`.
 * @param options `sequence` rises within a lane, 0..2^53-1
 * @returns the envelope, in a buffer of its own: plaintext + 62..81 bytes
 * @throws `key-spent` at the key's use limit; `internal` when the key is not for this context
 */
export function sealEnvelope(options: {
  readonly dataKey: DataKey;
  readonly plaintext: Uint8Array;
  readonly context: EnvelopeContext;
  readonly sequence: number;
}): Uint8Array {
  const { dataKey, plaintext, context, sequence } = options;
  if (!isFor(dataKey, context) || !Number.isSafeInteger(sequence) || sequence < 0) {
    throw new SealstreamError("internal", "The data key or sequence does not fit the context.");
  }
  const sealedBytes = plaintext.length + TAG_BYTES;
  const protectedHead = PROTECTED_HEAD[dataKey.cipher];
  const kidAt = PROTECTED_AT + protectedHead.length;
  const sequenceAt = kidAt + KID_BYTES + SEQUENCE_LABEL.length;
  const sequenceEnd = sequenceAt + headBytes(sequence);
  const sealedHeadAt = sequenceEnd + UNPROTECTED_HEAD.length + IV_BYTES;
  const sealedAt = sealedHeadAt + headBytes(sealedBytes);
  const out = Buffer.allocUnsafeSlow(sealedAt + sealedBytes);
  out.set(HEAD, 0);
  out[HEAD.length] = sequenceEnd - PROTECTED_AT;
  out.set(protectedHead, PROTECTED_AT);
  out.set(dataKey.kid, kidAt);
  out.set(SEQUENCE_LABEL, kidAt + KID_BYTES);
  writeHead(out, sequenceAt, CBOR_UNSIGNED, sequence);
  out.set(UNPROTECTED_HEAD, sequenceEnd);
  writeHead(out, sealedHeadAt, CBOR_BYTES, sealedBytes);
  const aad = aadOf(out.subarray(PROTECTED_AT, sequenceEnd), context);
  const { iv, ciphertext, tag } = dataKey.seal(plaintext, aad);
  out.set(iv, sequenceEnd + UNPROTECTED_HEAD.length);
  out.set(ciphertext, sealedAt);
  out.set(tag, sealedAt + plaintext.length);
  return plainBytes(out);
}

/** Opens an envelope of {@link sealEnvelope} in the place it was sealed for; never throws on bad input. */
export function openEnvelope(options: {
  readonly envelope: Uint8Array;
  readonly context: EnvelopeContext;
  readonly findKey: (kid: Uint8Array) => DataKey | null;
}): OpenedEnvelope {
  const { context } = options;
  const bytes = plainBytes(options.envelope);
  const layout = layoutOf(bytes);
  if (layout === null) return { status: "refused" };
  const kid = bytes.subarray(layout.kidAt, layout.kidAt + KID_BYTES);
  const dataKey = options.findKey(kid);
  if (dataKey === null) return { status: "unknown-key", kid };
  if (dataKey.cipher !== layout.cipher || !isFor(dataKey, context)) return { status: "refused" };
  const aad = aadOf(bytes.subarray(PROTECTED_AT, layout.protectedEnd), context);
  const iv = bytes.subarray(layout.ivAt, layout.ivAt + IV_BYTES);
  const plaintext = dataKey.open(iv, bytes.subarray(layout.sealedAt), aad);
  return plaintext === null
    ? { status: "refused" }
    : { status: "ok", plaintext, sequence: layout.sequence, kid };
}

interface Layout {
  readonly cipher: CipherName;
  readonly kidAt: number;
  readonly protectedEnd: number;
  readonly ivAt: number;
  readonly sealedAt: number;
  readonly sequence: number;
}

/** Positions within an envelope that has exactly our form, else null. */
function layoutOf(bytes: Uint8Array): Layout | null {
  const cipher = cipherNamedIn(bytes);
  if (cipher === null || !startsWith(bytes, HEAD, 0)) return null;
  const kidAt = PROTECTED_AT + PROTECTED_HEAD[cipher].length;
  const sequenceAt = kidAt + KID_BYTES + SEQUENCE_LABEL.length;
  if (!startsWith(bytes, SEQUENCE_LABEL, kidAt + KID_BYTES)) return null;
  const sequence = readHead(bytes, sequenceAt, CBOR_UNSIGNED);
  if (sequence < 0) return null;
  const protectedEnd = sequenceAt + headBytes(sequence);
  if (bytes[HEAD.length] !== protectedEnd - PROTECTED_AT) return null;
  if (!startsWith(bytes, UNPROTECTED_HEAD, protectedEnd)) return null;
  const ivAt = protectedEnd + UNPROTECTED_HEAD.length;
  const sealedBytes = readHead(bytes, ivAt + IV_BYTES, CBOR_BYTES);
  if (sealedBytes < TAG_BYTES) return null;
  const sealedAt = ivAt + IV_BYTES + headBytes(sealedBytes);
  return bytes.length === sealedAt + sealedBytes
    ? { cipher, kidAt, protectedEnd, ivAt, sealedAt, sequence }
    : null;
}

/** The cipher that the protected header begins with, or null. */
function cipherNamedIn(bytes: Uint8Array): CipherName | null {
  if (startsWith(bytes, PROTECTED_HEAD["aes-256-gcm"], PROTECTED_AT)) return "aes-256-gcm";
  if (startsWith(bytes, PROTECTED_HEAD["chacha20-poly1305"], PROTECTED_AT)) {
    return "chacha20-poly1305";
  }
  return null;
}

function startsWith(bytes: Uint8Array, wanted: Buffer, at: number): boolean {
  for (let i = 0; i < wanted.length; i++) {
    if (bytes[at + i] !== wanted[i]) return false;
  }
  return true;
}

function isFor(dataKey: DataKey, context: EnvelopeContext): boolean {
  return (
    dataKey.topic === context.topic &&
    dataKey.lane === context.lane &&
    dataKey.pipeline === context.pipeline
  );
}

/** The Enc_structure. */
function aadOf(header: Uint8Array, context: EnvelopeContext): Uint8Array {
  const { pipeline, topic, lane, recordId, schemaVersion } = context;
  if (!Number.isSafeInteger(schemaVersion) || schemaVersion < 0) {
    throw new SealstreamError("internal", "A schema version is an unsigned integer.");
  }
  const attributes = attributesOf(context.attributes);
  const pipelineBytes = Buffer.byteLength(pipeline);
  const externalBytes =
    CONTEXT_HEAD.length +
    headBytes(pipelineBytes) +
    pipelineBytes +
    headBytes(topic.length) +
    topic.length +
    headBytes(lane) +
    headBytes(recordId.length) +
    recordId.length +
    headBytes(schemaVersion) +
    attributes.length;
  const headerEnd = AAD_HEAD.length + 1 + header.length;
  const out = Buffer.allocUnsafe(headerEnd + headBytes(externalBytes) + externalBytes);
  out.set(AAD_HEAD, 0);
  out[AAD_HEAD.length] = header.length;
  out.set(header, AAD_HEAD.length + 1);
  let at = writeHead(out, headerEnd, CBOR_BYTES, externalBytes);
  out.set(CONTEXT_HEAD, at);
  at = writeHead(out, at + CONTEXT_HEAD.length, CBOR_TEXT, pipelineBytes);
  at += out.write(pipeline, at, "utf8");
  at = writeHead(out, at, CBOR_TEXT, topic.length);
  at += out.write(topic, at, "latin1");
  at = writeHead(out, at, CBOR_UNSIGNED, lane);
  at = writeHead(out, at, CBOR_BYTES, recordId.length);
  out.set(recordId, at);
  at = writeHead(out, at + recordId.length, CBOR_UNSIGNED, schemaVersion);
  out.set(attributes, at);
  return out;
}

const NO_ATTRIBUTES = Buffer.from([CBOR_MAP]);

/** Map of text to text, keys in the order of RFC 8949 section 4.2.1: the shorter first, then bytewise. */
function attributesOf(attributes: Readonly<Record<string, string>> | undefined): Buffer {
  if (attributes === undefined) return NO_ATTRIBUTES;
  const encoded = Object.entries(attributes).map(([key, value]) => [textOf(key), textOf(value)]);
  if (encoded.length > 1)
    encoded.sort((a, b) => Buffer.compare(a[0] ?? NO_ATTRIBUTES, b[0] ?? NO_ATTRIBUTES));
  const head = Buffer.allocUnsafe(headBytes(encoded.length));
  writeHead(head, 0, CBOR_MAP, encoded.length);
  return Buffer.concat([head, ...encoded.flat()]);
}

function textOf(text: string): Buffer {
  const length = Buffer.byteLength(text);
  const out = Buffer.allocUnsafe(headBytes(length) + length);
  out.write(text, writeHead(out, 0, CBOR_TEXT, length), "utf8");
  return out;
}
