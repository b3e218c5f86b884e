/** Writes the demo's forms as NDJSON: `node examples/digits/write-records.ts FILE`. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { digitRecords } from "./records.ts";

/** The same made-up people every time. */
const SEED = 20_261_121;

const file = process.argv[2];
if (file === undefined) {
  process.stderr.write(
    "Name the file to write: node examples/digits/write-records.ts records.ndjson\n",
  );
  process.exitCode = 2;
} else {
  const csvGz = readFileSync(join(import.meta.dirname, "digits_8x8.csv.gz"));
  const lines = digitRecords({ csvGz, seed: SEED }).map(({ form }) => JSON.stringify(form));
  writeFileSync(file, `${lines.join("\n")}\n`);
  process.stderr.write(`${lines.length} forms written to ${file}\n`);
}
