/**
 * The rule `cluster`: what it becomes, where domains come from, what does not go together, and what check warns about.
 */
import { describe, expect, it } from "vitest";
import { formatComplaint } from "../../pipeline/spec/complaint.ts";
import { edited, exampleSchema, loadFiles, specOf } from "./fixtures.ts";

const NOTE = '  - { field: note, action: replace, with: "(removed)" }\n';
const FILES: Readonly<Record<string, string>> = {
  "places.csv": "Bonn;West\nBerlin;East\n",
  "uneven.csv": "Bonn;West;Germany\nBerlin;East\n",
};

/** The example's record schema with fields to cluster. */
function schemaWith(more: object = {}): string {
  const schema = JSON.parse(exampleSchema);
  Object.assign(schema.properties, {
    age: { type: "integer", minimum: 0, maximum: 120 },
    income: { type: "number" },
    born: { type: "string", format: "date" },
    zip: { type: "string", pattern: "^[0-9]{5}$" },
    city: { type: "string" },
    ill: { type: ["string", "null"] },
    home: { type: "object", properties: { floor: { type: "integer", minimum: -2, maximum: 90 } } },
    pets: { type: "array", items: { type: "string" } },
    mixed: { type: ["string", "integer"] },
    ...more,
  });
  return JSON.stringify(schema);
}

function load(rule: string, others = "", schema = schemaWith()) {
  return loadFiles({
    "pipeline.yaml": edited(NOTE, `${NOTE}  - { ${rule} }\n${others}`),
    "form.schema.json": schema,
    ...FILES,
  });
}

function said(rule: string, others = "", schema = schemaWith()): string {
  const loaded = load(rule, others, schema);
  const list = loaded.status === "ok" ? loaded.warnings : loaded.complaints;
  return list.map(formatComplaint).join("\n");
}

function clustered(rule: string, schema = schemaWith()) {
  return specOf(load(rule, "", schema)).desensitize.filter(({ action }) => action === "cluster");
}

describe("a cluster rule becomes", () => {
  it("a rule a field, with the options that all share", () => {
    const cluster = {
      k: 5,
      windowRecords: 2000,
      maxDelayMs: 1000,
      method: "mondrian",
      acrossWindows: "nested",
      publish: "range",
      whenTooFew: "suppress",
      suppressUpTo: 0,
      sensitive: null,
    };
    expect(clustered("fields: [born, zip], action: cluster, k: 5")).toEqual([
      {
        field: "born",
        action: "cluster",
        domain: { kind: "date", range: ["1900-01-01", "2099-12-31"] },
        cluster,
      },
      { field: "zip", action: "cluster", domain: { kind: "digits", length: 5 }, cluster },
    ]);
  });

  it.each([
    ["age", "", { kind: "number", range: [0, 120] }],
    ["home.floor", "", { kind: "number", range: [-2, 90] }],
    ["age", "age: { range: [18, 65] }", { kind: "number", range: [18, 65] }],
    ["income", "income: { range: [0, 1000000] }", { kind: "number", range: [0, 1_000_000] }],
    [
      "born",
      "born: { range: [1950-01-01, 2010-12-31] }",
      { kind: "date", range: ["1950-01-01", "2010-12-31"] },
    ],
    ["city", "", { kind: "text" }],
    ["city", "city: { digits: 4 }", { kind: "digits", length: 4 }],
    [
      "city",
      "city: { hierarchy: places.csv }",
      {
        kind: "hierarchy",
        paths: [
          ["Bonn", "West"],
          ["Berlin", "East"],
        ],
      },
    ],
  ])("with %s and domains { %s }: %j", (field, domains, domain) => {
    const [rule] = clustered(`field: ${field}, action: cluster, k: 5, domains: { ${domains} }`);
    expect(rule).toMatchObject({ field, domain });
  });

  it("one whose windows stand alone, with mdav", () => {
    const [rule] = clustered(
      "field: age, action: cluster, k: 5, method: mdav, publish: mean, whenTooFew: generalize, sensitive: digit, lDiversity: 3, tCloseness: 0.2",
    );
    expect(rule).toMatchObject({
      cluster: {
        method: "mdav",
        acrossWindows: "independent",
        publish: "mean",
        whenTooFew: "generalize",
        sensitive: { field: "digit", lDiversity: 3, tCloseness: 0.2 },
      },
    });
  });
});

