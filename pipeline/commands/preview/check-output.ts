/** Whether values of the input may be printed where the command prints. */
import { SealstreamError } from "../../errors.ts";
import type { CommandContext } from "../context.ts";
import type { Options } from "../options.ts";

/** @throws SealstreamError `usage` where values would go to somewhere that is no terminal */
export function checkOutput(context: CommandContext, options: Options): void {
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
