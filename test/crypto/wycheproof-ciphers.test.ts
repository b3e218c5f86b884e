/** Project Wycheproof against our ciphers, key wrap and secrets: nothing laxer, and stricter only where it says so. */
import { createSecretKey } from "node:crypto";
import { describe, expect, test } from "vitest";
import { type CipherName, createAead } from "../../pipeline/crypto/aead.ts";
import { sha256 } from "../../pipeline/crypto/chunks.ts";
import { createSecretHandle } from "../../pipeline/crypto/key-handles.ts";
import { unwrapA256, wrapA256 } from "../../pipeline/crypto/wrap/ecdh-es.ts";
import { bytesOf, hexOf } from "./fixtures.ts";
import { flagOf, judge, vectorsOf } from "./wycheproof.ts";

describe.each<{ name: CipherName; opened: number; invalid: number; otherIvs: number }>([
  { name: "aes-256-gcm", opened: 12, invalid: 29, otherIvs: 33 },
  { name: "chacha20-poly1305", opened: 40, invalid: 69, otherIvs: 0 },
])("$name", ({ name, opened, invalid, otherIvs }) => {
  type Fields = Record<"key" | "iv" | "aad" | "msg" | "ct" | "tag", string> & { ivSize: number };
  const cases = vectorsOf<Fields>(name);
  const aeadOf = ({ key }: Fields) => createAead(name, createSecretKey(bytesOf(key)));
  const onPurpose = ({ ivSize }: Fields) => (ivSize === 96 ? null : "an IV of other than 12 bytes");
  const counts = {
    wrong: [],
    opened,
    invalid,
    onPurpose: otherIvs === 0 ? {} : { "an IV of other than 12 bytes": otherIvs },
  };

  test("opens", () => {
    const verdict = judge(cases, {
      onPurpose,
      expected: ({ msg }) => msg,
      run(one) {
        const sealed = bytesOf(one.ct + one.tag);
        const plaintext = aeadOf(one).open(bytesOf(one.iv), bytesOf(one.aad), sealed);
        return plaintext && hexOf(plaintext);
      },
    });
    expect(verdict).toEqual(counts);
  });

  test("seals", () => {
    const verdict = judge(
      // A tag that was changed is no matter of sealing.
      cases.filter((one) => flagOf(one, "ModifiedTag") === null),
      {
        onPurpose,
        expected: ({ ct, tag }) => ct + tag,
        run(one) {
          const seal = () => aeadOf(one).seal(bytesOf(one.iv), bytesOf(one.aad), bytesOf(one.msg));
          if (one.ivSize !== 96) {
            expect(seal).toThrow("An IV has 12 bytes.");
            return null;
          }
          const { ciphertext, tag } = seal();
          return hexOf(ciphertext) + hexOf(tag);
        },
      },
    );
    const tags = cases.filter((one) => flagOf(one, "ModifiedTag") !== null).length;
    expect(verdict).toEqual({ ...counts, invalid: invalid - tags });
    expect(tags).toBeGreaterThan(20);
  });
});

describe("A256KW", () => {
  type Fields = Record<"key" | "msg" | "ct", string>;
  const cases = vectorsOf<Fields>("a256kw");
  const kekOf = ({ key }: Fields) => createSecretKey(bytesOf(key));
  const onPurpose = ({ msg }: Fields) =>
    msg.length === 64 ? null : "a key of other than 32 bytes";

  test("unwraps", () => {
    const verdict = judge(cases, {
      onPurpose,
      expected: ({ msg }) => msg,
      run(one) {
        const contentKey = unwrapA256(kekOf(one), bytesOf(one.ct));
        return contentKey && hexOf(contentKey.export());
      },
    });
    expect(verdict).toEqual({
      wrong: [],
      opened: 2,
      invalid: 54,
      onPurpose: { "a key of other than 32 bytes": 8 },
    });
  });

  test("wraps", () => {
    const ours = cases.filter((one) => one.result === "valid" && onPurpose(one) === null);
    expect(ours).toHaveLength(2);
    for (const one of ours) expect(hexOf(wrapA256(kekOf(one), bytesOf(one.msg)))).toBe(one.ct);
  });
});

