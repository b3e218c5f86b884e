/** Edge cases of RSA-OAEP, made here in the manner of Wycheproof: encodings that OpenSSL would never write. */
import {
  constants,
  createHash,
  createPublicKey,
  privateEncrypt,
  publicEncrypt,
  randomBytes,
} from "node:crypto";
import { describe, expect, test } from "vitest";
import { createUnwrapKeyOf } from "../../pipeline/crypto/wrap/key-wrap.ts";
import { openOaep } from "../../pipeline/crypto/wrap/rsa-oaep.ts";
import { hexOf, utf8 } from "./fixtures.ts";
import { freshPrivateKey } from "./wrap-fixtures.ts";

const BYTES = 256;
const privateKey = freshPrivateKey("rsa-oaep-256");
const publicKey = createPublicKey(privateKey);
const unwrapKey = createUnwrapKeyOf("training-unwrap", privateKey);
const { n = "", e = "" } = publicKey.export({ format: "jwk" });
const modulus = BigInt(`0x${Buffer.from(n, "base64url").toString("hex")}`);
expect(e).toBe("AQAB");

const contentKey = new Uint8Array(randomBytes(32));
const bytesOfNumber = (value: bigint, length = BYTES) =>
  new Uint8Array(Buffer.from(value.toString(16).padStart(2 * length, "0"), "hex"));
const numberOf = (bytes: Uint8Array) => BigInt(`0x${hexOf(bytes)}`);

function opens(ciphertext: Uint8Array): boolean {
  const { kid } = unwrapKey;
  const wrapped = { algorithm: "rsa-oaep-256" as const, kid, ephemeral: new Uint8Array(0) };
  return unwrapKey.unwrap({ ...wrapped, ciphertext }, utf8("any")) !== null;
}

interface Encoding {
  readonly message?: Uint8Array;
  readonly label?: Uint8Array;
  readonly hash?: string;
  readonly mgfHash?: string;
  /** First byte of the encoded message: 0 in RFC 8017. */
  readonly first?: number;
  readonly separator?: number;
  /** Changes the data block before it is masked. */
  readonly change?: (block: Uint8Array) => void;
}

function mgf1(hash: string, seed: Uint8Array, length: number): Uint8Array {
  const parts: Buffer[] = [];
  for (let counter = 0; Buffer.concat(parts).length < length; counter++) {
    const suffix = Buffer.alloc(4);
    suffix.writeUInt32BE(counter);
    parts.push(createHash(hash).update(seed).update(suffix).digest());
  }
  return Buffer.concat(parts).subarray(0, length);
}

const xor = (a: Uint8Array, b: Uint8Array) => a.map((byte, i) => byte ^ (b[i] ?? 0));

function flip(block: Uint8Array, at: number, mask: number): void {
  block[at] = block[at]! ^ mask;
}

/** EME-OAEP of RFC 8017 section 7.1.1, each part of which a case can spoil. */
function encode(options: Encoding = {}): Uint8Array {
  const { message = contentKey, hash = "sha256", mgfHash = hash, separator = 1 } = options;
  const lHash = createHash(hash)
    .update(options.label ?? "")
    .digest();
  const padding = BYTES - message.length - 2 * lHash.length - 2;
  const block = new Uint8Array([...lHash, ...new Uint8Array(padding), separator, ...message]);
  options.change?.(block);
  const seed = randomBytes(lHash.length);
  const masked = xor(block, mgf1(mgfHash, seed, block.length));
  const maskedSeed = xor(seed, mgf1(mgfHash, masked, seed.length));
  return new Uint8Array([options.first ?? 0, ...maskedSeed, ...masked]);
}

/** The ciphertext of an encoded message, which with a first byte of 1 or 2 is still below a modulus of 2048 bits. */
function encrypt(encoded: Uint8Array): Uint8Array {
  const options = { key: publicKey, padding: constants.RSA_NO_PADDING };
  return new Uint8Array(publicEncrypt(options, encoded));
}

