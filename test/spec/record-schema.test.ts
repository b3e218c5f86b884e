/**
 * The record schema beside a pipeline file: checked, with complaints about its own lines.
 */
import { describe, expect, it } from "vitest";
import { formatComplaint } from "../../pipeline/spec/complaint.ts";
import { complaintsOf, edited, exampleSchema, exampleText, lineOf, load } from "./fixtures.ts";

describe("the record schema", () => {
  const about = (schema: string): string =>
    complaintsOf(exampleText, {}, schema).map(formatComplaint).join("\n");

  it("has complaints with lines of its own, and one in the pipeline file", () => {
    const schema = edited('"maxLength": 2000', '"maxLenght": 2000', exampleSchema);
    const text = about(schema);
    const line = lineOf("maxLenght", schema);
    expect(text).toMatch(
      new RegExp(
        `form.schema.json:${line}:\\d+ properties.note.maxLenght: unknown key 'maxLenght'; did you mean 'maxLength'`,
      ),
    );
    expect(text).toMatch(/pipeline.yaml:\d+:\d+ record.schema: the record schema has a fault/);
  });

  it.each([
    [
      '"additionalProperties": false',
      '"additionalProperties": true',
      /additionalProperties: expected false, found true/,
    ],
    ['"type": "object"', '"type": "array"', /type: expected object, found 'array'/],
    [
      '"maxLength": 320',
      '"maxLength": 320, "oneOf": []',
      /properties.email.oneOf: unknown key 'oneOf'/,
    ],
    ['"maxLength": 320', '"maxLength": 320, "$ref": "#"', /unknown key '\$ref'/],
    [
      '"minLength": 3',
      '"minLength": 321',
      /properties.email.minLength: expected minLength at most maxLength/,
    ],
    [
      '"required": ["formId"',
      '"required": ["id"',
      /required\[0\]: 'id' is not one of the properties/,
    ],
    [
      '"maxLength": 320',
      '"pattern": "("',
      /properties.email.pattern: expected a regular expression/,
    ],
    ['"note": { "type": "string"', '"note": { "type": "text"', /properties.note.type/],
    ['"note": { "type": "string",', '"note": {', /properties.note.type: missing/],
  ])("%j -> %j", (from, to, says) => {
    expect(about(edited(from, to, exampleSchema))).toMatch(says);
  });

  it("lets an object be dropped or replaced as a whole, but not kept", () => {
    const schema = edited(
      '"note": { "type": "string", "maxLength": 2000 }',
      '"note": { "type": "object" }',
      exampleSchema,
    );
    expect(load(exampleText, {}, schema).status).toBe("ok");
    const kept = edited(
      'field: note, action: replace, with: "(removed)"',
      "field: note, action: keep",
    );
    const said = complaintsOf(kept, {}, schema).map(formatComplaint).join("\n");
    expect(said).toMatch(/desensitize\[6\].field: an object cannot be kept/);
  });

  it("must be JSON, not only YAML", () => {
    expect(about(`${exampleSchema}# hello\n`)).toMatch(/form.schema.json:1:1 expected JSON/);
    expect(about("{ type: object }")).toMatch(/expected JSON/);
  });
});
