/**
 * The rule `cluster` of the pipeline file: what it must mean together with the record schema, and its checked form.
 *
 * All clustered fields are grouped together, so a file has one such rule. What a field's values are is taken from the
 * record schema where that says enough, else from the rule's `domains`.
 */
import type { PipelineFile } from "../../schemas/pipeline-file.ts";
import type { RecordProperty, RecordSchema } from "../../schemas/record-schema.ts";
import type { Complaint, KeyPath } from "./complaint.ts";
import type { LocatedTree } from "./located-tree.ts";
import type { ClusterDomain, ClusterOptions } from "./pipeline-spec.ts";
import { typesOf } from "./read-record-schema.ts";
import { notInSchema, type PlacedRule, propertyOf } from "./rule-fields.ts";

type ClusterFileRule = Extract<PipelineFile["desensitize"][number], { action: "cluster" }>;
type Paths = ReadonlyMap<string, readonly (readonly [string, ...string[]])[]>;

/** Days of a date without a range of its own. */
const ANY_DAY = ["1900-01-01", "2099-12-31"] as const;
/** `^[0-9]{5}$` and `^\d{5}$`: a text of so many digits. */
const DIGITS_PATTERN = /^\^(?:\[0-9\]|\\d)\{(\d{1,2})\}\$$/;
const MOST_DIGITS = 14;
/** A window of so many takes some 0.6 s, in which nothing else of its process goes on. */
const MOST_MDAV_RECORDS = 10_000;

/** How the windows of a rule stand to each other; MDAV has no tree that they could share. */
function acrossWindowsOf(rule: ClusterFileRule): ClusterOptions["acrossWindows"] {
  return rule.acrossWindows ?? (rule.method === "mdav" ? "independent" : "nested");
}

/** The options that all clustered fields share. */
export function toClusterOptions(rule: ClusterFileRule): ClusterOptions {
  const { k, windowRecords, maxDelayMs, method, publish, whenTooFew, suppressUpTo } = rule;
  return {
    k,
    windowRecords,
    maxDelayMs,
    method,
    acrossWindows: acrossWindowsOf(rule),
    publish,
    whenTooFew,
    suppressUpTo,
    sensitive:
      rule.sensitive === undefined
        ? null
        : {
            field: rule.sensitive,
            lDiversity: rule.lDiversity ?? null,
            tCloseness: rule.tCloseness ?? null,
          },
  };
}

function numbers(range: readonly [number | string, number | string] | undefined) {
  const [low, high] = range ?? [];
  return typeof low === "number" && typeof high === "number" ? ([low, high] as const) : null;
}

/** The domain of a number: the rule's range, else that of the schema. */
function numberDomain(
  property: RecordProperty,
  range: readonly [number | string, number | string] | undefined,
): ClusterDomain | null {
  const { minimum, maximum } = property;
  const found =
    numbers(range) ??
    (minimum === undefined || maximum === undefined
      ? null
      : ([Math.floor(minimum), Math.floor(maximum)] as const));
  return found === null ? null : { kind: "number", range: found };
}

/** What a field's values are; null when neither the rule nor the schema says. */
export function clusterDomain(
  field: string,
  rule: ClusterFileRule,
  schema: RecordSchema,
  paths: Paths,
): ClusterDomain | null {
  const property = propertyOf(schema, field);
  if (property === null) return null;
  const { range, digits, hierarchy } = rule.domains?.[field] ?? {};
  if (hierarchy !== undefined) return { kind: "hierarchy", paths: paths.get(field) ?? [] };
  if (!typesOf(property).includes("string")) return numberDomain(property, range);
  if (digits !== undefined) return { kind: "digits", length: digits };
  const [first, last] = range ?? [];
  if (typeof first === "string" && typeof last === "string") {
    return { kind: "date", range: [first, last] };
  }
  if (property.format === "date" || property.format === "date-time") {
    return { kind: "date", range: ANY_DAY };
  }
  const length = Number(DIGITS_PATTERN.exec(property.pattern ?? "")?.[1]);
  if (length >= 1 && length <= MOST_DIGITS) return { kind: "digits", length };
  return { kind: "text" };
}

/** Options of the rule that do not go together. */
function checkOptions(rule: ClusterFileRule): string[] {
  const { k, windowRecords, sensitive, lDiversity, tCloseness } = rule;
  const messages: string[] = [];
  if (k > windowRecords) messages.push(`expected windowRecords to be at least k (${k})`);
  if (rule.method === "mdav" && rule.acrossWindows === "nested") {
    messages.push("mdav groups each window by itself: expected acrossWindows: independent");
  }
  if (rule.method === "mdav" && windowRecords > MOST_MDAV_RECORDS) {
    messages.push(
      `mdav compares every record with every other: expected windowRecords of at most ${MOST_MDAV_RECORDS}`,
    );
  }
  if (rule.publish === "mean" && acrossWindowsOf(rule) === "nested") {
    messages.push(
      "a mean says more than its region: publish: mean needs acrossWindows: independent",
    );
  }
  if (rule.suppressUpTo > 0 && rule.whenTooFew === "generalize") {
    messages.push("suppressUpTo needs whenTooFew: suppress");
  }
  const asks = lDiversity !== undefined || tCloseness !== undefined;
  if ((sensitive !== undefined) !== asks) {
    messages.push("expected sensitive together with lDiversity or tCloseness");
  }
  if (lDiversity !== undefined && lDiversity > windowRecords) {
    messages.push("expected lDiversity to be at most windowRecords");
  }
  return messages;
}

