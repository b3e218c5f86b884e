/** Known answers of wraps: pycose's messages open here, ours opened there, RSA-OAEP of pyca, HPKE of RFC 9180. */
import { createPrivateKey, createSecretKey, type KeyObject } from "node:crypto";
import { describe, expect, test } from "vitest";
import { createAead } from "../../pipeline/crypto/aead.ts";
import { decodeCbor, isCborArray } from "../../pipeline/crypto/cbor.ts";
import { createKeyDirectory } from "../../pipeline/crypto/directory.ts";
import { openEnvelope } from "../../pipeline/crypto/envelope.ts";
import { signEntry } from "../../pipeline/crypto/key-entries.ts";
import {
  createSecretHandle,
  privateKeyObject,
  rawPublicKey,
} from "../../pipeline/crypto/key-handles.ts";
import { openSealed } from "../../pipeline/crypto/sealed-box.ts";
import { createUnwrapKeyOf, recipientsFromCbor } from "../../pipeline/crypto/wrap/key-wrap.ts";
import { agreeP256, p256 } from "../../pipeline/crypto/wrap/p-256.ts";
import { openOaep, rsaOaep } from "../../pipeline/crypto/wrap/rsa-oaep.ts";
import { agreeX25519 } from "../../pipeline/crypto/wrap/x25519.ts";
import { bytesOf, createWorld, hexOf, utf8, vectorFile } from "./fixtures.ts";

const privateKeyOf = (hex: string): KeyObject =>
  createPrivateKey({ key: Buffer.from(hex, "hex"), format: "der", type: "pkcs8" });

describe("pycose (test/vectors/crypto/make.py)", () => {
  interface Box {
    keys: { pkcs8: string; publicKey: string }[];
    contentKey: string;
    aad: string;
    plaintext: string;
    message: string;
  }
  const { boxes }: { boxes: Box[] } = JSON.parse(vectorFile("wrap.json"));

  test("P-256 and RSA recipients open, alone and beside others", () => {
    const opened: string[] = [];
    for (const box of boxes) {
      const [message, aad] = [bytesOf(box.message), bytesOf(box.aad)];
      for (const { pkcs8, publicKey } of box.keys) {
        const unwrapKey = createUnwrapKeyOf("consumer-unwrap", privateKeyOf(pkcs8));
        expect(hexOf(unwrapKey.publicKey)).toBe(publicKey);
        const plaintext = bytesOf(box.plaintext);
        expect(openSealed({ message, unwrapKeys: [unwrapKey], aad })).toEqual({
          status: "ok",
          plaintext,
        });
        opened.push(unwrapKey.algorithm);
      }
    }
    expect(opened.sort()).toEqual([
      "p-256",
      "p-256",
      "p-256",
      "rsa-oaep-256",
      "rsa-oaep-256",
      "x25519",
    ]);
  });

  test("wrapped the very content key that it says", () => {
    for (const box of boxes) {
      const body = decodeCbor(bytesOf(box.message).subarray(2));
      const list = recipientsFromCbor(isCborArray(body ?? undefined) ? (body as never)[3] : null);
      for (const [i, { pkcs8 }] of box.keys.entries()) {
        const unwrapKey = createUnwrapKeyOf("consumer-unwrap", privateKeyOf(pkcs8));
        const key = unwrapKey.unwrap(list![i]!, utf8("sealstream/sealed-box/v1"));
        expect(hexOf(key!.export())).toBe(box.contentKey);
      }
    }
  });
});

