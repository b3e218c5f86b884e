/**
 * `encrypt.records` of a pipeline file: every way to name a field wrongly is a complaint with its line and path.
 */
import { describe, expect, it } from "vitest";
import { createFieldTree } from "../../pipeline/features/field-tree.ts";
import { complaintsOf, edited, exampleSchema, exampleText, lineOf, loadGood } from "./fixtures.ts";

const RECORDS = `  records:
    clear: [formId, postcode]
    sealed:
      - { fields: [name, note], for: [support] }
      - { fields: [pixels], for: [support, billing] }
`;
const GOOD = edited("encrypt:\n", `encrypt:\n${RECORDS}`);
const changed = (from: string, to: string) => edited(from, to, GOOD);

describe("encrypt.records", () => {
  it("is null when the file says nothing, and has defaults and sorted names when it does", () => {
    expect(loadGood(exampleText).encrypt.records).toBeNull();
    expect(loadGood(GOOD).encrypt.records).toEqual({
      clear: ["formId", "postcode"],
      sealed: [
        { fields: ["name", "note"], for: ["support"] },
        { fields: ["pixels"], for: ["billing", "support"] },
      ],
      rotateAfterRecords: 100_000,
      rotateAfterMs: 86_400_000,
    });
  });

  const broken = [
    {
      to: "[formId, name]",
      at: "[name, note]",
      path: "sealed[0].fields[0]",
      says: /'name' is named above/,
    },
    { to: "[formId, formId]", path: "clear[1]", says: /'formId' is named above/ },
    { from: "[pixels]", to: "[note]", path: "sealed[1].fields[0]", says: /'note' is named above/ },
    {
      from: "[pixels]",
      to: "[pixels, 'pixels[]']",
      path: "sealed[1].fields[1]",
      says: /one inside the other/,
    },
    {
      to: "[formId, nam]",
      path: "clear[1]",
      says: /'nam' is not in the record schema; did you mean 'name'\?/,
    },
    {
      to: "[formId, postcode.city]",
      path: "clear[1]",
      says: /'postcode.city' is not in the record schema/,
    },
    {
      from: "[pixels]",
      to: "[phone, pixels.length]",
      path: "sealed[1].fields[1]",
      says: /not in the record schema/,
    },
    {
      from: "[name, note]",
      to: "[name, formId]",
      path: "sealed[0].fields[1]",
      says: /'formId' names the record/,
    },
    {
      from: "[support, billing]",
      to: "[a, a]",
      path: "sealed[1].for[1]",
      says: /'a' is named above already/,
    },
    {
      from: "[support, billing]",
      to: "[a, Billing]",
      path: "sealed[1].for[1]",
      says: /lower-case letters/,
    },
    { from: "[support, billing]", to: "[]", path: "sealed[1].for", says: /at least 1/ },
    {
      from: "fields: [pixels],",
      to: "fields: [pixels], form: 1,",
      path: "sealed[1].form",
      says: /unknown key/,
    },
    {
      from: "    sealed:",
      to: "    unsealed: []\n    sealed:",
      at: "unsealed",
      path: "unsealed",
      says: /unknown key/,
    },
  ];
  it.each(broken)(
    "refuses $to at $path",
    ({ from = "[formId, postcode]", to, at = to, path, says }) => {
      const text = changed(from, to);
      const complaints = complaintsOf(text).filter((one) => one.path === `encrypt.records.${path}`);
      expect(complaints.map(({ message }) => message).join("; ")).toMatch(says);
      expect(complaints[0]?.line).toBe(lineOf(at, text));
    },
  );

  it("refuses fields that never reach encrypt: without a rule, or dropped", () => {
    const note = '- { field: note, action: replace, with: "(removed)" }';
    const without = complaintsOf(edited(note, "", GOOD));
    expect(without.map(({ message }) => message).join()).toMatch(
      /'note' has no rule under desensitize, so it never reaches encrypt/,
    );
    const dropped = complaintsOf(edited(note, "- { field: note, action: drop }", GOOD));
    expect(dropped.map(({ message }) => message).join()).toMatch(/'note' is dropped by its rule/);
  });

  it("takes paths inside and around those of rules", () => {
    const schema = JSON.parse(exampleSchema);
    schema.properties.visits = {
      type: "array",
      items: {
        type: "object",
        properties: { note: { type: "string" }, at: { type: "string" } },
        additionalProperties: false,
      },
    };
    const rules = edited(
      "  # A***",
      "  - { fields: ['visits[].note', 'visits[].at'], action: keep }\n  # A***",
      GOOD,
    );
    const spec = (fields: string) =>
      complaintsOf(edited("[name, note]", fields, rules), {}, JSON.stringify(schema)).map(
        ({ message }) => message,
      );
    expect(() => spec("['visits[].note', 'visits[].at']")).toThrow("the file loads");
    expect(() => spec("[visits]")).toThrow("the file loads");
    expect(spec("['visits[].note', visits]").join()).toMatch(/one inside the other/);
  });

  it("refuses one field as an array and as an object", () => {
    const schema = JSON.parse(exampleSchema);
    schema.properties.visits = { type: ["array", "object"] };
    const rule = '  - { field: visits, action: replace, with: "" }\n  # A***';
    const text = edited(
      "[name, note]",
      "['visits[].note', visits.at]",
      edited("  # A***", rule, GOOD),
    );
    const messages = complaintsOf(text, {}, JSON.stringify(schema)).map(({ message }) => message);
    expect(messages).toEqual(["'visits.at' needs an object where 'visits[].note' needs an array"]);
  });
});

describe("the tree of fields", () => {
  it("has one branch for what lies together", () => {
    const tree = createFieldTree({
      clear: ["id", "address.city", "visits[].at"],
      sealed: [
        { fields: ["address.street", "visits[].note"], for: ["a", "b"] },
        { fields: ["tags[][]"], for: ["a"] },
      ],
      rotateAfterRecords: 1,
      rotateAfterMs: 1,
    });
    const clear = { kind: "clear" };
    const both = { kind: "sealed", audience: ["a", "b"] };
    const object = (fields: object) => ({
      kind: "object",
      fields: new Map(Object.entries(fields)),
    });
    const array = (element: object) => ({ kind: "array", element });
    expect(tree).toEqual(
      object({
        id: clear,
        address: object({ city: clear, street: both }),
        visits: array(object({ at: clear, note: both })),
        tags: array(array({ kind: "sealed", audience: ["a"] })),
      }),
    );
  });
});
