/** Project Wycheproof's public keys in SPKI against what we take from a third party: one spelling of each key. */
import { createPrivateKey } from "node:crypto";
import { describe, expect, test } from "vitest";
import { publicPem, readerFrom } from "../../pipeline/crypto/key-ceremony-halves.ts";
import { agreeP256 } from "../../pipeline/crypto/wrap/p-256.ts";
import type { Recipient } from "../../pipeline/crypto/wrap/types.ts";
import { hexOf } from "./fixtures.ts";
import { flagOf, judge, vectorsOf } from "./wycheproof.ts";

type Agreement = Record<"public" | "private" | "shared", string>;

const pemOf = (hex: string) =>
  `-----BEGIN PUBLIC KEY-----\n${Buffer.from(hex, "hex").toString("base64")}\n-----END PUBLIC KEY-----\n`;
const lineOf = (pem: string) => pem.replaceAll("\n", "");

function readerOf(spki: string): Recipient | null {
  try {
    return readerFrom(pemOf(spki), "key.pem");
  } catch (error) {
    expect(error).toMatchObject({ code: "key-invalid" });
    return null;
  }
}

describe("a third party's key", () => {
  test("of P-256 is taken in its one spelling, and agrees", () => {
    const verdict = judge(vectorsOf<Agreement>("p-256-spki"), {
      onPurpose: (one) => flagOf(one, "InvalidAsn", "UnnamedCurve", "CompressedPoint"),
      expected: ({ shared }) => shared,
      run(one) {
        const reader = readerOf(one.public);
        if (reader === null) return null;
        expect(lineOf(publicPem(reader) ?? "")).toBe(lineOf(pemOf(one.public)));
        // RFC 5915 without the public key; scalars come with leading zeros and without.
        const scalar = one.private.replace(/^(?:00)+/, "").padStart(64, "0");
        const der = `3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420${scalar}`;
        const key = { key: Buffer.from(der, "hex"), format: "der", type: "pkcs8" } as const;
        const shared = agreeP256(createPrivateKey(key), reader.publicKey);
        return shared && hexOf(shared);
      },
    });
    expect(verdict).toEqual({
      wrong: [],
      opened: 35,
      invalid: 52,
      onPurpose: { InvalidAsn: 222, UnnamedCurve: 7, CompressedPoint: 1 },
    });
  });

  test("of another curve is none, also where X25519 was awaited", () => {
    const algorithms = vectorsOf<Agreement>("x25519-asn").map(
      (one) => readerOf(one.public)?.algorithm ?? null,
    );
    const taken = algorithms.filter((name) => name !== null);
    // Their case 520 is a good key of P-256, which is as welcome; in case 537 the private half is the bad one.
    expect(taken).toEqual(["p-256", "x25519"]);
    expect(algorithms).toHaveLength(19);
  });
});
