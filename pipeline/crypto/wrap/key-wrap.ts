/**
 * Content keys wrapped for recipients of every kind, and their COSE_recipient.
 *
 * ```
 * COSE_recipient = [ protected: bstr, unprotected, ciphertext: bstr ]
 *   x25519        h'{1: -31}'              {4: kid, -1: {1: 1, -1: 4, -2: ephemeral (32)}}               40 bytes
 *   p-256         h'{1: -31}'              {4: kid, -1: {1: 2, -1: 1, -2: x (32), -3: y (32)}}           40 bytes
 *   rsa-oaep-256  h''                      {1: -41, 4: kid}                                              256 to 1024 bytes
 *   kms           h'{1: "sealstream-kms"}' {4: kid}                                                      1 to 1024 bytes
 * kid = first 16 bytes of SHA-256 of the recipient's public key (types.ts says how each is spelled)
 * ```
 * Key transport has no protected header (RFC 9052 section 8.5.3). Each has exactly one accepted spelling; another algorithm, header or curve is refused before a key is asked for.
 * Must not: let raw content keys out. Sources: RFC 9052 section 5.1, RFC 9053 sections 6.4 and 7.1, RFC 8230 section 3.
 */
import type { KeyObject } from "node:crypto";
import { SealstreamError } from "../../errors.ts";
import { AES_KEY_BYTES } from "../aead.ts";
import { type CborValue, encodeCbor, isBytes, isCborArray } from "../cbor.ts";
import { PUBLIC_KEY_BYTES } from "../identity.ts";
import { hex, KID_BYTES, keyIdOf, privateKeyObject } from "../key-handles.ts";
import type { Kms } from "../kms/kms.ts";
import { ECDH_PROTECTED, KW_BYTES } from "./ecdh-es.ts";
import {
  isKmsCiphertext,
  kmsComplaint,
  kmsUriOf,
  serviceFor,
  unwrapRemotely,
  wrapRemotely,
} from "./kms.ts";
import { P256_COORDINATE_BYTES, P256_POINT_BYTES, p256 } from "./p-256.ts";
import { RSA_MAX_BITS, RSA_MIN_BITS, rsaOaep } from "./rsa-oaep.ts";
import type {
  AnyUnwrapKey,
  LocalWrap,
  LocalWrapAlgorithm,
  Recipient,
  RemoteUnwrapKey,
  UnwrapKey,
  WrapAlgorithm,
  WrappedKey,
} from "./types.ts";
import { x25519 } from "./x25519.ts";

/** Most recipients of one content key: zones times keys in overlap, with room; bounds the work on a hostile list. */
export const MAX_RECIPIENTS = 32;

const LOCAL: Readonly<Record<LocalWrapAlgorithm, LocalWrap>> = {
  x25519,
  "p-256": p256,
  "rsa-oaep-256": rsaOaep,
};

const COSE_RSAES_OAEP_SHA256 = -41;
const KMS_PROTECTED = encodeCbor(new Map([[1, "sealstream-kms"]]));
const EMPTY = new Uint8Array(0);
const UNCOMPRESSED = 0x04;

/** COSE labels: algorithm, kid, ephemeral key; kty, crv, x, y of a COSE_Key. */
const ALG = 1;
const KID = 4;
const EPHEMERAL = -1;
const [KTY, CRV, X, Y] = [1, -1, -2, -3];
/** kty OKP with crv X25519, kty EC2 with crv P-256. */
const [OKP, CRV_X25519, EC2, CRV_P256] = [1, 4, 2, 1];

/** True for one of the names of {@link WrapAlgorithm}. */
export function isWrapAlgorithm(text: unknown): text is WrapAlgorithm {
  return text === "kms" || (typeof text === "string" && Object.hasOwn(LOCAL, text));
}

/** Null for a public key that {@link createRecipient} takes, else what is wrong, to follow "The public key of ...". */
export function publicKeyComplaint(algorithm: WrapAlgorithm, publicKey: Uint8Array): string | null {
  return algorithm === "kms" ? kmsComplaint(publicKey) : LOCAL[algorithm].complaint(publicKey);
}

