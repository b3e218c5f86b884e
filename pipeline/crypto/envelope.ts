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
  CBOR_BYTES,
  CBOR_UNSIGNED,
  copySmall,
  headBytes,
  plainBytes,
  readHead,
  writeHead,
} from "./cbor.ts";
import type { DataKey } from "./data-key.ts";
import { type EnvelopeContext, encryptStructure } from "./envelope-aad.ts";
import { KID_BYTES } from "./key-handles.ts";
import { createSlabs } from "./slabs.ts";

export type { EnvelopeContext };

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

const slabs = createSlabs();

/**
 * Seals `plaintext` for `context`.
 * @param options `sequence` rises within a lane, 0..2^53-1
 * @returns the envelope: plaintext + 62..82 bytes. A small one is a view of a slab that it shares with other
 * envelopes and nothing else: do not transfer its buffer
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
  const protectedHead = PROTECTED_HEAD[dataKey.cipher];
  const sealedBytes = plaintext.length + TAG_BYTES;
  const kidAt = PROTECTED_AT + protectedHead.length;
  const labelAt = kidAt + KID_BYTES;
  const sequenceAt = labelAt + SEQUENCE_LABEL.length;
  const sequenceEnd = sequenceAt + headBytes(sequence);
  const ivAt = sequenceEnd + UNPROTECTED_HEAD.length;
  const sealedAt = ivAt + IV_BYTES + headBytes(sealedBytes);
  const out = slabs.take(sealedAt + sealedBytes);
  copySmall(out, 0, HEAD);
  out[HEAD.length] = sequenceEnd - PROTECTED_AT;
  copySmall(out, PROTECTED_AT, protectedHead);
  copySmall(out, kidAt, dataKey.kid);
  copySmall(out, labelAt, SEQUENCE_LABEL);
  writeHead(out, sequenceAt, CBOR_UNSIGNED, sequence);
  copySmall(out, sequenceEnd, UNPROTECTED_HEAD);
  writeHead(out, ivAt + IV_BYTES, CBOR_BYTES, sealedBytes);
  const aad = encryptStructure(out, PROTECTED_AT, sequenceEnd, context);
  const { iv, ciphertext, tag } = dataKey.seal(plaintext, aad);
  copySmall(out, ivAt, iv);
  out.set(ciphertext, sealedAt);
  copySmall(out, sealedAt + plaintext.length, tag);
  return out;
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
  const aad = encryptStructure(bytes, PROTECTED_AT, layout.protectedEnd, context);
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
