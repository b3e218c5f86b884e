/**
 * The plugin's configuration: its bytes, exactly, and what is refused before there are any.
 */
import { describe, expect, test } from "vitest";
import type { PipelineSpec } from "../../../pipeline/spec/pipeline-spec.ts";
import { encodePluginConfig } from "../../../pipeline/stages/desensitize/plugin-config.ts";
import { readRecordSchema } from "../../../pipeline/stages/desensitize/record-schema.ts";
import { createRawConfig } from "../../wasm/raw-config.ts";
import { KEY, secrets, specWith } from "./fixtures.ts";

type Rule = PipelineSpec["desensitize"][number];

const ID: Rule = { field: "id", action: "keep" };

function encode(
  properties: Record<string, unknown>,
  rules: readonly Rule[],
  rest: object = {},
): Buffer {
  const schema = { type: "object", properties, ...rest };
  const spec = specWith({ schema, rules, id: "id" });
  return Buffer.from(encodePluginConfig(spec, readRecordSchema(schema), secrets));
}

/** Hexadecimal text with spaces for reading. */
function hex(...parts: string[]): string {
  return parts.join("").replaceAll(" ", "");
}

test("the smallest configuration is the one written by hand after the grammar", () => {
  expect(encode({ id: {}, note: {} }, [ID])).toEqual(Buffer.from(createRawConfig()));
});

test("every kind of rule, to the byte", () => {
  const rules: Rule[] = [
    {
      field: "id",
      action: "pseudonymize",
      key: { env: "PSEUDONYM_KEY" },
      keyId: "k2",
      form: { encoding: "base64url", bits: 128 },
    },
    { field: "m", action: "mask", keepFirst: 2, keepLast: 1, with: "•" },
    { field: "é", action: "replace", with: "gone!" },
    { field: "d", action: "drop" },
    { field: "o.h[].x", action: "hash" },
    { field: "o.k", action: "keep" },
  ];
  const properties = {
    id: { type: "string" },
    m: { type: ["string", "number"] },
    d: { type: "null" },
    o: { type: "object" },
  };
  const bytes = encode(properties, rules, { required: ["m"], additionalProperties: true });
  expect(bytes.toString("hex")).toBe(
    hex(
      // header: SDC2, 1 key, 9 fields, id is field 0, unknown fields allowed, depth 64, id 1024 bytes, 0
      "53444332 01000000 09000000 00000000 01000000 40000000 00040000 00000000",
      // an HMAC key of 32 bytes
      `01000000 20000000 ${KEY.toString("hex")}`,
      // id: pseudonymize, string, optional, of the record; key 0, base64url, 16 bytes, k2:
      "04000000 01000000 00000000 ffffffff 02000000 0f000000 69640000",
      "00000000 01000000 10000000 6b323a00",
      // m: mask, string or number, required; 2 and 1
      "02000000 03000000 01000000 ffffffff 01000000 0b000000 6d000000",
      "02000000 01000000 e280a200",
      // d: drop
      "00000000 10000000 00000000 ffffffff 01000000 00000000 64000000",
      // o: an object that is rebuilt; o.h: an array that is rebuilt, inside field 3; its elements: objects in field 4
      "40000000 20000000 00000000 ffffffff 01000000 00000000 6f000000",
      "41000000 7f000000 00000000 03000000 01000000 00000000 68000000",
      "40000000 7f000000 00000000 04000000 00000000 00000000",
      // o.h[].x: hash, in field 5; hex, 32 bytes
      "05000000 7f000000 00000000 05000000 01000000 08000000 78000000 00000000 20000000",
      // o.k: keep, in field 3
      "01000000 7f000000 00000000 03000000 01000000 00000000 6b000000",
      // é: replace, any type, since only the rule names it
      "03000000 7f000000 00000000 ffffffff 02000000 05000000 c3a90000 676f6e65 21000000",
    ),
  );
});

test("a key that two rules share stands there once", () => {
  const pseudonymize = (field: string): Rule => ({
    field,
    action: "pseudonymize",
    key: { env: "PSEUDONYM_KEY" },
  });
  const bytes = encode({ id: {}, a: {} }, [pseudonymize("id"), pseudonymize("a")]);
  expect(bytes.readUInt32LE(4)).toBe(1);
  expect(bytes.indexOf(KEY)).toBe(bytes.lastIndexOf(KEY));
});

test("a required field that nothing else names is known to the plugin", () => {
  const bytes = encode({ id: {} }, [ID], { required: ["other"] });
  expect(bytes.readUInt32LE(8)).toBe(2);
  expect(bytes.includes("other")).toBe(true);
});

describe("refused:", () => {
  const mask = (parts: object): Rule[] => [
    ID,
    { field: "m", action: "mask", keepFirst: 0, keepLast: 0, with: "*", ...parts } as Rule,
  ];
  test.each([
    [
      "a rule for a field that the schema does not have",
      [ID, { field: "zz", action: "keep" } as Rule],
      "zz",
    ],
    ["no rule for the id", [{ field: "m", action: "keep" } as Rule], "id"],
    ["an id that is dropped", [{ field: "id", action: "drop" } as Rule], "id"],
    ["an id that is replaced", [{ field: "id", action: "replace", with: "" } as Rule], "id"],
    ["a mask of two characters", mask({ with: "**" }), "m"],
    ["an empty mask", mask({ with: "" }), "m"],
    ["half a character as mask", mask({ with: "\ud83d" }), "m"],
    [
      "a rule inside another",
      [
        ID,
        { field: "m", action: "mask", keepFirst: 0, keepLast: 0, with: "*" } as Rule,
        { field: "m.a", action: "keep" } as Rule,
      ],
      "m.a",
    ],
    [
      "an object that is an array",
      [ID, { field: "m.a", action: "keep" } as Rule, { field: "m[].a", action: "keep" } as Rule],
      "m[].a",
    ],
    ["a negative number to keep", mask({ keepFirst: -1 }), "m"],
    ["half a character to keep", mask({ keepLast: 0.5 }), "m"],
  ])("%s", (_, rules, named) => {
    expect(() => encode({ id: {}, m: {} }, rules)).toThrow(
      expect.objectContaining({ code: "spec-invalid", message: expect.stringContaining(named) }),
    );
  });

  test("a key that is too short, by its name only", () => {
    const schema = { type: "object", properties: { id: {} } };
    const rules: Rule[] = [{ field: "id", action: "pseudonymize", key: { env: "SHORT" } }];
    const spec = specWith({ schema, rules, id: "id" });
    const encodeShort = () =>
      encodePluginConfig(spec, readRecordSchema(schema), () => Buffer.alloc(31));
    expect(encodeShort).toThrow(
      expect.objectContaining({ code: "key-invalid", message: expect.stringContaining("SHORT") }),
    );
  });
});
