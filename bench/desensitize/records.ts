/**
 * The records that desensitizing is measured on, and the rules for them: about 250 bytes with ten fields, four of them
 * sensitive: two pseudonymized, one masked, one replaced.
 */
import { faker } from "@faker-js/faker";
import type { PipelineSpec } from "../../pipeline/spec/pipeline-spec.ts";

const STRING = { type: "string" };
export const SPEC: Pick<PipelineSpec, "record" | "desensitize"> = {
  record: {
    id: "formId",
    subject: null,
    partitioner: "none",
    maxBytes: 65536,
    schema: {
      type: "object",
      properties: {
        formId: STRING,
        name: STRING,
        email: STRING,
        phone: STRING,
        note: STRING,
        city: STRING,
        amount: { type: "number" },
        visits: { type: "integer" },
        member: { type: "boolean" },
        scores: { type: "array" },
      },
      required: ["formId"],
    },
  },
  desensitize: [
    { field: "formId", action: "keep" },
    { field: "name", action: "mask", keepFirst: 1, keepLast: 0, with: "*" },
    { field: "email", action: "pseudonymize", key: { env: "KEY" } },
    { field: "phone", action: "pseudonymize", key: { env: "KEY" } },
    { field: "note", action: "replace", with: "removed" },
    { field: "city", action: "keep" },
    { field: "amount", action: "keep" },
    { field: "visits", action: "keep" },
    { field: "member", action: "keep" },
    { field: "scores", action: "keep" },
  ],
};

/** Made-up records, the same in every run. */
export function makeRecords(count: number): Buffer[] {
  faker.seed(3);
  return Array.from({ length: count }, (_, i) =>
    Buffer.from(
      JSON.stringify({
        formId: `form-${100_000 + i}`,
        name: faker.person.fullName(),
        email: faker.internet.email(),
        phone: faker.phone.number({ style: "international" }),
        note: faker.lorem.sentence({ min: 7, max: 9 }),
        city: faker.location.city(),
        amount: faker.number.int({ min: 0, max: 99_999 }) / 100,
        visits: faker.number.int({ min: 0, max: 500 }),
        member: i % 3 === 0,
        scores: [i % 7, i % 5, i % 11],
      }),
    ),
  );
}
