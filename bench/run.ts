/**
 * Runs a benchmark: `npm run bench -- NAME [--quick]`.
 *
 * Each is a file `bench/NAME.ts` that exports `bench` (see bench/lib/report.ts).
 */
import { readdirSync } from "node:fs";
import { relative } from "node:path";
import { parseArgs } from "node:util";
import { type Bench, report } from "./lib/report.ts";

const { values, positionals } = parseArgs({
  options: { quick: { type: "boolean", default: false } },
  allowPositionals: true,
});
const names = readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith(".ts") && file !== "run.ts")
  .map((file) => file.slice(0, -".ts".length))
  .sort();
const [name] = positionals;

if (name === undefined || positionals.length > 1 || !names.includes(name)) {
  console.error(
    `say which benchmark to run: npm run bench -- NAME [--quick], NAME one of ${names.join(", ")}`,
  );
  process.exitCode = 2;
} else {
  // Because every file of the list above exports a Bench; one that does not fails at once.
  const { bench } = (await import(`./${name}.ts`)) as { bench: Bench };
  const outcome = await bench({ quick: values.quick });
  console.log(`written to ${relative(process.cwd(), report(name, outcome, values.quick))}`);
}