/**
 * Handle of a public key that others seal to.
 * @param publicKey spelled as {@link Recipient} says
 * @throws `key-invalid` for a point off its curve or of low order, a weak RSA key, a URI of unknown form
 */
export function createRecipient(
  purpose: string,
  publicKey: Uint8Array,
  algorithm: WrapAlgorithm = "x25519",
): Recipient {
  const copy = new Uint8Array(publicKey);
  const complaint = publicKeyComplaint(algorithm, copy);
  if (complaint !== null) {
    throw new SealstreamError("key-invalid", `The public key of ${purpose} ${complaint}.`);
  }
  return Object.freeze({ purpose, algorithm, kid: keyIdOf(copy), publicKey: copy });
}

/**
 * One text for who announces a data key and whom it is for: another text means that it has to be made anew. The signer is
 * part of it, because what a key announced is worth nothing once the key is revoked.
 */
export function partiesOf(
  signer: Pick<Recipient, "kid">,
  recipients: readonly Pick<Recipient, "kid">[],
): string {
  return recipientNames([signer, ...recipients]);
}

/** One text for a set of recipients in its order. */
export function recipientNames(recipients: readonly Pick<Recipient, "kid">[]): string {
  return recipients.map(({ kid }) => hex(kid)).join(",");
}

/**
 * Wraps a content key for one recipient whose public key is at hand.
 * @param contentKey 32 raw bytes, owned and wiped by the caller
 * @throws `key-invalid` when the recipient's public key cannot be used here, as a service's
 */
export function wrapContentKey(
  contentKey: Uint8Array,
  recipient: Recipient,
  binding: Uint8Array,
): WrappedKey {
  const { algorithm, kid, purpose } = recipient;
  if (algorithm === "kms") {
    throw new SealstreamError(
      "key-invalid",
      `The key of ${purpose} is in a key management service: what is sealed here needs a public key at hand.`,
    );
  }
  assertContentKey(contentKey);
  const made = LOCAL[algorithm].wrap(contentKey, recipient.publicKey, binding);
  if (made === null) {
    throw new SealstreamError("key-invalid", `Nothing can be wrapped for ${purpose}.`);
  }
  return { algorithm, kid, ...made };
}

/**
 * As {@link wrapContentKey}, for every algorithm.
 * @throws `key-missing` for a recipient in a service without `kms` for it, and what `Kms.wrap` throws
 */
export async function wrapContentKeyFor(options: {
  readonly contentKey: Uint8Array;
  readonly recipient: Recipient;
  readonly binding: Uint8Array;
  readonly kms?: Kms | undefined;
}): Promise<WrappedKey> {
  const { contentKey, recipient, binding, kms } = options;
  const { algorithm, kid } = recipient;
  if (algorithm !== "kms") return wrapContentKey(contentKey, recipient, binding);
  assertContentKey(contentKey);
  const uri = assertUri(recipient.purpose, recipient.publicKey);
  return { algorithm, kid, ...(await wrapRemotely({ contentKey, uri, binding, kms })) };
}

/** The content key, by a key at hand or in a service; null when it was not wrapped for this key and binding. */
export async function unwrapAnywhere(
  key: AnyUnwrapKey,
  wrapped: WrappedKey,
  binding: Uint8Array,
): Promise<KeyObject | null> {
  return "unwrapRemotely" in key
    ? key.unwrapRemotely(wrapped, binding)
    : key.unwrap(wrapped, binding);
}

/** Handle of an X25519 scalar of 32 bytes; the caller may wipe `raw` afterwards. */
export function createUnwrapKey(purpose: string, raw: Uint8Array): UnwrapKey {
  return unwrapKeyOf(purpose, "x25519", privateKeyObject("x25519", raw));
}

/**
 * Handle of a private key of any kind that has a local algorithm.
 * @param privateKey X25519, P-256 or RSA, e.g. read from PKCS#8; it must not be used elsewhere
 * @throws `key-invalid` for another kind, a weak RSA key, or a public half that belongs to another key
 */
