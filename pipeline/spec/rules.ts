/**
 * From a rule of the pipeline file to the rule of one field that the other rooms see.
 */
import { DETECT_TYPES } from "../../schemas/desensitize-rules.ts";
import type { PipelineFile } from "../../schemas/pipeline-file.ts";
import type { RecordSchema } from "../../schemas/record-schema.ts";
import { clusterDomain, toClusterOptions } from "./cluster-rule.ts";
import type {
  DesensitizeRule,
  DigestForm,
  Generalization,
  SecretReference,
} from "./pipeline-spec.ts";
import { replacementOf } from "./rule-detectors.ts";

type FileRule = PipelineFile["desensitize"][number];

export function toSecret(reference: string): SecretReference {
  return { env: reference.slice("env:".length) };
}

/** Undefined for the usual form. */
function toForm({
  encoding,
  truncateBits,
}: Extract<FileRule, { action: "hash" | "pseudonymize" }>): DigestForm | undefined {
  if (encoding === "hex" && truncateBits === 256) return undefined;
  return { encoding, bits: truncateBits };
}

/** What the files that rules name hold, by the rule's place in the list. */
export interface RuleFiles {
  readonly hierarchies: ReadonlyMap<number, readonly (readonly [string, string])[]>;
  readonly lists: ReadonlyMap<number, readonly string[]>;
  /** Hierarchies of clustered fields, by the field. */
  readonly paths: ReadonlyMap<string, readonly (readonly [string, ...string[]])[]>;
}

/** The root of every hierarchy. */
const ROOT = "*";
const DIGITS = "0123456789";
const LETTERS = "abcdefghijklmnopqrstuvwxyz";
const ALPHABETS = {
  digits: DIGITS,
  lowercase: LETTERS,
  uppercase: LETTERS.toUpperCase(),
  alphanumeric: DIGITS + LETTERS,
  "uppercase-alphanumeric": DIGITS + LETTERS.toUpperCase(),
} as const;

function toGeneralization(
  rule: Extract<FileRule, { action: "generalize" }>,
  table: readonly (readonly [string, string])[],
): Generalization {
  if (rule.width !== undefined) return { width: rule.width };
  if (rule.bounds !== undefined) return { bounds: rule.bounds };
  if (rule.to !== undefined) return { date: rule.to };
  if (rule.prefix !== undefined) return { prefix: rule.prefix };
  return { table, unknown: rule.unknown === "root" ? ROOT : null };
}

function toReplacement(
  field: string,
  rule: Extract<FileRule, { action: "replace" }>,
  list: readonly string[],
): DesensitizeRule {
  // The checks have refused a rule that has not exactly one of the three, or no key where it needs one.
  if (rule.key === undefined) return { field, action: "replace", with: rule.with ?? "" };
  const key = toSecret(rule.key);
  return rule.format === true
    ? { field, action: "fake", key }
    : { field, action: "pick", from: list, key };
}

/** The types come in their own order, whatever the file's: equal sets of detectors are then written alike. */
function toRedaction(
  field: string,
  rule: Extract<FileRule, { action: "redact" }>,
): DesensitizeRule {
  const wanted: readonly string[] = rule.detect ?? DETECT_TYPES;
  const types = DETECT_TYPES.filter((type) => wanted.includes(type));
  const detectors = [...types, ...rule.patterns];
  return { field, action: "redact", detectors, replacement: replacementOf(rule) };
}

/** The rule of one of the fields that a rule of the file is about; `index` is its place in the list. */
export function toRule(
  {
    field,
    rule,
    index,
  }: { readonly field: string; readonly rule: FileRule; readonly index: number },
  files: RuleFiles,
  schema: RecordSchema,
): DesensitizeRule {
  switch (rule.action) {
    case "keep":
    case "drop":
      return { field, action: rule.action };
    case "mask": {
      const { keepFirst, keepLast } = rule;
      return { field, action: "mask", keepFirst, keepLast, with: rule.with };
    }
    case "replace":
      return toReplacement(field, rule, files.lists.get(index) ?? []);
    case "generalize": {
      const table = files.hierarchies.get(index) ?? [];
      return { field, action: "generalize", to: toGeneralization(rule, table) };
    }
    case "pseudonymize": {
      const { keyId } = rule;
      return { field, action: "pseudonymize", key: toSecret(rule.key), keyId, form: toForm(rule) };
    }
    case "hash":
      return { field, action: "hash", form: toForm(rule) };
    case "perturb": {
      const { noise, scale, within, decimals } = rule;
      return { field, action: "perturb", key: toSecret(rule.key), noise, scale, within, decimals };
    }
    case "cluster": {
      // The checks have refused a field whose domain is not known.
      const domain = clusterDomain(field, rule, schema, files.paths) ?? { kind: "text" };
      return { field, action: "cluster", domain, cluster: toClusterOptions(rule) };
    }
    case "redact":
      return toRedaction(field, rule);
    case "fpe": {
      const alphabet = ALPHABETS[rule.alphabet];
      return {
        field,
        action: "fpe",
        key: toSecret(rule.key),
        alphabet,
        tweak: rule.tweak ?? field,
      };
    }
  }
}
