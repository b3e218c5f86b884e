/**
 * Splits the JSON Schema of a raw record in two: what the plugin checks on the bytes (types, required and unknown
 * top-level fields), and whether anything is left that only a full validator can judge.
 *
 * JSON Schema draft 2020-12. `format` is an annotation there (section 7.2.1 of its validation specification) and does
 * not refuse anything. A record with a field that the schema does not name is refused unless the schema says
 * `additionalProperties: true` (or gives a schema for them, or has `patternProperties`); it never leaves in any case.
 */
import { Ajv2020 } from "ajv/dist/2020.js";
import { SealstreamError } from "../../errors.ts";

/** JSON type names and their bits in the plugin's configuration. */
export const TYPE_BITS: Readonly<Record<string, number>> = {
  string: 1,
  number: 2,
  integer: 4,
  boolean: 8,
  null: 16,
  object: 32,
  array: 64,
};
const ALL_TYPES = Object.values(TYPE_BITS).reduce((all, bit) => all | bit, 0);

/** Keywords that say nothing about validity. */
const ANNOTATIONS = [
  "$schema",
  "$id",
  "$comment",
  "title",
  "description",
  "default",
  "examples",
  "deprecated",
  "readOnly",
  "writeOnly",
  "format",
  "$defs",
];
const ROOT_KEYWORDS = new Set([
  ...ANNOTATIONS,
  "type",
  "properties",
  "required",
  "additionalProperties",
]);
const FIELD_KEYWORDS = new Set([...ANNOTATIONS, "type"]);

export interface RecordSchema {
  /** Allowed types of each field that the schema names, as TYPE_BITS. */
  readonly types: ReadonlyMap<string, number>;
  readonly required: ReadonlySet<string>;
  /** Fields that the schema does not name are dropped; else a record with one is refused. */
  readonly allowsUnknown: boolean;
  /** Judges what the plugin does not; `null` when the plugin judges all there is. */
  readonly validate: ((record: unknown) => boolean) | null;
}

type JsonObject = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function invalid(what: string): SealstreamError {
  return new SealstreamError("spec-invalid", `record.schema: ${what}`);
}

/** Bits of a `type` keyword; all when it is absent. */
function typeBits(type: unknown, where: string): number {
  if (type === undefined) return ALL_TYPES;
  const names: readonly unknown[] = Array.isArray(type) ? type : [type];
  return names.reduce<number>((bits, name) => {
    const bit = typeof name === "string" ? TYPE_BITS[name] : undefined;
    if (bit === undefined) throw invalid(`${where} has a type that JSON does not have`);
    return bits | bit;
  }, 0);
}

/** A field's allowed types, and whether its schema says more than that. */
function readField(name: string, schema: unknown): { bits: number; isWhole: boolean } {
  if (schema === true) return { bits: ALL_TYPES, isWhole: true };
  if (schema === false) return { bits: ALL_TYPES, isWhole: false };
  if (!isObject(schema)) throw invalid(`the field ${name} must have a schema`);
  return {
    bits: typeBits(schema["type"], `the field ${name}`),
    isWhole: Object.keys(schema).every((keyword) => FIELD_KEYWORDS.has(keyword)),
  };
}

function readRequired(required: unknown): ReadonlySet<string> {
  const names: readonly unknown[] = Array.isArray(required) ? required : [];
  if (required !== undefined && !Array.isArray(required)) throw invalid("required must be a list");
  return new Set(
    names.map((name) => {
      if (typeof name !== "string") throw invalid("required must be a list of field names");
      return name;
    }),
  );
}

/** Compiles the whole schema. The dialect is fixed, so `$schema` is not looked up. */
function compile(schema: JsonObject): (record: unknown) => boolean {
  // Not strict: keywords that ajv does not know are annotations to JSON Schema. Formats are annotations too.
  const ajv = new Ajv2020({ strict: false, validateFormats: false, logger: false });
  const { $schema: _dialect, ...rest } = schema;
  try {
    const validate = ajv.compile(rest);
    return (record) => validate(record);
  } catch (cause) {
    throw new SealstreamError(
      "spec-invalid",
      "record.schema is not a valid JSON Schema of draft 2020-12",
      { cause },
    );
  }
}

/**
 * Reads the schema of a raw record.
 * @throws spec-invalid when it is not the schema of a JSON object or not a valid schema
 */
export function readRecordSchema(schema: JsonObject): RecordSchema {
  if (schema["type"] !== "object") throw invalid('type must be "object"');
  const properties = schema["properties"] ?? {};
  if (!isObject(properties)) throw invalid("properties must be an object");
  const types = new Map<string, number>();
  let isWhole = Object.keys(schema).every((keyword) => ROOT_KEYWORDS.has(keyword));
  for (const [name, field] of Object.entries(properties)) {
    const read = readField(name, field);
    types.set(name, read.bits);
    isWhole &&= read.isWhole;
  }
  const required = readRequired(schema["required"]);
  const additional = schema["additionalProperties"];
  isWhole &&= additional === undefined || typeof additional === "boolean";
  const allowsUnknown =
    additional === true || isObject(additional) || schema["patternProperties"] !== undefined;
  // With patternProperties the plugin cannot tell which fields are unknown, so the validator does.
  const closed = additional === undefined ? { ...schema, additionalProperties: false } : schema;
  return { types, required, allowsUnknown, validate: isWhole ? null : compile(closed) };
}