export function createUnwrapKeyOf(purpose: string, privateKey: KeyObject): UnwrapKey {
  const algorithm = privateKey.type === "private" ? algorithmOf(privateKey) : null;
  if (algorithm === null) {
    throw new SealstreamError(
      "key-invalid",
      `The key of ${purpose} must be a private key of X25519, P-256 or RSA.`,
    );
  }
  const key = unwrapKeyOf(purpose, algorithm, privateKey);
  // A file can carry a public half that is not its private key's: then nothing that is wrapped for it would ever open.
  const recipient = createRecipient(purpose, key.publicKey, algorithm);
  const probe = wrapContentKey(new Uint8Array(AES_KEY_BYTES), recipient, EMPTY);
  if (key.unwrap(probe, EMPTY) === null) {
    throw new SealstreamError(
      "key-invalid",
      `The private and public half of the key of ${purpose} do not belong together: restore it from a backup.`,
    );
  }
  return key;
}

/**
 * Handle of a key in a service.
 * @throws `key-invalid` for a URI of unknown form, `key-missing` when `kms` does not serve its scheme
 */
export function createRemoteUnwrapKey(purpose: string, uri: string, kms: Kms): RemoteUnwrapKey {
  const publicKey = new Uint8Array(Buffer.from(uri, "utf8"));
  const service = serviceFor(assertUri(purpose, publicKey), kms);
  const kid = keyIdOf(publicKey);
  return Object.freeze({
    purpose,
    algorithm: "kms" as const,
    kid,
    publicKey,
    async unwrapRemotely(wrapped: WrappedKey, binding: Uint8Array): Promise<KeyObject | null> {
      const ours = wrapped.algorithm === "kms" && Buffer.compare(wrapped.kid, kid) === 0;
      return ours ? unwrapRemotely(service, uri, wrapped, binding) : null;
    },
  });
}

/** The COSE_recipient array of wrapped keys. */
export function recipientsToCbor(wrapped: readonly WrappedKey[]): CborValue {
  return wrapped.map(recipientToCbor);
}

/** Wrapped keys of a decoded COSE_recipient array, as views; null when any is not exactly of the forms above. */
export function recipientsFromCbor(value: CborValue | undefined): WrappedKey[] | null {
  if (!isCborArray(value) || value.length === 0 || value.length > MAX_RECIPIENTS) return null;
  const wrapped: WrappedKey[] = [];
  for (const item of value) {
    const one = recipientFromCbor(item);
    if (one === null) return null;
    wrapped.push(one);
  }
  return wrapped;
}

function recipientToCbor({ algorithm, kid, ephemeral, ciphertext }: WrappedKey): CborValue {
  const header = new Map<CborValue, CborValue>([[KID, kid]]);
  switch (algorithm) {
    case "x25519":
      header.set(EPHEMERAL, okpKey(ephemeral));
      return [ECDH_PROTECTED, header, ciphertext];
    case "p-256":
      header.set(EPHEMERAL, ec2Key(ephemeral));
      return [ECDH_PROTECTED, header, ciphertext];
    case "rsa-oaep-256":
      header.set(ALG, COSE_RSAES_OAEP_SHA256);
      return [EMPTY, header, ciphertext];
    case "kms":
      return [KMS_PROTECTED, header, ciphertext];
  }
}

function okpKey(publicKey: Uint8Array): CborValue {
  return new Map<CborValue, CborValue>([
    [KTY, OKP],
    [CRV, CRV_X25519],
    [X, publicKey],
  ]);
}

function ec2Key(point: Uint8Array): CborValue {
  return new Map<CborValue, CborValue>([
    [KTY, EC2],
    [CRV, CRV_P256],
    [X, point.subarray(1, 1 + P256_COORDINATE_BYTES)],
    [Y, point.subarray(1 + P256_COORDINATE_BYTES)],
  ]);
}

