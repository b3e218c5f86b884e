/**
 * `sealstream preview FILE INPUT`: what the rules make of the first records of an NDJSON file, before and after.
 *
 * Runs the real `desensitize` stage in this process, without Kafka, and writes nothing. Values of the input are shown on
 * a terminal, or anywhere else when asked for in so many words.
 */
import { clusterOptions } from "../stages/desensitize/observed.ts";
import { type CommandContext, EXIT, loadSpec } from "./context.ts";
import { countOption, type Options } from "./options.ts";
import { previewReport } from "./preview/as-json.ts";
import { checkOutput } from "./preview/check-output.ts";
import { readLines } from "./preview/input.ts";
import { notesOn, previewSecrets } from "./preview/notes.ts";
import { runRules } from "./preview/run-rules.ts";
import { createLook, showRecord, summaryLine } from "./preview/table.ts";
import { desensitizeOptions } from "./stages/desensitize.ts";

/** Enough to see what each rule does, and no more than a screen. */
const RECORDS = 5;
const MOST_RECORDS = 1000;

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
  // Records that are grouped need the others of their window.
  const window = clusterOptions(spec.desensitize)?.windowRecords ?? 0;
  const lines = await readLines(input, Math.max(count, window), context.signal);
  if (lines.length === 0) {
    context.tell("The input has no records.");
    return EXIT.failed;
  }
  const secrets = previewSecrets(context);
  const stage = { ...(await desensitizeOptions(context, spec)), secrets: secrets.lookup };
  const results = await runRules(stage, lines);
  if (options["json"] === true) {
    for (const line of previewReport(spec, results, { shown: count, missing: secrets.missing() }))
      context.print(line);
  } else {
    const look = createLook(context);
    for (const result of results.slice(0, count)) context.print(showRecord(spec, result, look));
    context.print(summaryLine(results));
    for (const note of notesOn(spec, secrets.missing())) context.tell(note);
  }
  return results.every(({ status }) => status !== "refused") ? EXIT.ok : EXIT.failed;
}
