/**
 * What became of each field of a record: its value before, after, and the rule that it has.
 */
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import { ruleText } from "../rule-text.ts";
import { isObject, parseRecord, type Value } from "./values.ts";

export interface Change {
  /** `items[0].iban` */
  readonly path: string;
  /** The path with `*` for names that neither schema nor rules have: those are the record's own. */
  readonly knownPath: string;
  readonly rule: string;
  readonly before: Value;
  /** Undefined: the field does not leave. */
  readonly after: Value | undefined;
}

/** A record, or the text of one that is not JSON. */
function parseAny(bytes: Uint8Array): Value {
  try {
    return parseRecord(bytes);
  } catch {
    // Because whatever it is, a plugin has made a record of it.
    return new TextDecoder().decode(bytes);
  }
}

/** Where the walk is. */
interface Here {
  readonly path: string;
  readonly knownPath: string;
  /** As rules name it: `items[].iban`. */
  readonly rulePath: string;
  /** Its part of the record schema. */
  readonly schema: unknown;
}

function inSchema(schema: unknown, ...keys: readonly string[]): unknown {
  return keys.reduce<unknown>(
    (here, key) => (isObject(here) && Object.hasOwn(here, key) ? here[key] : undefined),
    schema,
  );
}

/** A value and what is inside it, with their places. */
function* childrenOf(here: Here, value: Value, isRuled: (path: string) => boolean) {
  const { path, knownPath, rulePath, schema } = here;
  if (Array.isArray(value)) {
    for (const [index, one] of value.entries()) {
      const child: Here = {
        path: `${path}[${index}]`,
        knownPath: `${knownPath}[${index}]`,
        rulePath: `${rulePath}[]`,
        schema: inSchema(schema, "items"),
      };
      yield { child, key: index, one };
    }
  } else if (isObject(value)) {
    const join = (outer: string, own: string) => (outer === "" ? own : `${outer}.${own}`);
    for (const [name, one] of Object.entries(value)) {
      const inside = inSchema(schema, "properties", name);
      const isKnown = inside !== undefined || isRuled(join(rulePath, name));
      const child: Here = {
        path: join(path, name),
        knownPath: join(knownPath, isKnown ? name : "*"),
        rulePath: join(rulePath, name),
        schema: inside,
      };
      yield { child, key: name, one };
    }
  }
}

function valueAt(value: Value, key: string | number): Value | undefined {
  if (Array.isArray(value)) return typeof key === "number" ? value[key] : undefined;
  return isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
}

/** Every field of a record that passed. @param raw,value valid JSON objects */
export function changesOf(spec: PipelineSpec, raw: Uint8Array, value: Uint8Array): Change[] {
  const rules = new Map(spec.desensitize.map((rule) => [rule.field, rule]));
  const changes: Change[] = [];
  /** Whether a rule is about something inside. */
  const isRebuilt = (path: string): boolean =>
    [...rules.keys()].some((one) => one.startsWith(`${path}.`) || one.startsWith(`${path}[]`));
  const isRuled = (path: string): boolean => rules.has(path) || isRebuilt(path);
  const walk = (here: Here, before: Value, after: Value | undefined): void => {
    const { path, knownPath, rulePath } = here;
    const rule = rules.get(rulePath);
    const isContainer = Array.isArray(before) || isObject(before);
    if (isContainer && rule === undefined && (rulePath === "" || isRebuilt(rulePath))) {
      for (const { child, key, one } of childrenOf(here, before, isRuled)) {
        walk(child, one, valueAt(after, key));
      }
      return;
    }
    const text = rule === undefined ? "no rule" : ruleText(rule);
    changes.push({ path, knownPath, rule: text, before, after });
  };
  const top = { path: "", knownPath: "", rulePath: "", schema: spec.record.schema };
  const before = parseAny(raw);
  const after = parseRecord(value);
  if (isObject(before)) walk(top, before, after);
  // Of another format, which a plugin has read.
  else changes.push({ path: "(record)", knownPath: "(record)", rule: "plugins", before, after });
  return changes;
}
