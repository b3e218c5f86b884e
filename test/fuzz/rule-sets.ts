/**
 * Random rule sets for the fuzz: a tree of what may stand in a record, and the schema and rules that say the same in a
 * pipeline's words. The model reads the tree, the plugin the rules, so that how rules become fields is tested too.
 */
import type { ClusterOptions, DesensitizeRule } from "../../pipeline/spec/pipeline-spec.ts";
import type { Action } from "../plugins/desensitize/one-rule.ts";
import type { Random } from "../plugins/desensitize/random.ts";
import { randomAction } from "./actions.ts";
import type { TYPE } from "./json-reader.ts";

export type Node =
  | { readonly kind: "rule"; readonly action: Action }
  | { readonly kind: "object"; readonly members: readonly Member[] }
  | { readonly kind: "array"; readonly element: Node };

export interface Member {
  readonly name: string;
  readonly node: Node;
}

/** A field of the record itself. */
export interface Top extends Member {
  /** Type names of its schema; null: all. */
  readonly types: readonly (keyof typeof TYPE)[] | null;
  readonly required: boolean;
  /** The schema names it. */
  readonly listed: boolean;
  /** It has a rule; else the schema alone knows it and it is dropped. */
  readonly ruled: boolean;
}

export interface RuleSet {
  readonly id: string;
  readonly top: readonly Top[];
  readonly allowsUnknown: boolean;
  /** Observed beside what is clustered; null: none. */
  readonly subject: string | null;
  readonly sensitive: string | null;
}

const NAMES = [
  ...[
    "a",
    "b",
    "ab",
    "abc",
    "name",
    "n",
    "v",
    "email",
    "x y",
    "é",
    "漢字",
    "😀",
    "É",
    "A",
    "constructor",
  ],
  ...[
    'say "x"',
    "back\\slash",
    "tab\t",
    "nul\u0000",
    "\u2028",
    "/",
    "__proto__",
    "exactly-sixteen-",
    "just-seventeen-by",
  ],
  ...["n".repeat(31), "n".repeat(32), "n".repeat(33), "é".repeat(40)],
];
/** Names that no rule can say: dots and brackets are a path's. */
const SCHEMA_NAMES = ["", "a.b", "a[]", "[]", "."];
const TYPES = ["string", "number", "integer", "boolean", "null", "object", "array"] as const;

/** Every name there is; documents take unknown ones from the rest. */
export const ALL_NAMES: readonly string[] = [...NAMES, ...SCHEMA_NAMES];

const CLUSTER: ClusterOptions = {
  ...{ k: 2, windowRecords: 4, maxDelayMs: 1000, method: "mondrian", acrossWindows: "nested" },
  ...{ publish: "range", whenTooFew: "suppress", suppressUpTo: 0, sensitive: null },
};

function shuffled<T>(values: readonly T[], random: Random): T[] {
  const copy = [...values];
  for (let i = copy.length - 1; i > 0; i--) {
    const j = random.int(i + 1);
    const one = copy[i] as T;
    copy[i] = copy[j] as T;
    copy[j] = one;
  }
  return copy;
}

function randomNode(random: Random, depth: number, clusters: boolean): Node {
  const kind = depth === 0 ? 0 : random.int(10);
  if (kind === 8) return { kind: "array", element: randomNode(random, depth - 1, false) };
  if (kind === 9) {
    const names = shuffled(NAMES, random).slice(0, 1 + random.int(4));
    const members = names.map((name) => ({ name, node: randomNode(random, depth - 1, clusters) }));
    return { kind: "object", members };
  }
  if (clusters && random.chance(0.3)) {
    const domain = { kind: "text" } as const;
    return { kind: "rule", action: { action: "cluster", domain, cluster: CLUSTER } };
  }
  return { kind: "rule", action: randomAction(random) };
}

/** A rule some sixty objects and arrays deep: about as deep as a record may nest. */
function deepNode(random: Random): Node {
  let node: Node = { kind: "rule", action: randomAction(random) };
  for (let levels = 59 + random.int(7); levels > 0; levels--) {
    const inner: Node = node;
    node = random.chance(0.5)
      ? { kind: "array", element: inner }
      : { kind: "object", members: [{ name: "a", node: inner }] };
  }
  return node;
}

