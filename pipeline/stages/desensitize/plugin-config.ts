/**
 * Writes the configuration of the desensitize plugin: what the pipeline file says, in the bytes the guest reads.
 *
 * The grammar is in plugins/desensitize/README.md. The bytes hold HMAC keys: whoever asked for them wipes them.
 */

import { SealstreamError } from "../../errors.ts";
import type { DesensitizeRule, PipelineSpec } from "../../spec/pipeline-spec.ts";
import { type RecordSchema, TYPE_BITS } from "./record-schema.ts";

/** "SDC1", little-endian. */
const CONFIG_MAGIC = 0x31434453;
const FLAG_ALLOWS_UNKNOWN = 1;
const FLAG_REQUIRED = 1;
/** Nesting of a record, itself counted: forms have a few levels, parsers downstream may recurse. */
const MAX_DEPTH = 64;
/** Longest record id in bytes: it becomes the key of every later record and part of authenticated data. */
export const ID_MAX_BYTES = 1024;
/** Shortest HMAC key: the length of the hash's output (RFC 2104 section 3). */
const KEY_MIN_BYTES = 32;
const KEEP_MAX = 0xffffffff;

const ACTION_CODES = {
  drop: 0,
  keep: 1,
  mask: 2,
  replace: 3,
  pseudonymize: 4,
} as const satisfies Record<DesensitizeRule["action"], number>;
const ALL_TYPES = Object.values(TYPE_BITS).reduce((all, bit) => all | bit, 0);
const utf8 = new TextEncoder();

/** Looks a secret up by the name of its environment variable. Returns the raw bytes. */
export type SecretLookup = (env: string) => Uint8Array;

interface FieldConfig {
  readonly name: string;
  readonly rule: DesensitizeRule;
  readonly types: number;
  readonly isRequired: boolean;
}

/** Every field that the plugin must know: those of the schema, and those that only a rule or `required` names. */
function listFields(spec: PipelineSpec, schema: RecordSchema): FieldConfig[] {
  const rules = new Map(spec.desensitize.map((rule) => [rule.field, rule]));
  for (const name of rules.keys()) {
    if (schema.types.has(name) || schema.allowsUnknown) continue;
    throw new SealstreamError(
      "spec-invalid",
      `desensitize has a rule for ${name}, a field that record.schema does not have: add it to properties`,
    );
  }
  const names = new Set([...schema.types.keys(), ...rules.keys(), ...schema.required]);
  return [...names].map((name) => ({
    name,
    rule: rules.get(name) ?? { field: name, action: "drop" },
    types: schema.types.get(name) ?? ALL_TYPES,
    isRequired: schema.required.has(name),
  }));
}

/** Appends little-endian words and padded bytes. */
function createWriter() {
  const parts: Uint8Array[] = [];
  return {
    words(...values: readonly number[]): void {
      const part = new Uint8Array(values.length * 4);
      const view = new DataView(part.buffer);
      values.forEach((value, i) => {
        view.setUint32(i * 4, value, true);
      });
      parts.push(part);
    },
    padded(bytes: Uint8Array): void {
      const part = new Uint8Array((bytes.length + 3) & ~3);
      part.set(bytes);
      parts.push(part);
    },
    /** Everything in one piece; the parts, which may hold keys, are wiped. */
    finish(): Uint8Array<ArrayBuffer> {
      const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
      let at = 0;
      for (const part of parts) {
        whole.set(part, at);
        at += part.length;
        part.fill(0);
      }
      return whole;
    },
  };
}

function lookUpKey(env: string, secrets: SecretLookup): Uint8Array {
  const key = secrets(env);
  if (key.length < KEY_MIN_BYTES) {
    throw new SealstreamError(
      "key-invalid",
      `the secret ${env} has ${key.length} bytes: a pseudonym key needs at least ${KEY_MIN_BYTES}`,
    );
  }
  return key;
}

/** The two numbers and the text that belong to a rule. */
function parametersOf(
  rule: DesensitizeRule,
  keys: readonly string[],
): { first: number; second: number; text: string } {
  switch (rule.action) {
    case "mask": {
      if ([...rule.with].length !== 1 || !rule.with.isWellFormed()) {
        throw new SealstreamError(
          "spec-invalid",
          `desensitize: the mask of ${rule.field} must be exactly one character`,
        );
      }
      const { keepFirst, keepLast } = rule;
      if (![keepFirst, keepLast].every((n) => Number.isInteger(n) && n >= 0 && n <= KEEP_MAX)) {
        throw new SealstreamError(
          "spec-invalid",
          `desensitize: keepFirst and keepLast of ${rule.field} must be whole numbers from 0`,
        );
      }
      return { first: keepFirst, second: keepLast, text: rule.with };
    }
    case "replace":
      return { first: 0, second: 0, text: rule.with };
    case "pseudonymize":
      return { first: keys.indexOf(rule.key.env), second: 0, text: "" };
    case "keep":
    case "drop":
      return { first: 0, second: 0, text: "" };
  }
}

/**
 * The configuration for a pipeline.
 * @throws spec-invalid when a rule and the schema do not fit together, key-invalid when a key is too short, and
 * whatever `secrets` throws
 */
export function encodePluginConfig(
  spec: PipelineSpec,
  schema: RecordSchema,
  secrets: SecretLookup,
): Uint8Array<ArrayBuffer> {
  const fields = listFields(spec, schema);
  const id = fields.findIndex(({ name }) => name === spec.record.id);
  const idRule = fields[id]?.rule;
  if (idRule?.action !== "keep" && idRule?.action !== "pseudonymize") {
    throw new SealstreamError(
      "spec-invalid",
      `desensitize must keep or pseudonymize the record id ${spec.record.id}`,
    );
  }
  const keys = [
    ...new Set(
      spec.desensitize.flatMap((rule) => (rule.action === "pseudonymize" ? [rule.key.env] : [])),
    ),
  ];
  const writer = createWriter();
  const flags = schema.allowsUnknown ? FLAG_ALLOWS_UNKNOWN : 0;
  writer.words(CONFIG_MAGIC, keys.length, fields.length, id, flags, MAX_DEPTH, ID_MAX_BYTES, 0);
  for (const env of keys) {
    const key = lookUpKey(env, secrets);
    writer.words(key.length);
    writer.padded(key);
  }
  for (const { name, rule, types, isRequired } of fields) {
    const { first, second, text } = parametersOf(rule, keys);
    const nameBytes = utf8.encode(name);
    const textBytes = utf8.encode(text);
    const required = isRequired ? FLAG_REQUIRED : 0;
    writer.words(
      ACTION_CODES[rule.action],
      types,
      required,
      first,
      second,
      nameBytes.length,
      textBytes.length,
    );
    writer.padded(nameBytes);
    writer.padded(textBytes);
  }
  return writer.finish();
}
