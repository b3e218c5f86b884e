/**
 * Broken copies of the digits example: each must be refused, naming its line, its path and what was expected.
 */
import { describe, expect, it } from "vitest";
import { complaintsOf, edited, exampleText, lineOf, loadGood } from "./fixtures.ts";

interface Broken {
  readonly what: string;
  readonly from: string;
  readonly to: string;
  /** A part of the broken text that stands on the line to be named; `to` when left out. */
  readonly at?: string;
  readonly path: string;
  readonly says: RegExp;
}

const BROKEN: readonly Broken[] = [
  {
    what: "an action of a later version",
    from: "- { field: postcode, action: mask, keepFirst: 2 }",
    to: "- { field: postcode, action: encrypt }",
    path: "desensitize[3].action",
    says: /action 'encrypt' is not in this version/,
  },
  {
    what: "a mistyped key",
    from: "  partitions: 4",
    to: "  partitons: 4",
    path: "kafka.partitons",
    says: /unknown key 'partitons'; did you mean 'partitions'\?/,
  },
  {
    what: "a field that the record schema does not have",
    from: "field: birthDate, action",
    to: "field: birthdate, action",
    path: "desensitize[4].field",
    says: /'birthdate' is not in the record schema; did you mean 'birthDate'\?/,
  },
  {
    what: "a subject that is masked",
    from: '- { field: email, action: pseudonymize, key: "env:PSEUDONYM_KEY" }',
    to: "- { field: email, action: mask }",
    at: "subject: email",
    path: "record.subject",
    says: /'email' needs the rule keep or pseudonymize; it is mask/,
  },
  {
    what: "a secret in the file",
    from: 'key: "env:PSEUDONYM_KEY"',
    to: 'key: "0123456789abcdef0123456789abcdef"',
    path: "desensitize[5].key",
    says: /expected a reference "env:NAME"/,
  },
  {
    what: "a split that does not sum to 1",
    from: "{ train: 0.9, validate: 0.1, test: 0 }",
    to: "{ train: 0.9, validate: 0.2, test: 0 }",
    path: "features.split",
    says: /sum to 1, found 1.1/,
  },
  {
    what: "an update batch that the micro-batch does not divide",
    from: "updateBatchRecords: 64",
    to: "updateBatchRecords: 72",
    path: "train.updateBatchRecords",
    says: /multiple of microBatchRecords \(16\), found 72/,
  },
  {
    what: "a last layer of the wrong width",
    from: "- { dense: 10 }",
    to: "- { dense: 9 }",
    path: "train.network[1].dense",
    says: /expected 10, found 9/,
  },
  {
    what: "a protection of a later version",
    from: "  backend: auto",
    to: "  protect: secure-aggregation",
    path: "train.protect",
    says: /protect 'secure-aggregation' is not in this version/,
  },
  {
    what: "YAML that does not parse",
    from: "inputs:\n",
    to: "inputs: ]\n",
    path: "",
    says: /./,
  },
  {
    what: "a record schema that is not there",
    from: "schema: form.schema.json",
    to: "schema: from.schema.json",
    path: "record.schema",
    says: /readable file relative to pipeline.yaml/,
  },
  {
    what: "an epsilon that is no budget",
    from: "epsilon: 3",
    to: "epsilon: 0",
    path: "privacy.epsilon",
    says: /more than 0, found 0/,
  },
];

describe("broken copies of the digits example", () => {
  it("are made from a copy that loads", () => {
    expect(loadGood(exampleText).name).toBe("digits");
  });

  it.each(BROKEN)("refuses $what and names the line", ({ from, to, at, path, says }) => {
    const text = edited(from, to);
    const complaints = complaintsOf(text);
    const line = lineOf(at ?? to, text);
    const here = complaints.filter((complaint) => complaint.line === line);
    expect(here.map((complaint) => complaint.path)).toContain(path);
    expect(here.map((complaint) => complaint.message).join("\n")).toMatch(says);
    expect(complaints.every((complaint) => complaint.file === "/p/pipeline.yaml")).toBe(true);
  });
});
