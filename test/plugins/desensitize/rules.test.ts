/**
 * What each rule does to each kind of value, and every reason for which a record is refused.
 *
 * Literal cases here; model.test.ts holds random records against a model.
 */
import { describe, expect, test } from "vitest";
import { BUILDS, createGuest, type Rules } from "./guest.ts";
import { stringText } from "./json-text.ts";
import { createRandom } from "./random.ts";
import { hmacHex, masked, schemaOf } from "./reference.ts";

const STRING = { type: "string" };

function mask(keepFirst: number, keepLast: number, character = "*"): Rules {
  return {
    id: "id",
    schema: schemaOf({ id: STRING, v: {} }),
    rules: [
      { field: "id", action: "keep" },
      { field: "v", action: "mask", keepFirst, keepLast, with: character },
    ],
  };
}

/** What came out under `v` for an input value written as JSON. */
function outOf(guest: ReturnType<typeof createGuest>, text: string): unknown {
  const [answer] = guest([`{"id":"x","v":${text}}`]);
  return typeof answer === "string" ? answer : JSON.parse(answer!.value).v;
}

describe.each(BUILDS)("%s", (build) => {
  describe("mask", () => {
    test.each([
      ["Leonard", 1, 0, "*", "L******"],
      ["Leonard", 0, 2, "*", "*****rd"],
      ["Leonard", 1, 1, "x", "Lxxxxxd"],
      ["Leonard", 0, 0, "*", "*******"],
      ["Ли", 1, 0, "*", "Л*"],
      ["😀😀😀", 1, 1, "*", "😀*😀"],
      ["abc", 1, 0, "😀", "a😀😀"],
      ["abc", 1, 0, '"', 'a""'],
      ["abc", 1, 0, "\\", "a\\\\"],
      ["abc", 1, 0, "\u0001", "a\u0001\u0001"],
      ['a"b\\c\n', 2, 2, "*", 'a"**c\n'],
      ["", 1, 0, "*", ""],
      ["A", 1, 0, "*", "*"],
      ["AB", 1, 1, "*", "**"],
      ["AB", 4_294_967_295, 4_294_967_295, "*", "**"],
    ])("%j keeping %i and %i with %j is %j", (...[text, first, last, character, expected]) => {
      expect(outOf(createGuest(build, mask(first, last, character)), JSON.stringify(text))).toBe(
        expected,
      );
    });

    test("escaped text is decoded first and written with JSON.stringify's escapes", () => {
      const guest = createGuest(build, mask(3, 0));
      expect(guest(['{"id":"x","v":"\\u0041\\/\\ud83d\\ude00b\\u0007"}'])).toEqual([
        { key: "x", value: '{"id":"x","v":"A/😀**"}' },
      ]);
      expect(guest(['{"id":"x","v":"\\u000a\\u001f\\u007f..."}'])).toEqual([
        { key: "x", value: '{"id":"x","v":"\\n\\u001f\u007f***"}' },
      ]);
    });

    test("a number is masked as its text, null stays null, others are refused", () => {
      const guest = createGuest(build, mask(1, 0));
      expect(outOf(guest, "-12.50")).toBe("-*****");
      expect(outOf(guest, "null")).toBe(null);
      for (const text of ["true", "false", "[]", "{}"])
        expect(outOf(guest, text)).toBe("wrong-type");
    });

    test("never cuts a character, masks one for one, and shows nothing of the middle", () => {
      const random = createRandom();
      for (let round = 0; round < 30; round++) {
        const first = random.int(6);
        const last = random.int(6);
        const character = random.pick(["*", "•", "😀", '"', "\u0002"]);
        const guest = createGuest(build, mask(first, last, character));
        const texts = Array.from({ length: 50 }, () => stringText(random));
        const answers = guest(texts.map((text) => `{"id":"x","v":${text}}`));
        texts.forEach((text, i) => {
          const expected = masked(JSON.parse(text), first, last, character);
          expect(answers[i], `seed ${random.seed}, ${text}`).toEqual({
            key: "x",
            value: `{"id":"x","v":${JSON.stringify(expected)}}`,
          });
        });
      }
    });
  });

  describe("replace", () => {
    test.each(["removed", "", 'say "x"\\\n\u0001', "😀".repeat(300)])(
      "any value becomes %j",
      (text) => {
        const guest = createGuest(build, {
          id: "id",
          schema: schemaOf({ id: STRING, v: {} }),
          rules: [
            { field: "id", action: "keep" },
            { field: "v", action: "replace", with: text },
          ],
        });
        for (const value of ['"secret"', "1", "true", "null", "[1]", '{"a":1}']) {
          expect(outOf(guest, value)).toBe(text);
        }
      },
    );
  });

  describe("pseudonymize", () => {
    const rules: Rules = {
      id: "id",
      schema: schemaOf({ id: {}, a: {}, b: {} }),
      rules: [
        { field: "id", action: "pseudonymize", key: { env: "B" } },
        { field: "a", action: "pseudonymize", key: { env: "A" } },
        { field: "b", action: "pseudonymize", key: { env: "B" } },
      ],
    };
    const guest = createGuest(build, rules);

    test("is the HMAC of the decoded value, under each field's own key", () => {
      const email = '{"id":"1","a":"leo@example.com","b":"leo@example.com"}';
      const escaped =
        '{"id":"\\u0031","a":"leo\\u0040ex\\u0061mple.com","b":"leo@example\\u002ecom"}';
      const expected = {
        key: hmacHex("B", "1"),
        value: JSON.stringify({
          id: hmacHex("B", "1"),
          a: hmacHex("A", "leo@example.com"),
          b: hmacHex("B", "leo@example.com"),
        }),
      };
      expect(guest([email, escaped])).toEqual([expected, expected]);
    });

    test("of a surrogate pair is that of its UTF-8 bytes; of a number that of its text; of null is null", () => {
      expect(
        guest(['{"id":7,"a":"\\ud83d\\ude00","b":1.50}', '{"id":"x","a":null,"b":""}']),
      ).toEqual([
        {
          key: hmacHex("B", "7"),
          value: JSON.stringify({
            id: hmacHex("B", "7"),
            a: hmacHex("A", "😀"),
            b: hmacHex("B", "1.50"),
          }),
        },
        {
          key: hmacHex("B", "x"),
          value: JSON.stringify({ id: hmacHex("B", "x"), a: null, b: hmacHex("B", "") }),
        },
      ]);
    });

    test("of anything else is refused", () => {
      for (const text of ["true", "[1]", "{}"])
        expect(guest([`{"id":"x","a":${text}}`])).toEqual(["wrong-type"]);
    });

    test("a refused record between others leaves no trace and disturbs no lane", () => {
      const good = (i: number) => `{"id":"${i}","a":"person ${i}","b":"${"y".repeat(i)}"}`;
      const bad = [
        '{"id":"z","a":"q","b":true}',
        '{"id":"z","a":"q"',
        '{"a":"q","b":"r"}',
        '{"id":"z","a":"q","x":1}',
      ];
      const records = Array.from({ length: 200 }, (_, i) => (i % 3 === 1 ? bad[i % 4]! : good(i)));
      const answers = guest(records);
      records.forEach((_, i) => {
        if (i % 3 === 1)
          expect(answers[i]).toBe(["wrong-type", "not-json", "record-id", "unknown-field"][i % 4]);
        else {
          const id = hmacHex("B", String(i));
          const value = JSON.stringify({
            id,
            a: hmacHex("A", `person ${i}`),
            b: hmacHex("B", "y".repeat(i)),
          });
          expect(answers[i]).toEqual({ key: id, value });
        }
      });
    });
  });

  describe("fields", () => {
    const guest = createGuest(build, {
      id: "id",
      schema: schemaOf(
        {
          id: STRING,
          n: { type: "integer" },
          s: { type: ["string", "null"] },
          'é"\\': {},
          unruled: {},
        },
        ["id", "n"],
      ),
      rules: [
        { field: "id", action: "keep" },
        { field: "n", action: "keep" },
        { field: "s", action: "keep" },
        { field: 'é"\\', action: "keep" },
      ],
    });

    test("come out in the order in which they came in, without the ones that have no rule", () => {
      expect(
        guest([' { "s" : "b" , "unruled":[1,{}],"n":2 ,"id":"a" } ', '{"n":1,"id":"a"}']),
      ).toEqual([
        { key: "a", value: '{"s":"b","n":2,"id":"a"}' },
        { key: "a", value: '{"n":1,"id":"a"}' },
      ]);
    });

    test("are known however their names are spelled, and written in one way", () => {
      expect(guest(['{"\\u0069d":"a","\\u006E":1,"\\u00e9\\u0022\\u005C":{ "x" : 1 }}'])).toEqual([
        { key: "a", value: '{"id":"a","n":1,"é\\"\\\\":{ "x" : 1 }}' },
      ]);
    });

    test.each([
      ["an unknown field", '{"id":"a","n":1,"other":1}', "unknown-field"],
      [
        "an unknown field that only begins like a known one",
        '{"id":"a","n":1,"nn":1}',
        "unknown-field",
      ],
      ["an empty name", '{"id":"a","n":1,"":1}', "unknown-field"],
      ["a field twice", '{"id":"a","n":1,"n":1}', "duplicate-field"],
      ["a field twice, once escaped", '{"id":"a","n":1,"\\u006e":1}', "duplicate-field"],
      ["a field without rule twice", '{"id":"a","n":1,"unruled":1,"unruled":1}', "duplicate-field"],
      ["a required field that is missing", '{"id":"a"}', "missing-field"],
      ["a wrong type", '{"id":"a","n":"1"}', "wrong-type"],
      ["a wrong type, null", '{"id":"a","n":null}', "wrong-type"],
      ["a fraction for an integer", '{"id":"a","n":1.5}', "wrong-type"],
      ["no id", '{"n":1}', "record-id"],
      ["an empty id", '{"id":"","n":1}', "record-id"],
      ["an id that is too long", `{"id":"${"x".repeat(1025)}","n":1}`, "record-id"],
      ["an id of another type", '{"id":1,"n":1}', "wrong-type"],
      ["an empty object", "{}", "record-id"],
      ["no value", null, "tombstone"],
      ["the first of two faults", '{"id":"a","zz":1,"n":"x"}', "unknown-field"],
      ["broken JSON before all else", '{"id":"a","zz":1,"n":"x"', "not-json"],
    ])("refused: %s", (_, record, status) => {
      expect(guest([record])).toEqual([status]);
    });

    test("a name that needs escapes is not known without them", () => {
      const name = 'é"\\';
      const quoted = JSON.stringify(name);
      // Fresh, since a guest learns the order of fields: here this one is expected next.
      const fresh = createGuest(build, {
        id: name,
        schema: schemaOf({ [name]: {} }),
        rules: [{ field: name, action: "keep" }],
      });
      expect(fresh([`{"${name}":1}`, `{${quoted}:1}`])).toEqual([
        "not-json",
        { key: "1", value: `{${quoted}:1}` },
      ]);
    });

    test("an id of the greatest length passes, counted in bytes after decoding", () => {
      const id = "é".repeat(512);
      const escaped = "\\u00e9".repeat(512);
      expect(guest([`{"id":"${escaped}","n":1}`])).toEqual([
        { key: id, value: `{"id":"${escaped}","n":1}` },
      ]);
      expect(guest([`{"id":"${escaped}x","n":1}`])).toEqual(["record-id"]);
    });

    test.each([
      ["1", true],
      ["1.0", true],
      ["-0.0", true],
      ["1e3", true],
      ["1.5e1", true],
      ["15e-1", false],
      ["10e-1", true],
      ["1.50e1", true],
      ["1.05e1", false],
      ["100e-2", true],
      ["100e-3", false],
      ["0.1", false],
      ["0e-99999999999", true],
      ["1e-99999999999", false],
      ["1e99999999999", true],
      ["0.00", true],
      ["1.0000000000000000000000001", false],
    ])("%s is an integer: %s", (text, isInteger) => {
      const [answer] = guest([`{"id":"a","n":${text}}`]);
      expect(answer).toEqual(
        isInteger ? { key: "a", value: `{"id":"a","n":${text}}` } : "wrong-type",
      );
    });
  });

  test("null, boolean, object, array and integer ids are no ids where the schema allows them", () => {
    const guest = createGuest(build, {
      id: "id",
      schema: schemaOf({ id: {} }),
      rules: [{ field: "id", action: "keep" }],
    });
    expect(guest(['{"id":null}', '{"id":true}', '{"id":{}}', '{"id":[]}', '{"id":-1.50}'])).toEqual(
      [...Array(4).fill("record-id"), { key: "-1.50", value: '{"id":-1.50}' }],
    );
  });

  test("300 fields with names of every length are told apart, in any order", () => {
    const random = createRandom();
    const names = Array.from({ length: 300 }, (_, i) => "n".repeat(i % 40) + i);
    const guest = createGuest(build, {
      id: names[0]!,
      schema: schemaOf(Object.fromEntries(names.map((name) => [name, {}]))),
      rules: names.map((field) => ({ field, action: "keep" }) as const),
    });
    const records = Array.from({ length: 50 }, () => {
      const order = names.toSorted(() => random.int(3) - 1);
      return `{${order.map((name) => `"${name}":"${name}"`).join(",")}}`;
    });
    expect(guest(records)).toEqual(records.map((value) => ({ key: names[0], value })));
  });
});
