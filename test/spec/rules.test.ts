/**
 * The rules of the pipeline file: what each becomes, what does not go together, and what check warns about.
 */
import { describe, expect, it } from "vitest";
import { formatComplaint } from "../../pipeline/spec/complaint.ts";
import { collisionBound } from "../../pipeline/spec/lint/weak-rules.ts";
import { DETECT_TYPES } from "../../schemas/desensitize-rules.ts";
import { edited, exampleSchema, loadFiles } from "./fixtures.ts";

const NOTE = '  - { field: note, action: replace, with: "(removed)" }\n';

const HIERARCHY = '"10115";101**;10***\r\n"a;""b";letters;text\n\n 10117 ; 101** ; 10*** ';
const FILES: Readonly<Record<string, string>> = {
  "codes.csv": HIERARCHY,
  "codes.yaml": '"10115": [101**, 10***]\nother: [x, y]\n',
  "broken.csv": 'a;b\n"c;d\n',
  "short.csv": "a;b;c\nd;e\n",
  "twice.csv": "a;b\na;c\n",
  "names.txt": "Ada\r\nBob\n\nCleo",
  "names.yaml": "[Ada, Bob]",
  "empty.txt": "\n\n",
};

function loadWith(rule: string, schema = exampleSchema) {
  return loadFiles({
    "pipeline.yaml": edited(NOTE, `${rule}\n`),
    "form.schema.json": schema,
    ...FILES,
  });
}

/** The rules of note, or of what is inside it. */
function rulesOf(rule: string, schema = exampleSchema): unknown {
  const loaded = loadWith(rule, schema);
  if (loaded.status === "invalid") return loaded.complaints.map(formatComplaint).join("\n");
  return loaded.spec.desensitize.filter(({ field }) => field.startsWith("note"));
}

function warningsOf(rule: string, schema = exampleSchema): string {
  const loaded = loadWith(rule, schema);
  if (loaded.status === "invalid") return loaded.complaints.map(formatComplaint).join("\n");
  return loaded.warnings.map(formatComplaint).join("\n");
}

/** A redact rule with one pattern. */
const pattern = (name: string, text: string): string =>
  `action: redact, patterns: [{ name: ${name}, pattern: "${text}" }]`;
const about = (rest: string): string => `  - { field: note, ${rest} }`;
const NESTED = edited(
  '"note": { "type": "string", "maxLength": 2000 }',
  '"note": { "type": "object", "properties": { "a": { "type": "string" }, "b": { "type": "array", "items": { "type": "object", "properties": { "c": { "type": "integer" }, "d": { "type": "boolean" } } } }, "e": { "type": "object" } } }',
  exampleSchema,
);

