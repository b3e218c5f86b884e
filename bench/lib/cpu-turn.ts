/**
 * A turn of a contender in this thread, measured by the CPU time of the thread: what else the machine does is left out.
 *
 * Goes with contenders in processes of their own that measure CPU time too (see `Timed` in rounds.ts).
 */

/** CPU milliseconds this thread has used. */
export function threadCpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

/** Runs for about `turnMs`, at least once. @returns units per second of CPU time */
export function cpuTurn(
  run: () => void,
  { unitsPerRun, turnMs }: { readonly unitsPerRun: number; readonly turnMs: number },
): number {
  const start = threadCpuMs();
  let runs = 0;
  let spent = 0;
  do {
    run();
    runs += 1;
    spent = threadCpuMs() - start;
  } while (spent < turnMs);
  return (runs * unitsPerRun * 1000) / spent;
}

/** Adds up CPU time by the name of a phase, over many runs. */
export class PhaseClock {
  readonly #spent = new Map<string, number>();
  #last = 0;

  /** Begins a run. */
  start(): void {
    this.#last = threadCpuMs();
  }

  /** Ends the phase that began with the last call. */
  done(phase: string): void {
    const now = threadCpuMs();
    this.#spent.set(phase, (this.#spent.get(phase) ?? 0) + now - this.#last);
    this.#last = now;
  }

  /** Milliseconds of each phase in a run, and forgets them. @param runs how many runs there were */
  take(runs: number): Readonly<Record<string, number>> {
    const taken = Object.fromEntries([...this.#spent].map(([name, ms]) => [name, ms / runs]));
    this.#spent.clear();
    return taken;
  }
}
