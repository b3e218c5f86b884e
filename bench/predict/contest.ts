/**
 * One row of the table: a job, our runner and the peers', checked against the plain network and then measured in turn.
 *
 * Every contender has decrypted what it computed before anything is timed, and a contender whose logits are not the
 * plain network's is an error, not a row. CPU time only, one core: ours and node-seal by the thread, peers in a process
 * of their own by the process, which computes with one thread.
 */
import { argmax } from "../../pipeline/network/forward.ts";
import { cpuTurn, PhaseClock } from "../lib/cpu-turn.ts";
import { type BenchRow, rowOf } from "../lib/report.ts";
import { measure, type Timed } from "../lib/rounds.ts";

/** A contender of this process that is ready to run. */
export interface Runner {
  /** Records a run evaluates, or operations it does. */
  readonly units: number;
  /** @param phases is told what took how long */
  run(phases: PhaseClock): void;
  /** Logits of the first records, decrypted after a run; empty where there are none. */
  logits(): readonly (readonly number[])[];
  close(): void;
}

/** A contender that measures itself. */
export interface Remote {
  readonly units: number;
  readonly logits: readonly (readonly number[])[];
  turn(turnMs: number): Promise<{
    readonly perSecond: number;
    readonly phases: Readonly<Record<string, number>>;
  }>;
  close(): Promise<void>;
}

/** How well encrypted logits agree with the plain network's. */
export interface Agreement {
  /** Share of the rows with the same largest logit. */
  readonly share: number;
  /** Largest difference of a logit. */
  readonly error: number;
  /** -log2 of it: good bits after the point. */
  readonly precisionBits: number;
}

export function agreementOf(
  encrypted: readonly ArrayLike<number>[],
  plain: readonly ArrayLike<number>[],
): Agreement {
  let error = 0;
  let same = 0;
  for (const [row, logits] of encrypted.entries()) {
    const wanted = plain[row]!;
    if (argmax(logits) === argmax(wanted)) same += 1;
    for (let at = 0; at < wanted.length; at += 1) {
      // NaN must not pass for a small difference.
      const difference = Math.abs(logits[at]! - wanted[at]!);
      error = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : Math.max(error, difference);
    }
  }
  return { share: same / encrypted.length, error, precisionBits: -Math.log2(error) };
}

export interface Contest {
  readonly case: string;
  /** Speeds count units per second; latencies are milliseconds a run, whatever a run holds. */
  readonly measure: "records/s" | "ms";
  readonly rounds: number;
  readonly turnMs: number;
  readonly ours: Runner | null;
  readonly peers: Readonly<Record<string, Runner | Remote>>;
  /** Logits of the plain network, in the order of the records; null where nothing is predicted. */
  readonly plain: readonly ArrayLike<number>[] | null;
  /** Largest difference of a logit that still is this network. */
  readonly mostError: number;
  readonly tell: (message: string) => void;
}

const OURS = "ours";

function timed(name: string, contender: Runner | Remote, phases: Map<string, string>): Timed {
  const show = (spent: Readonly<Record<string, number>>): void => {
    const parts = Object.entries(spent).map(([phase, ms]) => `${phase} ${ms.toPrecision(3)}`);
    phases.set(name, parts.join(", "));
  };
  return {
    name,
    async turn(turnMs) {
      if ("turn" in contender) {
        const { perSecond, phases: spent } = await contender.turn(turnMs);
        show(spent);
        return perSecond;
      }
      const clock = new PhaseClock();
      let runs = 0;
      const once = (): void => {
        contender.run(clock);
        runs += 1;
      };
      const perSecond = cpuTurn(once, { unitsPerRun: contender.units, turnMs });
      show(clock.take(runs));
      return perSecond;
    },
  };
}

/** Runs each of ours once, so that there is something to decrypt. */
function checked(contest: Contest, name: string, contender: Runner | Remote): Agreement | null {
  if (!("turn" in contender)) contender.run(new PhaseClock());
  if (contest.plain === null) return null;
  const logits = "turn" in contender ? contender.logits : contender.logits();
  const agreement = agreementOf(logits, contest.plain);
  if (logits.length === 0 || !(agreement.error <= contest.mostError))
    throw new Error(`${contest.case}: ${name} is off by ${agreement.error} in a logit`);
  return agreement;
}

/** Measures and frees the contenders. @returns the row (none without ours) and how exact everybody was */
export async function runContest(contest: Contest): Promise<{
  readonly rows: readonly BenchRow[];
  readonly agreements: ReadonlyMap<string, Agreement>;
}> {
  const { ours, peers, rounds, turnMs, tell } = contest;
  const contenders = new Map(Object.entries(peers));
  if (ours !== null) contenders.set(OURS, ours);
  try {
    const agreements = new Map<string, Agreement>();
    for (const [name, contender] of contenders) {
      const agreement = checked(contest, name, contender);
      if (agreement !== null) agreements.set(name, agreement);
    }
    const phases = new Map<string, string>();
    const speeds = await measure(
      [...contenders].map(([name, contender]) => timed(name, contender, phases)),
      { unitsPerRun: 1, rounds, turnMs },
    );
    tell(`${contest.case} [ms a run]`);
    for (const [name, text] of phases) {
      const agreement = agreements.get(name);
      const exact = agreement === undefined ? "" : `; error ${agreement.error.toPrecision(2)}`;
      tell(`  ${name}: ${text}${exact}`);
    }
    const figure = (name: string): number => {
      const perSecond = speeds.get(name)!;
      if (contest.measure === "records/s") return perSecond;
      return (1000 * contenders.get(name)!.units) / perSecond;
    };
    const about = { case: contest.case, unit: contest.measure, rounds };
    const better = contest.measure === "ms" ? "less" : "more";
    const others = Object.fromEntries(Object.keys(peers).map((name) => [name, figure(name)]));
    const rows = ours === null ? [] : [rowOf({ ...about, better }, figure(OURS), others)];
    if (ours === null) tell(`  ${JSON.stringify(others)}`);
    return { rows, agreements };
  } finally {
    for (const contender of contenders.values()) await contender.close();
  }
}