describe("a rule becomes", () => {
  const key = { env: "K" };
  it.each<[string, object]>([
    ["action: hash", { action: "hash" }],
    [
      "action: hash, encoding: base64url",
      { action: "hash", form: { encoding: "base64url", bits: 256 } },
    ],
    [
      'action: pseudonymize, key: "env:K", truncateBits: 128, keyId: k2',
      { action: "pseudonymize", key, keyId: "k2", form: { encoding: "hex", bits: 128 } },
    ],
    ["action: generalize, width: 10", { action: "generalize", to: { width: 10 } }],
    ["action: generalize, bounds: [0, 18]", { action: "generalize", to: { bounds: [0, 18] } }],
    ["action: generalize, to: decade", { action: "generalize", to: { date: "decade" } }],
    ["action: generalize, prefix: 3", { action: "generalize", to: { prefix: 3 } }],
    [
      "action: generalize, hierarchy: codes.csv, level: 1",
      {
        action: "generalize",
        to: {
          table: [
            ["10115", "101**"],
            ['a;"b', "letters"],
            ["10117", "101**"],
          ],
          unknown: null,
        },
      },
    ],
    [
      "action: generalize, hierarchy: codes.yaml, level: 2, unknown: root",
      {
        action: "generalize",
        to: {
          table: [
            ["10115", "10***"],
            ["other", "y"],
          ],
          unknown: "*",
        },
      },
    ],
    [
      'action: replace, from: names.txt, key: "env:K"',
      { action: "pick", from: ["Ada", "Bob", "Cleo"], key },
    ],
    [
      'action: replace, from: names.yaml, key: "env:K"',
      { action: "pick", from: ["Ada", "Bob"], key },
    ],
    ['action: replace, from: [x, y], key: "env:K"', { action: "pick", from: ["x", "y"], key }],
    ['action: replace, format: true, key: "env:K"', { action: "fake", key }],
    ['action: fpe, key: "env:K"', { action: "fpe", key, alphabet: "0123456789", tweak: "note" }],
    [
      'action: fpe, key: "env:K", alphabet: uppercase, tweak: t',
      { action: "fpe", key, alphabet: "ABCDEFGHIJKLMNOPQRSTUVWXYZ", tweak: "t" },
    ],
    [
      "action: redact, detect: [phone, email]",
      {
        action: "redact",
        detectors: ["email", "phone"],
        replacement: { kind: "token", with: "[{type}]" },
      },
    ],
    [
      'action: redact, patterns: [{ name: customer, pattern: "K-[0-9]{6}" }], mask: "•"',
      {
        action: "redact",
        detectors: [
          ...DETECT_TYPES,
          { name: "customer", pattern: "K-[0-9]{6}", ignoreCase: false },
        ],
        replacement: { kind: "mask", with: "•" },
      },
    ],
    [
      'action: redact, detect: [], patterns: [{ name: k, pattern: "k+", ignoreCase: true }], with: ""',
      {
        action: "redact",
        detectors: [{ name: "k", pattern: "k+", ignoreCase: true }],
        replacement: { kind: "token", with: "" },
      },
    ],
  ])("%s", (rest, expected) => {
    expect(rulesOf(about(rest))).toEqual([{ field: "note", ...expected }]);
  });

  it("noise, on numbers", () => {
    const rule = '  - { field: note.b[].c, action: perturb, scale: 2, within: 10, key: "env:K" }';
    expect(rulesOf(rule.replace("note.b[].c", "'note.b[].c'"), NESTED)).toEqual([
      {
        field: "note.b[].c",
        action: "perturb",
        noise: "laplace",
        scale: 2,
        within: 10,
        decimals: 0,
        key,
      },
    ]);
  });

  it("rules of paths, where the record schema has objects", () => {
    const rule = "  - { fields: [note.a, 'note.b[].c', note.e.x], action: hash }";
    expect(rulesOf(rule, NESTED)).toEqual([
      { field: "note.a", action: "hash" },
      { field: "note.b[].c", action: "hash" },
      { field: "note.e.x", action: "hash" },
    ]);
  });
});

