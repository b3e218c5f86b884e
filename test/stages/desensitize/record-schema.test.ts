/**
 * Which part of a record schema the plugin judges, and when a full validator is asked besides.
 */
import { describe, expect, test } from "vitest";
import { readRecordSchema, TYPE_BITS } from "../../../pipeline/stages/desensitize/record-schema.ts";

const ALL = 127;

function read(rest: Record<string, unknown>) {
  return readRecordSchema({ type: "object", ...rest });
}

describe("types", () => {
  test.each([
    [{ type: "string" }, TYPE_BITS["string"]],
    [{ type: ["integer", "null"] }, 4 | 16],
    [{ type: ["number", "integer"] }, 2 | 4],
    [{ type: ["boolean", "object", "array"] }, 8 | 32 | 64],
    [{}, ALL],
    [true, ALL],
    [{ type: "string", title: "a", description: "b", examples: [], format: "email" }, 1],
  ])("of %j are %i, and no validator is needed", (field, bits) => {
    const { types, validate } = read({ properties: { a: field } });
    expect(types.get("a")).toBe(bits);
    expect(validate).toBe(null);
  });
});

describe("a validator is needed for", () => {
  test.each([
    ["a pattern", { properties: { a: { type: "string", pattern: "^x" } } }, { a: "x" }, { a: "y" }],
    ["a length", { properties: { a: { type: "string", maxLength: 1 } } }, { a: "x" }, { a: "xx" }],
    ["a range", { properties: { a: { type: "number", minimum: 0 } } }, { a: 0 }, { a: -1 }],
    [
      "items",
      { properties: { a: { type: "array", items: { type: "number" } } } },
      { a: [1] },
      { a: ["1"] },
    ],
    ["an enum", { properties: { a: { enum: [1, 2] } } }, { a: 1 }, { a: 3 }],
    ["a constant", { properties: { a: { const: null } } }, { a: null }, { a: 0 }],
    [
      "a nested object",
      { properties: { a: { type: "object", required: ["b"] } } },
      { a: { b: 1 } },
      { a: {} },
    ],
    [
      "a reference",
      { $defs: { s: { type: "string" } }, properties: { a: { $ref: "#/$defs/s" } } },
      { a: "" },
      { a: 1 },
    ],
    ["a schema that nothing fits", { properties: { a: false } }, {}, { a: 1 }],
    ["anyOf at the root", { anyOf: [{ required: ["a"] }], properties: { a: {} } }, { a: 1 }, {}],
    ["minProperties", { minProperties: 1, properties: { a: {} } }, { a: 1 }, {}],
    [
      "a schema for other fields",
      { additionalProperties: { type: "number" } },
      { z: 1 },
      { z: "" },
    ],
    [
      "fields by pattern",
      { patternProperties: { "^x": { type: "number" } } },
      { x1: 1 },
      { x1: "" },
    ],
    [
      "fields by pattern, and others are refused",
      { patternProperties: { "^x": {} } },
      { x: 1 },
      { y: 1 },
    ],
  ])("%s", (_, schema, good, bad) => {
    const { validate } = read(schema);
    expect(validate?.(good)).toBe(true);
    expect(validate?.(bad)).toBe(false);
  });
});

describe("fields that the schema does not name", () => {
  test.each([
    [{}, false],
    [{ additionalProperties: false }, false],
    [{ additionalProperties: true }, true],
    [{ additionalProperties: { type: "string" } }, true],
    [{ patternProperties: {} }, true],
  ])("%j: allowed %s", (schema, allowed) => {
    expect(read(schema).allowsUnknown).toBe(allowed);
  });
});

test("required names are read, also of fields without a schema", () => {
  expect([...read({ properties: { a: {} }, required: ["a", "b"] }).required]).toEqual(["a", "b"]);
});

describe("refused as spec-invalid:", () => {
  test.each([
    ["no object", { type: "array" }],
    ["no type", {}],
    ["a type that JSON does not have", { type: "object", properties: { a: { type: "float" } } }],
    ["a type that is no text", { type: "object", properties: { a: { type: 1 } } }],
    ["a field without schema", { type: "object", properties: { a: 1 } }],
    ["properties that are a list", { type: "object", properties: [] }],
    ["required that is no list", { type: "object", required: "a" }],
    ["required with a number", { type: "object", required: [1] }],
    ["a broken pattern", { type: "object", properties: { a: { pattern: "(" } } }],
    ["a reference to nothing", { type: "object", properties: { a: { $ref: "#/$defs/none" } } }],
  ])("%s", (_, schema) => {
    expect(() => readRecordSchema(schema)).toThrow(
      expect.objectContaining({ code: "spec-invalid" }),
    );
  });
});
