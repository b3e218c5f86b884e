/**
 * A random marker of eight bytes in a sensitive value, in any escaping, never leaves: for every rule, at every depth.
 *
 * The rule keeps other parts of the value where it keeps any; the marker stands where it does not. Siblings without a
 * rule and unknown names hold the marker too. Refused records answer with a status, which holds nothing.
 */
import { expect, test } from "vitest";
import type { DesensitizeRule } from "../../../pipeline/spec/pipeline-spec.ts";
import { BUILDS, type Build, createGuest } from "./guest.ts";
import { escapeCharacter, space } from "./json-text.ts";
import type { Action } from "./one-rule.ts";
import { createRandom, type Random } from "./random.ts";
import { schemaOf } from "./reference.ts";

const key = { env: "A" };
const ALPHANUMERIC = "0123456789abcdefghijklmnopqrstuvwxyz";

interface Case {
  readonly action: Action;
  /** The value that the marker is in. */
  readonly value: (marker: string) => string;
  /** Only digits and lowercase letters, or only digits, are possible there. */
  readonly only?: RegExp;
}

const token = { kind: "token", with: "[{type}]" } as const;
const same = (marker: string) => marker;
const CASES: readonly Case[] = [
  { action: { action: "drop" }, value: same },
  {
    action: { action: "mask", keepFirst: 2, keepLast: 2, with: "*" },
    value: (marker) => `ab${marker}cd`,
  },
  { action: { action: "mask", keepFirst: 5, keepLast: 9, with: "*" }, value: same },
  { action: { action: "replace", with: "gone" }, value: same },
  { action: { action: "pseudonymize", key }, value: same },
  {
    action: {
      action: "pseudonymize",
      key,
      keyId: "k",
      form: { encoding: "base64url", bits: 128 },
    },
    value: (marker) => `x${marker}`,
  },
  { action: { action: "hash" }, value: (marker) => `${marker}@example.com` },
  { action: { action: "generalize", to: { width: 1_000_000_000 } }, value: same, only: /^[0-9]+$/ },
  { action: { action: "generalize", to: { bounds: [0, 18] } }, value: same, only: /^[0-9]+$/ },
  {
    action: { action: "generalize", to: { date: "month" } },
    value: (marker) => `2026-11-05T10:00:00.${marker}Z`,
    only: /^[0-9]+$/,
  },
  {
    action: { action: "generalize", to: { date: "year" } },
    value: (marker) => `2026-11-05${marker}`,
  },
  { action: { action: "generalize", to: { prefix: 3 } }, value: (marker) => `abc${marker}` },
  {
    action: { action: "generalize", to: { table: [["a", "b"]], unknown: "*" } },
    value: same,
  },
  { action: { action: "generalize", to: { table: [["a", "b"]], unknown: null } }, value: same },
  { action: { action: "pick", from: ["Ada", "Bob"], key }, value: same },
  { action: { action: "fake", key }, value: (marker) => `${marker} ${marker}` },
  {
    action: { action: "fpe", key, alphabet: ALPHANUMERIC, tweak: "" },
    value: (marker) => `aa${marker}`,
    only: /^[0-9a-z]+$/,
  },
  {
    action: { action: "redact", detectors: ["email", "url"], replacement: token },
    value: (marker) => `mail ${marker}.x@example.com or https://example.com/${marker}!`,
    only: /^[0-9a-zA-Z]+$/,
  },
  {
    action: { action: "redact", detectors: ["email"], replacement: { kind: "mask", with: "█" } },
    value: (marker) => `"${marker}@example.com"\\`,
    only: /^[0-9a-zA-Z]+$/,
  },
  {
    action: {
      action: "redact",
      detectors: [{ name: "secret", pattern: "<[^>]{1,40}>" }],
      replacement: token,
    },
    value: (marker) => `<${marker}>\\<"${marker}">`,
  },
];
/** How the value stands in a record; SIBLING is a value without a rule. */
const PLACES: Readonly<Record<string, string>> = {
  v: '{"id":"x","v":VALUE,"u":SIBLING}',
  "v.a": '{"id":"x","v":{"u":SIBLING,"a":VALUE,SIBLING:1}}',
  "v.a.b": '{"v":{"u":SIBLING,"a":{"b":VALUE,"u":[SIBLING]}},"id":"x"}',
  "v[]": '{"id":"x","v":[VALUE,VALUE,null]}',
  "v[].a": '{"id":"x","v":[{"a":VALUE},{"u":SIBLING},null,{"a":VALUE,"u":{"a":SIBLING}}]}',
  "v.a[][].b": '{"id":"x","v":{"a":[[{"b":VALUE,SIBLING:SIBLING}],[]],"u":SIBLING}}',
};

