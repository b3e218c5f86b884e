/**
 * Edge cases of key agreement and key wrap, made here in the manner of Wycheproof: every one is refused, or agrees with
 * an implementation that is not ours (noble-curves).
 */
import { createCipheriv, createSecretKey, hkdfSync, randomBytes } from "node:crypto";
import { x25519 as nobleX25519 } from "@noble/curves/ed25519.js";
import { p256 as nobleP256 } from "@noble/curves/nist.js";
import { describe, expect, test } from "vitest";
import { encodeCbor } from "../../pipeline/crypto/cbor.ts";
import { privateKeyObject } from "../../pipeline/crypto/key-handles.ts";
import { openSealed, sealTo } from "../../pipeline/crypto/sealed-box.ts";
import {
  createUnwrapKey,
  publicKeyComplaint,
  wrapContentKey,
} from "../../pipeline/crypto/wrap/key-wrap.ts";
import { agreeP256 } from "../../pipeline/crypto/wrap/p-256.ts";
import { agreeX25519 } from "../../pipeline/crypto/wrap/x25519.ts";
import { bytesOf, hexOf, utf8 } from "./fixtures.ts";
import { freshPair, freshPrivateKey } from "./wrap-fixtures.ts";

const binding = utf8("what it is for");

/** `value` in `length` bytes, big-endian. */
function bigEndian(value: bigint, length = 32): Uint8Array {
  return bytesOf(value.toString(16).padStart(2 * length, "0"));
}

const littleEndian = (value: bigint) => bigEndian(value).reverse();

describe("X25519", () => {
  const p = 2n ** 255n - 19n;
  const scalar = new Uint8Array(randomBytes(32));
  const privateKey = privateKeyObject("x25519", scalar);
  const lowOrder = [
    0n,
    1n,
    p - 1n,
    BigInt("0x00b8495f16056286fdb1329ceb8d09da6ac49ff1fae35616aeb8413b7c7aebe0"),
    BigInt("0x57119fd0dd4e22d8868e1c58c45c44045bef839c55b1d0b1248c50a3bc959c5f"),
  ];

  test("refuses every point of low order, in each of its spellings", () => {
    const spellings = lowOrder.flatMap((u) =>
      [u, u + p, u + 2n ** 255n, u + p + 2n ** 255n].filter((one) => one < 2n ** 256n),
    );
    expect(spellings.length).toBeGreaterThanOrEqual(12);
    for (const u of spellings) {
      expect(agreeX25519(privateKey, littleEndian(u)), `${u}`).toBeNull();
      expect(publicKeyComplaint("x25519", littleEndian(u)), `${u}`).not.toBeNull();
    }
  });

  test("refuses all 19 coordinates that are not reduced, and those with the top bit", () => {
    for (let u = p; u < 2n ** 255n; u++)
      expect(agreeX25519(privateKey, littleEndian(u))).toBeNull();
    for (const u of [2n, 9n, p - 2n]) {
      expect(agreeX25519(privateKey, littleEndian(u + 2n ** 255n))).toBeNull();
    }
  });

  test("refuses other lengths", () => {
    for (const length of [0, 1, 31, 33, 56, 64]) {
      expect(agreeX25519(privateKey, new Uint8Array(length).fill(9))).toBeNull();
    }
  });

  test("agrees with noble on all other edges, on the curve or its twist", () => {
    const edges = [2n, 3n, 4n, 5n, 9n, 16n, 2n ** 254n, 2n ** 255n - 21n, p - 2n, p - 3n, p - 9n];
    const scalars = [
      scalar,
      new Uint8Array(32),
      new Uint8Array(32).fill(0xff),
      bytesOf(`07${"00".repeat(30)}40`),
      bytesOf(`f8${"ff".repeat(30)}7f`),
      ...Array.from({ length: 8 }, () => new Uint8Array(randomBytes(32))),
    ];
    const points = [
      ...edges.map(littleEndian),
      ...Array.from({ length: 8 }, () => littleEndian(BigInt(`0x${hexOf(randomBytes(31))}`))),
    ];
    for (const one of scalars) {
      for (const point of points) {
        const ours = agreeX25519(privateKeyObject("x25519", one), point);
        expect(hexOf(ours!)).toBe(hexOf(nobleX25519.getSharedSecret(one, point)));
      }
    }
  });
});

