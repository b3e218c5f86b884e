/**
 * COSE_Sign1 with Ed25519: everything that leaves a zone is one.
 *
 * ```
 * message       = 18([ protected: bstr .cbor {1: -8, 4: kid (16 bytes)}, unprotected: {}, payload: bstr, signature: bstr (64) ])
 * Sig_structure = ["Signature1", protected, external_aad: UTF-8 of context, payload]
 * ```
 * `context` says what the message is for, with version and pipeline (e.g. `sealstream/keys/v1|digits`), and is not
 * transmitted: a message moved to another place does not verify. There is exactly one accepted spelling of each
 * message. Must not: decide who may sign (the caller's `findSigner` does).
 * Sources: RFC 9052 sections 4.2 and 4.4, RFC 9053 section 2.2 (EdDSA, -8), RFC 8032.
 */
import { SealstreamError } from "../errors.ts";
import {
  CBOR_ARRAY,
  CBOR_BYTES,
  CBOR_TEXT,
  headBytes,
  plainBytes,
  readHead,
  writeHead,
} from "./cbor.ts";
import { KID_BYTES, SIGNATURE_BYTES, type SigningKey, verifySignature } from "./key-handles.ts";

/** What becomes of a signed message. `payload` and `kid` are views of the message. */
export type Verified =
  | { readonly status: "ok"; readonly payload: Uint8Array; readonly kid: Uint8Array }
  | {
      readonly status: "refused";
      readonly reason: "malformed" | "unknown-signer" | "bad-signature";
    };

/** Finds the public key (32 raw bytes) of a signer that is allowed here, or null. */
export type FindSigner = (kid: Uint8Array) => { readonly publicKey: Uint8Array } | null;

/** Tag 18, array of 4, bstr of 21 bytes, {1: -8, 4: bstr of 16 bytes ... */
const PREFIX = Buffer.from("d28455a201270450", "hex");
/** ... the kid follows, then an empty map. */
const EMPTY_MAP = 0xa0;
/** Where the protected header starts within the message: after tag, array head and bstr head. */
const PROTECTED_AT = 3;
const PROTECTED_BYTES = PREFIX.length - PROTECTED_AT + KID_BYTES;
const PAYLOAD_AT = PREFIX.length + KID_BYTES + 1;
const SIGNATURE_HEAD = 2;

/**
 * Signs `payload`.
 * @param options `context` is the label of what the message is for; not transmitted
 * @returns the message, in a buffer of its own
 */
export function sign1(options: {
  readonly payload: Uint8Array;
  readonly signer: SigningKey;
  readonly context: string;
}): Uint8Array {
  const { payload, signer } = options;
  if (signer.kid.length !== KID_BYTES) {
    throw new SealstreamError("internal", "A signer's kid has 16 bytes.");
  }
  const bytes =
    PAYLOAD_AT + headBytes(payload.length) + payload.length + SIGNATURE_HEAD + SIGNATURE_BYTES;
  const message = Buffer.alloc(bytes);
  message.set(PREFIX, 0);
  message.set(signer.kid, PREFIX.length);
  message[PAYLOAD_AT - 1] = EMPTY_MAP;
  let at = writeHead(message, PAYLOAD_AT, CBOR_BYTES, payload.length);
  message.set(payload, at);
  at = writeHead(message, at + payload.length, CBOR_BYTES, SIGNATURE_BYTES);
  const signature = signer.sign(sigStructure(protectedOf(message), options.context, payload));
  if (signature.length !== SIGNATURE_BYTES) {
    throw new SealstreamError("internal", "An Ed25519 signature has 64 bytes.");
  }
  message.set(signature, at);
  return plainBytes(message);
}

/** Checks a message of {@link sign1}; never throws on bad input. */
export function verify1(options: {
  readonly message: Uint8Array;
  readonly context: string;
  readonly findSigner: FindSigner;
}): Verified {
  const message = plainBytes(options.message);
  const payload = payloadOf(message);
  if (payload === null) return { status: "refused", reason: "malformed" };
  const kid = message.subarray(PREFIX.length, PREFIX.length + KID_BYTES);
  const signer = options.findSigner(kid);
  if (signer === null) return { status: "refused", reason: "unknown-signer" };
  const signed = sigStructure(protectedOf(message), options.context, payload);
  const signature = message.subarray(message.length - SIGNATURE_BYTES);
  return verifySignature(signer.publicKey, signed, signature)
    ? { status: "ok", payload, kid }
    : { status: "refused", reason: "bad-signature" };
}

/** The payload when `message` has exactly our form, else null. */
function payloadOf(message: Uint8Array): Uint8Array | null {
  if (message.length < PAYLOAD_AT || message[PAYLOAD_AT - 1] !== EMPTY_MAP) return null;
  if (Buffer.compare(message.subarray(0, PREFIX.length), PREFIX) !== 0) return null;
  const length = readHead(message, PAYLOAD_AT, CBOR_BYTES);
  if (length < 0) return null;
  const from = PAYLOAD_AT + headBytes(length);
  const to = from + length;
  if (message.length !== to + SIGNATURE_HEAD + SIGNATURE_BYTES) return null;
  if (readHead(message, to, CBOR_BYTES) !== SIGNATURE_BYTES) return null;
  return message.subarray(from, to);
}

function protectedOf(message: Uint8Array): Uint8Array {
  return message.subarray(PROTECTED_AT, PROTECTED_AT + PROTECTED_BYTES);
}

function sigStructure(header: Uint8Array, context: string, payload: Uint8Array): Uint8Array {
  const label = "Signature1";
  const aad = Buffer.from(context, "utf8");
  const bytes =
    2 +
    label.length +
    1 +
    header.length +
    headBytes(aad.length) +
    aad.length +
    headBytes(payload.length);
  const out = Buffer.alloc(bytes + payload.length);
  let at = writeHead(out, 0, CBOR_ARRAY, 4);
  at = writeHead(out, at, CBOR_TEXT, label.length);
  at += out.write(label, at, "latin1");
  at = writeHead(out, at, CBOR_BYTES, header.length);
  out.set(header, at);
  at = writeHead(out, at + header.length, CBOR_BYTES, aad.length);
  out.set(aad, at);
  at = writeHead(out, at + aad.length, CBOR_BYTES, payload.length);
  out.set(payload, at);
  return out;
}