/** Eight bytes of digits, of letters and digits, or of letters of two bytes each. */
function randomMarker(random: Random, only: RegExp | undefined): string {
  const alphabets = [
    ["0123456789", 8],
    [ALPHANUMERIC, 8],
    ["ABCXYZabcxyz0189", 8],
    ["жЖéßЛи", 4],
  ] as const;
  for (;;) {
    const [alphabet, length] = random.pick(alphabets);
    const marker = Array.from({ length }, () => random.pick([...alphabet])).join("");
    // A zero in front would make a number that is none.
    if (only?.test(marker) !== false && !marker.startsWith("0")) return marker;
  }
}

/** The text as a JSON string in which any character may be escaped. */
function spelled(text: string, random: Random): string {
  const share = random.pick([0, 0.2, 1]);
  const body = [...text].map((one) => {
    if (one === '"' || one === "\\") return `\\${one}`;
    return random.chance(share) ? escapeCharacter(one, random) : one;
  });
  return `"${body.join("")}"`;
}

function check(build: Build, { action, value, only }: Case, place: string, random: Random): number {
  const template = PLACES[place]!;
  const guest = createGuest(build, {
    id: "id",
    schema: schemaOf({ id: {}, v: {}, u: {} }),
    // Because a field and an action make a rule.
    rules: [{ field: "id", action: "keep" }, { field: place, ...action } as DesensitizeRule],
  });
  const markers = Array.from({ length: 25 }, () => randomMarker(random, only));
  const records = markers.map((marker) =>
    template
      .replaceAll("SIBLING", () => spelled(`${marker}`, random))
      .replaceAll("VALUE", () => `${space(random)}${spelled(value(marker), random)}`),
  );
  const answers = guest(records);
  answers.forEach((answer, i) => {
    if (typeof answer === "string") return;
    // Decoded too: a marker that leaves escaped has left.
    const out = `${answer.key}\n${answer.value}\n${JSON.stringify(JSON.parse(answer.value))}`;
    const about = `seed ${random.seed}, ${place}, ${JSON.stringify(action)}, ${records[i]}`;
    expect(out.includes(markers[i]!), about).toBe(false);
  });
  return answers.filter((answer) => typeof answer !== "string").length;
}

test.each(BUILDS)("%s: a marker in a sensitive value never leaves", (build) => {
  const random = createRandom();
  for (const one of CASES) {
    for (const place of Object.keys(PLACES)) {
      const passed = check(build, one, place, random);
      // Rules that refuse what they do not understand refuse all of these; the others pass all.
      const { action } = one;
      const refuses =
        action.action === "generalize" &&
        // Because a generalize action has `to`.
        JSON.stringify(action).match(/"date":"year"|"unknown":null/) !== null;
      expect(passed, `seed ${random.seed}, ${place}, ${JSON.stringify(action)}`).toBe(
        refuses ? 0 : 25,
      );
    }
  }
});

test("the check finds a marker that leaves", () => {
  const leaking: Case = { action: { action: "keep" }, value: same };
  const random = createRandom();
  for (const place of Object.keys(PLACES)) {
    expect(() => check("desensitize", leaking, place, random)).toThrow();
  }
});
