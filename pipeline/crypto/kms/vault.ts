/**
 * Vault and OpenBao: keys of their transit engine, `vault:<mount>/keys/<name>`, e.g. `vault:transit/keys/training`.
 *
 * | key type | wrap | unwrap | binding |
 * |---|---|---|---|
 * | aes256-gcm96, chacha20-poly1305, xchacha20-poly1305 | in the service | in the service | associated_data |
 * | rsa-2048, rsa-3072, rsa-4096 | here, with its public key | in the service | in the plaintext: rsa-bound.ts |
 * A wrapped key is what the engine writes: `vault:v<version of the key>:<base64>`, so rotation there is nobody's business
 * here. The token needs `read` on keys/<name> and `update` on encrypt/<name> or decrypt/<name>.
 * Must not: let encrypt make a key that does not exist, as it does for who may create one.
 * Source: https://openbao.org/api-docs/secret/transit/.
 */
import { SealstreamError } from "../../errors.ts";
import { type Kms, MAX_KMS_CIPHERTEXT_BYTES } from "./kms.ts";
import { openRsaBound, rsaPublicKey, wrapForRsa } from "./rsa-bound.ts";
import { createVaultHttp, isRecord, type VaultHttp, type VaultOptions } from "./vault-http.ts";

const URI = /^vault:((?:[A-Za-z0-9_][A-Za-z0-9_.-]*\/)+)keys\/([A-Za-z0-9_][A-Za-z0-9_.-]*)$/;
const AEAD = ["aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305"];
const RSA = ["rsa-2048", "rsa-3072", "rsa-4096"];
const CIPHERTEXT = /^vault:v[1-9][0-9]{0,8}:([A-Za-z0-9+/]+={0,2})$/;
const KEY_BYTES = 32;

interface KeyName {
  readonly uri: string;
  /** With a slash at its end. */
  readonly mount: string;
  readonly name: string;
}

type KeyShape =
  | { readonly type: "aead" }
  | { readonly type: "rsa"; readonly version: number; readonly pem: string };

/** @throws `usage` for an address that is none or unencrypted */
export function createVaultKms(options: VaultOptions): Kms {
  const http = createVaultHttp(options);
  // What a key is does not change; the version of its public key does, so wrapping looks again.
  const shapes = new Map<string, KeyShape>();
  const shapeOf = async (key: KeyName, isFresh: boolean): Promise<KeyShape> => {
    const known = shapes.get(key.uri);
    if (known !== undefined && (!isFresh || known.type === "aead")) return known;
    const shape = await readShape(http, key);
    shapes.set(key.uri, shape);
    return shape;
  };
  return Object.freeze({
    schemes: ["vault"],
    async wrap(uri: string, contentKey: Uint8Array, binding: Uint8Array) {
      const key = nameOf(uri);
      const shape = await shapeOf(key, true);
      if (shape.type === "aead") return wrapThere(http, key, contentKey, binding);
      const wrapped = wrapForRsa(rsaPublicKey(shape.pem, uri), contentKey, binding);
      return utf8(`vault:v${shape.version}:${base64(wrapped)}`);
    },
    async unwrap(uri: string, ciphertext: Uint8Array, binding: Uint8Array) {
      const key = nameOf(uri);
      const text = Buffer.from(ciphertext).toString("latin1");
      // What the engine cannot have written is not worth a request.
      if (ciphertext.length > MAX_KMS_CIPHERTEXT_BYTES || !isCiphertext(text)) return null;
      const { type } = await shapeOf(key, false);
      const plaintext = await decryptThere(http, key, text, type === "aead" ? binding : null);
      if (plaintext === null) return null;
      const contentKey =
        type === "rsa" ? openRsaBound(plaintext, binding) : new Uint8Array(plaintext);
      plaintext.fill(0);
      if (contentKey === null || contentKey.length === KEY_BYTES) return contentKey;
      contentKey.fill(0);
      return null;
    },
    async publicKey(uri: string) {
      const shape = await shapeOf(nameOf(uri), true);
      if (shape.type === "aead") return null;
      const key = rsaPublicKey(shape.pem, uri);
      return new Uint8Array(key.export({ format: "der", type: "spki" }));
    },
  });
}

function nameOf(uri: string): KeyName {
  const [, mount, name] = URI.exec(uri) ?? [];
  if (mount === undefined || name === undefined) {
    throw new SealstreamError(
      "key-invalid",
      `The URI of a key in Vault or OpenBao is vault:<mount>/keys/<name>: not ${JSON.stringify(uri.slice(0, 100))}.`,
    );
  }
  return { uri, mount, name };
}

async function readShape(http: VaultHttp, key: KeyName): Promise<KeyShape> {
  const answer = await http.ask("GET", `${key.mount}keys/${key.name}`);
  if (answer.status !== "ok") throw missing(key);
  const { type, derived, latest_version: version, keys } = answer.data;
  if (typeof type !== "string" || derived === true) throw unfit(key);
  if (AEAD.includes(type)) return { type: "aead" };
  const newest = isRecord(keys) ? keys[String(version)] : null;
  const pem = isRecord(newest) ? newest["public_key"] : null;
  if (!RSA.includes(type) || typeof version !== "number" || typeof pem !== "string") {
    throw unfit(key);
  }
  return { type: "rsa", version, pem };
}

async function wrapThere(
  http: VaultHttp,
  key: KeyName,
  contentKey: Uint8Array,
  binding: Uint8Array,
): Promise<Uint8Array> {
  const answer = await http.ask("POST", `${key.mount}encrypt/${key.name}`, {
    plaintext: base64(contentKey),
    associated_data: base64(binding),
  });
  if (answer.status === "missing") throw missing(key);
  const text = answer.status === "ok" ? answer.data["ciphertext"] : null;
  if (typeof text !== "string" || !isCiphertext(text)) throw unfit(key);
  return utf8(text);
}

/** The plaintext, owned by the caller; null when it is refused. */
async function decryptThere(
  http: VaultHttp,
  key: KeyName,
  ciphertext: string,
  binding: Uint8Array | null,
): Promise<Buffer | null> {
  const answer = await http.ask("POST", `${key.mount}decrypt/${key.name}`, {
    ciphertext,
    ...(binding === null ? {} : { associated_data: base64(binding) }),
  });
  if (answer.status === "missing") throw missing(key);
  const text = answer.status === "ok" ? answer.data["plaintext"] : null;
  return typeof text === "string" ? Buffer.from(text, "base64") : null;
}

function missing({ uri }: KeyName): SealstreamError {
  return new SealstreamError(
    "key-missing",
    `There is no key ${uri}: make it there, or correct the mount, the name or the namespace.`,
  );
}

function unfit({ uri }: KeyName): SealstreamError {
  return new SealstreamError(
    "key-invalid",
    `${uri} cannot wrap keys: it must be of type ${AEAD.join(", ")} or ${RSA.join(", ")}, and not derived.`,
  );
}

/** True for the one spelling of a ciphertext: base64 has several of some bytes. */
function isCiphertext(text: string): boolean {
  const [, body = ""] = CIPHERTEXT.exec(text) ?? [];
  return body !== "" && Buffer.from(body, "base64").toString("base64") === body;
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}

function utf8(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "utf8"));
}
