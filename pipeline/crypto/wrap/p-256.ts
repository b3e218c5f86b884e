/**
 * Content keys wrapped by ECDH-ES + A256KW over NIST P-256.
 *
 * One key has one spelling: 04, x, y (65 bytes). Compressed and hybrid points, the point at infinity, coordinates that
 * are not reduced and points off the curve are refused before they meet a private key.
 * Must not: let a shared secret out, except to those who have the private key.
 * Sources: SEC 1 section 2.3.3, NIST SP 800-56A section 5.6.2.3.3, RFC 9053 sections 6.3.1 and 7.1.1.
 */
import { createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { sharedSecret, unwrapUnder, wrapUnder } from "./ecdh-es.ts";
import type { LocalWrap } from "./types.ts";

export const P256_COORDINATE_BYTES = 32;
export const P256_POINT_BYTES = 1 + 2 * P256_COORDINATE_BYTES;

const UNCOMPRESSED = 0x04;
/** SPKI of a point of prime256v1: this prefix, then 65 bytes (RFC 5480 section 2). */
const SPKI_PREFIX = Buffer.from("3059301306072a8648ce3d020106082a8648ce3d030107034200", "hex");

export const p256: LocalWrap = {
  complaint(publicKey) {
    const usable = pointObject(publicKey) !== null;
    return usable ? null : "is no P-256 key: an uncompressed point of 65 bytes, on the curve";
  },
  wrap(contentKey, publicKey, binding) {
    const ephemeral = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
    const shared = agreeP256(ephemeral.privateKey, publicKey);
    if (shared === null) return null;
    return {
      ephemeral: pointOf(ephemeral.publicKey),
      ciphertext: wrapUnder(shared, contentKey, binding),
    };
  },
  unwrap(privateKey, { ephemeral, ciphertext }, binding) {
    const shared = agreeP256(privateKey, ephemeral);
    return shared === null ? null : unwrapUnder(shared, ciphertext, binding);
  },
  publicKeyOf(privateKey) {
    const onCurve = privateKey.asymmetricKeyDetails?.namedCurve === "prime256v1";
    if (privateKey.asymmetricKeyType !== "ec" || !onCurve) return null;
    return pointOf(createPublicKey(privateKey));
  },
};

/** The shared secret (the x-coordinate), owned by the caller, or null for what is no point of the curve. */
export function agreeP256(privateKey: KeyObject, point: Uint8Array): Buffer | null {
  const publicKey = pointObject(point);
  return publicKey === null ? null : sharedSecret(privateKey, publicKey);
}

/** OpenSSL itself refuses coordinates that are not reduced and points off the curve. */
function pointObject(point: Uint8Array): KeyObject | null {
  if (point.length !== P256_POINT_BYTES || point[0] !== UNCOMPRESSED) return null;
  try {
    const der = Buffer.concat([SPKI_PREFIX, point]);
    return createPublicKey({ key: der, format: "der", type: "spki" });
  } catch {
    // Because bytes from a topic that are no point are bad input, and node reports them by throwing.
    return null;
  }
}

/** By way of the coordinates: a key read from a file may carry its point in another form. */
function pointOf(publicKey: KeyObject): Uint8Array<ArrayBuffer> {
  const { x = "", y = "" } = publicKey.export({ format: "jwk" });
  const point = new Uint8Array(P256_POINT_BYTES);
  point[0] = UNCOMPRESSED;
  point.set(Buffer.from(x, "base64url"), 1);
  point.set(Buffer.from(y, "base64url"), 1 + P256_COORDINATE_BYTES);
  return point;
}