describe("P-256", () => {
  const { p } = nobleP256.Point.CURVE();
  const privateKey = freshPrivateKey("p-256");
  const { d = "" } = privateKey.export({ format: "jwk" });
  const scalar = new Uint8Array(Buffer.from(d, "base64url"));
  const uncompressed = (x: bigint, y: bigint) =>
    new Uint8Array([4, ...bigEndian(x), ...bigEndian(y)]);
  const good = nobleP256.Point.BASE.multiply(0x1234_5678n);
  const { x, y } = good.toAffine();
  const point = uncompressed(x, y);

  const refused: [string, Uint8Array][] = [
    ["infinity in one byte", Uint8Array.of(0)],
    ["infinity in 65 bytes", new Uint8Array(65)],
    ["04 and zeros", uncompressed(0n, 0n)],
    ["compressed", good.toBytes(true)],
    ["compressed, filled up", new Uint8Array([...good.toBytes(true), ...new Uint8Array(32)])],
    ["hybrid", new Uint8Array([6 + Number(y & 1n), ...point.slice(1)])],
    ["hybrid of the other parity", new Uint8Array([7 - Number(y & 1n), ...point.slice(1)])],
    ["raw coordinates", point.slice(1)],
    ["one byte more", new Uint8Array([...point, 0])],
    ["one byte less", point.slice(0, -1)],
    ["nothing", new Uint8Array(0)],
    ["coordinates exchanged", uncompressed(y, x)],
    ["y of zero", uncompressed(x, 0n)],
    ["x of p", uncompressed(p, nobleP256.Point.fromHex(`02${"00".repeat(32)}`).toAffine().y)],
    ["y plus one", uncompressed(x, y + 1n)],
    ["x and y of p - 1", uncompressed(p - 1n, p - 1n)],
    ["all ones", new Uint8Array([4, ...new Uint8Array(64).fill(0xff)])],
    [
      "the base point of secp256k1",
      bytesOf(
        "0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8",
      ),
    ],
    // x^3 - 3x + c of an order with small factors: what an invalid-curve attack would send.
    ["a point of another curve y^2 = x^3 - 3x", uncompressed(2n, sqrt(2n, p))],
    ...[0, 1, 2, 3, 5, 8, 0x84, 0xff].map((first): [string, Uint8Array] => [
      `first byte ${first}`,
      new Uint8Array([first, ...point.slice(1)]),
    ]),
  ];
  test.each(refused)("refuses %s", (_, bytes) => {
    expect(agreeP256(privateKey, bytes)).toBeNull();
    expect(publicKeyComplaint("p-256", bytes)).not.toBeNull();
  });

  test("refuses the point with any bit of its coordinates flipped", () => {
    for (let bit = 8; bit < point.length * 8; bit++) {
      const copy = new Uint8Array(point);
      copy[bit >> 3]! ^= 1 << (bit & 7);
      expect(agreeP256(privateKey, copy), `bit ${bit}`).toBeNull();
    }
  });

  test("agrees with noble on edges of the curve", () => {
    const n = nobleP256.Point.CURVE().n;
    const factors = [1n, 2n, 3n, n - 1n, n - 2n, n >> 1n, 2n ** 255n % n];
    const edges = factors.map((one) => nobleP256.Point.BASE.multiply(one).toBytes(false));
    const zero = nobleP256.Point.fromHex(`02${"00".repeat(32)}`).toBytes(false);
    for (const edge of [...edges, zero, point]) {
      const theirs = nobleP256.getSharedSecret(scalar, edge, false).slice(1, 33);
      expect(hexOf(agreeP256(privateKey, edge)!)).toBe(hexOf(theirs));
    }
  });

  test("an ephemeral point with -y agrees on the same secret: a box refuses it all the same", () => {
    const { unwrapKey, recipient } = freshPair("p-256");
    const negated = (point65: Uint8Array) => {
      const py = BigInt(`0x${hexOf(point65.slice(33))}`);
      return new Uint8Array([...point65.slice(0, 33), ...bigEndian(p - py)]);
    };
    const wrapped = wrapContentKey(new Uint8Array(32), recipient, binding);
    const ephemeral = negated(wrapped.ephemeral);
    expect(unwrapKey.unwrap({ ...wrapped, ephemeral }, binding)).not.toBeNull();
    const aad = utf8("place");
    const message = sealTo({ recipients: [recipient], plaintext: aad, aad });
    const at = Buffer.from(message).indexOf(bytesOf("2258 20".replace(" ", ""))) + 3;
    const changed = new Uint8Array(message);
    changed.set(bigEndian(p - BigInt(`0x${hexOf(message.slice(at, at + 32))}`)), at);
    expect(openSealed({ message, unwrapKeys: [unwrapKey], aad }).status).toBe("ok");
    expect(openSealed({ message: changed, unwrapKeys: [unwrapKey], aad }).status).toBe("refused");
  });
});

