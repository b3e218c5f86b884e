/**
 * What `sealstream check` warns about in the `desensitize` rules: they are allowed, but weaker than they look.
 *
 * A warning names fields and figures, never a value. Each topic has a file in `lint/`.
 */
import type { PipelineFile } from "../../schemas/pipeline-file.ts";
import type { RecordProperty, RecordSchema } from "../../schemas/record-schema.ts";
import { warnAboutCluster } from "./cluster-rule.ts";
import type { Complaint } from "./complaint.ts";
import {
  warnAboutKeptValues,
  warnAboutNaming,
  warnAboutQuasiIdentifiers,
} from "./lint/kept-values.ts";
import { withLeaves } from "./lint/leaves.ts";
import { warnAboutOpenObjects } from "./lint/open-schema.ts";
import { warnAboutSharedKeys, warnAboutWeakRules } from "./lint/weak-rules.ts";
import type { LocatedTree } from "./located-tree.ts";
import { placeRules } from "./rule-fields.ts";
import type { RuleFiles } from "./rules.ts";

/** Paths of the fields that have no rule, nor anything around or inside them. */
function withoutRule(
  properties: Readonly<Record<string, RecordProperty>>,
  ruled: ReadonlySet<string>,
  prefix: string,
): string[] {
  return Object.entries(properties).flatMap(([name, property]) => {
    let path = `${prefix}${name}`;
    let here: RecordProperty | undefined = property;
    for (;;) {
      if (ruled.has(path)) return [];
      const isRebuilt = [...ruled].some((one) => one.startsWith(`${path}.`));
      if (isRebuilt) return withoutRule(here?.properties ?? {}, ruled, `${path}.`);
      if (![...ruled].some((one) => one.startsWith(`${path}[]`))) return [path];
      path += "[]";
      here = here?.items;
    }
  });
}

/** A record schema, and where its parts stand in its own file. */
export interface LocatedSchema {
  readonly schema: RecordSchema;
  readonly tree: LocatedTree;
}

export function warnAboutRules(
  file: PipelineFile,
  record: LocatedSchema,
  files: Pick<RuleFiles, "lists">,
  tree: LocatedTree,
): Complaint[] {
  const subjects = placeRules(file).map((placed) => withLeaves(placed, record.schema));
  const warnings = [
    ...warnAboutNaming(file, subjects, tree),
    ...warnAboutKeptValues(file, subjects, tree),
    ...warnAboutQuasiIdentifiers(file, subjects, tree),
    ...warnAboutWeakRules(subjects, files.lists, tree),
    ...warnAboutSharedKeys(subjects, tree),
    ...warnAboutOpenObjects(subjects, record.schema, record.tree),
  ];
  const ruled = new Set(subjects.map(({ field }) => field));
  const dropped = withoutRule(record.schema.properties, ruled, "");
  if (dropped.length > 0) {
    const message = `no rule, so never leaves the zone: ${dropped.join(", ")}`;
    warnings.push(tree.complainAboutKey(["desensitize"], message));
  }
  return [...warnings, ...warnAboutCluster(file, tree)];
}
