/**
 * Reads the files that `desensitize` rules name, through the reader that the loader was given.
 */
import type { PipelineFile } from "../../schemas/pipeline-file.ts";
import type { Complaint } from "./complaint.ts";
import type { LocatedTree } from "./located-tree.ts";
import { type ReadTable, readHierarchy, readList } from "./rule-tables.ts";
import type { RuleFiles } from "./rules.ts";

/** The content of every file that a rule names, and complaints about those that have none. */
export function readRuleFiles(
  file: PipelineFile,
  tree: LocatedTree,
  read: (named: string) => Uint8Array | null,
): RuleFiles & { readonly complaints: readonly Complaint[] } {
  const hierarchies = new Map<number, readonly (readonly [string, string])[]>();
  const lists = new Map<number, readonly string[]>();
  const complaints: Complaint[] = [];
  const take = <T>(
    into: Map<number, readonly T[]>,
    [index, key, named]: readonly [number, string, string],
    parse: (bytes: Uint8Array) => ReadTable<T>,
  ): void => {
    const path = ["desensitize", index, key];
    const bytes = read(named);
    if (bytes === null) {
      complaints.push(
        tree.complain(path, "expected a readable file relative to this one, found none"),
      );
      return;
    }
    const table = parse(bytes);
    if (table.status === "ok") into.set(index, table.rows);
    else
      complaints.push(
        tree.complain(path, "the file has a fault, named below"),
        ...table.complaints,
      );
  };
  for (const [index, rule] of file.desensitize.entries()) {
    if (rule.action === "generalize" && rule.hierarchy !== undefined) {
      const { hierarchy, level = 1 } = rule;
      take(hierarchies, [index, "hierarchy", hierarchy], (bytes) =>
        readHierarchy(bytes, hierarchy, level),
      );
    }
    if (rule.action !== "replace" || rule.from === undefined) continue;
    const { from } = rule;
    if (typeof from === "string")
      take(lists, [index, "from", from], (bytes) => readList(bytes, from));
    else lists.set(index, from);
  }
  return { hierarchies, lists, complaints };
}
