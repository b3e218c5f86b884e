/** Reading and writing a record's JSON changes no number and no other value. */
import { describe, expect, it } from "vitest";
import { isJsonObject, parseExact } from "../../pipeline/features/exact-json.ts";

describe("parseExact", () => {
  it.each([
    "12345678901234567890",
    "1.0",
    "1e400",
    "-0",
    "-0.0",
    "1E+2",
    "0.10",
    "9007199254740993",
    "[1.0,2,3.50]",
    '{"a":{"b":[1e1,"1.0",null,true]},"__proto__":{"x":1.0},"c":2}',
    '"text \\" \\\\ \\n é 😀"',
    '{"a":1.0,"10":2,"b":3}',
  ])("keeps %s", (text) => {
    const printed = JSON.stringify(parseExact(text));
    // Members with names of digits come first in every JavaScript object.
    const expected = text.startsWith('{"a":1.0,"10"') ? '{"10":2,"a":1.0,"b":3}' : text;
    expect(printed).toBe(expected);
    expect(Object.getPrototypeOf({})).toBe(Object.prototype);
  });

  it("tells objects from raw numbers", () => {
    const value = parseExact('{"a":1.0,"b":{},"c":[]}') as Record<string, unknown>;
    expect(isJsonObject(value)).toBe(true);
    expect(["a", "b", "c"].map((name) => isJsonObject(value[name]))).toEqual([false, true, false]);
    expect(isJsonObject(null)).toBe(false);
  });

  it("takes nothing but JSON", () => {
    expect(() => parseExact("{")).toThrow(SyntaxError);
  });
});
