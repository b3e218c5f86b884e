/**
 * Writes the demo's forms as NDJSON: `npm run -s example-records -- FOLDER` makes `labelled.ndjson`, to train on, and
 * `unlabelled.ndjson`, to predict.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type DigitRecord, digitRecords } from "./records.ts";

/** The same made-up people every time. */
const SEED = 20_261_121;

function write(folder: string, name: string, records: readonly DigitRecord[]): void {
  const file = join(folder, `${name}.ndjson`);
  writeFileSync(file, `${records.map(({ form }) => JSON.stringify(form)).join("\n")}\n`);
  process.stderr.write(`${records.length} ${name} forms written to ${file}\n`);
}

const folder = process.argv[2];
if (folder === undefined) {
  process.stderr.write("Name a folder: npm run -s example-records -- my-pipeline\n");
  process.exitCode = 2;
} else {
  mkdirSync(folder, { recursive: true });
  const csvGz = readFileSync(join(import.meta.dirname, "digits_8x8.csv.gz"));
  const records = digitRecords({ csvGz, seed: SEED });
  write(
    folder,
    "labelled",
    records.filter(({ form }) => form.digit !== undefined),
  );
  write(
    folder,
    "unlabelled",
    records.filter(({ form }) => form.digit === undefined),
  );
}