/** What is wrong with a field and what the rule says of its values, or null. */
function checkField(field: string, rule: ClusterFileRule, schema: RecordSchema): string | null {
  const property = propertyOf(schema, field);
  if (field.includes("[]"))
    return `'${field}' is inside an array; a record has one value of it at most`;
  if (property === null) return notInSchema(field, schema);
  const types = typesOf(property);
  const isText = types.includes("string");
  if (!isText && !types.includes("number") && !types.includes("integer")) {
    return `cluster needs text or a number, but the record schema says ${types.join(" or ")}`;
  }
  if (isText && types.some((type) => type === "number" || type === "integer")) {
    return `cluster needs either text or a number, but the record schema says ${types.join(" or ")}`;
  }
  const domain = clusterDomain(field, rule, schema, new Map());
  if (domain === null) {
    return `expected domains.${field}.range, or minimum and maximum in the record schema`;
  }
  if (rule.publish === "mean" && domain.kind !== "number" && domain.kind !== "date") {
    return `'${field}' has no mean: publish: mean is about numbers and dates`;
  }
  return null;
}

/** What is wrong with one entry of `domains`, or null. */
function checkDomain(field: string, rule: ClusterFileRule, schema: RecordSchema): string | null {
  const { range, digits, hierarchy } = rule.domains?.[field] ?? {};
  if (!(rule.fields ?? [rule.field]).includes(field)) return `'${field}' is not clustered`;
  if ([range, digits, hierarchy].filter((one) => one !== undefined).length !== 1) {
    return "expected exactly one of range, digits and hierarchy";
  }
  const property = propertyOf(schema, field);
  const isText = property !== null && typesOf(property).includes("string");
  if (digits !== undefined && !isText) return "digits are those of a text";
  if (range === undefined) return null;
  if (isText !== (typeof range[0] === "string")) {
    return isText
      ? "expected a range of days, as in [1900-01-01, 2029-12-31]"
      : "expected a range of numbers, as in [0, 120]";
  }
  return range[0] < range[1] ? null : "expected [lowest, highest], lowest below highest";
}

function checkSensitive(
  rule: ClusterFileRule,
  rules: readonly PlacedRule[],
  schema: RecordSchema,
): string | null {
  const { sensitive } = rule;
  if (sensitive === undefined) return null;
  const property = propertyOf(schema, sensitive);
  if (sensitive.includes("[]")) return `'${sensitive}' is inside an array`;
  if (property === null) return notInSchema(sensitive, schema);
  const types = typesOf(property);
  if (types.includes("array") || types.includes("object")) {
    return `'${sensitive}' must be text, a number or a truth value`;
  }
  const own = rules.find(({ field }) => field === sensitive);
  if (own === undefined) return `'${sensitive}' has no rule, so never leaves: nothing to protect`;
  return own.rule.action === "cluster" ? `'${sensitive}' is clustered itself` : null;
}

/** What is wrong with one rule and the fields that it names beside its own, by path inside it. */
function checkRule(
  rule: ClusterFileRule,
  rules: readonly PlacedRule[],
  schema: RecordSchema | null,
): [path: readonly string[], message: string | null][] {
  const found = checkOptions(rule).map((message): [string[], string] => [[], message]);
  if (schema === null) return found;
  const domains = Object.keys(rule.domains ?? {});
  return [
    ...found,
    [["sensitive"], checkSensitive(rule, rules, schema)],
    ...domains.map((field): [string[], string | null] => [
      ["domains", field],
      checkDomain(field, rule, schema),
    ]),
  ];
}

/** Everything that is wrong with the cluster rules of a file. @param schema null when it could not be read */
export function checkCluster(
  file: PipelineFile,
  rules: readonly PlacedRule[],
  schema: RecordSchema | null,
  tree: LocatedTree,
): Complaint[] {
  const found: [path: KeyPath, message: string | null][] = [];
  const clusters = file.desensitize.flatMap((rule, index) =>
    rule.action === "cluster" ? [{ rule, path: ["desensitize", index] as const }] : [],
  );
  for (const [position, { rule, path }] of clusters.entries()) {
    if (position > 0) {
      found.push([path, "all clustered fields are grouped together: expected them in one rule"]);
    }
    for (const [inside, message] of checkRule(rule, rules, schema)) {
      found.push([[...path, ...inside], message]);
    }
  }
  for (const { field, rule, path } of rules) {
    if (rule.action !== "cluster" || schema === null) continue;
    found.push([path, checkField(field, rule, schema)]);
  }
  return found.flatMap(([path, message]) =>
    message === null ? [] : [tree.complain(path, message)],
  );
}

/** What `check` says of a cluster rule that is allowed, but weaker than it looks. */
export function warnAboutCluster(file: PipelineFile, tree: LocatedTree): Complaint[] {
  return file.desensitize.flatMap((rule, index) => {
    if (rule.action !== "cluster") return [];
    const texts: string[] = [];
    if (file.record.subject === undefined) {
      texts.push(
        "no record.subject, so k counts records: a person with several records counts several times",
      );
    }
    if (acrossWindowsOf(rule) === "independent") {
      texts.push(
        "who links a person's records of several windows or lanes can intersect their groups; acrossWindows: nested does not let them",
      );
    }
    if (file.record.subject !== undefined) {
      texts.push(
        `k holds in each window: who follows '${file.record.subject}' over windows can rule out members of a group whose own ranges were narrower elsewhere`,
      );
    }
    return texts.map((text) => tree.complain(["desensitize", index], text));
  });
}
