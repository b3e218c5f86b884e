/**
 * The two halves of a key in the hands of a ceremony: what of a key file may be shown, and the handle of what may not.
 *
 * Must not: write or print anything, or keep material beyond the handle made of it.
 * Sources: RFC 5208 and 5958 (PKCS#8), RFC 7468 (PEM), RFC 8410 (Ed25519 and X25519), RFC 5480 (P-256).
 */
import { createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";
import { SealstreamError } from "../errors.ts";
import { type KeyFile, type KeyFileContent, parseKeyFile } from "./key-file.ts";
import {
  createSigningKey,
  keyIdOf,
  privateKeyObject,
  publicKeyObject,
  rawPublicKey,
  type SigningKey,
} from "./key-handles.ts";
import { PURPOSES, type Purpose, type ZoneName } from "./key-purposes.ts";
import { unwrapHandle } from "./key-ring.ts";
import type { Kms } from "./kms/kms.ts";
import { createRecipient } from "./wrap/key-wrap.ts";
import type { Recipient, RemoteUnwrapKey, UnwrapKey, WrapAlgorithm } from "./wrap/types.ts";

/** What anybody may know of a key pair. */
export interface PublicHalf {
  readonly purpose: Purpose;
  readonly zone: ZoneName;
  readonly generation: number;
  readonly algorithm: "ed25519" | WrapAlgorithm;
  readonly kid: Uint8Array;
  /** As in `Recipient`; ed25519: 32 raw bytes. */
  readonly publicKey: Uint8Array;
}

const DER = { format: "der", type: "spki" } as const;
/** Point of P-256 behind the header of its SPKI. */
const P256_SPKI_PREFIX = Buffer.from("3059301306072a8648ce3d020106082a8648ce3d030107034200", "hex");
const P256_POINT_BYTES = 65;
/** One block; the text around it that some tools write is let be. */
const SPKI_PEM = /-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----/;

/** Null for a secret, which has no other half, and for the CKKS secret key, whose public keys are published blobs. */
export function publicHalfOf(file: KeyFile): PublicHalf | null {
  return withContent(file, ({ kind, purpose, generation, material }) => {
    if (kind === "secret" || kind === "ckks-secret") return null;
    const { zone } = PURPOSES[purpose];
    if (kind === "kms") return half({ purpose, zone, generation }, "kms", new Uint8Array(material));
    const [algorithm, publicKey] = halfOf(kind, material);
    return half({ purpose, zone, generation }, algorithm, publicKey);
  });
}

/** @throws `key-invalid` for a file of another kind */
export function signerOf(file: KeyFile): SigningKey {
  return withContent(file, ({ material }) => createSigningKey(file.purpose, material));
}

/** The private key of an unwrapping purpose. @throws `key-missing` for one in a service without `kms` */
export function unwrapKeyOf(file: KeyFile, kms: Kms | undefined): UnwrapKey | RemoteUnwrapKey {
  return withContent(file, (content) => unwrapHandle(content, kms, whereOf(file)).key);
}

/** The private half as PKCS#8 PEM, for whoever has to take a key elsewhere. @throws `usage` for what has no such form */
export function privatePem(file: KeyFile): string {
  return withContent(file, ({ kind, material }) => {
    if (kind === "secret" || kind === "ckks-secret" || kind === "kms") {
      throw new SealstreamError(
        "usage",
        `${file.purpose} has no PKCS#8 form: copy its key file instead.`,
      );
    }
    const pem = privateObject(kind, material).export({ format: "pem", type: "pkcs8" });
    return pem.toString().trimEnd();
  });
}

/** The public half as SPKI PEM; null for a key in a service. */
export function publicPem({ algorithm, publicKey }: Pick<PublicHalf, "algorithm" | "publicKey">) {
  const key = publicObject(algorithm, publicKey);
  return key === null ? null : key.export({ format: "pem", type: "spki" }).toString().trimEnd();
}

/**
 * A third party's key out of what it handed over: SPKI PEM of X25519, P-256 or RSA, or the URI of a key in a service.
 * One key has one spelling: DER, and of P-256 the curve's name and the uncompressed point. OpenSSL takes others too, such
 * as a curve's parameters with a cofactor that is wrong.
 * @throws `key-invalid` with one sentence for anything else
 */
export function readerFrom(text: string, where: string): Recipient {
  if (!text.includes("-----BEGIN ")) {
    return createRecipient("reader", Buffer.from(text.trim(), "utf8"), "kms");
  }
  const refused = (why: string) => new SealstreamError("key-invalid", `${where} ${why}.`);
  if (text.includes("PRIVATE KEY-----")) {
    throw refused("holds a private key: ask for the public half alone, and have the pair replaced");
  }
  const [, body = ""] = SPKI_PEM.exec(text) ?? [];
  const der = Buffer.from(body, "base64");
  let key: KeyObject;
  try {
    key = createPublicKey({ key: der, ...DER });
  } catch {
    // Because what OpenSSL says may quote what it read.
    throw refused("is no public key in PEM (SPKI)");
  }
  const reader = recipientOf(key, refused);
  if (publicObject(reader.algorithm, reader.publicKey)?.export(DER).equals(der) !== true) {
    throw refused(
      'is written in an unusual way: of P-256 "openssl ec -pubin -param_enc named_curve -conv_form uncompressed" writes it anew',
    );
  }
  return reader;
}

function recipientOf(key: KeyObject, refused: (why: string) => SealstreamError): Recipient {
  switch (key.asymmetricKeyType) {
    case "x25519":
      return createRecipient("reader", rawPublicKey(key), "x25519");
    case "rsa":
      return createRecipient("reader", new Uint8Array(key.export(DER)), "rsa-oaep-256");
    case "ec":
      if (key.asymmetricKeyDetails?.namedCurve === "prime256v1") {
        return createRecipient("reader", pointOf(key), "p-256");
      }
      throw refused("is of a curve other than P-256");
    default:
      throw refused("is of a kind that nothing can be wrapped for: X25519, P-256 or RSA is");
  }
}

type LocalKind = Exclude<KeyFileContent["kind"], "secret" | "ckks-secret" | "kms">;

function halfOf(
  kind: LocalKind,
  material: Uint8Array,
): readonly [PublicHalf["algorithm"], Uint8Array] {
  const key = createPublicKey(privateObject(kind, material));
  switch (kind) {
    case "ed25519":
    case "x25519":
      return [kind, rawPublicKey(key)];
    case "p-256":
      return ["p-256", pointOf(key)];
    case "rsa":
      return ["rsa-oaep-256", new Uint8Array(key.export(DER))];
  }
}

function privateObject(kind: LocalKind, material: Uint8Array): KeyObject {
  if (kind === "ed25519" || kind === "x25519") return privateKeyObject(kind, material);
  return createPrivateKey({ key: Buffer.from(material), format: "der", type: "pkcs8" });
}

function publicObject(algorithm: PublicHalf["algorithm"], publicKey: Uint8Array): KeyObject | null {
  if (algorithm === "kms") return null;
  if (algorithm === "ed25519" || algorithm === "x25519") {
    return publicKeyObject(algorithm, publicKey);
  }
  const bytes = Buffer.from(publicKey);
  const der = algorithm === "p-256" ? Buffer.concat([P256_SPKI_PREFIX, bytes]) : bytes;
  return createPublicKey({ key: der, ...DER });
}

/** The uncompressed point of a P-256 key. */
function pointOf(key: KeyObject): Uint8Array {
  const { x = "", y = "" } = key.export({ format: "jwk" });
  const point = new Uint8Array(P256_POINT_BYTES);
  point[0] = 4;
  point.set(Buffer.from(x, "base64url"), 1);
  point.set(Buffer.from(y, "base64url"), 33);
  return point;
}

function half(
  of: Pick<PublicHalf, "purpose" | "zone" | "generation">,
  algorithm: PublicHalf["algorithm"],
  publicKey: Uint8Array,
): PublicHalf {
  return { ...of, algorithm, publicKey, kid: keyIdOf(publicKey) };
}

function whereOf({ purpose, generation }: KeyFile): string {
  return `The key file of ${purpose}, generation ${generation},`;
}

/** Something made of a file's material, which is wiped. */
function withContent<T>(file: KeyFile, make: (content: KeyFileContent) => T): T {
  const content = parseKeyFile(file.json, file.purpose, whereOf(file));
  try {
    return make(content);
  } finally {
    content.material.fill(0);
  }
}