describe("refused:", () => {
  it.each<[string, RegExp]>([
    ["action: replace", /desensitize\[6\]: expected exactly one of with, from and format/],
    ['action: replace, with: x, format: true, key: "env:K"', /exactly one of with, from/],
    ["action: replace, format: true", /expected a key/],
    ["action: replace, from: [a]", /expected a key/],
    ['action: replace, with: x, key: "env:K"', /a constant needs no key/],
    ["action: replace, format: false", /format: expected true/],
    ["action: generalize", /exactly one of width, bounds, to, prefix and hierarchy/],
    ["action: generalize, width: 10, prefix: 1", /exactly one of width/],
    ["action: generalize, width: 0", /width: expected at least 1/],
    ["action: generalize, width: 1.5", /width: expected a whole number/],
    ["action: generalize, bounds: [1, 1]", /expected bounds that rise/],
    ["action: generalize, bounds: []", /bounds: expected at least 1 entries/],
    ["action: generalize, to: day", /to: expected one of month, year, decade/],
    ["action: generalize, hierarchy: codes.csv", /hierarchy and level together/],
    ["action: generalize, to: year, level: 1", /hierarchy and level together/],
    ["action: generalize, to: year, unknown: root", /unknown is about a hierarchy/],
    ["action: generalize, hierarchy: none.csv, level: 1", /hierarchy: expected a readable file/],
    ["action: generalize, hierarchy: codes.csv, level: 3", /codes.csv:1:1 expected a level 3/],
    ["action: generalize, hierarchy: short.csv, level: 2", /short.csv:2:1 expected a level 2/],
    ["action: generalize, hierarchy: broken.csv, level: 1", /broken.csv:2:1 expected cells/],
    ["action: generalize, hierarchy: twice.csv, level: 1", /twice.csv:2:1 this value stands above/],
    ['action: replace, from: empty.txt, key: "env:K"', /empty.txt:1:1 expected 1 to/],
    ['action: pseudonymize, key: "env:K", truncateBits: 100', /truncateBits: /],
    ['action: pseudonymize, key: "env:K", truncateBits: 24', /truncateBits: expected at least 32/],
    ['action: pseudonymize, key: "env:K", keyId: "a:b"', /keyId: letters|keyId: expected letters/],
    ['action: perturb, scale: 1, within: 2, key: "env:K"', /perturb needs a number, but/],
    ['action: perturb, scale: 3, within: 2, key: "env:K"', /within to be at least scale/],
    ['action: perturb, scale: 0, within: 2, key: "env:K"', /scale: expected more than 0/],
    ["action: hash, key: x", /unknown key 'key'/],
    ['action: fpe, key: "env:PSEUDONYM_KEY"', /fpe needs a key of its own/],
    [
      "action: redact, detect: [emial]",
      /detect\[0\]: expected one of cn-id, .*, phone, found 'emial'; did you mean 'email'\?/,
    ],
    ["action: redact, detect: [passport]", /detect\[0\]: expected one of [^?]*found 'passport'$/m],
    ["action: redact, detect: [ip, ip]", /desensitize\[6\].detect\[1\]: 'ip' stands there twice/],
    ["action: redact, detect: []", /detect: expected at least one type in detect, or patterns/],
    ['action: redact, with: x, mask: "*"', /desensitize\[6\]: expected either with or mask/],
    ["action: redact, mask: ab", /mask: expected one printable character/],
    ["action: redact, with: 'a\"b'", /with: expected text without/],
    [pattern("email", "x"), /patterns\[0\].name: 'email' is the name of another detector/],
    [pattern("a b", "x"), /patterns\[0\].name: expected a name/],
    [
      pattern("k", "(a)\\\\1"),
      /pipeline.yaml:\d+:\d+ desensitize\[6\].patterns\[0\].pattern: the pattern of detector k has a backreference: no automaton has one, at character 5/,
    ],
    [
      pattern("k", "(?=a)b"),
      /pattern: the pattern of detector k has a group that starts with \(\?/,
    ],
    [pattern("k", "a+?"), /pattern: .* lazy quantifier/],
    [pattern("k", "a*"), /pattern: .* matches the empty text/],
    [pattern("k", "(a"), /pattern: .* has a \( without its \)/],
    [pattern("k", ".*a.{20}"), /pattern: .* needs over 4096 states/],
    [pattern("k", "((a{200}){200}){200}"), /pattern: .* needs over 20000 states/],
    [
      `${pattern("k", "a")}, with: "${"x".repeat(33)}"`,
      /pattern: .* can find 1 bytes, for which 33 would stand/,
    ],
    ['action: fpe, key: "env:K", alphabet: hex', /alphabet: expected one of digits/],
  ])("%s", (rest, says) => {
    expect(rulesOf(about(rest))).toMatch(says);
  });

  it.each<[string, RegExp]>([
    ["fields: [note, note.a], action: drop", /one is inside the other/],
    ["fields: [note.a, note], action: drop", /one is inside the other/],
    ["fields: [note.a, note.a], action: drop", /one rule a field/],
    [
      "fields: [note.e.x, 'note.e[].y'], action: drop",
      /needs an array where another rule needs an object|is not in/,
    ],
    ["field: note.z, action: drop", /'note.z' is not in the record schema/],
    ["field: 'note.a[]', action: drop", /is not in the record schema/],
    ["field: note.a.b, action: drop", /is not in the record schema/],
    ["field: note.e, action: keep", /an object cannot be kept/],
    [
      "field: 'note.b[].d', action: hash",
      /hash needs text or a number, but the record schema says boolean/,
    ],
    ["field: 'note.b[].c', action: generalize, to: year", /generalize needs text, but/],
    [
      "field: 'note.b[].c', action: redact",
      /redact needs text, but the record schema says integer/,
    ],
    ["field: note..a, action: drop", /expected a field name/],
    ["field: 'note[', action: drop", /expected a field name/],
  ])("nested: %s", (rest, says) => {
    expect(rulesOf(`  - { ${rest} }`, NESTED)).toMatch(says);
  });
});

describe("check warns", () => {
  it("that a hash without a key can be reversed", () => {
    expect(warningsOf(about("action: hash"))).toMatch(/the hash of 'note' has no key/);
    expect(warningsOf(about('action: pseudonymize, key: "env:K"'))).not.toMatch(/note/);
  });

  it("how soon shortened digests collide, by the birthday bound", () => {
    const of = (bits: number) =>
      warningsOf(about(`action: pseudonymize, key: "env:K", truncateBits: ${bits}`));
    expect(of(32)).toMatch(/with 32 bits, two of 1,000,000 values of 'note' share one almost/);
    expect(of(64)).toMatch(/with 64 bits, .* share one with a chance of up to 2.7e-8/);
    expect(of(128)).not.toMatch(/bits/);
    expect(collisionBound(23, Math.log2(365))).toBeCloseTo(Math.LN2, 3);
    expect(collisionBound(1, 32)).toBe(0);
  });

  it("of nested fields without a rule, where the object is rebuilt", () => {
    const text = warningsOf("  - { fields: [note.a, 'note.b[].c'], action: hash }", NESTED);
    expect(text).toMatch(/no rule, so never leaves the zone: note.b\[\].d, note.e$/m);
  });
});
