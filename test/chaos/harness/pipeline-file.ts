/** The pipeline of the chaos runs: `test/fixtures/digits` made small, quick to notice a death, and replicated three times. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makePipeline, type TestPipeline } from "../../lib/pipeline.ts";

export const LANES = 3;
export const MICRO_BATCH = 16;
export const UPDATE_BATCH = 64;
export const CONTRIBUTIONS_PER_UPDATE: number = UPDATE_BATCH / MICRO_BATCH;
/** Below what the plan freezes an instance for. */
export const SESSION_TIMEOUT_MS = 6_000;

/** Each must be in the example's file: a chaos run of another file would test something else. */
const EDITS: readonly (readonly [string, string])[] = [
  ["partitions: 4", `partitions: ${LANES}\n  replicationFactor: 3`],
  ["sessionTimeoutMs: 10000", `sessionTimeoutMs: ${SESSION_TIMEOUT_MS}`],
  ["length: 64, range", "length: 8, range"],
  ["lingerMs: 500", "lingerMs: 2000"],
  ["maxBytesPerRecord: 200000", "maxBytesPerRecord: 10000"],
  ["- { dense: 32, activation: square }", "- { dense: 8, activation: square }"],
];

function edited(text: string): string {
  return EDITS.reduce((file, [from, to]) => {
    if (!file.includes(from)) {
      throw new Error(`test/fixtures/digits/pipeline.yaml has no "${from}" any more`);
    }
    return file.replace(from, to);
  }, text);
}

/** Eight pixels, and labels that the network does not know. */
function writeSchema(folder: string): void {
  const file = join(folder, "form.schema.json");
  const text = readFileSync(file, "utf8")
    .replace('"minItems": 64', '"minItems": 8')
    .replace('"maxItems": 64', '"maxItems": 8')
    .replace('"maximum": 9 }', '"maximum": 99 }');
  writeFileSync(file, text);
}

/** Makes topics and keys of a fresh chaos pipeline. */
export function makeChaosPipeline(brokers: readonly string[]): Promise<TestPipeline> {
  return makePipeline(brokers, edited, {
    before: async ({ folder }) => writeSchema(folder),
  });
}