function recipientFromCbor(item: CborValue): WrappedKey | null {
  if (!isCborArray(item) || item.length !== 3) return null;
  const [header, unprotected, ciphertext] = item;
  if (!(header instanceof Uint8Array) || !(ciphertext instanceof Uint8Array)) return null;
  if (!(unprotected instanceof Map)) return null;
  const kid: CborValue | undefined = unprotected.get(KID);
  if (!isBytes(kid, KID_BYTES)) return null;
  if (Buffer.compare(header, ECDH_PROTECTED) === 0) {
    const sender = unprotected.size === 2 ? ephemeralOf(unprotected.get(EPHEMERAL)) : null;
    return sender && ciphertext.length === KW_BYTES ? { ...sender, kid, ciphertext } : null;
  }
  if (header.length === 0) {
    const fits = ciphertext.length * 8 >= RSA_MIN_BITS && ciphertext.length * 8 <= RSA_MAX_BITS;
    const alg: CborValue | undefined = unprotected.get(ALG);
    if (!fits || unprotected.size !== 2 || alg !== COSE_RSAES_OAEP_SHA256) return null;
    return { algorithm: "rsa-oaep-256", kid, ephemeral: EMPTY, ciphertext };
  }
  if (Buffer.compare(header, KMS_PROTECTED) !== 0 || unprotected.size !== 1) return null;
  return isKmsCiphertext(ciphertext)
    ? { algorithm: "kms", kid, ephemeral: EMPTY, ciphertext }
    : null;
}

/** Curve and public key of a COSE_Key in one of its two spellings. */
function ephemeralOf(
  key: CborValue | undefined,
): Pick<WrappedKey, "algorithm" | "ephemeral"> | null {
  if (!(key instanceof Map)) return null;
  const x: CborValue | undefined = key.get(X);
  if (key.size === 3 && key.get(KTY) === OKP && key.get(CRV) === CRV_X25519) {
    return isBytes(x, PUBLIC_KEY_BYTES) ? { algorithm: "x25519", ephemeral: x } : null;
  }
  if (key.size !== 4 || key.get(KTY) !== EC2 || key.get(CRV) !== CRV_P256) return null;
  const y: CborValue | undefined = key.get(Y);
  if (!isBytes(x, P256_COORDINATE_BYTES) || !isBytes(y, P256_COORDINATE_BYTES)) return null;
  const ephemeral = new Uint8Array(P256_POINT_BYTES);
  ephemeral[0] = UNCOMPRESSED;
  ephemeral.set(x, 1);
  ephemeral.set(y, 1 + P256_COORDINATE_BYTES);
  return { algorithm: "p-256", ephemeral };
}

function unwrapKeyOf(
  purpose: string,
  algorithm: LocalWrapAlgorithm,
  privateKey: KeyObject,
): UnwrapKey {
  const publicKey = LOCAL[algorithm].publicKeyOf(privateKey);
  if (publicKey === null) {
    throw new SealstreamError("internal", `A key of ${purpose} is not of ${algorithm}.`);
  }
  const kid = keyIdOf(publicKey);
  return Object.freeze({
    purpose,
    algorithm,
    kid,
    publicKey,
    unwrap(wrapped: WrappedKey, binding: Uint8Array): KeyObject | null {
      if (wrapped.algorithm !== algorithm || Buffer.compare(wrapped.kid, kid) !== 0) return null;
      return LOCAL[algorithm].unwrap(privateKey, wrapped, binding);
    },
  });
}

function algorithmOf(privateKey: KeyObject): LocalWrapAlgorithm | null {
  const names = ["x25519", "p-256", "rsa-oaep-256"] as const;
  return names.find((name) => LOCAL[name].publicKeyOf(privateKey) !== null) ?? null;
}

function assertContentKey(contentKey: Uint8Array): void {
  if (contentKey.length !== AES_KEY_BYTES) {
    throw new SealstreamError("key-invalid", "A content key has 32 bytes.");
  }
}

/** @throws `key-invalid` */
function assertUri(purpose: string, publicKey: Uint8Array): string {
  const uri = kmsUriOf(publicKey);
  if (uri === null) {
    throw new SealstreamError(
      "key-invalid",
      `The public key of ${purpose} ${kmsComplaint(publicKey)}.`,
    );
  }
  return uri;
}
