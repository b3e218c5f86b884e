/** Edge cases of AES-256-GCM and Ed25519, made here in the manner of Wycheproof: all are refused, none throws. */
import { createCipheriv, createSecretKey, randomBytes } from "node:crypto";
import { ed25519 } from "@noble/curves/ed25519.js";
import { describe, expect, test } from "vitest";
import { encodeCbor } from "../../pipeline/crypto/cbor.ts";
import { isUsableEd25519, parseIdentity } from "../../pipeline/crypto/identity.ts";
import { createSigningKey, verifySignature } from "../../pipeline/crypto/key-handles.ts";
import { decodePayload } from "../../pipeline/crypto/key-payload.ts";
import { bytesOf, hexOf, openGcm, sealGcm, utf8 } from "./fixtures.ts";

/** `value` in 32 bytes, little-endian. */
const littleEndian = (value: bigint) => bytesOf(value.toString(16).padStart(64, "0")).reverse();
const numberOf = (bytes: Uint8Array) => BigInt(`0x${hexOf(new Uint8Array(bytes).reverse())}`);

function* flipped(bytes: Uint8Array): Generator<Uint8Array> {
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const copy = new Uint8Array(bytes);
    copy[bit >> 3]! ^= 1 << (bit & 7);
    yield copy;
  }
}

describe("AES-256-GCM", () => {
  const key = createSecretKey(randomBytes(32));
  const iv = new Uint8Array(randomBytes(12));
  const [aad, plaintext] = [utf8("place"), utf8("seventeen bytes!!")];
  const { ciphertext, tag } = sealGcm(key, iv, aad, plaintext);
  const sealed = new Uint8Array([...ciphertext, ...tag]);

  test("refuses every flipped bit of ciphertext, tag, IV and AAD", () => {
    expect(openGcm(key, iv, aad, sealed)).toEqual(plaintext);
    for (const one of flipped(sealed)) expect(openGcm(key, iv, aad, one)).toBeNull();
    for (const one of flipped(iv)) expect(openGcm(key, one, aad, sealed)).toBeNull();
    for (const one of flipped(aad)) expect(openGcm(key, iv, one, sealed)).toBeNull();
  });

  test("refuses every shorter tag, also one that authenticates at its length", () => {
    for (let length = 0; length < 16; length++) {
      expect(openGcm(key, iv, aad, sealed.slice(0, ciphertext.length + length))).toBeNull();
    }
    for (const authTagLength of [4, 8, 12, 13, 14, 15]) {
      const cipher = createCipheriv("aes-256-gcm", key, iv, { authTagLength }).setAAD(aad);
      const body = Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
      expect(openGcm(key, iv, aad, body)).toBeNull();
    }
  });

  test("refuses tags of zeros, of ones, before the ciphertext, and of other messages", () => {
    for (const other of [new Uint8Array(16), new Uint8Array(16).fill(0xff), tag.toReversed()]) {
      expect(openGcm(key, iv, aad, new Uint8Array([...ciphertext, ...other]))).toBeNull();
    }
    expect(openGcm(key, iv, aad, new Uint8Array([...tag, ...ciphertext]))).toBeNull();
    const next = sealGcm(key, iv, utf8("elsewhere"), plaintext);
    expect(openGcm(key, iv, aad, new Uint8Array([...ciphertext, ...next.tag]))).toBeNull();
    // The tag of nothing at all: what remains when the ciphertext is cut away.
    const none = sealGcm(key, iv, aad, new Uint8Array(0));
    expect(openGcm(key, iv, aad, new Uint8Array(none.tag))).toEqual(new Uint8Array(0));
    expect(openGcm(key, iv, aad, tag)).toBeNull();
  });

  test("refuses an IV of another length, also one under which it was sealed", () => {
    for (const length of [0, 1, 8, 11, 13, 16, 32]) {
      const other = new Uint8Array(length).fill(3);
      expect(openGcm(key, other, aad, sealed)).toBeNull();
      if (length === 0) continue;
      const cipher = createCipheriv("aes-256-gcm", key, other, { authTagLength: 16 }).setAAD(aad);
      const body = Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
      expect(openGcm(key, other, aad, body)).toBeNull();
    }
    expect(openGcm(key, new Uint8Array([...iv, 0]), aad, sealed)).toBeNull();
  });

  test("refuses another key, and an AAD that moved into the ciphertext", () => {
    expect(openGcm(createSecretKey(randomBytes(32)), iv, aad, sealed)).toBeNull();
    const moved = new Uint8Array([...aad, ...sealed]);
    expect(openGcm(key, iv, new Uint8Array(0), moved)).toBeNull();
    expect(openGcm(key, iv, new Uint8Array([...aad, 0]), sealed)).toBeNull();
  });
});

