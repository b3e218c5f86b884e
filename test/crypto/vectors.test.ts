/** Known answers: the primitives as Sealstream calls them, and its formats against an independent implementation. */
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createSecretKey,
  diffieHellman,
  hkdfSync,
} from "node:crypto";
import { describe, expect, test } from "vitest";
import { openGcm, sealGcm } from "../../pipeline/crypto/aes-gcm.ts";
import { sign1, verify1 } from "../../pipeline/crypto/cose-sign1.ts";
import { openingDataKey } from "../../pipeline/crypto/data-key.ts";
import { createKeyDirectory } from "../../pipeline/crypto/directory.ts";
import { openEnvelope, sealEnvelope } from "../../pipeline/crypto/envelope.ts";
import { signEntry } from "../../pipeline/crypto/key-entries.ts";
import {
  createSecretHandle,
  createSigningKey,
  privateKeyObject,
  publicKeyObject,
  rawPublicKey,
  verifySignature,
} from "../../pipeline/crypto/key-handles.ts";
import { openSealed } from "../../pipeline/crypto/sealed-box.ts";
import { createUnwrapKey } from "../../pipeline/crypto/wrap/key-wrap.ts";
import { bytesOf, createWorld, hexOf, utf8, vectorFile } from "./fixtures.ts";

/** Blocks of `NAME = hex` lines, by lower-case name. */
function blocks(text: string): Record<string, string>[] {
  return text
    .split(/\n\s*COUNT = \d+\s*\n/)
    .slice(1)
    .map((block) =>
      Object.fromEntries(
        [...block.matchAll(/^(\w+)\s*=[ \t]*(\w*)$/gm)].map((m) => [m[1]!.toLowerCase(), m[2]!]),
      ),
    );
}

function agree(scalar: string, u: string): string {
  const privateKey = privateKeyObject("x25519", bytesOf(scalar));
  const publicKey = publicKeyObject("x25519", bytesOf(u))!;
  return hexOf(diffieHellman({ privateKey, publicKey }));
}

describe("primitives", () => {
  test("X25519, RFC 7748 section 5.2", () => {
    const cases = blocks(vectorFile("rfc7748.txt")).filter((one) => one["output_u"]);
    expect(cases.length).toBeGreaterThanOrEqual(3);
    for (const one of cases) {
      expect(agree(one["input_scalar"]!, one["input_u"]!)).toBe(one["output_u"]);
    }
  });

  test("X25519 key pair and agreement, RFC 7748 section 6.1", () => {
    const bob = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb";
    const alicePublic = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
    expect(hexOf(rawPublicKey(privateKeyObject("x25519", bytesOf(bob))))).toBe(
      "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
    );
    expect(agree(bob, alicePublic)).toBe(
      "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
    );
  });

  test("HKDF-SHA-256, RFC 5869 appendix A", () => {
    const cases = blocks(vectorFile("rfc5869.txt"));
    expect(cases.length).toBe(3);
    for (const one of cases) {
      const [ikm, salt, info] = [one["ikm"]!, one["salt"]!, one["info"]!].map(bytesOf);
      const okm = hkdfSync("sha256", ikm!, salt!, info!, Number(one["l"]));
      expect(hexOf(new Uint8Array(okm))).toBe(one["okm"]);
    }
  });

  test("the secret handle is HKDF with an empty salt, and HMAC-SHA-256", () => {
    const raw = bytesOf("0b".repeat(32));
    const handle = createSecretHandle("noise", raw);
    const expected = hkdfSync("sha256", raw, new Uint8Array(0), utf8("info"), 77);
    expect(hexOf(handle.hkdf(utf8("info"), 77))).toBe(hexOf(new Uint8Array(expected)));
    // RFC 4231 test case 1 has a 20-byte key: the zero padding of HMAC makes it this 32-byte one.
    const padded = createSecretHandle("split", bytesOf("0b".repeat(20) + "00".repeat(12)));
    expect(hexOf(padded.hmac(utf8("Hi There")))).toBe(
      "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
    );
  });

  test("A256KW, RFC 3394 section 4.6", () => {
    const kek = createSecretKey(
      bytesOf("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"),
    );
    const data = bytesOf("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f");
    const wrapped =
      "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21";
    const iv = Buffer.alloc(8, 0xa6);
    expect(hexOf(createCipheriv("id-aes256-wrap", kek, iv).update(data))).toBe(wrapped);
    const plain = createDecipheriv("id-aes256-wrap", kek, iv).update(bytesOf(wrapped));
    expect(hexOf(plain)).toBe(hexOf(data));
  });

  test("Ed25519, RFC 8032 section 7.1, tests 1 and 2", () => {
    const cases = [
      {
        seed: "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        publicKey: "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        message: "",
        signature:
          "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
      },
      {
        seed: "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        publicKey: "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        message: "72",
        signature:
          "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
      },
    ];
    for (const one of cases) {
      const key = createSigningKey("owner-signing", bytesOf(one.seed));
      expect(hexOf(key.publicKey)).toBe(one.publicKey);
      expect(hexOf(key.sign(bytesOf(one.message)))).toBe(one.signature);
      expect(verifySignature(key.publicKey, bytesOf(one.message), bytesOf(one.signature))).toBe(
        true,
      );
    }
  });

  test("AES-256-GCM, NIST CAVP, both ways", () => {
    const files: { file: string; cases: Record<string, string>[] }[] = JSON.parse(
      vectorFile("gcm256.json"),
    );
    let refused = 0;
    for (const { file, cases } of files) {
      expect(cases.length, file).toBe(375);
      for (const one of cases) {
        const key = createSecretKey(bytesOf(one["key"]!));
        const [iv, aad] = [bytesOf(one["iv"]!), bytesOf(one["aad"]!)];
        const opened = openGcm(key, iv, aad, bytesOf(one["ct"]! + one["tag"]!));
        if (one["FAIL"]) {
          refused++;
          expect(opened).toBeNull();
          continue;
        }
        expect(opened && hexOf(opened)).toBe(one["pt"]);
        const { ciphertext, tag } = sealGcm(key, iv, aad, bytesOf(one["pt"]!));
        expect([hexOf(ciphertext), hexOf(tag)]).toEqual([one["ct"], one["tag"]]);
      }
    }
    expect(refused).toBeGreaterThan(100);
  });
});

