/** `sealstream plugin test MODULE`: every check of the conformance suite, and the line that pins the module. */
import type { CheckResult } from "../../wasm/conformance/checks.ts";
import { testPlugin } from "../../wasm/conformance/suite.ts";
import { type CommandContext, EXIT } from "../context.ts";
import type { Options } from "../options.ts";
import { type PluginInputs, readInputs } from "./inputs.ts";

/** Longer configurations are better written by hand. */
const MOST_CONFIG_BYTES = 256;

const VARIABLE = "$" + "{";

const MARKS = { pass: "pass", fail: "FAIL", note: "note", skipped: "-" } as const;

function checkLine({ name, outcome, sentence }: CheckResult): string {
  return `${MARKS[outcome].padEnd(4)}  ${name.padEnd(17)}  ${sentence}`;
}

/** The entry for a pipeline file; null where its configuration does not fit on a line. */
export function pipelineLine(path: string, { sha256, config }: PluginInputs): string | null {
  const text = Buffer.from(config).toString("utf8");
  const isText = Buffer.from(text).equals(config) && config.length <= MOST_CONFIG_BYTES;
  if (!isText) return null;
  // JSON texts are YAML texts, but the pipeline file reads what this begins as a variable of the environment.
  const escaped = JSON.stringify(text).replaceAll(VARIABLE, () => `$${VARIABLE}`);
  const shown = config.length === 0 ? "" : `, config: ${escaped}`;
  return `  - { module: ${JSON.stringify(path)}, sha256: "${sha256}"${shown} }`;
}

export async function testCommand(
  context: CommandContext,
  path: string,
  options: Options,
): Promise<number> {
  const inputs = readInputs(path, options);
  const { checks, passed, fitsPipeline } = await testPlugin(inputs);
  const line = fitsPipeline ? pipelineLine(path, inputs) : null;
  if (options["json"] === true) {
    const { sha256 } = inputs;
    context.print(JSON.stringify({ passed, fitsPipeline, sha256, pipelineLine: line, checks }));
    return passed ? EXIT.ok : EXIT.failed;
  }
  for (const check of checks) context.print(checkLine(check));
  const failed = checks.filter(({ outcome }) => outcome === "fail").length;
  const verdict = failed === 0 ? "fails none" : `fails ${failed}`;
  context.print(`${verdict} of ${checks.length} checks`);
  context.print(`sha256 ${inputs.sha256}`);
  if (line !== null) {
    context.print("for the pipeline file; mend the path, which is relative to that file:");
    context.print("plugins:");
    context.print(line);
  }
  return passed ? EXIT.ok : EXIT.failed;
}
