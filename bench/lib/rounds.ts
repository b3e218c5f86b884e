/**
 * Measures contenders against each other in the same process, round by round in turn, and takes medians.
 *
 * Interleaving makes slow drifts of the machine hit everybody alike; the order rotates so that nobody always runs
 * first. Must not know what is measured.
 */
import { performance } from "node:perf_hooks";

export interface Contender {
  readonly name: string;
  /** Does the job once, on all units. */
  readonly run: () => unknown;
}

/** A contender in a process of its own, which measures itself. */
export interface Timed {
  readonly name: string;
  /** Works for about that long; returns units per second. */
  readonly turn: (turnMs: number) => Promise<number>;
}

export interface MeasureOptions {
  /** What is counted, in one `run` of each contender. */
  readonly unitsPerRun: number;
  readonly rounds: number;
  /** A contender's turn in a round lasts at least this long. */
  readonly turnMs: number;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** Runs a contender for a turn; returns units per second. */
async function takeTurn(
  contender: Contender | Timed,
  { unitsPerRun, turnMs }: MeasureOptions,
): Promise<number> {
  if ("turn" in contender) return contender.turn(turnMs);
  const start = performance.now();
  let runs = 0;
  let elapsedMs = 0;
  do {
    const pending = contender.run();
    if (pending instanceof Promise) await pending;
    runs++;
    elapsedMs = performance.now() - start;
  } while (elapsedMs < turnMs);
  return (runs * unitsPerRun * 1000) / elapsedMs;
}

/** Median units per second of every contender, by name. One unmeasured turn each comes first. */
export async function measure(
  contenders: readonly (Contender | Timed)[],
  options: MeasureOptions,
): Promise<ReadonlyMap<string, number>> {
  const speeds = new Map(contenders.map(({ name }) => [name, [] as number[]]));
  for (let round = -1; round < options.rounds; round++) {
    for (let turn = 0; turn < contenders.length; turn++) {
      const contender = contenders[(turn + round + 1) % contenders.length]!;
      const speed = await takeTurn(contender, options);
      if (round >= 0) speeds.get(contender.name)!.push(speed);
    }
  }
  return new Map([...speeds].map(([name, values]) => [name, median(values)]));
}
