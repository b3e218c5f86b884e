/**
 * Rules for paths: objects and arrays are rebuilt from the fields that have rules, at every level.
 */
import { describe, expect, test } from "vitest";
import type { DesensitizeRule } from "../../../pipeline/spec/pipeline-spec.ts";
import { BUILDS, createGuest, type Rules } from "./guest.ts";
import { hmacHex, schemaOf } from "./reference.ts";

const ID: DesensitizeRule = { field: "id", action: "keep" };

function rulesOf(...rules: DesensitizeRule[]): Rules {
  return { id: "id", schema: schemaOf({ id: {}, o: {}, a: {}, m: {} }), rules: [ID, ...rules] };
}

const RULES = rulesOf(
  { field: "o.name", action: "mask", keepFirst: 1, keepLast: 0, with: "*" },
  { field: "o.in.deep.x", action: "pseudonymize", key: { env: "A" } },
  { field: "o.in.kept", action: "keep" },
  { field: "a[].iban", action: "pseudonymize", key: { env: "B" } },
  { field: "a[].list[]", action: "generalize", to: { width: 10 } },
  { field: "m[][]", action: "keep" },
);

describe.each(BUILDS)("%s", (build) => {
  const guest = createGuest(build, RULES);
  /** What leaves of a record with the members of some text. */
  const out = (members: string): unknown => {
    const [answer] = guest([`{"id":"x",${members}}`]);
    return typeof answer === "string" ? answer : answer!.value.slice('{"id":"x"'.length, -1);
  };

  test("what has a rule leaves after it, in the order in which it came; nothing else does", () => {
    expect(
      out('"o" : { "secret":{"name":"no"}, "name" : "Leo", "in":{"kept":[ 1,{"x":2} ],"x":3 } }'),
    ).toBe(',"o":{"name":"L**","in":{"kept":[ 1,{"x":2} ]}}');
    const x = hmacHex("A", "é");
    expect(out('"o":{"in":{"deep":{"y":1,"x":"\\u00e9"},"deeper":{"x":1}}}')).toBe(
      `,"o":{"in":{"deep":{"x":"${x}"}}}`,
    );
  });

  test("each element of an array is rebuilt", () => {
    const [a, b] = [hmacHex("B", "DE1"), hmacHex("B", "DE2")];
    expect(
      out('"a":[ {"iban":"DE1","no":1} , {"list":[39,-1,null]},{"no":[]},{"iban":"DE2"}]'),
    ).toBe(`,"a":[{"iban":"${a}"},{"list":["30-39","-10 to -1",null]},{},{"iban":"${b}"}]`);
    expect(out('"m":[[1,"x"],[],[{"a":[]}]]')).toBe(',"m":[[1,"x"],[],[{"a":[]}]]');
    expect(out('"a":[]')).toBe(',"a":[]');
    expect(out('"a":[ ],"m":[ [ ] ],"o":{ }')).toBe(',"a":[],"m":[[]],"o":{}');
  });

  test("names are known however they are spelled, each in its own object only", () => {
    expect(out('"\\u006f":{"n\\u0061me":"Leo","iban":"no","list":[1]}')).toBe(
      ',"o":{"name":"L**"}',
    );
    expect(out('"a":[{"name":"no","x":"no","o":{"name":"no"}}]')).toBe(',"a":[{}]');
  });

  test("null stands for an object or array; everything else is refused", () => {
    expect(out('"o":null,"a":[null,{"list":null}],"m":[null]')).toBe(
      ',"o":null,"a":[null,{"list":null}],"m":[null]',
    );
    for (const text of [
      '"o":[]',
      '"o":"x"',
      '"a":{}',
      '"a":[1]',
      '"a":[[]]',
      '"m":[1]',
      '"o":true',
      '"o":{"in":7}',
    ]) {
      expect(out(text), text).toBe("wrong-type");
    }
  });

  test.each([
    ['"o":{"name":"a","name":"b"}', "duplicate-field"],
    ['"o":{"name":"a","n\\u0061me":"b"}', "duplicate-field"],
    ['"o":{"in":{"deep":{},"deep":{}}}', "duplicate-field"],
    ['"a":[{"iban":"a"},{"iban":"b","iban":"c"}]', "duplicate-field"],
    ['"o":{},"o":{}', "duplicate-field"],
    ['"o":{"name":[1]}', "wrong-type"],
    ['"a":[{"list":["x"]}]', "wrong-type"],
    ['"o":{"name":"a",}', "not-json"],
    ['"o":{"name"}', "not-json"],
    ['"o":{"name":"a"', "not-json"],
    ['"o":{', "not-json"],
    ['"a":[{},]', "not-json"],
    ['"a":[{}', "not-json"],
    ['"a":[{} {}]', "not-json"],
    ['"a":[', "not-json"],
    ['"o":{"x":"\\ud800"}', "not-utf8"],
    ['"o":{"\\ud800":1}', "not-utf8"],
    ['"o":{"in":{"deep":{"x":true}}},"zz":1', "wrong-type"],
  ])("refused: %s", (members, status) => {
    expect(out(members)).toBe(status);
  });

  test("the same name in two elements is no duplicate; names without a rule may come twice", () => {
    expect(out('"a":[{"list":[]},{"list":[]}],"o":{"zz":1,"zz":2}')).toBe(
      ',"a":[{"list":[]},{"list":[]}],"o":{}',
    );
  });

  test("nesting counts through what is rebuilt: 64 levels with the record itself", () => {
    const deep = createGuest(build, rulesOf({ field: "o.p.q", action: "keep" }));
    const nested = (levels: number) =>
      `{"id":"x","o":{"p":{"q":${"[".repeat(levels)}${"]".repeat(levels)}}}}`;
    expect(deep([nested(61)])).toEqual([{ key: "x", value: nested(61) }]);
    expect(deep([nested(62), `{"id":"x","o":{"z":${"[".repeat(63)}`])).toEqual([
      "too-large",
      "too-large",
    ]);
  });

  test("arrays longer than any number of fields, in one batch with small records", () => {
    const many = Array.from({ length: 20_000 }, (_, i) => i);
    const record = `{"id":"x","a":[{"list":[${many}]}],"m":[${many.map(() => "[0]")}]}`;
    const ranges = many.map((n) => `"${n - (n % 10)}-${n - (n % 10) + 9}"`);
    const value = `{"id":"x","a":[{"list":[${ranges}]}],"m":[${many.map(() => "[0]")}]}`;
    const bad = `{"id":"x","m":[1,${many.map(() => "[0,0,0]")}]}`;
    expect(guest(['{"id":"x"}', record, bad, record, '{"id":"y"}'])).toEqual([
      { key: "x", value: '{"id":"x"}' },
      { key: "x", value },
      "wrong-type",
      { key: "x", value },
      { key: "y", value: '{"id":"y"}' },
    ]);
  });
});
