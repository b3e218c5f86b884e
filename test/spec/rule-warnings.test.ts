/**
 * What check warns about: each warning has a rule that calls for it, with its line and path, and one that does not.
 */
import { describe, expect, it } from "vitest";
import type { Complaint } from "../../pipeline/spec/complaint.ts";
import { protection, shownByMask } from "../../pipeline/spec/lint/protection.ts";
import { edited, exampleSchema, exampleText, lineOf, load } from "./fixtures.ts";

const NOTE = '  - { field: note, action: replace, with: "(removed)" }\n';
/** What is tested elsewhere. */
const OTHERS = /no zones pinned yet|no rule, so never leaves/;

/** Warnings of the example with more fields, and rules for these. */
function warn(
  fields: Readonly<Record<string, object>>,
  rules: string,
  edit: (text: string) => string = (text) => text,
): { readonly warnings: readonly Complaint[]; readonly text: string; readonly schema: string } {
  const document = JSON.parse(exampleSchema);
  Object.assign(document.properties, fields);
  const schema = JSON.stringify(document, null, 1);
  const lines = rules
    .split("\n")
    .map((line) => `  - { ${line.trim()} }\n`)
    .join("");
  const text = edit(edited(NOTE, `${NOTE}${lines}`));
  const loaded = load(text, {}, schema);
  if (loaded.status === "invalid") throw new Error(JSON.stringify(loaded.complaints, null, 1));
  return { warnings: loaded.warnings.filter(({ message }) => !OTHERS.test(message)), text, schema };
}

const messages = (...given: Parameters<typeof warn>): string[] =>
  warn(...given).warnings.map(({ message }) => message);

/** The one warning there is, held against the line of `part` in the pipeline file. */
function expectOne(
  given: ReturnType<typeof warn>,
  expected: { readonly part: string; readonly path: string; readonly says: RegExp },
): void {
  expect(given.warnings).toEqual([
    expect.objectContaining({
      file: "/p/pipeline.yaml",
      line: lineOf(expected.part, given.text),
      path: expected.path,
      message: expect.stringMatching(expected.says),
    }),
  ]);
}

const TEXT = { type: "string", maxLength: 64 };
const NUMBER = { type: "integer" };

describe("the example", () => {
  it("has nothing to warn about but its zones", () => {
    const loaded = load(exampleText);
    expect(loaded.status === "ok" && loaded.warnings.map(({ message }) => message)).toEqual([
      expect.stringMatching(/no zones pinned yet/),
    ]);
  });
});

