/**
 * The demo's input: deterministic, complete, as its record schema says, and full of personal data to be hidden.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";
import { describe, expect, it } from "vitest";
import { createMarkerScan } from "../../examples/digits/marker-scan.ts";
import { digitRecords, markersOf } from "../../examples/digits/records.ts";

const folder = new URL("../../examples/digits/", import.meta.url);
const csvGz = readFileSync(new URL("digits_8x8.csv.gz", folder));
const records = digitRecords({ csvGz, seed: 7 });
const forms = records.map(({ form }) => form);

describe("digitRecords", () => {
  it("gives all 1,797 digits, one in five without a label", () => {
    expect(records).toHaveLength(1797);
    expect(forms.filter((form) => form.digit === undefined)).toHaveLength(359);
    expect(
      records.every(({ form, truth }) => form.digit === undefined || form.digit === truth),
    ).toBe(true);
  });

  it("leaves no digit out of either part", () => {
    for (let digit = 0; digit < 10; digit++) {
      const unlabelled = records.filter(
        ({ form, truth }) => form.digit === undefined && truth === digit,
      );
      expect(unlabelled.length).toBeGreaterThan(20);
    }
  });

  it("is the same for the same seed and other for another", () => {
    const digest = (seed: number) =>
      createHash("sha256")
        .update(JSON.stringify(digitRecords({ csvGz, seed })))
        .digest("hex");
    expect(digest(7)).toBe(digest(7));
    expect(digest(8)).not.toBe(digest(7));
  });

  it("keeps to form.schema.json", () => {
    const schema = JSON.parse(readFileSync(new URL("form.schema.json", folder), "utf8"));
    const validate = new Ajv2020({ strict: false }).compile(schema);
    for (const form of forms) expect(validate(form), JSON.stringify(validate.errors)).toBe(true);
    expect(validate({ ...forms[0], extra: 1 })).toBe(false);
  });

  it("has one form a person and a form", () => {
    expect(new Set(forms.map((form) => form.email)).size).toBe(1797);
    expect(new Set(forms.map((form) => form.formId)).size).toBe(1797);
  });

  it("is worth hiding: every person's name, address, phone and note is a marker of 8 bytes or more", () => {
    for (const form of forms) expect(markersOf(form)).toHaveLength(4);
    const scripts = [/\p{Script=Greek}/u, /\p{Script=Cyrillic}/u, /\p{Script=Han}/u, /[À-ž]/];
    for (const script of scripts) expect(forms.some((form) => script.test(form.name))).toBe(true);
    const repeats = forms.filter(({ note, name, email, phone }) =>
      [name, email, phone].some((value) => note.includes(value)),
    );
    expect(repeats).toHaveLength(1797);
    expect(forms.some(({ note }) => /["\\\n\t]/.test(note))).toBe(true);
  });

  it("is found by the marker scan in the raw record, form by form", () => {
    const scan = createMarkerScan(forms.flatMap(markersOf));
    for (const form of forms.slice(0, 200))
      scan.scan(form.formId, Buffer.from(JSON.stringify(form)));
    expect(new Set(scan.hits().map(({ where }) => where)).size).toBe(200);
    expect(scan.total).toBeGreaterThanOrEqual(4 * 200);
  });

  it("refuses a file of something else", async () => {
    const { gzipSync } = await import("node:zlib");
    expect(() => digitRecords({ csvGz: gzipSync("1,2,3\n"), seed: 1 })).toThrow(
      /line 1 is not 64 numbers/,
    );
    expect(() => digitRecords({ csvGz: gzipSync(`${"17,".repeat(64)}1\n`), seed: 1 })).toThrow(
      /line 1/,
    );
  });
});
