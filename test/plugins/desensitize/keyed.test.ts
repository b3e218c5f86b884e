/**
 * Hashes, pseudonyms in all their forms, replacing by keyed hash, and format-preserving encryption.
 */
import { createHash, createHmac } from "node:crypto";
import { FF1 } from "@noble/ciphers/ff1.js";
import { describe, expect, test } from "vitest";
import { BUILDS, createGuest, KEYS } from "./guest.ts";
import { stringText } from "./json-text.ts";
import { type Action, outOf as outOfOne } from "./one-rule.ts";
import { createRandom } from "./random.ts";
import { faked, fakeKey, schemaOf } from "./reference.ts";

describe.each(BUILDS)("%s", (build) => {
  const outOf = (action: Action, texts: readonly string[]) => outOfOne(build, action, texts);
  const KEY_A = { env: "A" };

  describe("digests", () => {
    const values = ['"leo"', '"l\\u0065o"', '"é\\n"', "1.50", '""', `"${"x".repeat(700)}"`];
    const plain = ["leo", "leo", "é\n", "1.50", "", "x".repeat(700)];
    const sha = (text: string) => createHash("sha256").update(text).digest();
    const hmac = (text: string) => createHmac("sha256", KEYS["A"]!).update(text).digest();

    test("hash is the SHA-256 of the decoded value, or of the text of a number", () => {
      expect(outOf({ action: "hash" }, values)).toEqual(
        plain.map((one) => sha(one).toString("hex")),
      );
      expect(outOf({ action: "hash" }, ["null", "true", "[]", "{}"])).toEqual([
        null,
        ...Array(3).fill("wrong-type"),
      ]);
    });

    test.each(["hex", "base64url"] as const)("in %s, of every length", (encoding) => {
      for (let bytes = 4; bytes <= 32; bytes++) {
        const form = { encoding, bits: bytes * 8 };
        const cut = (digest: Buffer) => digest.subarray(0, bytes).toString(encoding);
        expect(outOf({ action: "hash", form }, values)).toEqual(plain.map((one) => cut(sha(one))));
        expect(outOf({ action: "pseudonymize", key: KEY_A, form }, values)).toEqual(
          plain.map((one) => cut(hmac(one))),
        );
      }
    });

    test("forms and labels mix in one batch of the four lanes, also for the id and its key", () => {
      const guest = createGuest(build, {
        id: "id",
        schema: schemaOf({ id: {}, a: {}, b: {} }),
        rules: [
          {
            field: "id",
            action: "pseudonymize",
            key: KEY_A,
            keyId: "2026-11",
            form: { encoding: "base64url", bits: 96 },
          },
          { field: "a", action: "pseudonymize", key: { env: "B" } },
          { field: "b", action: "pseudonymize", key: KEY_A, keyId: "k_2" },
        ],
      });
      const records = Array.from({ length: 50 }, (_, i) => ({
        id: `${i}`,
        a: "y".repeat(i * 3),
        b: `b${i}`,
      }));
      expect(guest(records.map((record) => JSON.stringify(record)))).toEqual(
        records.map(({ id, a, b }) => {
          const key = `2026-11:${hmac(id).subarray(0, 12).toString("base64url")}`;
          const other = createHmac("sha256", KEYS["B"]!).update(a).digest("hex");
          const value = { id: key, a: other, b: `k_2:${hmac(b).toString("hex")}` };
          return { key, value: JSON.stringify(value) };
        }),
      );
    });
  });

  describe("replace by keyed hash", () => {
    test("picks of a list, the same for the same value, spread over the list", () => {
      const from = Array.from({ length: 7 }, (_, i) => `name "${i}" é`);
      const texts = Array.from({ length: 2000 }, (_, i) => `"v${i}"`);
      const picked = outOf({ action: "pick", from, key: KEY_A }, texts);
      const key = fakeKey("A", "pick");
      expect(picked).toEqual(
        texts.map((_, i) => {
          const digest = createHmac("sha256", key).update(`v${i}`).digest();
          return from[Number(digest.readBigUInt64BE() % 7n)];
        }),
      );
      expect(new Set(picked).size).toBe(7);
      expect(outOf({ action: "pick", from, key: KEY_A }, ["null", "7", '"7"', "true"])).toEqual([
        null,
        ...outOf({ action: "pick", from, key: KEY_A }, ["7", "7"]),
        "wrong-type",
      ]);
    });

    test("fakes of the same form", () => {
      const random = createRandom();
      const texts = [
        "Leonard O'Neill",
        "DE89 3704-0044",
        'a"b\\c\n',
        "жЖ漢😀é",
        "",
        "x".repeat(500),
      ];
      for (let i = 0; i < 300; i++) texts.push(JSON.parse(stringText(random)));
      const out = outOf(
        { action: "fake", key: KEY_A },
        texts.map((text) => JSON.stringify(text)),
      );
      expect(out, `seed ${random.seed}`).toEqual(texts.map((text) => faked("A", text)));
      expect(out[0]).toMatch(/^[A-Z][a-z]{6} [A-Z]'[A-Z][a-z]{4}$/);
      expect(out[1]).toMatch(/^[A-Z]{2}\d\d \d{4}-\d{4}$/);
      expect(out[3]).toMatch(/^[a-z]{5}$/);
      expect(outOf({ action: "fake", key: KEY_A }, ["-12.5e3", "null", "[]"])).toEqual([
        faked("A", "-12.5e3"),
        null,
        "wrong-type",
      ]);
      expect(outOf({ action: "fake", key: { env: "B" } }, ['"Leonard"'])).not.toEqual(
        outOf({ action: "fake", key: KEY_A }, ['"Leonard"']),
      );
    });
  });

  describe("fpe", () => {
    const fpe = (alphabet: string, tweak: string, texts: readonly string[]) =>
      outOf({ action: "fpe", key: KEY_A, alphabet, tweak }, texts);

    test.each([
      ["0123456789", ["123456", "000000", "4111111111111111", "9".repeat(128)]],
      ["abcdefghijklmnopqrstuvwxyz", ["leona", "zzzzz"]],
      ["0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", ["C01X00T47", "AAAA"]],
      ["01", ["01010101010101010101"]],
    ])("over %j is FF1, another text of the same form that decrypts", (alphabet, texts) => {
      const out = fpe(
        alphabet,
        "a.field",
        texts.map((text) => JSON.stringify(text)),
      );
      const cipher = FF1(alphabet.length, KEYS["A"]!, Buffer.from("a.field"));
      const back = (text: unknown) =>
        cipher
          .decrypt([...String(text)].map((one) => alphabet.indexOf(one)))
          .map((one) => alphabet[one])
          .join("");
      expect(out.map(back)).toEqual(texts);
      expect(out).not.toEqual(texts);
      expect(
        fpe(
          alphabet,
          "other",
          texts.map((text) => JSON.stringify(text)),
        ),
      ).not.toEqual(out);
    });

    test("of a number is that of its digits; null stays", () => {
      expect(fpe("0123456789", "t", ["123456", "null"])).toEqual([
        ...fpe("0123456789", "t", ['"123456"']),
        null,
      ]);
    });

    test("text of another alphabet, of fewer than a million texts or too long is refused", () => {
      const bad = [
        "12345",
        "1234567a",
        "123456 ",
        "-123456",
        "1.23456",
        "",
        "١٢٣٤٥٦",
        "9".repeat(129),
      ];
      expect(
        fpe(
          "0123456789",
          "t",
          bad.map((text) => JSON.stringify(text)),
        ),
      ).toEqual(bad.map(() => "wrong-type"));
      expect(fpe("ab", "t", [`"${"a".repeat(19)}"`])).toEqual(["wrong-type"]);
      expect(fpe("abcdefghijklmnopqrstuvwxyz", "t", ['"abcd"', '"Abcde"'])).toEqual([
        "wrong-type",
        "wrong-type",
      ]);
    });
  });
});