describe("refused:", () => {
  it.each([
    ["field: age, action: cluster", /desensitize\[6\]\.k missing|\.k: missing/],
    ["field: age, action: cluster, k: 1", /k.*2/],
    [
      "field: age, action: cluster, k: 50, windowRecords: 20",
      /windowRecords to be at least k \(50\)/,
    ],
    [
      "field: age, action: cluster, k: 5, method: mdav, acrossWindows: nested",
      /expected acrossWindows: independent/,
    ],
    [
      "field: age, action: cluster, k: 5, publish: mean",
      /publish: mean needs acrossWindows: independent/,
    ],
    [
      "field: zip, action: cluster, k: 5, acrossWindows: independent, publish: mean",
      /'zip' has no mean/,
    ],
    [
      "field: age, action: cluster, k: 5, suppressUpTo: 0.1, whenTooFew: generalize",
      /suppressUpTo needs whenTooFew: suppress/,
    ],
    [
      "field: age, action: cluster, k: 5, method: mdav, windowRecords: 20000",
      /windowRecords of at most 10000/,
    ],
    ["field: age, action: cluster, k: 5, lDiversity: 2", /expected sensitive together with/],
    ["field: age, action: cluster, k: 5, sensitive: digit", /expected sensitive together with/],
    ["field: age, action: cluster, k: 5, sensitive: ill, lDiversity: 2", /'ill' has no rule/],
    [
      "fields: [age, zip], action: cluster, k: 5, sensitive: zip, lDiversity: 2",
      /'zip' is clustered itself/,
    ],
    [
      "field: age, action: cluster, k: 5, sensitive: pixels, lDiversity: 2",
      /'pixels' must be text/,
    ],
    [
      "field: age, action: cluster, k: 5, sensitive: nobody, lDiversity: 2",
      /'nobody' is not in the record schema/,
    ],
    [
      "field: income, action: cluster, k: 5",
      /expected domains\.income\.range, or minimum and maximum/,
    ],
    ["field: 'pets[]', action: cluster, k: 5", /is inside an array/],
    [
      "field: pets, action: cluster, k: 5",
      /cluster needs text or a number, but the record schema says array/,
    ],
    ["field: mixed, action: cluster, k: 5", /needs either text or a number/],
    ["field: email, action: cluster, k: 5", /has a rule above/],
    [
      "field: age, action: cluster, k: 5, domains: { zip: { digits: 5 } }",
      /domains\.zip.*'zip' is not clustered/,
    ],
    [
      "field: age, action: cluster, k: 5, domains: { age: {} }",
      /exactly one of range, digits and hierarchy/,
    ],
    [
      "field: age, action: cluster, k: 5, domains: { age: { digits: 5 } }",
      /digits are those of a text/,
    ],
    [
      "field: age, action: cluster, k: 5, domains: { age: { range: [9, 3] } }",
      /lowest below highest/,
    ],
    [
      "field: age, action: cluster, k: 5, domains: { age: { range: [2000-01-01, 2001-01-01] } }",
      /a range of numbers/,
    ],
    ["field: born, action: cluster, k: 5, domains: { born: { range: [1, 2] } }", /a range of days/],
    [
      "field: city, action: cluster, k: 5, domains: { city: { hierarchy: none.csv } }",
      /domains\.city\.hierarchy.*readable file/,
    ],
    [
      "field: city, action: cluster, k: 5, domains: { city: { hierarchy: uneven.csv } }",
      /uneven\.csv:2:1.*expected 2 levels/,
    ],
  ])("%s", (rule, message) => {
    expect(said(rule)).toMatch(message);
    expect(load(rule).status).toBe("invalid");
  });

  it("a second rule of the kind, since all fields are grouped together", () => {
    const rules = "  - { field: zip, action: cluster, k: 5 }\n";
    expect(said("field: age, action: cluster, k: 5", rules)).toMatch(/expected them in one rule/);
  });

  it("an id or subject that is clustered", () => {
    const text = said("field: formId2, action: cluster, k: 5");
    expect(text).toMatch(/'formId2' is not in the record schema; did you mean 'formId'/);
  });
});

describe("check warns", () => {
  it("that k holds in each window only", () => {
    expect(said("field: age, action: cluster, k: 5, acrossWindows: independent")).toMatch(
      /can intersect their groups/,
    );
    expect(said("field: age, action: cluster, k: 5")).not.toMatch(/can intersect their groups/);
    expect(said("field: age, action: cluster, k: 5")).toMatch(
      /k holds in each window: who follows 'email'/,
    );
  });

  it("that k counts records where there is no subject", () => {
    const rule = `${NOTE}  - { field: age, action: cluster, k: 5 }\n`;
    const without = loadFiles({
      "pipeline.yaml": edited("  subject: email\n", "", edited(NOTE, rule)),
      "form.schema.json": schemaWith(),
    });
    expect(without.status === "ok" && without.warnings.map(({ message }) => message)).toContain(
      "no record.subject, so k counts records: a person with several records counts several times",
    );
    expect(said("field: age, action: cluster, k: 5")).not.toMatch(/k counts records/);
  });
});