/** HMAC-SHA-256 with any key, by a handle, whose keys have 32 bytes: what HMAC does with longer and shorter ones. */
function hmac(key: Uint8Array, message: Uint8Array): Uint8Array {
  const raw = new Uint8Array(32);
  raw.set(key.length > 64 ? sha256(key) : key);
  return createSecretHandle("split", raw).hmac(message);
}

describe("HMAC-SHA-256 of a secret handle", () => {
  type Fields = Record<"key" | "msg" | "tag", string> & { keySize: number; tagSize: number };

  test("has the tags, whole or cut, of keys of 32 bytes", () => {
    const verdict = judge(vectorsOf<Fields>("hmac-sha-256"), {
      onPurpose: ({ keySize }) => (keySize === 256 ? null : "a key of other than 32 bytes"),
      expected: ({ tag }) => tag,
      run({ key, msg, tag, keySize, tagSize }) {
        const handle = () => createSecretHandle("split", bytesOf(key));
        if (keySize !== 256) {
          expect(handle).toThrow("A secret has 32 bytes.");
          return null;
        }
        const ours = hexOf(handle().hmac(bytesOf(msg))).slice(0, tagSize / 4);
        return ours === tag ? tag : null;
      },
    });
    expect(verdict).toEqual({
      wrong: [],
      opened: 16,
      invalid: 108,
      onPurpose: { "a key of other than 32 bytes": 12 },
    });
  });
});

describe("HKDF-SHA-256", () => {
  type Fields = Record<"ikm" | "salt" | "info" | "okm", string> & { keySize: number; size: number };
  const cases = vectorsOf<Fields>("hkdf-sha-256");

  test("of a secret handle: 32 bytes of key, no salt", () => {
    const verdict = judge(cases, {
      onPurpose: ({ keySize, salt }) => {
        if (keySize !== 256) return "a key of other than 32 bytes";
        return salt === "" ? null : "a salt";
      },
      expected: ({ okm }) => okm,
      run({ ikm, salt, info, size, keySize, result }) {
        const handle = () => createSecretHandle("noise", bytesOf(ikm));
        if (keySize !== 256) {
          expect(handle).toThrow("A secret has 32 bytes.");
          return null;
        }
        const derive = () => hexOf(handle().hkdf(bytesOf(info), size));
        if (result === "invalid") {
          expect(derive).toThrow();
          return null;
        }
        // There is nowhere to give a salt.
        return salt === "" ? derive() : null;
      },
    });
    expect(verdict).toEqual({
      wrong: [],
      opened: 8,
      invalid: 3,
      onPurpose: { "a key of other than 32 bytes": 35, "a salt": 17 },
    });
  });

  test("of every key and salt, put together from the handle's HMAC (RFC 5869 section 2)", () => {
    const isBetween = (salt: string) => salt.length > 64 && salt.length <= 128;
    const verdict = judge(cases, {
      // No key of 32 bytes stands for them.
      onPurpose: ({ salt }) => (isBetween(salt) ? "a salt of 33 to 64 bytes" : null),
      expected: ({ okm }) => okm,
      run({ ikm, salt, info, size }) {
        if (size > 255 * 32 || isBetween(salt)) return null;
        const prk = hmac(bytesOf(salt), bytesOf(ikm));
        let [block, out] = [new Uint8Array(0), ""];
        for (let i = 1; out.length < 2 * size; i++) {
          block = new Uint8Array(
            hmac(prk, Buffer.concat([block, bytesOf(info), Uint8Array.of(i)])),
          );
          out += hexOf(block);
        }
        return out.slice(0, 2 * size);
      },
    });
    expect(verdict).toEqual({
      wrong: [],
      opened: 59,
      invalid: 3,
      onPurpose: { "a salt of 33 to 64 bytes": 1 },
    });
  });
});
