/**
 * The fields that the desensitize plugin must know, as a tree in a list: parents stand before what is inside them.
 *
 * Top-level fields are those of the schema and those that only a rule or `required` names. A rule for a path such as
 * `items[].iban` makes its object or array one that is rebuilt: what is inside it without a rule does not leave.
 */
import { SealstreamError } from "../../errors.ts";
import type { DesensitizeRule } from "../../spec/pipeline-spec.ts";
import { splitPath } from "../../spec/rule-fields.ts";
import { type RecordSchema, TYPE_BITS } from "./record-schema.ts";

const ALL_TYPES = Object.values(TYPE_BITS).reduce((all, bit) => all | bit, 0);

export interface FieldNode {
  /** Where it stands in a record, as rules write it; empty: it has a name that no rule can say, such as `a.b`. */
  readonly path: string;
  /** Its name in its object; empty for the elements of an array. */
  readonly name: string;
  /** Null for an object or array that is rebuilt. */
  readonly rule: DesensitizeRule | null;
  readonly container: "object" | "array" | null;
  readonly types: number;
  readonly isRequired: boolean;
  /** Where in the list its object or array stands; null: it is a field of the record. */
  readonly parent: number | null;
}

/** The path of a name inside what stands at `outer`. */
function joinPath(outer: string, name: string): string {
  return name === "[]" ? `${outer}${name}` : `${outer}.${name}`;
}

/** The path of a field of the record; one named like a path inside another must not pass for what stands there. */
function topPath(name: string): string {
  return splitPath(name).length > 1 ? "" : name;
}

/** The name of what is inside an object or array; elements have none. */
function nameInside(name: string): string {
  return name === "[]" ? "" : name;
}

interface Branch {
  rule: DesensitizeRule | null;
  readonly inside: Map<string, Branch>;
}

function conflict(field: string): SealstreamError {
  return new SealstreamError(
    "spec-invalid",
    `desensitize: ${field} has a rule, and so has something inside or around it`,
  );
}

function plant(rules: readonly DesensitizeRule[]): Map<string, Branch> {
  const roots = new Map<string, Branch>();
  for (const rule of rules) {
    const parts = splitPath(rule.field);
    let level = roots;
    parts.forEach((part, i) => {
      const branch: Branch = level.get(part) ?? { rule: null, inside: new Map() };
      level.set(part, branch);
      const isLast = i === parts.length - 1;
      if (branch.rule !== null || (isLast && branch.inside.size > 0)) throw conflict(rule.field);
      if (isLast) branch.rule = rule;
      level = branch.inside;
      // An element is the only thing that an array has; an object has no elements.
      if (level.size > 0 && !isLast && level.has("[]") !== (parts[i + 1] === "[]")) {
        throw conflict(rule.field);
      }
    });
  }
  return roots;
}

/**
 * Every field of the configuration.
 * @throws spec-invalid when a rule names a field that the schema does not have, or rules are inside each other
 */
export function listFields(rules: readonly DesensitizeRule[], schema: RecordSchema): FieldNode[] {
  const roots = plant(rules);
  for (const name of roots.keys()) {
    if (schema.types.has(name) || schema.allowsUnknown) continue;
    throw new SealstreamError(
      "spec-invalid",
      `desensitize has a rule for ${name}, a field that record.schema does not have: add it to properties`,
    );
  }
  const nodes: FieldNode[] = [];
  const add = (name: string, branch: Branch | undefined, parent: number | null): void => {
    const top = parent === null;
    const inside = [...(branch?.inside ?? [])];
    const isArray = inside[0]?.[0] === "[]";
    const index = nodes.length;
    nodes.push({
      path: parent === null ? topPath(name) : joinPath(nodes[parent]?.path ?? "", name),
      name: top ? name : nameInside(name),
      rule: inside.length > 0 ? null : (branch?.rule ?? { field: name, action: "drop" }),
      container: inside.length === 0 ? null : isArray ? "array" : "object",
      types: (top ? schema.types.get(name) : undefined) ?? ALL_TYPES,
      isRequired: top && schema.required.has(name),
      parent,
    });
    for (const [child, one] of inside) add(child, one, index);
  };
  const names = new Set([...schema.types.keys(), ...roots.keys(), ...schema.required]);
  for (const name of names) add(name, roots.get(name), null);
  return nodes;
}