describe("RSA-OAEP-256", () => {
  test("opens what was encoded here by another hand, and a key of zeros", () => {
    expect(opens(encrypt(encode()))).toBe(true);
    expect(hexOf(openOaep(privateKey, encrypt(encode()))!)).toBe(hexOf(contentKey));
    expect(opens(encrypt(encode({ message: new Uint8Array(32) })))).toBe(true);
    expect(opens(encrypt(encode({ message: new Uint8Array(32).fill(1) })))).toBe(true);
  });

  const spoiled: [string, Encoding][] = [
    ["label", { label: utf8("x") }],
    ["label of one zero", { label: new Uint8Array(1) }],
    ["SHA-1", { hash: "sha1" }],
    ["SHA-512", { hash: "sha512" }],
    ["SHA-384", { hash: "sha384" }],
    ["SHA3-256", { hash: "sha3-256" }],
    ["MGF1 with SHA-1", { mgfHash: "sha1" }],
    ["MGF1 with SHA-512", { mgfHash: "sha512" }],
    ["SHA-1 with MGF1 of SHA-256", { hash: "sha1", mgfHash: "sha256" }],
    ["first byte 1", { first: 1 }],
    ["first byte 2", { first: 2 }],
    ["separator 0", { separator: 0 }],
    ["separator 2", { separator: 2 }],
    ["separator 255", { separator: 255 }],
    ["padding that is not zero", { change: (block) => void block.fill(7, 40, 41) }],
    ["hash with its first bit flipped", { change: (block) => flip(block, 0, 0x80) }],
    ["hash with its last bit flipped", { change: (block) => flip(block, 31, 1) }],
    ["a block of zeros", { change: (block) => void block.fill(0) }],
    ["a block of ones", { change: (block) => void block.fill(0xff) }],
    ["no message", { message: new Uint8Array(0) }],
    ["a key of 16 bytes", { message: contentKey.slice(16) }],
    ["a key of 31 bytes", { message: contentKey.slice(1) }],
    ["a key of 33 bytes", { message: new Uint8Array([0, ...contentKey]) }],
    ["as much as fits", { message: new Uint8Array(190).fill(5) }],
  ];
  test.each(spoiled)("refuses another encoding: %s", (_, encoding) => {
    for (let i = 0; i < 3; i++) expect(opens(encrypt(encode(encoding)))).toBe(false);
  });

  const good = encrypt(encode());
  const v15 = { key: publicKey, padding: constants.RSA_PKCS1_PADDING };
  const signed = { key: privateKey, padding: constants.RSA_PKCS1_PADDING };
  const numbers: [string, Uint8Array][] = [
    ["0", new Uint8Array(BYTES)],
    ["1", bytesOfNumber(1n)],
    ["the modulus less one", bytesOfNumber(modulus - 1n)],
    ["the modulus", bytesOfNumber(modulus)],
    ["the modulus and one", bytesOfNumber(modulus + 1n)],
    ["all ones", new Uint8Array(BYTES).fill(0xff)],
    ["the modulus less the ciphertext", bytesOfNumber(modulus - numberOf(good))],
    ["the ciphertext and the modulus", bytesOfNumber(numberOf(good) + modulus, BYTES + 1)],
    ["a zero before it", new Uint8Array([0, ...good])],
    ["a zero after it", new Uint8Array([...good, 0])],
    ["without its first byte", good.slice(1)],
    ["without its last byte", good.slice(0, -1)],
    ["nothing", new Uint8Array(0)],
    ["half of it", good.slice(0, BYTES / 2)],
    ["twice", new Uint8Array([...good, ...good])],
    ["in another order", new Uint8Array(good).reverse()],
    ["PKCS#1 v1.5", new Uint8Array(publicEncrypt(v15, contentKey))],
    ["a signature's padding", new Uint8Array(privateEncrypt(signed, contentKey))],
    ["the bare key", encrypt(bytesOfNumber(numberOf(contentKey)))],
    ["twice the message", bytesOfNumber((numberOf(good) * 2n ** 65_537n) % modulus)],
  ];
  test.each(numbers)("refuses another number: %s", (_, ciphertext) => {
    expect(opens(ciphertext)).toBe(false);
  });

  test("refuses a shorter ciphertext also where its first byte was zero", () => {
    let encoded = encode();
    let ciphertext = encrypt(encoded);
    while (ciphertext[0] !== 0) {
      encoded = encode();
      ciphertext = encrypt(encoded);
    }
    expect(opens(ciphertext)).toBe(true);
    expect(opens(ciphertext.slice(1))).toBe(false);
  });

  test("refuses what is for another key of the same size", () => {
    const other = createPublicKey(freshPrivateKey("rsa-oaep-256"));
    const options = { key: other, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: "sha256" };
    expect(opens(new Uint8Array(publicEncrypt(options, contentKey)))).toBe(false);
  });
});