describe("AES key wrap", () => {
  const scalar = new Uint8Array(randomBytes(32));
  const unwrapKey = createUnwrapKey("training-unwrap", scalar);
  const sender = new Uint8Array(randomBytes(32));
  const ephemeral = nobleX25519.getPublicKey(sender);
  // The derivation of ecdh-es.ts, written a second time.
  const info = encodeCbor([
    -5,
    [null, null, null],
    [null, null, null],
    [256, bytesOf("a101381e"), binding],
  ]);
  const shared = nobleX25519.getSharedSecret(sender, unwrapKey.publicKey);
  const kek = createSecretKey(Buffer.from(hkdfSync("sha256", shared, "", info, 32)));
  const wrapAs = (algorithm: string, iv: string, data: Uint8Array) => {
    const cipher = createCipheriv(algorithm, kek, bytesOf(iv));
    return new Uint8Array(Buffer.concat([cipher.update(data), cipher.final()]));
  };
  const opens = (ciphertext: Uint8Array) => {
    const { kid } = unwrapKey;
    return unwrapKey.unwrap({ algorithm: "x25519", kid, ephemeral, ciphertext }, binding);
  };
  const data = new Uint8Array(randomBytes(32));
  const good = wrapAs("id-aes256-wrap", "a6".repeat(8), data);

  test("opens what was wrapped here by another hand", () => {
    expect(hexOf(opens(good)!.export())).toBe(hexOf(data));
  });

  const refused: [string, Uint8Array][] = [
    ...["00".repeat(8), "a5".repeat(8), "a6a6a6a6a6a6a6a7", "a65959a600000020"].map(
      (iv): [string, Uint8Array] => [`initial value ${iv}`, wrapAs("id-aes256-wrap", iv, data)],
    ),
    ["padded (RFC 5649)", wrapAs("id-aes256-wrap-pad", "a65959a6", data)],
    ["padded, of 31 bytes", wrapAs("id-aes256-wrap-pad", "a65959a6", data.slice(1))],
    ...[16, 24, 40, 64].map((length): [string, Uint8Array] => [
      `a key of ${length} bytes`,
      wrapAs("id-aes256-wrap", "a6".repeat(8), new Uint8Array(length).fill(7)),
    ]),
    ...[0, 1, 7, 8, 16, 32, 33, 39].map((length): [string, Uint8Array] => [
      `cut to ${length} bytes`,
      good.slice(0, length),
    ]),
    ...[1, 7, 8].map((length): [string, Uint8Array] => [
      `${length} bytes more`,
      new Uint8Array([...good, ...new Uint8Array(length)]),
    ]),
    [
      "blocks exchanged",
      new Uint8Array([...good.slice(8, 16), ...good.slice(0, 8), ...good.slice(16)]),
    ],
    ["zeros", new Uint8Array(40)],
    ["the key itself", new Uint8Array([...new Uint8Array(8).fill(0xa6), ...data])],
  ];
  test.each(refused)("refuses %s", (_, ciphertext) => {
    expect(opens(ciphertext)).toBeNull();
  });
});

/** A root of x^3 - 3x modulo p (p = 3 mod 4); any number when there is none, which is off the curve as well. */
function sqrt(x: bigint, p: bigint): bigint {
  let base = (((x * x * x - 3n * x) % p) + p) % p;
  let result = 1n;
  for (let exponent = (p + 1n) / 4n; exponent > 0n; exponent >>= 1n) {
    if (exponent & 1n) result = (result * base) % p;
    base = (base * base) % p;
  }
  return result;
}
