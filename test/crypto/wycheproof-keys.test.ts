/** Project Wycheproof against our key agreement, key transport and signatures: stricter only where it says so. */
import { createPrivateKey, type KeyObject, randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { isUsableEd25519 } from "../../pipeline/crypto/identity.ts";
import { verifySignature } from "../../pipeline/crypto/key-handles.ts";
import { openPem, readPem } from "../../pipeline/crypto/key-source-pem.ts";
import { wrapUnder } from "../../pipeline/crypto/wrap/ecdh-es.ts";
import {
  createRecipient,
  createUnwrapKey,
  createUnwrapKeyOf,
} from "../../pipeline/crypto/wrap/key-wrap.ts";
import { agreeP256 } from "../../pipeline/crypto/wrap/p-256.ts";
import { openOaep } from "../../pipeline/crypto/wrap/rsa-oaep.ts";
import type { UnwrapKey, WrapAlgorithm } from "../../pipeline/crypto/wrap/types.ts";
import { agreeX25519 } from "../../pipeline/crypto/wrap/x25519.ts";
import { bytesOf, hexOf, utf8 } from "./fixtures.ts";
import { flagOf, judge, type Vector, vectorsOf } from "./wycheproof.ts";

type Agreement = Record<"public" | "private" | "shared", string>;
const BINDING = utf8("place");

const pkcs8Of = (hex: string): KeyObject =>
  createPrivateKey({ key: Buffer.from(hex, "hex"), format: "der", type: "pkcs8" });

/** Whether what a sender wrapped under the case's shared secret opens with the case's private key. */
function opensWrapped(unwrapKey: UnwrapKey, one: Agreement): boolean {
  const contentKey = randomBytes(32);
  const opened = unwrapKey.unwrap(
    {
      algorithm: unwrapKey.algorithm,
      kid: unwrapKey.kid,
      ephemeral: bytesOf(one.public),
      ciphertext: wrapUnder(Buffer.from(one.shared, "hex"), contentKey, BINDING),
    },
    BINDING,
  );
  return opened?.export().equals(contentKey) === true;
}

function isRecipient(publicKey: Uint8Array, algorithm: WrapAlgorithm): boolean {
  try {
    return createRecipient("reader", publicKey, algorithm).algorithm === algorithm;
  } catch (error) {
    expect(error).toMatchObject({ code: "key-invalid" });
    return false;
  }
}

describe("X25519", () => {
  const cases = vectorsOf<Agreement>("x25519");
  const onPurpose = (one: Vector) => flagOf(one, "LowOrderPublic", "NonCanonicalPublic");
  const unwrapKeyOf = (one: Agreement) => createUnwrapKey("reader", bytesOf(one.private));

  test("agrees", () => {
    const verdict = judge(cases, {
      onPurpose,
      expected: ({ shared }) => shared,
      run(one) {
        const key = pkcs8Of(`302e020100300506032b656e04220420${one.private}`);
        const shared = agreeX25519(key, bytesOf(one.public));
        return shared && hexOf(shared);
      },
    });
    expect(verdict).toEqual({
      wrong: [],
      opened: 242,
      invalid: 0,
      onPurpose: { LowOrderPublic: 31, NonCanonicalPublic: 13 },
    });
  });

  test("unwraps, and takes recipients, in the same cases", () => {
    for (const one of cases) {
      const taken = onPurpose(one) === null;
      expect(opensWrapped(unwrapKeyOf(one), one), `${one.tcId}`).toBe(taken);
      expect(isRecipient(bytesOf(one.public), "x25519"), `${one.tcId}`).toBe(taken);
    }
  });
});

describe("P-256", () => {
  const cases = vectorsOf<Agreement>("p-256");
  // RFC 5915 without the public key: OpenSSL computes it. Scalars come with leading zeros and without.
  const keyOf = (one: Agreement) => {
    const scalar = one.private.replace(/^(?:00)+/, "").padStart(64, "0");
    return pkcs8Of(
      `3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420${scalar}`,
    );
  };
  const onPurpose = (one: Vector) => flagOf(one, "CompressedPoint");

  test("agrees", () => {
    const verdict = judge(cases, {
      onPurpose,
      expected: ({ shared }) => shared,
      run(one) {
        const shared = agreeP256(keyOf(one), bytesOf(one.public));
        return shared && hexOf(shared);
      },
    });
    expect(verdict).toEqual({
      wrong: [],
      opened: 35,
      invalid: 24,
      onPurpose: { CompressedPoint: 1 },
    });
  });

  test("unwraps, and takes recipients, in the same cases", () => {
    for (const one of cases) {
      const taken = one.result !== "invalid" && onPurpose(one) === null;
      const unwrapKey = createUnwrapKeyOf("reader", keyOf(one));
      expect(opensWrapped(unwrapKey, one), `${one.tcId}`).toBe(taken);
      expect(isRecipient(bytesOf(one.public), "p-256"), `${one.tcId}`).toBe(taken);
    }
  });

  test("has no recipient that is spelled as SPKI, the right ones of 91 bytes neither", () => {
    const spki = vectorsOf<Agreement>("p-256-spki");
    expect(spki).toHaveLength(317);
    for (const one of spki) {
      for (const algorithm of ["p-256", "x25519", "rsa-oaep-256"] as const) {
        expect(isRecipient(bytesOf(one.public), algorithm), `${one.tcId}`).toBe(false);
      }
    }
  });
});

describe("RSA-OAEP with SHA-256", () => {
  type Fields = Record<"msg" | "ct" | "label" | "sha" | "mgfSha" | "privateKeyPkcs8", string> & {
    keySize: number;
  };
  const cases = vectorsOf<Fields>("rsa-oaep-256");
  const onPurpose = ({ label, sha, mgfSha }: Fields) => {
    if (sha !== "SHA-256" || mgfSha !== "SHA-256") return "another hash";
    return label === "" ? null : "a label";
  };

  test("opens", () => {
    const verdict = judge(cases, {
      onPurpose,
      expected: ({ msg }) => msg,
      run(one) {
        const opened = openOaep(pkcs8Of(one.privateKeyPkcs8), bytesOf(one.ct));
        return opened && hexOf(opened);
      },
    });
    expect(verdict).toEqual({
      wrong: [],
      opened: 48,
      invalid: 57,
      onPurpose: { "a label": 40, "another hash": 12 },
    });
  });

  test("unwraps what has 32 bytes, with keys of at least 2048 bits", () => {
    const handles = new Map<string, UnwrapKey | null>();
    const handleOf = ({ privateKeyPkcs8, keySize }: Fields) => {
      const known = handles.get(privateKeyPkcs8);
      if (known !== undefined) return known;
      const make = () => createUnwrapKeyOf("reader", pkcs8Of(privateKeyPkcs8));
      if (keySize < 2048) expect(make).toThrow(`has ${keySize} bits`);
      const made = keySize < 2048 ? null : make();
      handles.set(privateKeyPkcs8, made);
      return made;
    };
    const verdict = judge(cases, {
      onPurpose(one) {
        if (one.keySize < 2048) return "SmallModulus";
        return onPurpose(one) ?? (one.msg.length === 64 ? null : "no content key");
      },
      expected: ({ msg }) => msg,
      run(one) {
        const unwrapKey = handleOf(one);
        if (unwrapKey === null) return null;
        const { algorithm, kid } = unwrapKey;
        const wrapped = {
          algorithm,
          kid,
          ephemeral: new Uint8Array(0),
          ciphertext: bytesOf(one.ct),
        };
        const contentKey = unwrapKey.unwrap(wrapped, BINDING);
        return contentKey && hexOf(contentKey.export());
      },
    });
    expect(verdict).toEqual({
      wrong: [],
      opened: 3,
      invalid: 57,
      onPurpose: { SmallModulus: 6, "a label": 40, "another hash": 12, "no content key": 39 },
    });
  });
});

describe("Ed25519", () => {
  type Fields = Record<"publicKey" | "msg" | "sig", string>;
  const cases = vectorsOf<Fields>("ed25519");

  test("verifies", () => {
    const verdict = judge(cases, {
      onPurpose: () => null,
      expected: ({ sig }) => sig,
      run: ({ publicKey, msg, sig }) =>
        verifySignature(bytesOf(publicKey), bytesOf(msg), bytesOf(sig)) ? sig : null,
    });
    expect(verdict).toEqual({ wrong: [], opened: 86, invalid: 63, onPurpose: {} });
  });

  test("takes every key of theirs as an identity", () => {
    const keys = [...new Set(cases.map((one) => one.publicKey))];
    expect(keys).toHaveLength(52);
    expect(keys.filter((key) => !isUsableEd25519(bytesOf(key)))).toEqual([]);
  });
});

describe("private keys in PEM", () => {
  const pemOf = (hex: string) =>
    `-----BEGIN PRIVATE KEY-----\n${Buffer.from(hex, "hex").toString("base64")}\n-----END PRIVATE KEY-----\n`;
  const open = (hex: string) =>
    openPem(
      readPem(pemOf(hex), "key"),
      { purpose: "consumer-unwrap", generation: 1, where: "key" },
      null,
    );

  test("X25519: one octet string within another, and nothing else", () => {
    const cases = vectorsOf<Agreement>("x25519-asn");
    expect(cases).toHaveLength(19);
    expect(cases.filter((one) => flagOf(one, "MissingOctetString") !== null)).toHaveLength(1);
    for (const one of cases) {
      // The others have a good private key beside a public key of another curve.
      if (flagOf(one, "MissingOctetString") === null) {
        expect(hexOf(open(one.private).material)).toBe(one.private.slice(-64));
        expect(isRecipient(bytesOf(one.public), "x25519")).toBe(false);
      } else {
        expect(() => open(one.private)).toThrow("is no PKCS#8 key");
      }
    }
  });
});