describe("direct identifiers that are kept", () => {
  it.each<[string, object, RegExp]>([
    ["workEmail", TEXT, /^'workEmail' looks like an e-mail address and leaves as it is: pseudon/],
    ["prenom_client", TEXT, /a name of a person/],
    ["telefonnummer", NUMBER, /a phone number/],
    ["apellidos", TEXT, /a name of a person/],
    ["IBAN", TEXT, /a card or account number/],
    ["client-ip", TEXT, /an IP address/],
    ["contact", { ...TEXT, format: "email" }, /an e-mail address/],
    ["origin", { ...TEXT, format: "ipv6" }, /an IP address/],
    ["passportNo", TEXT, /an identity document/],
    ["deviceId", TEXT, /an identifier of a device/],
    ["kennzeichen", TEXT, /a vehicle/],
    ["userName", TEXT, /a user name/],
    ["customerId", TEXT, /a person's number/],
    ["selfie", TEXT, /a photo/],
  ])("%s", (field, property, says) => {
    const part = `field: ${field},`;
    const given = warn({ [field]: property }, `${part} action: keep`);
    expectOne(given, { part, path: "desensitize[7].field", says });
    expect(messages({ [field]: property }, `${part} action: drop`)).toEqual([]);
  });

  it("in objects and in kept arrays", () => {
    const customer = {
      type: "object",
      properties: {
        address: { type: "object", properties: { street: TEXT, line1: TEXT, floor: TEXT } },
      },
    };
    expect(
      messages(
        { customer },
        "fields: [customer.address.street, customer.address.line1, customer.address.floor], action: keep",
      ),
    ).toEqual([expect.stringMatching(/^'customer.address.street' looks like a street address/)]);
    const contacts = {
      type: "array",
      items: {
        type: "object",
        additionalProperties: false,
        properties: { phone: TEXT, kind: TEXT },
      },
    };
    expect(messages({ contacts }, "field: contacts, action: keep")).toEqual([
      expect.stringMatching(/^'contacts\[\].phone' looks like a phone number/),
    ]);
  });

  it("not where the schema says it is something else", () => {
    expect(
      messages(
        {
          emailVerified: { type: "boolean" },
          name2: { type: "string", enum: ["a", "b"] },
          nameLength: NUMBER,
          productName: TEXT,
          page: NUMBER,
          scoreCard: TEXT,
          formName: TEXT,
        },
        "fields: [emailVerified, name2, nameLength, productName, page, scoreCard, formName], action: keep",
      ),
    ).toEqual([]);
  });

  it("also with noise, which leaves most of a number", () => {
    const rule = 'field: ssn, action: perturb, scale: 1, within: 3, key: "env:K"';
    expect(messages({ ssn: NUMBER }, rule)).toEqual([
      expect.stringMatching(/^'ssn' looks like .* leaves almost as it is/),
    ]);
  });
});

describe("quasi-identifiers that are kept together", () => {
  const fields = { age: NUMBER, geschlecht: TEXT, code_postal: TEXT, nacionalidad: TEXT };

  it("have one warning, at the first of them", () => {
    const given = warn(
      fields,
      "fields: [age, geschlecht], action: keep\nfield: code_postal, action: keep",
    );
    expectOne(given, {
      part: "fields: [age",
      path: "desensitize[7].fields[0]",
      says: /^'age', 'geschlecht' and 'code_postal' leave together.*: generalize or cluster them$/,
    });
  });

  it("and none when at most one is left", () => {
    const rules = "field: age, action: generalize, width: 10\nfield: geschlecht, action: keep";
    expect(messages(fields, rules).filter((one) => /together/.test(one))).toEqual([]);
  });

  it("count when they are hardly changed", () => {
    const rules = (to: string): string =>
      `field: age, action: perturb, scale: 1, within: 2, key: "env:K"\nfield: day, action: generalize, to: ${to}`;
    const dates = { ...fields, day: { type: "string", format: "date" } };
    const together = (to: string) =>
      messages(dates, rules(to)).filter((one) => /together/.test(one));
    expect(together("month")).toEqual([expect.stringMatching(/^'age' and 'day' leave together/)]);
    expect(together("year")).toEqual([]);
  });

  it("say so when the model needs one of them", () => {
    const input = "    - { field: pixels, length: 64, range: [0, 16] }\n";
    const edit = (text: string): string =>
      edited(input, `${input}    - { field: age, range: [0, 120] }\n`, text);
    expect(messages(fields, "fields: [age, geschlecht], action: keep", edit)).toEqual([
      expect.stringMatching(/cluster the others \('age': the model's, so only what it needs\)$/),
    ]);
  });
});

describe("free text that is kept", () => {
  it.each<[string, object]>([
    ["story", { type: "string" }],
    ["story", { type: "string", maxLength: 65 }],
    ["bemerkung", TEXT],
    ["order_comments", TEXT],
  ])("%s %j", (field, property) => {
    const part = `field: ${field},`;
    expectOne(warn({ [field]: property }, `${part} action: keep`), {
      part,
      path: "desensitize[7].field",
      says: /is text that may say anything of anybody and leaves as it is: redact or drop it/,
    });
  });

  it("but not codes, choices and what another rule hides", () => {
    const fields = {
      a: TEXT,
      b: { type: "string", pattern: "^[A-Z]{3}$" },
      note2: { type: "string", enum: ["x"] },
      d: { type: "string", format: "date-time" },
      e: { type: "string" },
    };
    const rules = "fields: [a, b, note2, d], action: keep\nfield: e, action: replace, with: x";
    expect(messages(fields, rules)).toEqual([]);
  });

  it("and what the schema does not describe at all", () => {
    expect(messages({ things: { type: "array" } }, "field: things, action: keep")).toEqual([
      expect.stringMatching(/does not say what 'things\[\]' holds, and all of it leaves/),
    ]);
  });
});

describe("rules that hide little", () => {
  it.each<[string, object, RegExp]>([
    [
      "action: mask, keepFirst: 2, keepLast: 2",
      TEXT,
      /shows 4 of the 5 characters .*minLength of 8/,
    ],
    ["action: mask, keepLast: 4", { ...TEXT, minLength: 6 }, /shows 4 of the 6 characters/],
    ["action: mask, keepFirst: 2", { type: "string", maxLength: 3 }, /shows 2 of the 3 characters/],
    [
      "action: generalize, prefix: 7",
      { type: "string", maxLength: 10 },
      /first 7 characters are most/,
    ],
    ["action: generalize, width: 1", NUMBER, /width 1 leave 'code' as it is/],
    ['action: replace, from: [a, b], key: "env:K"', TEXT, /list for 'code' has 2 texts/],
    [
      'action: replace, format: true, key: "env:K"',
      { type: "string", maxLength: 4 },
      /so few possible/,
    ],
    ["action: hash, truncateBits: 128", TEXT, /no key.*\(cutting it short hides nothing\)/],
  ])("%s of %j", (rest, property, says) => {
    const part = "field: code,";
    const given = warn({ code: property }, `${part} ${rest}`);
    expectOne(given, { part, path: "desensitize[7].field", says });
  });

  it.each<[string, object]>([
    ["action: mask, keepFirst: 2, keepLast: 2", { ...TEXT, minLength: 8 }],
    ["action: mask, keepFirst: 1, keepLast: 2", TEXT],
    ["action: generalize, prefix: 6", { type: "string", maxLength: 10 }],
    ["action: generalize, width: 2", NUMBER],
    [
      `action: replace, from: [${Array.from({ length: 20 }, (_, i) => `n${i}`)}], key: "env:K"`,
      TEXT,
    ],
    ['action: replace, format: true, key: "env:K"', { type: "string", maxLength: 5 }],
  ])("not %s of %j", (rest, property) => {
    expect(messages({ code: property }, `field: code, ${rest}`)).toEqual([]);
  });

  it("of a postcode, all but three characters", () => {
    const zip = { zip: { type: "string", maxLength: 20 } };
    expect(messages(zip, "field: zip, action: generalize, prefix: 4")).toEqual([
      expect.stringMatching(/HIPAA allows 3/),
    ]);
    expect(messages(zip, "field: zip, action: generalize, prefix: 3")).toEqual([]);
  });

  it("what the mask shows is counted as the plugin masks: short values whole", () => {
    const mask = { action: "mask", field: "a", keepFirst: 3, keepLast: 3, with: "*" } as const;
    expect(shownByMask(mask, { type: "string", maxLength: 6 })).toBeNull();
    expect(shownByMask(mask, { type: "string" })).toEqual({ kept: 6, of: 7 });
    expect(shownByMask(mask, { type: "string", minLength: 12 })).toBeNull();
  });

  it("counts an action that it does not know as one that protects", () => {
    // Because a later version's rule has an action that this one's type does not have.
    const rule = { action: "cluster", field: "a" } as unknown as Parameters<typeof protection>[0];
    expect(protection(rule, null)).toBe("strong");
    expect(protection({ action: "keep", field: "a" }, null)).toBe("none");
  });
});

describe("keys used for two things", () => {
  const fields = { a: TEXT, b: TEXT, buyerEmail: TEXT };
  const pseudonymize = (field: string, key: string): string =>
    `field: ${field}, action: pseudonymize, key: "env:${key}"`;

  it("let fields of different meaning be joined", () => {
    const given = warn(fields, `${pseudonymize("a", "K")}\n${pseudonymize("b", "K")}`);
    expectOne(given, {
      part: "field: b,",
      path: "desensitize[8].field",
      says: /^'a' and 'b' share a key: equal values have equal pseudonyms/,
    });
    expect(messages(fields, `${pseudonymize("a", "K")}\n${pseudonymize("b", "L")}`)).toEqual([]);
    // Meant to be joined: both are e-mail addresses.
    expect(messages(fields, pseudonymize("buyerEmail", "PSEUDONYM_KEY"))).toEqual([]);
  });

  it("for fpe only under one tweak", () => {
    const rules = (more: string): string =>
      `fields: [a, b], action: fpe, key: "env:K", alphabet: alphanumeric${more}`;
    expect(messages(fields, rules(", tweak: t"))).toEqual([
      expect.stringMatching(/^'a' and 'b' share key and tweak/),
    ]);
    expect(messages(fields, rules(""))).toEqual([]);
  });
});

describe("what names record and person", () => {
  const extra = { extra: TEXT, phoneId: { type: "string", format: "phone" } };
  const keepSubject = (text: string): string =>
    edited('action: pseudonymize, key: "env:PSEUDONYM_KEY" }', "action: keep }", text);

  it("a subject that is kept", () => {
    expectOne(warn(extra, "fields: [extra, phoneId], action: drop", keepSubject), {
      part: "subject:",
      path: "record.subject",
      says: /^'email' names the person and looks like an e-mail address, and is kept: .*pseudonymize it$/,
    });
  });

  it("an id that looks like a person's, or the subject itself", () => {
    const asId = (text: string): string => edited("id: formId", "id: phoneId", text);
    const given = warn(extra, "field: phoneId, action: keep\nfield: extra, action: drop", asId);
    expect(given.warnings.filter(({ path }) => path === "record.id")).toEqual([
      expect.objectContaining({
        line: lineOf("id: phoneId", given.text),
        message: expect.stringMatching(
          /^'phoneId' looks like a phone number, and is kept: it becomes/,
        ),
      }),
      expect.objectContaining({ message: expect.stringMatching(/is not required/) }),
    ]);
    expect(given.warnings).toHaveLength(2);
    const both = (text: string): string => keepSubject(edited("id: formId", "id: email", text));
    const paths = warn(extra, "fields: [extra, phoneId], action: drop", both).warnings;
    expect(paths.map(({ path }) => path)).toEqual(["record.subject"]);
  });
});

describe("open objects", () => {
  it("lose what is not named without a word", () => {
    const open = (additionalProperties: boolean) => ({
      customer: { type: "object", properties: { a: TEXT }, additionalProperties },
    });
    const given = warn(open(true), "field: customer.a, action: keep");
    expect(given.warnings).toEqual([
      expect.objectContaining({
        file: "form.schema.json",
        line: lineOf('"additionalProperties": true', given.schema),
        path: "properties.customer.additionalProperties",
        message: expect.stringMatching(/dropped without a word/),
      }),
    ]);
    expect(messages(open(false), "field: customer.a, action: keep")).toEqual([]);
  });

  it("leave with a kept array", () => {
    const list = (more: object) => ({
      list: { type: "array", items: { type: "object", properties: { a: TEXT }, ...more } },
    });
    const given = warn(list({}), "field: list, action: keep");
    expect(given.warnings).toEqual([
      expect.objectContaining({
        file: "form.schema.json",
        path: "properties.list.items.additionalProperties",
        message: expect.stringMatching(/'list\[\]' is kept, so fields of it .* leave too/),
      }),
    ]);
    expect(messages(list({ additionalProperties: false }), "field: list, action: keep")).toEqual(
      [],
    );
  });
});