describe("messages of ours that another implementation opened (make.py check)", () => {
  interface Ours {
    boxes: { privateKeys: string[]; aad: string; plaintext: string; message: string }[];
    dataKeys: {
      pipeline: string;
      lane: number;
      privateKey: string;
      signer: string;
      recordKey: string;
      recordValue: string;
      envelope: string;
      plaintext: string;
    }[];
  }
  const ours: Ours = JSON.parse(vectorFile("ours.json"));

  test("still open: a reader of today reads what was written then", () => {
    expect(ours.boxes.map((one) => one.privateKeys.length)).toEqual([1, 1, 1, 3]);
    for (const { privateKeys, aad, plaintext, message } of ours.boxes) {
      for (const privateKey of privateKeys) {
        const unwrapKey = createUnwrapKeyOf("consumer-unwrap", privateKeyOf(privateKey));
        const opened = openSealed({
          message: bytesOf(message),
          unwrapKeys: [unwrapKey],
          aad: bytesOf(aad),
        });
        expect(opened).toEqual({ status: "ok", plaintext: bytesOf(plaintext) });
      }
    }
  });

  test.each(ours.dataKeys)("still open: the data key of lane $lane", (one) => {
    const { pipeline, lane } = one;
    const world = createWorld(pipeline);
    const directory = createKeyDirectory({
      pipeline,
      zones: world.zones,
      unwrapKeys: () => [createUnwrapKeyOf("training-unwrap", privateKeyOf(one.privateKey))],
    });
    const publicKey = bytesOf(one.signer);
    const certificate = signEntry({
      pipeline,
      payload: { type: "signer", generation: 1, purpose: "owner-signing", publicKey },
      signer: world.signers.owner,
    });
    expect(directory.apply(certificate.key, certificate.value)).toBe("accepted");
    expect(directory.apply(utf8(one.recordKey), bytesOf(one.recordValue))).toBe("accepted");
    const context = { pipeline, topic: "examples", lane, recordId: utf8("id") } as const;
    const opened = openEnvelope({
      envelope: bytesOf(one.envelope),
      context: { ...context, schemaVersion: 1 },
      findKey: (kid) => directory.findDataKey(kid, "examples"),
    });
    expect(opened).toMatchObject({ status: "ok", plaintext: bytesOf(one.plaintext) });
  });
});

describe("RSA-OAEP with SHA-256, pyca", () => {
  interface Group {
    key: Record<"n" | "e" | "d" | "p" | "q" | "dp" | "dq" | "qi", string>;
    cases: { message: string; ciphertext: string }[];
  }
  const groups: Group[] = JSON.parse(vectorFile("oaep256.json"));
  const keyOf = ({ key }: Group) => {
    const fields = Object.entries(key).map(([name, hex]) => {
      return [name, Buffer.from(hex, "hex").toString("base64url")];
    });
    return createPrivateKey({ key: { kty: "RSA", ...Object.fromEntries(fields) }, format: "jwk" });
  };

  test("60 ciphertexts open to what was encrypted", () => {
    let count = 0;
    for (const group of groups) {
      const key = keyOf(group);
      for (const { message, ciphertext } of group.cases) {
        expect(hexOf(openOaep(key, bytesOf(ciphertext))!)).toBe(message);
        count += 1;
      }
    }
    expect([groups.length, count]).toEqual([10, 60]);
  });

  test("are no content keys: none has 32 bytes", () => {
    const [kid, ephemeral, binding] = [new Uint8Array(16), new Uint8Array(0), new Uint8Array(0)];
    for (const group of groups) {
      const key = keyOf(group);
      for (const one of group.cases) {
        expect(one.message.length).not.toBe(64);
        const ciphertext = bytesOf(one.ciphertext);
        const wrapped = { algorithm: "rsa-oaep-256", kid, ephemeral, ciphertext } as const;
        expect(rsaOaep.unwrap(key, wrapped, binding)).toBeNull();
      }
    }
  });
});

test("P-256 key pairs and agreement, RFC 5903 section 8.1", () => {
  const i = "c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433";
  const r = "c6ef9c5d78ae012a011164acb397ce2088685d8f06bf9be0b283ab46476bee53";
  const gi =
    "04dad0b65394221cf9b051e1feca5787d098dfe637fc90b9ef945d0c37725811805271a0461cdb8252d61f1c456fa3e59ab1f45b33accf5f58389e0577b8990bb3";
  const gr =
    "04d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf6356fbf3ca366cc23e8157854c13c58d6aac23f046ada30f8353e74f33039872ab";
  // RFC 5915 without the public key: OpenSSL computes it.
  const keyOf = (d: string) =>
    privateKeyOf(`3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420${d}`);
  expect(hexOf(p256.publicKeyOf(keyOf(i))!)).toBe(gi);
  expect(hexOf(p256.publicKeyOf(keyOf(r))!)).toBe(gr);
  const shared = "d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de";
  expect(hexOf(agreeP256(keyOf(i), bytesOf(gr))!)).toBe(shared);
  expect(hexOf(agreeP256(keyOf(r), bytesOf(gi))!)).toBe(shared);
});

