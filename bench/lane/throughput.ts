/**
 * Records per second of the contenders, seen from outside: the output's committed end is polled on the broker.
 *
 * The clock starts when a fifth of the output is committed, so that start-up, joining the group and a cold JVM do not
 * count, and stops when the last record is. After each run the whole output is read back: a contender that lost,
 * doubled or reordered a record has no figure.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { faultOf, fill, type KafkaLab, tally, tell } from "../lib/kafka-lab.ts";
import { median } from "../lib/rounds.ts";
import { type Contender, inputTopic, OURS, type Started } from "./contenders.ts";

/** Share of the output that is warm-up. */
const WARM_SHARE = 0.2;
const POLL_MS = 10;
/** Nothing more was committed for this long: ten commits at the interval of all contenders. */
const QUIET_MS = 1_000;
const STALL_MS = 60_000;

export interface ThroughputPlan {
  readonly partitions: number;
  /** Input records over all partitions. */
  readonly records: number;
  readonly rounds: number;
}

export interface Throughput {
  /** Median records per second by contender; those without a sound round are not in it. */
  readonly speeds: ReadonlyMap<string, number>;
  /** What went wrong, a line each. */
  readonly faults: readonly string[];
}

interface Sight {
  readonly atMs: number;
  readonly end: number;
}

/** Watches an output grow to its end. @returns when and where the measured part began and ended */
export async function watch(
  lab: KafkaLab,
  { child, output }: Pick<Started, "child" | "output">,
  records: number,
): Promise<{ from: Sight; to: Sight }> {
  let from: Sight | null = null;
  let last: Sight = { atMs: performance.now(), end: 0 };
  for (;;) {
    const ends = await lab.wire.committedEnds(output);
    const end = ends.reduce((sum, one) => sum + one, 0);
    const atMs = performance.now();
    if (end > last.end) last = { atMs, end };
    if (from === null && end >= WARM_SHARE * records) from = last;
    // Markers of transactions have offsets too, so the last record is known by the quiet after it.
    if (from !== null && last.end >= records && atMs - last.atMs > QUIET_MS) {
      return { from, to: last };
    }
    const failure = child.failure();
    if (failure !== null) throw new Error(failure);
    if (atMs - last.atMs > STALL_MS) {
      throw new Error(`nothing committed for ${STALL_MS} ms, ${last.end} of ${records} records`);
    }
    await sleep(POLL_MS);
  }
}

/** One run of one contender: records per second of its measured part. @throws Error naming what it did wrong */
async function runOnce(
  lab: KafkaLab,
  contender: Contender,
  options: { pipeline: string; run: string; recordsPerLane: readonly number[] },
): Promise<number> {
  const { pipeline, run, recordsPerLane } = options;
  const records = recordsPerLane.reduce((sum, one) => sum + one, 0);
  const partitions = recordsPerLane.length;
  const started = await contender.start(lab, { pipeline, partitions, run });
  try {
    const { from, to } = await watch(lab, started, records);
    await started.stop();
    const fault = faultOf(await tally(lab, started.output, recordsPerLane));
    if (fault !== null) throw new Error(fault);
    // A speed needs a beginning before the end: one transaction that holds nearly all has none.
    if (to.end === from.end) throw new Error("too few records: they were committed at once");
    // Offsets of markers, a few in a hundred thousand, are taken out in proportion.
    const seen = (to.end - from.end) * (records / to.end);
    const seconds = (to.atMs - from.atMs) / 1000;
    tell(
      `  ${contender.name}: ${Math.round(seen / seconds)} records/s over ${seconds.toFixed(1)} s`,
    );
    return seen / seconds;
  } finally {
    await started.stop();
    await started.remove();
  }
}

/** Measures everybody on one input, in rounds of rotating order. */
export async function measureThroughput(
  lab: KafkaLab,
  contenders: readonly Contender[],
  { partitions, records, rounds }: ThroughputPlan,
): Promise<Throughput> {
  const pipeline = `${lab.prefix}-p${partitions}`;
  const input = inputTopic(pipeline);
  const recordsPerLane = Array.from({ length: partitions }, () => Math.ceil(records / partitions));
  tell(`filling ${partitions} partition(s) with ${records} records`);
  await lab.createTopics([input], partitions);
  await fill(lab, input, recordsPerLane);
  const speeds = new Map(contenders.map(({ name }) => [name, [] as number[]]));
  const faults: string[] = [];
  for (let round = 0; round < rounds; round++) {
    tell(`${partitions} partition(s), round ${round + 1} of ${rounds}`);
    for (let turn = 0; turn < contenders.length; turn++) {
      const index = (turn + round) % contenders.length;
      const contender = contenders[index]!;
      const run = `c${index}-r${round}`;
      try {
        const speed = await runOnce(lab, contender, { pipeline, run, recordsPerLane });
        speeds.get(contender.name)!.push(speed);
      } catch (error) {
        // Because a peer's fault is an outcome, and the others go on; our own ends the benchmark.
        if (contender.name === OURS) throw error;
        const what = error instanceof Error ? error.message : "unknown failure";
        const line = `${contender.name}, ${partitions} partition(s), round ${round + 1}: ${what}`;
        tell(`  ${line}`);
        faults.push(line);
      }
    }
  }
  await lab.remove([input], []);
  const sound = [...speeds].filter(([, values]) => values.length > 0);
  return { speeds: new Map(sound.map(([name, values]) => [name, median(values)])), faults };
}
