/**
 * The JSON Schema for editors says what the loader says, and is current.
 */
import { readFileSync } from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { pipelineJsonSchema } from "../../schemas/generate.ts";
import { edited, exampleText } from "./fixtures.ts";

const path = new URL("../../schemas/pipeline.schema.json", import.meta.url);

describe("schemas/pipeline.schema.json", () => {
  const validate = new Ajv2020({ strict: false }).compile(JSON.parse(pipelineJsonSchema()));

  it("is current: otherwise run `node schemas/generate.ts`", () => {
    expect(readFileSync(path, "utf8")).toBe(pipelineJsonSchema());
  });

  it("accepts the example and numbers from the environment", () => {
    expect(validate(parse(exampleText)), JSON.stringify(validate.errors)).toBe(true);
    expect(validate(parse(edited("partitions: 4", `partitions: "\${P:4}"`)))).toBe(true);
  });

  it("refuses an unknown key, a wrong action and a plain text for a number", () => {
    expect(validate(parse(edited("partitions: 4", "partitons: 4")))).toBe(false);
    expect(validate(parse(edited("action: replace", "action: encrypt")))).toBe(false);
    expect(validate(parse(edited("partitions: 4", "partitions: four")))).toBe(false);
  });
});
