/**
 * What the fuzz says to a person: a finding with all that makes it again, and what came up in a run.
 */
import type { Finding, Tally } from "./fuzz.ts";
import type { Document } from "./guests.ts";
import { pipelineOf } from "./rule-sets.ts";
import type { Shrunk } from "./shrink.ts";

const SHOWN_MAX = 4000;

/** A document as text that can be pasted into a test: JSON where it is UTF-8, else hexadecimal digits. */
function showDocument(document: Document): string {
  if (document === null) return "null (a tombstone)";
  const bytes = Buffer.from(document);
  const text = bytes.toString();
  const shown = Buffer.from(text).equals(bytes)
    ? JSON.stringify(text)
    : `hex ${bytes.toString("hex")}`;
  return shown.length > SHOWN_MAX
    ? `${shown.slice(0, SHOWN_MAX)}... (${bytes.length} bytes)`
    : shown;
}

/** @param small what shrinking left of the finding */
export function tellFinding({ seed, ruleSetNumber }: Finding, small: Shrunk): string {
  const { id, subject, schema, rules } = pipelineOf(small.set);
  return [
    `FOUND with --seed ${seed} in rule set ${ruleSetNumber}: ${small.problem.slice(0, SHOWN_MAX)}`,
    `id      ${JSON.stringify(id)}`,
    `subject ${JSON.stringify(subject)}`,
    `schema  ${JSON.stringify(schema)}`,
    `rules   ${JSON.stringify(rules)}`,
    ...small.documents.map((document, i) => `record ${i} ${showDocument(document)}`),
  ].join("\n");
}

export function tellTally({ documents, ruleSets, marked, statuses }: Tally): string {
  const counts = [...statuses].sort(([, a], [, b]) => b - a);
  const parts = counts.map(([status, count]) => `${status} ${count}`);
  return `${documents} documents, ${ruleSets} rule sets, ${marked} markers looked for; ${parts.join(", ")}`;
}
