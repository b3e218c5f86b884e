/** `sealstream keys create | list | rotate | grant | revoke | export`: every zone's keys, from the first to the last. */
import { SealstreamError } from "../errors.ts";
import type { CommandContext } from "./context.ts";
import { create } from "./keys/create.ts";
import { exportKeys } from "./keys/export.ts";
import { grant } from "./keys/grant.ts";
import { list } from "./keys/list.ts";
import { revoke } from "./keys/revoke.ts";
import { rotate } from "./keys/rotate.ts";
import type { Options } from "./options.ts";

export function keys(
  context: CommandContext,
  ...[action, file, what, options]: [string, string, string | undefined, Options]
): Promise<number> {
  if (what !== undefined && action !== "rotate" && action !== "revoke") {
    throw new SealstreamError("usage", `"keys ${action}" takes one file and options.`);
  }
  switch (action) {
    case "create":
      return create(context, file, options);
    case "list":
      return list(context, file, options);
    case "rotate":
      return rotate(context, file, what, options);
    case "grant":
      return grant(context, file, options);
    case "revoke":
      return revoke(context, file, what, options);
    case "export":
      return exportKeys(context, file, options);
    default:
      throw new SealstreamError(
        "usage",
        `There is no "keys ${action}": there are create, list, rotate, grant, revoke and export.`,
      );
  }
}
