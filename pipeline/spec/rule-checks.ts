/**
 * Checks of the `desensitize` rules: between themselves, and against the record schema.
 */
import type { PipelineFile } from "../../schemas/pipeline-file.ts";
import type { RecordSchema } from "../../schemas/record-schema.ts";
import { checkCluster } from "./cluster-rule.ts";
import type { Complaint } from "./complaint.ts";
import type { LocatedTree } from "./located-tree.ts";
import { typesOf } from "./read-record-schema.ts";
import { checkDetectors } from "./rule-detectors.ts";
import { notInSchema, type PlacedRule, propertyAt, splitPath } from "./rule-fields.ts";

/** Everything that is wrong with the rules. @param schema null when the record schema could not be read */
export function checkRules(
  file: PipelineFile,
  rules: readonly PlacedRule[],
  schema: RecordSchema | null,
  tree: LocatedTree,
): Complaint[] {
  const complaints: Complaint[] = [];
  for (const [index, rule] of file.desensitize.entries()) {
    const path = ["desensitize", index];
    if ((rule.field === undefined) === (rule.fields === undefined)) {
      complaints.push(tree.complain(path, "expected either field or fields"));
    }
    for (const message of checkOptions(rule)) complaints.push(tree.complain(path, message));
    if (rule.action === "redact") complaints.push(...checkDetectors(rule, index, tree));
  }
  complaints.push(
    ...checkPaths(rules, tree),
    ...checkKeys(file, tree),
    ...checkCluster(file, rules, schema, tree),
  );
  if (schema === null) return complaints;
  for (const placed of rules) {
    const message = checkType(placed, schema);
    if (message !== null) complaints.push(tree.complain(placed.path, message));
  }
  return complaints;
}

type FileRule = PipelineFile["desensitize"][number];

/** Names of those options that the file gives. */
function given<K extends string>(
  rule: Readonly<Partial<Record<K, unknown>>>,
  options: readonly K[],
) {
  return options.filter((option) => rule[option] !== undefined);
}

/** Options of one rule that do not go together. */
function checkOptions(rule: FileRule): string[] {
  const messages: string[] = [];
  if (rule.action === "replace") {
    if (given(rule, ["with", "from", "format"]).length !== 1) {
      messages.push("expected exactly one of with, from and format");
    }
    if ((rule.with === undefined) !== (rule.key !== undefined)) {
      messages.push(
        rule.with === undefined
          ? "expected a key: what a value becomes must not be guessed without one"
          : "a constant needs no key",
      );
    }
  }
  if (rule.action === "perturb" && rule.within < rule.scale) {
    messages.push("expected within to be at least scale");
  }
  if (rule.action === "generalize") {
    if (given(rule, ["width", "bounds", "to", "prefix", "hierarchy"]).length !== 1) {
      messages.push("expected exactly one of width, bounds, to, prefix and hierarchy");
    }
    const { bounds = [], hierarchy, level } = rule;
    if (bounds.some((bound, i) => i > 0 && bound <= (bounds[i - 1] ?? 0))) {
      messages.push("expected bounds that rise");
    }
    if ((hierarchy === undefined) !== (level === undefined)) {
      messages.push("expected hierarchy and level together");
    }
    if (hierarchy === undefined && rule.unknown !== undefined) {
      messages.push("unknown is about a hierarchy");
    }
  }
  return messages;
}

/** One rule a field, none inside another, and nothing that is both object and array. */
function checkPaths(rules: readonly PlacedRule[], tree: LocatedTree): Complaint[] {
  const complaints: Complaint[] = [];
  const seen = new Map<string, string>();
  const containers = new Map<string, "array" | "object">();
  for (const { field, path } of rules) {
    const parts = splitPath(field);
    const key = parts.join("\n");
    if (seen.has(key)) {
      complaints.push(
        tree.complain(path, `'${field}' has a rule above; expected one rule a field`),
      );
    }
    for (const [other, name] of seen) {
      if (other.startsWith(`${key}\n`) || key.startsWith(`${other}\n`)) {
        const message = `'${field}' and '${name}' have rules, and one is inside the other; expected rules for what is inside, or one for the whole`;
        complaints.push(tree.complain(path, message));
        break;
      }
    }
    seen.set(key, field);
    for (let length = 1; length < parts.length; length++) {
      const kind = parts[length] === "[]" ? "array" : "object";
      const outer = parts.slice(0, length).join("\n");
      const known = containers.get(outer);
      if (known !== undefined && known !== kind) {
        const message = `'${field}' needs an ${kind} where another rule needs an ${known}`;
        complaints.push(tree.complain(path, message));
        break;
      }
      containers.set(outer, kind);
    }
  }
  return complaints;
}

/** FF1 uses its key as it is, in another cipher: it must not be anybody else's. */
function checkKeys(file: PipelineFile, tree: LocatedTree): Complaint[] {
  const uses = new Map<string, Set<string>>();
  for (const rule of file.desensitize) {
    if (!("key" in rule) || rule.key === undefined) continue;
    uses.set(rule.key, (uses.get(rule.key) ?? new Set()).add(rule.action));
  }
  return file.desensitize.flatMap((rule, index) => {
    if (rule.action !== "fpe" || uses.get(rule.key)?.size === 1) return [];
    return [tree.complain(["desensitize", index, "key"], "fpe needs a key of its own")];
  });
}

/** Types of which a rule can do at least one, where that is not all. */
function typesFor(rule: FileRule): readonly string[] | null {
  switch (rule.action) {
    case "mask":
    case "redact":
      return ["string"];
    case "generalize":
      return rule.to === undefined ? ["string", "number", "integer"] : ["string"];
    case "perturb":
      return ["number", "integer"];
    case "pseudonymize":
    case "hash":
    case "fpe":
      return ["string", "number", "integer"];
    case "replace":
      return rule.with === undefined ? ["string", "number", "integer"] : null;
    default:
      return null;
  }
}

/** What the record schema has against a rule, or null. */
function checkType({ field, rule }: PlacedRule, schema: RecordSchema): string | null {
  const property = propertyAt(schema, field);
  if (property === "absent") return notInSchema(field, schema);
  if (property === "open") return null;
  const types = typesOf(property);
  if (rule.action === "keep" && types.includes("object")) {
    return "an object cannot be kept: its fields would have no rule";
  }
  const wanted = typesFor(rule);
  if (wanted === null || types.some((type) => wanted.includes(type))) return null;
  const needs = [
    ...(wanted.includes("string") ? ["text"] : []),
    ...(wanted.includes("number") ? ["a number"] : []),
  ].join(" or ");
  return `${rule.action} needs ${needs}, but the record schema says ${types.join(" or ")}`;
}