describe("Ed25519", () => {
  const L = ed25519.Point.CURVE().n;
  const p = 2n ** 255n - 19n;
  const key = createSigningKey("owner-signing", randomBytes(32));
  const message = utf8("what was signed");
  const signature = key.sign(message);
  const [R, S] = [signature.slice(0, 32), numberOf(signature.slice(32))];
  const withS = (s: bigint) => new Uint8Array([...R, ...littleEndian(s)]);
  const verify = (bytes: Uint8Array, text = message) => verifySignature(key.publicKey, text, bytes);

  test("refuses S with L added, which is the same number modulo L", () => {
    expect(verify(withS(S))).toBe(true);
    let tried = 0;
    for (let s = S + L; s < 2n ** 256n; s += L) {
      expect(verify(withS(s))).toBe(false);
      tried += 1;
    }
    expect(tried).toBeGreaterThan(10);
  });

  test.each([
    ["0", 0n],
    ["1", 1n],
    ["L", L],
    ["L - 1", L - 1n],
    ["2^255 - 1", 2n ** 255n - 1n],
    ["all ones", 2n ** 256n - 1n],
    ["-S", L - S],
    ["S with the top bit", S + 2n ** 255n],
  ])("refuses S of %s", (_, s) => {
    expect(verify(withS(s))).toBe(false);
  });

  test("refuses every flipped bit, and another message", () => {
    for (const one of flipped(signature)) expect(verify(one)).toBe(false);
    for (const one of flipped(message)) expect(verify(signature, one)).toBe(false);
    expect(verify(signature, new Uint8Array(0))).toBe(false);
  });

  test("refuses signatures of other lengths, the empty one first", () => {
    for (let length = 0; length < 64; length++)
      expect(verify(signature.slice(0, length))).toBe(false);
    for (const more of [1, 2, 64]) {
      expect(verify(new Uint8Array([...signature, ...new Uint8Array(more)]))).toBe(false);
    }
    expect(verify(new Uint8Array(64))).toBe(false);
    expect(verify(new Uint8Array(64).fill(0xff))).toBe(false);
  });

  test("refuses R and A that are not reduced, and exchanged halves", () => {
    // y of the identity is 1; p + 1 is its other spelling.
    const other = new Uint8Array([...littleEndian(p + 1n), ...littleEndian(0n)]);
    expect(verify(other)).toBe(false);
    expect(verify(new Uint8Array([...signature.slice(32), ...R]))).toBe(false);
  });

  /** All points of small order, each also with y + p and with the sign bit where x is zero. */
  const torsion = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000080",
    `ec${"ff".repeat(30)}7f`,
    `ec${"ff".repeat(31)}`,
    `ee${"ff".repeat(30)}7f`,
    `ee${"ff".repeat(31)}`,
    "00".repeat(32),
    `${"00".repeat(31)}80`,
    `ed${"ff".repeat(30)}7f`,
    `ed${"ff".repeat(31)}`,
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
  ];
  test.each(torsion)("a key of small order is neither pinned nor certified: %s", (hex) => {
    const publicKey = bytesOf(hex);
    expect(isUsableEd25519(publicKey)).toBe(false);
    const text = `ed25519:${Buffer.from(publicKey).toString("base64url")}`;
    expect(parseIdentity(text)).toBeNull();
    const fields = { v: 1, type: "signer", generation: 1, zone: "owner", purpose: "owner-signing" };
    expect(decodePayload(encodeCbor({ ...fields, publicKey }))).toBeNull();
    expect(decodePayload(encodeCbor({ ...fields, publicKey: key.publicKey }))).not.toBeNull();
  });

  test.each(torsion)("nor does anything verify under one, whatever is signed: %s", (hex) => {
    // R = S * B: verifies without the equation's check of A wherever the hash times A vanishes, once in eight at least.
    const s = 12_345n;
    const r = ed25519.Point.BASE.multiply(s).toBytes();
    const forged = new Uint8Array([...r, ...littleEndian(s)]);
    for (let i = 0; i < 64; i++) {
      expect(verifySignature(bytesOf(hex), Uint8Array.of(i), forged)).toBe(false);
    }
  });

  test("a key with a part of small order is refused as well", () => {
    const eighth = ed25519.Point.fromHex(torsion[10]!);
    const mixed = ed25519.Point.fromBytes(key.publicKey).add(eighth);
    expect(isUsableEd25519(mixed.toBytes())).toBe(false);
    expect(isUsableEd25519(key.publicKey)).toBe(true);
  });
});
