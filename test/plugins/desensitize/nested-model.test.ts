/**
 * Random records with objects and arrays through the plugin and through a model in plain JavaScript.
 */
import { expect, test } from "vitest";
import { BUILDS, createGuest, type Rules } from "./guest.ts";
import { escapeCharacter, space, stringText, valueText } from "./json-text.ts";
import { createRandom, type Random } from "./random.ts";
import { hmacHex, masked, schemaOf } from "./reference.ts";

const RULES: Rules = {
  id: "id",
  schema: schemaOf({ id: {}, o: {}, a: {}, m: {} }),
  rules: [
    { field: "id", action: "keep" },
    { field: "o.name", action: "mask", keepFirst: 1, keepLast: 0, with: "*" },
    { field: "o.in.x", action: "pseudonymize", key: { env: "A" } },
    { field: "o.in.kept", action: "keep" },
    { field: "a[].iban", action: "pseudonymize", key: { env: "B" } },
    { field: "a[].list[]", action: "generalize", to: { width: 10 } },
    { field: "m[][]", action: "keep" },
  ],
};

type Texts = Readonly<Record<string, () => string>>;

/** Some of the members and others, in random order and spelling; sometimes null or another value instead. */
function objectText(random: Random, members: Texts): string {
  if (random.chance(0.05)) return random.pick(["null", "null", "null", "[]", '"x"']);
  const parts = Object.entries(members).flatMap(([name, value]) => {
    if (random.chance(0.25)) return [];
    const spelled = [...name]
      .map((one) => (random.chance(0.1) ? escapeCharacter(one, random) : one))
      .join("");
    return [`"${spelled}"${space(random)}:${space(random)}${value()}${space(random)}`];
  });
  if (random.chance(0.5)) parts.push(`"zz${random.int(1000)}":${valueText(random, 3)}`);
  return `{${space(random)}${parts.toSorted(() => random.int(3) - 1).join(`,${space(random)}`)}}`;
}

function listText(random: Random, element: () => string): string {
  if (random.chance(0.05)) return random.pick(["null", "null", "null", "{}", "7"]);
  return `[${Array.from({ length: random.int(5) }, element).join(` ,${space(random)}`)}]`;
}

function randomRecord(random: Random): string {
  const text = () => (random.chance(0.03) ? random.pick(["null", "true"]) : stringText(random));
  const number = () =>
    random.chance(0.03) ? random.pick(["null", '"x"']) : String(random.int(2000) - 1000);
  const kept = () => valueText(random, 3);
  const inner = () => objectText(random, { x: text, kept });
  const element = () => objectText(random, { iban: text, list: () => listText(random, number) });
  const fields: Texts = {
    o: () => objectText(random, { name: text, in: inner }),
    a: () => listText(random, element),
    m: () => listText(random, () => listText(random, kept)),
  };
  const members = Object.entries(fields).map(([name, value]) => `"${name}":${value()}`);
  return `{"id":"x",${members.toSorted(() => random.int(3) - 1).join(",")}}`;
}

const WRONG = Symbol("wrong-type");

type Change = (value: unknown) => unknown;

const orNull =
  (change: Change): Change =>
  (value) =>
    value === null ? null : change(value);

function ofText(change: (text: string) => unknown): Change {
  return orNull((value) => {
    if (typeof value !== "string" && typeof value !== "number") throw WRONG;
    return change(String(value));
  });
}

function ofObject(changes: Readonly<Record<string, Change>>): Change {
  return orNull((value) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw WRONG;
    return Object.fromEntries(
      Object.entries(value).flatMap(([name, one]) => {
        const change = changes[name];
        return change === undefined ? [] : [[name, change(one)]];
      }),
    );
  });
}

const ofArray = (change: Change): Change =>
  orNull((value) => {
    if (!Array.isArray(value)) throw WRONG;
    return value.map((one) => change(one));
  });

const toRange = ofText((text) => {
  const low = Math.floor(Number(text) / 10) * 10;
  if (Number.isNaN(low)) throw WRONG;
  return low < 0 ? `${low} to ${low + 9}` : `${low}-${low + 9}`;
});

const change = ofObject({
  id: (value) => value,
  o: ofObject({
    name: ofText((text) => masked(text, 1, 0, "*")),
    in: ofObject({ x: ofText((text) => hmacHex("A", text)), kept: (value) => value }),
  }),
  a: ofArray(ofObject({ iban: ofText((text) => hmacHex("B", text)), list: ofArray(toRange) })),
  m: ofArray(ofArray((value) => value)),
});

function model(record: string): unknown {
  try {
    return JSON.stringify(change(JSON.parse(record)));
  } catch (error) {
    if (error !== WRONG) throw error;
    return "wrong-type";
  }
}

test.each(BUILDS)("%s: random records equal a model in plain JavaScript", (build) => {
  const random = createRandom();
  const guest = createGuest(build, RULES);
  const seen = { ok: 0, refused: 0 };
  for (let batch = 0; batch < 5; batch++) {
    const records = Array.from({ length: 300 }, () => randomRecord(random));
    guest(records).forEach((answer, i) => {
      const about = `seed ${random.seed}, ${JSON.stringify(records[i])}`;
      const isRefused = typeof answer === "string";
      // What is kept is kept as it was spelled: compare what it means.
      const said = isRefused ? answer : JSON.stringify(JSON.parse(answer.value));
      expect(said, about).toBe(model(records[i]!));
      seen[isRefused ? "refused" : "ok"]++;
    });
  }
  expect(seen.ok, `seed ${random.seed}`).toBeGreaterThan(300);
  expect(seen.refused, `seed ${random.seed}`).toBeGreaterThan(100);
});