interface Cose {
  encrypt0: {
    key: string;
    kid: string;
    pipeline: string;
    topic: "examples";
    lane: number;
    recordId: string;
    schemaVersion: number;
    attributes: Record<string, string>;
    sequence: number;
    plaintext: string | { byte: number; times: number };
    message: string | { sha256: string; bytes: number };
    iv: string;
  }[];
  sign1: { seed: string; context: string; payload: string; message: string }[];
  encrypt: { privateKeys: string[]; aad: string; plaintext: string; message: string }[];
  dataKey: {
    unwrapKey: string;
    signerSeed: string;
    recordKey: string;
    recordValue: string;
    envelope: string;
    plaintext: string;
  };
}

describe("against pycose (test/vectors/crypto/make.py)", () => {
  const cose: Cose = JSON.parse(vectorFile("cose.json"));

  test("COSE_Encrypt0 opens, and our seal has the same bytes", () => {
    for (const one of cose.encrypt0) {
      const context = { ...one, recordId: bytesOf(one.recordId) };
      const kid = bytesOf(one.kid);
      const key = createSecretKey(bytesOf(one.key));
      const opening = openingDataKey(key, { ...context, kid });
      // A handle with the vector's nonce: what a sealing handle does apart from choosing it.
      const sealing = {
        ...opening,
        seal: (plaintext: Uint8Array, aad: Uint8Array) => {
          const iv = bytesOf(one.iv);
          return { iv, ...sealGcm(key, iv, aad, plaintext) };
        },
      };
      const plaintext =
        typeof one.plaintext === "string"
          ? bytesOf(one.plaintext)
          : new Uint8Array(one.plaintext.times).fill(one.plaintext.byte);
      const ours = sealEnvelope({ dataKey: sealing, plaintext, context, sequence: one.sequence });
      if (typeof one.message === "string") {
        expect(hexOf(ours)).toBe(one.message);
      } else {
        expect(ours.length).toBe(one.message.bytes);
        expect(createHash("sha256").update(ours).digest("hex")).toBe(one.message.sha256);
      }
      const opened = openEnvelope({ envelope: ours, context, findKey: () => opening });
      expect(opened).toMatchObject({ status: "ok", sequence: one.sequence });
      expect(opened.status === "ok" && hexOf(opened.plaintext)).toBe(hexOf(plaintext));
    }
  });

  test("COSE_Sign1 is byte for byte the same", () => {
    for (const one of cose.sign1) {
      const signer = createSigningKey("owner-signing", bytesOf(one.seed));
      const ours = sign1({ payload: bytesOf(one.payload), signer, context: one.context });
      expect(hexOf(ours)).toBe(one.message);
      const verified = verify1({ message: ours, context: one.context, findSigner: () => signer });
      expect(verified).toEqual({ status: "ok", payload: bytesOf(one.payload), kid: signer.kid });
    }
  });

  test("COSE_Encrypt opens for every recipient", () => {
    for (const one of cose.encrypt) {
      for (const privateKey of one.privateKeys) {
        const opened = openSealed({
          message: bytesOf(one.message),
          unwrapKey: createUnwrapKey("consumer-unwrap", bytesOf(privateKey)),
          aad: bytesOf(one.aad),
        });
        expect(opened).toEqual({ status: "ok", plaintext: bytesOf(one.plaintext) });
      }
    }
  });

  test("a data-key entry gives the key that opens an envelope", () => {
    const { dataKey } = cose;
    const world = createWorld();
    const signer = createSigningKey("owner-signing", bytesOf(dataKey.signerSeed));
    const directory = createKeyDirectory({
      pipeline: "digits",
      zones: world.zones,
      unwrapKeys: () => [createUnwrapKey("training-unwrap", bytesOf(dataKey.unwrapKey))],
    });
    const certificate = signEntry({
      pipeline: "digits",
      payload: {
        type: "signer",
        generation: 1,
        purpose: "owner-signing",
        publicKey: signer.publicKey,
      },
      signer: world.signers.owner,
    });
    expect(directory.apply(certificate.key, certificate.value)).toBe("accepted");
    expect(directory.apply(utf8(dataKey.recordKey), bytesOf(dataKey.recordValue))).toBe("accepted");
    const opened = openEnvelope({
      envelope: bytesOf(dataKey.envelope),
      context: {
        pipeline: "digits",
        topic: "examples",
        lane: 2,
        recordId: utf8("id"),
        schemaVersion: 1,
      },
      findKey: (kid) => directory.findDataKey(kid, "examples"),
    });
    expect(opened).toMatchObject({ status: "ok", sequence: 7 });
    expect(opened.status === "ok" && hexOf(opened.plaintext)).toBe(dataKey.plaintext);
  });
});
