/** Wraps of every algorithm: who opens them, how they are spelled, which keys are taken. */
import { createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { type CborValue, decodeCbor, encodeCbor } from "../../pipeline/crypto/cbor.ts";
import { keyIdOf } from "../../pipeline/crypto/key-handles.ts";
import { openRecordIds, sealRecordIds } from "../../pipeline/crypto/record-ids.ts";
import { openSealed, sealTo } from "../../pipeline/crypto/sealed-box.ts";
import {
  createRecipient,
  createUnwrapKeyOf,
  isWrapAlgorithm,
  MAX_RECIPIENTS,
  publicKeyComplaint,
  recipientsFromCbor,
  recipientsToCbor,
  wrapContentKey,
} from "../../pipeline/crypto/wrap/key-wrap.ts";
import type { WrapAlgorithm, WrappedKey } from "../../pipeline/crypto/wrap/types.ts";
import { bytesOf, hexOf, utf8 } from "./fixtures.ts";
import { freshPair, freshPrivateKey, KMS_URI, LOCAL_ALGORITHMS, rsaSpki } from "./wrap-fixtures.ts";

const binding = utf8("what it is for");
const contentKey = new Uint8Array(randomBytes(32));
const invalid = expect.objectContaining({ code: "key-invalid" });
const pairs = LOCAL_ALGORITHMS.map((algorithm) => ({ algorithm, ...freshPair(algorithm) }));
const EMPTY = new Uint8Array(0);
const filled = (bytes: number, value: number) => new Uint8Array(bytes).fill(value);

describe.each(pairs)("$algorithm", ({ algorithm, unwrapKey, recipient }) => {
  const wrapped = wrapContentKey(contentKey, recipient, binding);

  test("gives the content key back to its recipient, by way of CBOR", () => {
    const read = recipientsFromCbor(decodeCbor(encodeCbor(recipientsToCbor([wrapped])))!)!;
    expect(read).toEqual([wrapped]);
    expect(hexOf(unwrapKey.unwrap(read[0]!, binding)!.export())).toBe(hexOf(contentKey));
  });

  test("names the key by the hash of its public key, and its algorithm", () => {
    expect(recipient.kid).toEqual(keyIdOf(unwrapKey.publicKey));
    expect(unwrapKey.kid).toEqual(recipient.kid);
    expect(wrapped.kid).toEqual(recipient.kid);
    const names = [recipient.algorithm, unwrapKey.algorithm, wrapped.algorithm];
    expect(names).toEqual([algorithm, algorithm, algorithm]);
  });

  test("opens for nobody else, and under no other algorithm's name", () => {
    const other = freshPair(algorithm).unwrapKey;
    expect(other.unwrap(wrapped, binding)).toBeNull();
    expect(other.unwrap({ ...wrapped, kid: other.kid }, binding)).toBeNull();
    for (const name of ["x25519", "p-256", "rsa-oaep-256", "kms"] as const) {
      if (name === algorithm) continue;
      expect(unwrapKey.unwrap({ ...wrapped, algorithm: name }, binding), name).toBeNull();
    }
    for (const { unwrapKey: stranger } of pairs) {
      if (stranger === unwrapKey) continue;
      expect(stranger.unwrap({ ...wrapped, kid: stranger.kid }, binding)).toBeNull();
    }
  });

  test("is fresh each time", () => {
    const again = wrapContentKey(contentKey, recipient, binding);
    expect(hexOf(again.ciphertext)).not.toBe(hexOf(wrapped.ciphertext));
  });

  test("takes no content key of another length", () => {
    for (const length of [0, 16, 31, 33]) {
      expect(() => wrapContentKey(new Uint8Array(length), recipient, binding)).toThrow(invalid);
    }
  });

  test("seals dead letters and record ids", () => {
    const [aad, plaintext] = [utf8("place"), utf8("letter")];
    const message = sealTo({ recipients: [recipient], plaintext, aad });
    expect(openSealed({ message, unwrapKeys: [unwrapKey], aad })).toEqual({
      status: "ok",
      plaintext,
    });
    const stranger = freshPair(algorithm).unwrapKey;
    expect(openSealed({ message, unwrapKeys: [stranger], aad }).status).toBe("refused");
    const pack = { pipeline: "p", bundleId: filled(16, 7) };
    const sealed = sealRecordIds({ ...pack, ids: ["a", ""], recipient });
    expect(openRecordIds({ ...pack, message: sealed, unwrapKeys: [unwrapKey] })).toEqual(["a", ""]);
    const elsewhere = { pipeline: "q", bundleId: pack.bundleId };
    expect(openRecordIds({ ...elsewhere, message: sealed, unwrapKeys: [unwrapKey] })).toBeNull();
  });
});

test("ECDH wraps are bound to their place; an RSA wrap is not, and says so", () => {
  const opened = pairs.map(({ recipient, unwrapKey }) => {
    const wrapped = wrapContentKey(contentKey, recipient, binding);
    return unwrapKey.unwrap(wrapped, utf8("elsewhere")) !== null;
  });
  expect(opened).toEqual([false, false, true]);
});

test("one box for keys of every kind opens for each", () => {
  const [aad, plaintext] = [utf8("place"), utf8("letter")];
  const message = sealTo({ recipients: pairs.map((one) => one.recipient), plaintext, aad });
  for (const { unwrapKey } of pairs) {
    expect(openSealed({ message, unwrapKeys: [unwrapKey], aad })).toEqual({
      status: "ok",
      plaintext,
    });
  }
});

test("a box cannot be sealed to a key in a service", () => {
  const recipient = createRecipient("owner-dead-letter", utf8(KMS_URI), "kms");
  const recipients = [pairs[0]!.recipient, recipient];
  expect(() => sealTo({ recipients, plaintext: EMPTY, aad: EMPTY })).toThrow(invalid);
});

describe("COSE_recipient", () => {
  const kid = bytesOf("000102030405060708090a0b0c0d0e0f");
  const point = new Uint8Array([4, ...filled(32, 0x11), ...filled(32, 0x22)]);
  const examples: [WrappedKey, string][] = [
    [
      { algorithm: "x25519", kid, ephemeral: filled(32, 0x33), ciphertext: filled(40, 0x44) },
      `8344a101381ea20450${hexOf(kid)}20a3010120042158 20${"33".repeat(32)}5828${"44".repeat(40)}`,
    ],
    [
      { algorithm: "p-256", kid, ephemeral: point, ciphertext: filled(40, 0x44) },
      `8344a101381ea20450${hexOf(kid)}20a4010220012158 20${"11".repeat(32)}225820${"22".repeat(32)}5828${"44".repeat(40)}`,
    ],
    [
      { algorithm: "rsa-oaep-256", kid, ephemeral: EMPTY, ciphertext: filled(256, 0x44) },
      `8340a20138280450${hexOf(kid)}590100${"44".repeat(256)}`,
    ],
    [
      { algorithm: "kms", kid, ephemeral: EMPTY, ciphertext: filled(5, 0x44) },
      `8351a1016e7365616c73747265616d2d6b6d73a10450${hexOf(kid)}45${"44".repeat(5)}`,
    ],
  ];

  test.each(examples)("is spelled as the grammar says: %#", (wrapped, text) => {
    const hex = `81${text.replaceAll(" ", "")}`;
    expect(hexOf(encodeCbor(recipientsToCbor([wrapped])))).toBe(hex);
    expect(recipientsFromCbor(decodeCbor(bytesOf(hex))!)).toEqual([wrapped]);
  });

  const map = (...entries: [CborValue, CborValue][]) => new Map<CborValue, CborValue>(entries);
  const ecdh = encodeCbor(map([1, -31]));
  const kms = encodeCbor(map([1, "sealstream-kms"]));
  const okp = (...more: [CborValue, CborValue][]) =>
    map([1, 1], [-1, 4], [-2, filled(32, 1)], ...more);
  const ec2 = (x: CborValue = filled(32, 1), y: CborValue = filled(32, 2), crv = 1) =>
    map([1, 2], [-1, crv], [-2, x], [-3, y]);
  const body = filled(40, 3);
  const rsaBody = filled(256, 3);
  const rsa = (alg: CborValue) => map([1, alg], [4, kid]);

  const accepted: [string, CborValue][] = [
    ["X25519", [ecdh, map([4, kid], [-1, okp()]), body]],
    ["P-256", [ecdh, map([4, kid], [-1, ec2()]), body]],
    ["RSA", [EMPTY, rsa(-41), rsaBody]],
    ["RSA of 8192 bits", [EMPTY, rsa(-41), filled(1024, 3)]],
    ["KMS", [kms, map([4, kid]), filled(1024, 3)]],
  ];
  test.each(accepted)("is accepted: %s", (_, item) => {
    expect(recipientsFromCbor([item])).toHaveLength(1);
  });

  const refused: [string, CborValue][] = [
    ...[-25, -29, -30, -32, -33, -34, -40, -41, -42, -5, -3, -6, 1, 3].map(
      (alg): [string, CborValue] => [
        `algorithm ${alg} with an ephemeral key`,
        [encodeCbor(map([1, alg])), map([4, kid], [-1, okp()]), body],
      ],
    ),
    ...[-40, -42, -5, -31, -65535, "sealstream-kms", null].map((alg): [string, CborValue] => [
      `algorithm ${alg} as key transport`,
      [EMPTY, rsa(alg), rsaBody],
    ]),
    ["another service", [encodeCbor(map([1, "aws-kms"])), map([4, kid]), body]],
    ["ECDH without an ephemeral key", [ecdh, map([4, kid]), body]],
    ["a static key instead", [ecdh, map([4, kid], [-2, okp()]), body]],
    ["one header more", [ecdh, map([4, kid], [-1, okp()], [5, body]), body]],
    ["no kid", [ecdh, map([5, kid], [-1, okp()]), body]],
    ["kid of 15 bytes", [ecdh, map([4, filled(15, 1)], [-1, okp()]), body]],
    ["kid as text", [ecdh, map([4, "0123456789abcdef"], [-1, okp()]), body]],
    ["OKP with more", [ecdh, map([4, kid], [-1, okp([2, kid])]), body]],
    ["OKP of X448", [ecdh, map([4, kid], [-1, map([1, 1], [-1, 5], [-2, filled(32, 1)])]), body]],
    ["OKP of Ed25519", [ecdh, map([4, kid], [-1, map([1, 1], [-1, 6], [-2, body])]), body]],
    [
      "OKP of 33 bytes",
      [ecdh, map([4, kid], [-1, map([1, 1], [-1, 4], [-2, filled(33, 1)])]), body],
    ],
    [
      "EC2 with crv X25519",
      [ecdh, map([4, kid], [-1, ec2(filled(32, 1), filled(32, 2), 4)]), body],
    ],
    ["EC2 of P-384", [ecdh, map([4, kid], [-1, ec2(filled(48, 1), filled(48, 2), 2)]), body]],
    ["EC2 of P-521", [ecdh, map([4, kid], [-1, ec2(filled(32, 1), filled(32, 2), 3)]), body]],
    ["EC2 of secp256k1", [ecdh, map([4, kid], [-1, ec2(filled(32, 1), filled(32, 2), 8)]), body]],
    ["a compressed point", [ecdh, map([4, kid], [-1, ec2(filled(32, 1), true)]), body]],
    ["x of 31 bytes", [ecdh, map([4, kid], [-1, ec2(filled(31, 1))]), body]],
    ["y of 33 bytes", [ecdh, map([4, kid], [-1, ec2(filled(32, 1), filled(33, 1))]), body]],
    ["EC2 without y", [ecdh, map([4, kid], [-1, map([1, 2], [-1, 1], [-2, filled(32, 1)])]), body]],
    ["EC2 with d", [ecdh, map([4, kid], [-1, new Map([...ec2(), [-4, body]])]), body]],
    ["a wrap of 39 bytes", [ecdh, map([4, kid], [-1, okp()]), filled(39, 1)]],
    ["a wrap of 48 bytes", [ecdh, map([4, kid], [-1, ec2()]), filled(48, 1)]],
    ["RSA algorithm in the protected header", [encodeCbor(map([1, -41])), map([4, kid]), rsaBody]],
    ["RSA algorithm twice", [encodeCbor(map([1, -41])), rsa(-41), rsaBody]],
    ["RSA of 255 bytes", [EMPTY, rsa(-41), filled(255, 1)]],
    ["RSA of 1025 bytes", [EMPTY, rsa(-41), filled(1025, 1)]],
    ["RSA with an ephemeral key", [EMPTY, map([1, -41], [4, kid], [-1, okp()]), rsaBody]],
    ["no header at all", [EMPTY, map([4, kid]), rsaBody]],
    ["an empty map as header", [encodeCbor(map()), rsa(-41), rsaBody]],
    ["KMS without bytes", [kms, map([4, kid]), EMPTY]],
    ["KMS of 1025 bytes", [kms, map([4, kid]), filled(1025, 1)]],
    ["KMS with an ephemeral key", [kms, map([4, kid], [-1, okp()]), body]],
    ["a header that is no byte string", [map([1, -31]), map([4, kid], [-1, okp()]), body]],
    ["recipients inside", [ecdh, map([4, kid], [-1, okp()]), body, []]],
    ["two parts", [ecdh, map([4, kid], [-1, okp()])]],
    ["a text map", [ecdh, { kid }, body]],
    ["text as ciphertext", [kms, map([4, kid]), "x".repeat(40)]],
    ["null", null],
  ];
  test.each(refused)("is refused: %s", (_, item) => {
    expect(recipientsFromCbor([item])).toBeNull();
    // Nor beside one that is fine.
    expect(recipientsFromCbor([accepted[0]![1], item])).toBeNull();
  });

  test("comes in a list of 1 to 32", () => {
    const many = (count: number) => Array.from({ length: count }, () => accepted[1]![1]);
    expect(recipientsFromCbor(many(MAX_RECIPIENTS))).toHaveLength(32);
    expect(recipientsFromCbor(many(33))).toBeNull();
    expect(recipientsFromCbor([])).toBeNull();
    expect(recipientsFromCbor(undefined)).toBeNull();
    expect(recipientsFromCbor(map())).toBeNull();
  });
});

describe("public keys", () => {
  const key = freshPrivateKey("rsa-oaep-256");
  const { n = "" } = key.export({ format: "jwk" });
  const modulus = BigInt(`0x${Buffer.from(n, "base64url").toString("hex")}`);
  const spki = pairs[2]!.recipient.publicKey;
  const point = pairs[1]!.recipient.publicKey;
  const pss = generateKeyPairSync("rsa-pss", { modulusLength: 2048 }).publicKey;
  // No product of two primes, which nobody checks of a public key: only its size matters here.
  const sized = (bits: number) => modulusWithoutSmallFactors(bits);

  test.each([
    ["2048 bits", rsaSpki(modulus, 65_537n)],
    ["8192 bits", rsaSpki(sized(8192), 65_537n)],
    ["another exponent", rsaSpki(modulus, 2n ** 32n - 1n)],
  ])("RSA is taken: %s", (_, publicKey) => {
    expect(publicKeyComplaint("rsa-oaep-256", publicKey)).toBeNull();
  });

  const weak: [string, WrapAlgorithm, Uint8Array, RegExp][] = [
    [
      "1024 bits",
      "rsa-oaep-256",
      rsaSpki(sized(1024), 65_537n),
      /1024 bits: make an RSA key of 2048/,
    ],
    ["2047 bits", "rsa-oaep-256", rsaSpki(sized(2047), 65_537n), /2047 bits: make/],
    ["8193 bits", "rsa-oaep-256", rsaSpki(sized(8193), 65_537n), /8193 bits: make/],
    ["exponent 3", "rsa-oaep-256", rsaSpki(modulus, 3n), /exponent 3: make/],
    ["exponent 1", "rsa-oaep-256", rsaSpki(modulus, 1n), /exponent 1: make/],
    ["exponent 65535", "rsa-oaep-256", rsaSpki(modulus, 65_535n), /exponent 65535/],
    ["exponent 65538", "rsa-oaep-256", rsaSpki(modulus, 65_538n), /exponent 65538/],
    ["exponent 2^32 + 1", "rsa-oaep-256", rsaSpki(modulus, 2n ** 32n + 1n), /exponent 4294967297/],
    ["an even modulus", "rsa-oaep-256", rsaSpki(modulus + 1n, 65_537n), /small factor: make/],
    ["a factor of 751", "rsa-oaep-256", rsaSpki(multipleOf(751n), 65_537n), /small factor/],
    ["RSA-PSS", "rsa-oaep-256", pss.export({ format: "der", type: "spki" }), /is no RSA key/],
    ["one byte more", "rsa-oaep-256", new Uint8Array([...spki, 0]), /is no RSA key/],
    ["one byte less", "rsa-oaep-256", spki.slice(0, -1), /is no RSA key/],
    ["no DER", "rsa-oaep-256", filled(294, 1), /is no RSA key/],
    ["too long", "rsa-oaep-256", filled(5000, 0x30), /is no RSA key/],
    ["a point as RSA", "rsa-oaep-256", point, /is no RSA key/],
    ["RSA as point", "p-256", spki, /is no P-256 key/],
    ["X25519 as point", "p-256", pairs[0]!.recipient.publicKey, /is no P-256 key/],
    ["a point as X25519", "x25519", point, /is no X25519 key/],
    ["nothing", "x25519", EMPTY, /is no X25519 key/],
    ...[
      "",
      "training",
      "vault:",
      ":transit/keys/a",
      "Vault:transit/keys/a",
      "vault:a//b",
      "vault:a/../b",
      "vault:./a",
      "vault:/a",
      "vault:a/",
      "vault:a?b=c",
      "vault:a#b",
      "vault:user@host/a",
      "vault:a b",
      "vault:a\n",
      "vault:schlüssel",
      `vault:${"a".repeat(507)}`,
    ].map((uri): [string, WrapAlgorithm, Uint8Array, RegExp] => [
      `URI ${JSON.stringify(uri).slice(0, 30)}`,
      "kms",
      utf8(uri),
      /is no URI of a key: write <service>:<path>/,
    ]),
  ];
  test.each(weak)("are refused with what to do: %s", (_, algorithm, publicKey, message) => {
    expect(publicKeyComplaint(algorithm, publicKey)).toMatch(message);
    const recipient = () => createRecipient("training-unwrap", publicKey, algorithm);
    expect(recipient).toThrow(invalid);
    expect(recipient).toThrow(/^The public key of training-unwrap /);
    if (algorithm === "kms") return;
    // Also when somebody comes with a recipient of another make.
    const handmade = { purpose: "p", algorithm, kid: keyIdOf(publicKey), publicKey };
    expect(() => wrapContentKey(contentKey, handmade, binding)).toThrow(invalid);
  });

  test.each([
    KMS_URI,
    "vault:transit/keys/training",
    "aws-kms:arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    "gcp-kms:projects/p/locations/global/keyRings/r/cryptoKeys/k",
    `vault:${"a".repeat(506)}`,
  ])("a URI is taken: %s", (uri) => {
    expect(createRecipient("reader", utf8(uri), "kms").publicKey).toEqual(utf8(uri));
  });

  test("algorithms are known by their names only", () => {
    expect([...LOCAL_ALGORITHMS, "kms"].every(isWrapAlgorithm)).toBe(true);
    expect(["", "rsa", "toString", "P-256", null, 1].some(isWrapAlgorithm)).toBe(false);
  });
});

describe("private keys", () => {
  test("of another kind, or weak, are refused", () => {
    const others: KeyObject[] = [
      generateKeyPairSync("ed25519").privateKey,
      generateKeyPairSync("x448").privateKey,
      generateKeyPairSync("ec", { namedCurve: "secp384r1" }).privateKey,
      generateKeyPairSync("ec", { namedCurve: "secp256k1" }).privateKey,
      generateKeyPairSync("rsa-pss", { modulusLength: 2048 }).privateKey,
      generateKeyPairSync("rsa", { modulusLength: 1024 }).privateKey,
      generateKeyPairSync("rsa", { modulusLength: 2048, publicExponent: 3 }).privateKey,
      generateKeyPairSync("x25519").publicKey,
    ];
    for (const key of others) {
      expect(() => createUnwrapKeyOf("training-unwrap", key)).toThrow(invalid);
    }
  });

  test("whose public half is another key's are refused", () => {
    const [ours, other] = [freshPrivateKey("p-256"), freshPrivateKey("p-256")];
    const point = createUnwrapKeyOf("a", ours).publicKey;
    const der = ours.export({ format: "der", type: "pkcs8" });
    const at = der.indexOf(point);
    expect(at).toBeGreaterThan(0);
    der.set(createUnwrapKeyOf("a", other).publicKey, at);
    const mixed = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
    expect(() => createUnwrapKeyOf("a", mixed)).toThrow(/do not belong together/);
  });

  test("keep their spelling when the file has a compressed point", () => {
    // RFC 5915 with the public key in compressed form: the kid must not depend on it.
    const key = freshPrivateKey("p-256");
    const point = createUnwrapKeyOf("a", key).publicKey;
    const { d = "" } = key.export({ format: "jwk" });
    const compressed = Buffer.concat([Buffer.of(2 + (point[64]! & 1)), point.subarray(1, 33)]);
    const inner = Buffer.concat([
      bytesOf("3036020101" + "0420"),
      Buffer.from(d, "base64url"),
      bytesOf("a124032200"),
      compressed,
    ]);
    inner[1] = inner.length - 2;
    const der = Buffer.concat([
      bytesOf("3000020100301306072a8648ce3d020106082a8648ce3d03010704"),
      Buffer.of(inner.length),
      inner,
    ]);
    der[1] = der.length - 2;
    const read = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
    expect(createUnwrapKeyOf("a", read).publicKey).toEqual(point);
  });
});

function hasSmallFactor(n: bigint): boolean {
  for (let d = 2n; d < 752n; d++) if (n % d === 0n) return true;
  return false;
}

function modulusWithoutSmallFactors(bits: number): bigint {
  for (let n = 2n ** BigInt(bits) - 1n; ; n -= 2n) if (!hasSmallFactor(n)) return n;
}

/** An odd number of 2048 bits with exactly this small factor. */
function multipleOf(factor: bigint): bigint {
  for (let n = (2n ** 2048n - 1n) / factor; ; n -= 1n) if (!hasSmallFactor(n)) return n * factor;
}
