/** What commands are given in tests: an empty environment, and a record of what they print and tell. */
import type { CommandContext } from "../../pipeline/commands/context.ts";

export interface Recording {
  readonly context: CommandContext;
  readonly printed: readonly string[];
  readonly told: readonly string[];
}

export function recordingContext(more: Partial<CommandContext> = {}): Recording {
  const printed: string[] = [];
  const told: string[] = [];
  const context: CommandContext = {
    environment: {},
    clock: () => 0,
    print: (line) => printed.push(line),
    tell: (line) => told.push(line),
    signal: new AbortController().signal,
    inputEnds: () => new AbortController().signal,
    isTerminal: false,
    ...more,
  };
  return { context, printed, told };
}