describe("HPKE with X25519, RFC 9180 appendix A", () => {
  type Fields =
    | "info"
    | "skRm"
    | "skEm"
    | "pkRm"
    | "enc"
    | "shared_secret"
    | "key_schedule_context"
    | "secret"
    | "key"
    | "base_nonce"
    | "exporter_secret";
  type Case = Record<Fields, string> & {
    aead_id: 2 | 3;
    encryptions: { aad: string; ct: string; nonce: string; pt: string }[];
  };
  const cases: Case[] = JSON.parse(vectorFile("hpke.json"));

  const u16 = (...numbers: number[]) => Buffer.from(numbers.flatMap((n) => [n >> 8, n & 0xff]));
  const kemSuite = Buffer.concat([utf8("KEM"), u16(0x0020)]);
  /** HMAC-SHA-256 with a key of 32 bytes, or with none, which HKDF takes as 32 zeros. */
  const hmac = (key: Uint8Array, ...parts: Uint8Array[]) =>
    createSecretHandle("split", key.length === 0 ? new Uint8Array(32) : key).hmac(
      Buffer.concat(parts),
    );
  const none = new Uint8Array(0);
  const label = utf8("HPKE-v1");
  const extract = (suite: Uint8Array, salt: Uint8Array, name: string, ikm: Uint8Array) =>
    hmac(salt, label, suite, utf8(name), ikm);
  /** At most one block of HKDF-Expand: enough for all of it. */
  const expand = (
    suite: Uint8Array,
    key: Uint8Array,
    name: string,
    [info, length]: readonly [Uint8Array, number],
  ) => hmac(key, u16(length), label, suite, utf8(name), info, Uint8Array.of(1)).slice(0, length);

  test.each(cases)("AEAD $aead_id: agreement, key schedule and sealing", (one) => {
    const [enc, pkR] = [bytesOf(one.enc), bytesOf(one.pkRm)];
    const receiver = privateKeyObject("x25519", bytesOf(one.skRm));
    const sender = privateKeyObject("x25519", bytesOf(one.skEm));
    expect([rawPublicKey(receiver), rawPublicKey(sender)]).toEqual([pkR, enc]);
    const dh = agreeX25519(receiver, enc)!;
    expect(agreeX25519(sender, pkR)).toEqual(dh);
    const prk = extract(kemSuite, none, "eae_prk", dh);
    const context = Buffer.concat([enc, pkR]);
    const shared = expand(kemSuite, prk, "shared_secret", [context, 32]);
    expect(hexOf(shared)).toBe(one.shared_secret);

    const suite = Buffer.concat([utf8("HPKE"), u16(0x0020, 0x0001, one.aead_id)]);
    const schedule = Buffer.concat([
      Uint8Array.of(0),
      extract(suite, none, "psk_id_hash", none),
      extract(suite, none, "info_hash", bytesOf(one.info)),
    ]);
    expect(hexOf(schedule)).toBe(one.key_schedule_context);
    const secret = extract(suite, shared, "secret", none);
    const derived = (name: string, length: number) =>
      hexOf(expand(suite, secret, name, [schedule, length]));
    expect(hexOf(secret)).toBe(one.secret);
    expect(derived("key", 32)).toBe(one.key);
    expect(derived("base_nonce", 12)).toBe(one.base_nonce);
    expect(derived("exp", 32)).toBe(one.exporter_secret);

    const cipherName = one.aead_id === 2 ? "aes-256-gcm" : "chacha20-poly1305";
    const aead = createAead(cipherName, createSecretKey(bytesOf(one.key)));
    expect(one.encryptions.length).toBeGreaterThan(1);
    for (const { aad, ct, nonce, pt } of one.encryptions) {
      const [iv, given] = [bytesOf(nonce), bytesOf(aad)];
      const { ciphertext, tag } = aead.seal(iv, given, bytesOf(pt));
      expect(hexOf(ciphertext) + hexOf(tag)).toBe(ct);
      expect(hexOf(aead.open(iv, given, bytesOf(ct))!)).toBe(pt);
    }
  });

  test("covers both AEADs that are used", () => {
    expect(cases.map((one) => one.aead_id)).toEqual([2, 3]);
  });
});
