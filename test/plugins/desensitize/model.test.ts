/**
 * Random records through the plugin and through a model in plain JavaScript: keys and records must be the same bytes.
 */
import { describe, expect, test } from "vitest";
import { type Answer, BUILDS, createGuest, type Rules } from "./guest.ts";
import { escapeCharacter, space, stringText, valueText } from "./json-text.ts";
import { createRandom, type Random } from "./random.ts";
import { hmacHex, masked, schemaOf } from "./reference.ts";

const MODEL_RULES: Rules = {
  id: "id",
  schema: schemaOf({
    id: { type: ["string", "number"] },
    name: { type: "string" },
    email: { type: ["string", "null"] },
    note: {},
    digits: { type: "array" },
    unruled: {},
  }),
  rules: [
    { field: "id", action: "pseudonymize", key: { env: "A" } },
    { field: "name", action: "mask", keepFirst: 1, keepLast: 1, with: "•" },
    { field: "email", action: "pseudonymize", key: { env: "B" } },
    { field: "note", action: "replace", with: "-" },
    { field: "digits", action: "keep" },
  ],
};

/** A member whose name is spelled in a random way. */
function member(name: string, value: string, random: Random): string {
  const spelled = [...name]
    .map((one) => (random.chance(0.03) ? escapeCharacter(one, random) : one))
    .join("");
  return `${space(random)}"${spelled}"${space(random)}:${space(random)}${value}${space(random)}`;
}

/** A record with every field at most once, values of the right type, in random order. */
function randomRecord(random: Random): string {
  const members = [
    member(
      "id",
      random.chance(0.2) ? String(random.int(1000)) : `"i${stringText(random).slice(1)}`,
      random,
    ),
    member("name", stringText(random), random),
    member("email", random.chance(0.2) ? "null" : stringText(random), random),
    member("note", valueText(random, 2), random),
    member(
      "digits",
      `[${Array.from({ length: random.int(70) }, () => random.int(17)).join(",")}]`,
      random,
    ),
    member("unruled", valueText(random, 3), random),
  ];
  const some = members.filter((_, i) => i === 0 || random.chance(0.8));
  return `{${some.toSorted(() => random.int(3) - 1).join(",")}}`;
}

/** What must come out, from JSON.parse; duplicate names do not occur here. */
function model(record: string): Answer {
  const parsed = JSON.parse(record) as Record<string, unknown>;
  const id = hmacHex("A", String(parsed["id"]));
  const out: Record<string, unknown> = {};
  for (const [field, value] of Object.entries(parsed)) {
    if (field === "id") out[field] = id;
    if (field === "name") out[field] = masked(String(value), 1, 1, "•");
    if (field === "email") out[field] = value === null ? null : hmacHex("B", String(value));
    if (field === "note") out[field] = "-";
    if (field === "digits") out[field] = value;
  }
  return { key: id, value: JSON.stringify(out) };
}

describe.each(BUILDS)("%s", (build) => {
  test("random records equal a model in plain JavaScript", () => {
    const random = createRandom();
    const guest = createGuest(build, MODEL_RULES);
    for (let batch = 0; batch < 20; batch++) {
      const records = Array.from({ length: 300 }, () => randomRecord(random));
      const answers = guest(records);
      records.forEach((record, i) => {
        expect(answers[i], `seed ${random.seed}, ${JSON.stringify(record)}`).toEqual(model(record));
      });
    }
  });
});