function randomTypes(random: Random, node: Node): Top["types"] {
  if (random.chance(0.6)) return null;
  const own = node.kind === "rule" ? (["string", "number"] as const) : ([node.kind] as const);
  return [...new Set([...own, ...TYPES.filter(() => random.chance(0.3))])].filter(() =>
    random.chance(0.9),
  );
}

/** A rule set of 1 to some dozen fields; sometimes of hundreds. */
export function randomRuleSet(random: Random): RuleSet {
  // No name is a number: an object's keys would put it first, and with it what is observed.
  const clusters = random.chance(0.2);
  const allowsUnknown = random.chance(0.3);
  const many = random.chance(0.02)
    ? Array.from({ length: 300 }, (_, i) => `w${"f".repeat(i % 40)}${i}`)
    : [];
  const names = [...shuffled(NAMES, random).slice(0, 2 + random.int(9)), ...many];
  const id = random.pick(names);
  const deep = random.chance(0.05) ? random.pick(names) : null;
  const top = names.map((name): Top => {
    const node: Node =
      name === id
        ? idNode(random)
        : name === deep
          ? deepNode(random)
          : randomNode(random, 3, clusters);
    const ruled = name === id || random.chance(0.9);
    const listed = !(allowsUnknown && ruled) || random.chance(0.8);
    return {
      ...{ name, listed, ruled },
      node: ruled ? node : { kind: "rule", action: { action: "drop" } },
      types: listed ? randomTypes(random, node) : null,
      required: listed && random.chance(0.1),
    };
  });
  const unruled = SCHEMA_NAMES.filter(() => random.chance(0.1)).map(
    (name): Top => ({
      ...{ name, listed: true, ruled: false, types: null, required: false },
      node: { kind: "rule", action: { action: "drop" } },
    }),
  );
  // The plugin's fields are those of the schema first, then those that only rules name.
  const all = [...unruled, ...top].toSorted((a, b) => Number(b.listed) - Number(a.listed));
  const leaves = all
    .filter(({ ruled, node }) => ruled && node.kind === "rule")
    .map(({ name }) => name);
  return {
    ...{ id, top: all, allowsUnknown },
    subject: random.chance(0.7) ? random.pick([id, ...leaves]) : null,
    sensitive: random.chance(0.5) ? random.pick(leaves) : null,
  };
}

function idNode(random: Random): Node {
  if (random.chance(0.5)) return { kind: "rule", action: { action: "keep" } };
  const form = random.chance(0.5) ? undefined : ({ encoding: "base64url", bits: 96 } as const);
  const keyId = random.chance(0.5) ? undefined : "k1";
  const key = { env: random.pick(["A", "B"]) };
  return { kind: "rule", action: { action: "pseudonymize", key, keyId, form } };
}

function rulesBelow(path: string, node: Node): DesensitizeRule[] {
  if (node.kind === "array") return rulesBelow(`${path}[]`, node.element);
  if (node.kind === "object") {
    return node.members.flatMap((member) => rulesBelow(`${path}.${member.name}`, member.node));
  }
  // Because a field and an action make a rule.
  return [{ field: path, ...node.action } as DesensitizeRule];
}

/** What a rule set is in a pipeline: its rules, the schema of its records, and whom they are about. */
export function pipelineOf({ id, top, allowsUnknown, subject, sensitive }: RuleSet) {
  const properties = top
    .filter(({ listed }) => listed)
    .map(({ name, types }) => [name, types === null ? {} : { type: [...types] }] as const);
  const required = top.filter((field) => field.required).map(({ name }) => name);
  const schema = {
    ...{ type: "object", required, additionalProperties: allowsUnknown },
    // Because "__proto__" must be a property like any other.
    properties: Object.fromEntries(properties),
  };
  const rules = top
    .filter(({ ruled }) => ruled)
    .flatMap(({ name, node }) => rulesBelow(name, node))
    .map((rule): DesensitizeRule => {
      if (rule.action !== "cluster" || sensitive === null) return rule;
      const about = { field: sensitive, lDiversity: 2, tCloseness: null };
      return { ...rule, cluster: { ...rule.cluster, sensitive: about } };
    });
  return { id, subject, schema, rules };
}
