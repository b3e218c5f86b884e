/**
 * The part of JSON Schema (draft 2020-12) that a record schema may use, as a zod schema.
 *
 * A record contract is an object with named properties, none beyond them. A property may hold an object, which then can
 * be dropped, replaced or rebuilt from the fields inside it that have rules, but not kept. Every keyword allowed here but notes and `format` is
 * enforced when a record arrives. Must not import any room.
 */
import { z } from "zod";

/** JSON types of a property. */
export const JSON_TYPES = [
  "string",
  "number",
  "integer",
  "boolean",
  "array",
  "object",
  "null",
] as const;

const count = z
  .int()
  .min(0)
  .max(2 ** 31);
const typeName = z.enum(JSON_TYPES);
const scalar = z.union([z.string(), z.number(), z.boolean(), z.null()]);

function isPattern(text: string): boolean {
  try {
    new RegExp(text, "u");
    return true;
  } catch {
    // Because RegExp reports a text that is no pattern by throwing.
    return false;
  }
}

const notes = {
  title: z.string().optional(),
  description: z.string().optional(),
  $comment: z.string().optional(),
  examples: z.array(z.unknown()).optional(),
  /** An annotation, as the specification has it: no record is refused for it, and `check` reads it. */
  format: z.string().max(64).optional(),
};

const constraints = {
  type: z.union([typeName, z.array(typeName).min(1).max(7)]),
  enum: z.array(scalar).min(1).max(1024).optional(),
  const: scalar.optional(),
  minLength: count.optional(),
  maxLength: count.optional(),
  pattern: z
    .string()
    .max(1024)
    .refine(isPattern, "a regular expression (ECMA-262, flag u)")
    .optional(),
  minimum: z.number().optional(),
  maximum: z.number().optional(),
  exclusiveMinimum: z.number().optional(),
  exclusiveMaximum: z.number().optional(),
  multipleOf: z.number().positive().optional(),
};

const scalarConstraints = z.strictObject({ ...notes, ...constraints });

/** What a property or the element of an array may be. */
export interface RecordProperty extends z.output<typeof scalarConstraints> {
  readonly items?: RecordProperty | undefined;
  readonly minItems?: number | undefined;
  readonly maxItems?: number | undefined;
  readonly uniqueItems?: boolean | undefined;
  readonly properties?: Readonly<Record<string, RecordProperty>> | undefined;
  readonly required?: readonly string[] | undefined;
  readonly additionalProperties?: boolean | undefined;
}

const property = z.strictObject({
  ...notes,
  ...constraints,
  get items(): z.ZodOptional<z.ZodType<RecordProperty>> {
    return property.optional();
  },
  minItems: count.optional(),
  maxItems: count.optional(),
  uniqueItems: z.boolean().optional(),
  get properties(): z.ZodOptional<z.ZodRecord<z.ZodString, z.ZodType<RecordProperty>>> {
    return z.record(z.string(), property).optional();
  },
  required: z.array(z.string()).max(1024).optional(),
  additionalProperties: z.boolean().optional(),
});

/** A record schema: `{ type: object, properties, required?, additionalProperties?: false }`. */
export const recordSchemaSchema = z.strictObject({
  ...notes,
  $schema: z.string().optional(),
  $id: z.string().optional(),
  type: z.literal("object"),
  properties: z.record(z.string(), property),
  required: z.array(z.string()).max(1024).optional(),
  additionalProperties: z.literal(false).optional(),
});

export type RecordSchema = z.output<typeof recordSchemaSchema>;
