/**
 * Writes `schemas/pipeline.schema.json`, the JSON Schema of the pipeline file for editors, from the zod schema.
 *
 * Run it after a change of `schemas/pipeline-file.ts`: `node schemas/generate.ts`. A test says when it was forgotten.
 * Must not import any room.
 */
import { writeFileSync } from "node:fs";
import { z } from "zod";
import { PIPELINE_FILE_VERSION, pipelineFileSchema } from "./pipeline-file.ts";

/** A value that comes from the environment, whole or in part. */
const INTERPOLATED = { type: "string", pattern: "\\$\\{[^}]*\\}" } as const;
const NUMERIC = new Set(["number", "integer"]);

/** Text of `schemas/pipeline.schema.json`: numbers may also be written as `"${VAR:default}"`. */
export function pipelineJsonSchema(): string {
  const schema = z.toJSONSchema(pipelineFileSchema, {
    io: "input",
    target: "draft-2020-12",
    override: ({ jsonSchema }) => {
      if (!NUMERIC.has(String(jsonSchema.type))) return;
      const { description, default: fallback, ...number } = jsonSchema;
      for (const key of Object.keys(jsonSchema)) delete jsonSchema[key as keyof typeof jsonSchema]; // because these are its own keys
      jsonSchema.anyOf = [number, INTERPOLATED];
      if (fallback !== undefined) jsonSchema.default = fallback;
      if (description !== undefined) jsonSchema.description = description;
    },
  });
  const { $schema, ...rest } = schema;
  const named = {
    $schema,
    $id: `urn:sealstream:pipeline-file:${PIPELINE_FILE_VERSION}`,
    title: `Sealstream pipeline file, version ${PIPELINE_FILE_VERSION}`,
    ...rest,
  };
  return `${JSON.stringify(named, null, 2)}\n`;
}

if (import.meta.main) {
  writeFileSync(new URL("./pipeline.schema.json", import.meta.url), pipelineJsonSchema());
}
