/**
 * Reads the files that `desensitize` rules name, through the reader that the loader was given.
 */
import type { PipelineFile } from "../../schemas/pipeline-file.ts";
import type { Complaint, KeyPath } from "./complaint.ts";
import type { LocatedTree } from "./located-tree.ts";
import { type ReadTable, readHierarchy, readHierarchyPaths, readList } from "./rule-tables.ts";
import type { RuleFiles } from "./rules.ts";

/** The content of every file that a rule names, and complaints about those that have none. */
export function readRuleFiles(
  file: PipelineFile,
  tree: LocatedTree,
  read: (named: string) => Uint8Array | null,
): RuleFiles & { readonly complaints: readonly Complaint[] } {
  const hierarchies = new Map<number, readonly (readonly [string, string])[]>();
  const lists = new Map<number, readonly string[]>();
  const paths = new Map<string, readonly (readonly [string, ...string[]])[]>();
  const complaints: Complaint[] = [];
  const take = <T>(
    path: KeyPath,
    named: string,
    parse: (bytes: Uint8Array) => ReadTable<T>,
    use: (rows: readonly T[]) => void,
  ): void => {
    const bytes = read(named);
    if (bytes === null) {
      complaints.push(
        tree.complain(path, "expected a readable file relative to this one, found none"),
      );
      return;
    }
    const table = parse(bytes);
    if (table.status === "ok") use(table.rows);
    else
      complaints.push(
        tree.complain(path, `the file has a fault: see ${named}`),
        ...table.complaints,
      );
  };
  for (const [index, rule] of file.desensitize.entries()) {
    const at = (...keys: readonly string[]): KeyPath => ["desensitize", index, ...keys];
    if (rule.action === "generalize" && rule.hierarchy !== undefined) {
      const { hierarchy, level = 1 } = rule;
      take(
        at("hierarchy"),
        hierarchy,
        (bytes) => readHierarchy(bytes, hierarchy, level),
        (rows) => hierarchies.set(index, rows),
      );
    }
    if (rule.action === "cluster") {
      for (const [field, { hierarchy }] of Object.entries(rule.domains ?? {})) {
        if (hierarchy === undefined) continue;
        take(
          at("domains", field, "hierarchy"),
          hierarchy,
          (bytes) => readHierarchyPaths(bytes, hierarchy),
          (rows) => paths.set(field, rows),
        );
      }
    }
    if (rule.action !== "replace" || rule.from === undefined) continue;
    const { from } = rule;
    if (typeof from === "string") {
      take(
        at("from"),
        from,
        (bytes) => readList(bytes, from),
        (rows) => lists.set(index, rows),
      );
    } else {
      lists.set(index, from);
    }
  }
  return { hierarchies, lists, paths, complaints };
}
