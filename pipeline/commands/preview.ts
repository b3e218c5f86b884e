/**
 * `sealstream preview FILE INPUT`: what the rules make of the first records of an NDJSON file, before and after.
 *
 * Runs the real `desensitize` stage in this process, without Kafka, and writes nothing. Values of the input are shown on
 * a terminal, or anywhere else when asked for in so many words.
 */
import { SealstreamError } from "../errors.ts";
import { type CommandContext, EXIT, loadSpec } from "./context.ts";
import { countOption, type Options } from "./options.ts";
import { previewReport } from "./preview/as-json.ts";
import { readLines } from "./preview/input.ts";
import { notesOn, previewSecrets } from "./preview/notes.ts";
import { runRules } from "./preview/run-rules.ts";
import { createLook, showRecord, summaryLine } from "./preview/table.ts";

/** Enough to see what each rule does, and no more than a screen. */
const RECORDS = 5;
const MOST_RECORDS = 1000;

/** @throws SealstreamError `usage` where values would go to somewhere that is no terminal */
function checkOutput(context: CommandContext, options: Options): void {
  const [json, asked] = [options["json"] === true, options["showValues"] === true];
  if (json && asked) {
    throw new SealstreamError("usage", "--json never has values: leave --show-values out.");
  }
  if (!json && !asked && context.outputColumns === undefined) {
    throw new SealstreamError(
      "usage",
      "Standard output is no terminal, and a preview shows values of the input: say --show-values to have them here, or --json for states, rules and lengths alone.",
    );
  }
}

export async function preview(
  context: CommandContext,
  file: string,
  input: string,
  options: Options,
): Promise<number> {
  checkOutput(context, options);
  const limits = { least: 1, fallback: RECORDS, most: MOST_RECORDS };
  const count = countOption(options["records"], "records", limits);
  const spec = loadSpec(context, file);
  const lines = await readLines(input, count, context.signal);
  if (lines.length === 0) {
    context.tell("The input has no records.");
    return EXIT.failed;
  }
  const secrets = previewSecrets(context);
  const results = await runRules(spec, lines, secrets.lookup);
  if (options["json"] === true) {
    for (const line of previewReport(spec, results, secrets.missing())) context.print(line);
  } else {
    const look = createLook(context);
    for (const result of results) context.print(showRecord(spec, result, look));
    context.print(summaryLine(results));
    for (const note of notesOn(spec, secrets.missing())) context.tell(note);
  }
  return results.every(({ status }) => status !== "refused") ? EXIT.ok : EXIT.failed;
}
