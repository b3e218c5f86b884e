/** `sealstream dead-letters list | show | replay`: what the stages refused, and how it goes back. */
import { SealstreamError } from "../errors.ts";
import type { CommandContext } from "./context.ts";
import { list } from "./dead-letters/list.ts";
import { replay } from "./dead-letters/replay.ts";
import { show } from "./dead-letters/show.ts";
import type { Options } from "./options.ts";

export function deadLetters(
  context: CommandContext,
  ...[action, file, letter, options]: [string, string, string | undefined, Options]
): Promise<number> {
  if (letter !== undefined && action !== "show") {
    throw new SealstreamError("usage", `"dead-letters ${action}" takes one file and options.`);
  }
  switch (action) {
    case "list":
      return list(context, file, options);
    case "show":
      return show(context, file, letter, options);
    case "replay":
      return replay(context, file, options);
    default:
      throw new SealstreamError(
        "usage",
        `There is no "dead-letters ${action}": there are list, show and replay.`,
      );
  }
}
