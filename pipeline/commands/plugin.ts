/** `sealstream plugin test MODULE | bench MODULE | new NAME`: for those who write plugins. */
import { SealstreamError } from "../errors.ts";
import type { CommandContext } from "./context.ts";
import type { Options } from "./options.ts";

type Action = (context: CommandContext, target: string, options: Options) => Promise<number>;

const ACTIONS: Readonly<Record<string, () => Promise<Action>>> = {
  test: async () => (await import("./plugin/test.ts")).testCommand,
  bench: async () => (await import("./plugin/bench.ts")).benchCommand,
  new: async () => (await import("./plugin/new.ts")).newCommand,
};

export async function plugin(
  context: CommandContext,
  action: string,
  target: string,
  options: Options,
): Promise<number> {
  const load = Object.hasOwn(ACTIONS, action) ? ACTIONS[action] : undefined;
  if (load === undefined) {
    throw new SealstreamError(
      "usage",
      `There is no "plugin ${action}": it is plugin test MODULE, plugin bench MODULE or plugin new NAME.`,
    );
  }
  return (await load())(context, target, options);
}
