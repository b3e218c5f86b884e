/**
 * A made-up record that every rule accepts, so that warming up runs the code that real records run.
 *
 * Its content does not matter and it never leaves: the stage throws the answer away.
 */
import type { DesensitizeRule, PipelineSpec } from "../../spec/pipeline-spec.ts";
import { type FieldNode, listFields } from "./field-tree.ts";
import { type RecordSchema, TYPE_BITS } from "./record-schema.ts";

const TEXT = "warm-up text of some length";
/** Something of each kind that detectors jump to, so that they run on it. */
const FREE_TEXT =
  "warm-up of 12.5 % at 10:30, mail a.b-c@example.com or +49 30 1234567, see https://example.com/a/b?c=d (1984-02-29)";
/** Long enough for FF1 in every alphabet: 2^20 texts are more than a million. */
const FPE_CHARACTERS = 20;

/** Whether a field may hold one of these types. */
function allows(types: number, ...names: readonly string[]): boolean {
  return names.some((name) => (types & (TYPE_BITS[name] ?? 0)) !== 0);
}

/** A text that the rule accepts, or null: any will do. */
function textFor(rule: DesensitizeRule): string | null {
  if (rule.action === "fpe") return rule.alphabet.repeat(FPE_CHARACTERS).slice(0, FPE_CHARACTERS);
  if (rule.action === "redact") return FREE_TEXT;
  if (rule.action !== "generalize") return null;
  const { to } = rule;
  if ("width" in to || "bounds" in to) return "7";
  if ("date" in to) return "2000-01-01";
  if ("prefix" in to) return "x".repeat(to.prefix + 1);
  return to.table[0]?.[0] ?? TEXT;
}

function valueFor({ rule, types }: FieldNode): unknown {
  if (rule?.action === "perturb") return allows(types, "number", "integer") ? 7 : null;
  const text = rule === null ? null : textFor(rule);
  if (allows(types, "string")) return text ?? TEXT;
  if (allows(types, "number", "integer")) return rule?.action === "redact" ? 7 : Number(text ?? 7);
  if (allows(types, "boolean")) return true;
  if (allows(types, "null")) return null;
  return allows(types, "array") ? [] : {};
}

/** The record, as the bytes of its JSON. */
export function syntheticRecord(spec: PipelineSpec, schema: RecordSchema): Uint8Array {
  const nodes = listFields(spec.desensitize, schema);
  const build = (index: number, node: FieldNode): unknown => {
    if (node.container === null) return valueFor(node);
    const inside = nodes.flatMap((child, i): [string, unknown][] =>
      child.parent === index ? [[child.name, build(i, child)]] : [],
    );
    return node.container === "array"
      ? inside.map(([, value]) => value)
      : Object.fromEntries(inside);
  };
  const fields = nodes.flatMap((node, i): [string, unknown][] =>
    node.parent === null ? [[node.name, build(i, node)]] : [],
  );
  return new TextEncoder().encode(JSON.stringify(Object.fromEntries(fields)));
}
