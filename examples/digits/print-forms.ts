/**
 * Prints the example's forms as NDJSON, one raw record a line: `node examples/digits/print-forms.ts > forms.ndjson`.
 *
 * For feeding a pipeline by hand with `sealstream produce`; the demo makes the same forms itself.
 */
import { readFileSync } from "node:fs";
import { digitRecords } from "./records.ts";

const csvGz = readFileSync(new URL("digits_8x8.csv.gz", import.meta.url));
for (const { form } of digitRecords({ csvGz, seed: 7 })) {
  process.stdout.write(`${JSON.stringify(form)}\n`);
}
