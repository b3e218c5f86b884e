/**
 * Leaves nothing behind: what a benchmark starts is ended in reverse order, also on Ctrl-C and SIGTERM.
 */

export type Defer = (what: string, undo: () => unknown) => void;

const SIGNAL_EXIT = { SIGINT: 130, SIGTERM: 143 } as const;

/** Runs `work`; everything it deferred is undone afterwards, newest first, whatever happened. */
export async function withCleanup<T>(work: (defer: Defer) => Promise<T>): Promise<T> {
  const deferred: { what: string; undo: () => unknown }[] = [];
  let cleaning: Promise<void> | null = null;

  async function undoAll(): Promise<void> {
    for (let last = deferred.pop(); last !== undefined; last = deferred.pop()) {
      try {
        await last.undo();
      } catch (error) {
        // Because the rest must be ended too; the benchmark's own outcome stands.
        console.error(`could not end ${last.what}: ${error instanceof Error ? error.name : "?"}`);
      }
    }
  }
  const cleanOnce = (): Promise<void> => {
    cleaning ??= undoAll();
    return cleaning;
  };
  const onSignal = (signal: NodeJS.Signals): void => {
    const code = signal === "SIGINT" ? SIGNAL_EXIT.SIGINT : SIGNAL_EXIT.SIGTERM;
    console.error(`${signal}: cleaning up`);
    cleanOnce().then(
      () => process.exit(code),
      () => process.exit(code),
    );
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  try {
    return await work((what, undo) => deferred.push({ what, undo }));
  } finally {
    await cleanOnce();
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
  }
}
