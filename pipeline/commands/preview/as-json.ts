/**
 * A preview for a program: states, rules, types and lengths as JSON lines, and never a value, nor a name of the record's own.
 */
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import { changesOf } from "./changes.ts";
import type { Result } from "./run-rules.ts";
import { countResults } from "./table.ts";
import { sizeOf } from "./values.ts";

function reportOf(spec: PipelineSpec, result: Result) {
  const { record, status, raw } = result;
  const common = { record, status, bytes: raw.byteLength };
  if (result.status === "refused") return { ...common, reason: result.reason };
  if (result.status === "waiting" || result.status === "dropped") return common;
  const fields = changesOf(spec, raw, result.value).map(({ knownPath, rule, before, after }) => ({
    field: knownPath,
    rule,
    before: sizeOf(before),
    after: after === undefined ? null : sizeOf(after),
  }));
  return { ...common, fields };
}

/** One line for each of the first `shown` records, then one with the counts of all. @param missing secrets in whose place this preview used random ones */
export function previewReport(
  spec: PipelineSpec,
  results: readonly Result[],
  { shown, missing }: { readonly shown: number; readonly missing: readonly string[] },
): string[] {
  const records = results.slice(0, shown).map((result) => JSON.stringify(reportOf(spec, result)));
  const summary = {
    records: results.length,
    ...countResults(results),
    printed: records.length,
    randomKeys: missing,
  };
  return [...records, JSON.stringify(summary)];
}
