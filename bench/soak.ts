/**
 * Whether a worker's memory stays flat: ten minutes of 20,000 records a second through one stage with four lanes.
 *
 * Resident memory of the worker alone, every 5 s; the slope is that of the least-squares line after the first minute
 * (in a quick run: after a third), when the heap has found its size. At the end the output must hold every record once.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { createOurs, DEFAULT_INTERVAL_MS, inputTopic } from "./lane/contenders.ts";
import type { WorkerMessage } from "./lane/worker.ts";
import { faultOf, type KafkaLab, tally, tell, VALUE_BYTES, withKafkaLab } from "./lib/kafka-lab.ts";
import { encodeNumbered } from "./lib/record-batch.ts";
import type { BenchOptions, BenchOutcome, BenchRow } from "./lib/report.ts";
import { median } from "./lib/rounds.ts";
import { slope } from "./lib/stats.ts";

const LANES = 4;
const RECORDS_PER_SECOND = 20_000;
const TICK_MS = 100;
const MINUTE_MS = 60_000;
const MIB = 2 ** 20;
const START_TIMEOUT_MS = 60_000;
const DRAIN_TIMEOUT_MS = 120_000;
const QUIET_MS = 2_000;
const TELL_MS = 30_000;

interface Sample {
  readonly atMs: number;
  readonly rssMiB: number;
}

/** Waits for a condition; says what it waited for when it does not come. */
async function until(what: string, timeoutMs: number, holds: () => boolean | Promise<boolean>) {
  const deadline = performance.now() + timeoutMs;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`timed out waiting until ${what}`);
    await sleep(50);
  }
}

async function committed(lab: KafkaLab, topic: string): Promise<number> {
  return (await lab.wire.committedEnds(topic)).reduce((sum, one) => sum + one, 0);
}

/** Produces at the bounded rate. @returns records each lane was given */
async function feed(
  lab: KafkaLab,
  input: string,
  durationMs: number,
  onTick: () => void,
): Promise<number> {
  const count = (RECORDS_PER_SECOND * TICK_MS) / 1000 / LANES;
  const startMs = performance.now();
  let first = 0;
  for (let tick = 0; tick * TICK_MS < durationMs; tick++) {
    await sleep(Math.max(0, startMs + tick * TICK_MS - performance.now()));
    onTick();
    await Promise.all(
      Array.from({ length: LANES }, (_, lane) => {
        const about = { lane, first, count, valueBytes: VALUE_BYTES, timestampMs: Date.now() };
        return lab.wire.produce(input, lane, encodeNumbered(about));
      }),
    );
    first += count;
  }
  return first;
}

function toRows(samples: readonly Sample[], durationMs: number): BenchRow[] {
  const warmMs = Math.min(MINUTE_MS, durationMs / 3);
  const warmS = warmMs / 1000;
  const within = (from: number, to: number) =>
    samples.filter(({ atMs }) => atMs >= from && atMs < to).map(({ rssMiB }) => rssMiB);
  const later = samples.filter(({ atMs }) => atMs >= warmMs);
  const figures: [string, string, number][] = [
    [`first ${warmS} s, median`, "MiB", median(within(0, warmMs))],
    [
      `last ${warmS} s, median`,
      "MiB",
      median(within(durationMs - warmMs, Number.POSITIVE_INFINITY)),
    ],
    ["highest", "MiB", Math.max(...samples.map(({ rssMiB }) => rssMiB))],
    [
      `slope after ${warmS} s`,
      "MiB/min",
      slope(later.map(({ atMs, rssMiB }) => [atMs / MINUTE_MS, rssMiB])),
    ],
  ];
  const minutes = durationMs / MINUTE_MS;
  return figures.map(([what, unit, value]) => ({
    case: `worker RSS at ${RECORDS_PER_SECOND} records/s, ${LANES} lanes, ${minutes} min: ${what}`,
    unit,
    ours: Number(value.toPrecision(4)),
    peers: {},
    ratios: {},
    rounds: 1,
  }));
}

export function bench({ quick }: BenchOptions): Promise<BenchOutcome> {
  const durationMs = quick ? MINUTE_MS : 10 * MINUTE_MS;
  return withKafkaLab(async (lab) => {
    const pipeline = `${lab.prefix}-soak`;
    const input = inputTopic(pipeline);
    await lab.createTopics([input], LANES);
    const place = { pipeline, partitions: LANES, run: "soak" };
    const { child, output, stop } = await createOurs(DEFAULT_INTERVAL_MS).start(lab, place);
    const samples: Sample[] = [];
    let lanes = 0;
    let startMs = Number.POSITIVE_INFINITY;
    let detail = "";
    child.onMessage((message) => {
      // Because the worker is ours and sends nothing else.
      const told = message as WorkerMessage;
      if ("lanes" in told) lanes = told.lanes.length;
      else if (performance.now() >= startMs) {
        const { rss, heapUsed, external } = told.memory;
        samples.push({ atMs: performance.now() - startMs, rssMiB: rss / MIB });
        const inMiB = (bytes: number) => Math.round(bytes / MIB);
        detail = `RSS ${inMiB(rss)}, heap ${inMiB(heapUsed)}, external ${inMiB(external)} MiB`;
      }
    });
    const check = () => {
      const failure = child.failure();
      if (failure !== null) throw new Error(failure);
    };
    await until("the stage has its lanes", START_TIMEOUT_MS, () => {
      check();
      return lanes === LANES;
    });
    tell(`${RECORDS_PER_SECOND} records/s for ${durationMs / MINUTE_MS} minute(s)`);
    startMs = performance.now();
    let toldMs = startMs;
    const perLane = await feed(lab, input, durationMs, () => {
      check();
      if (performance.now() - toldMs < TELL_MS) return;
      toldMs = performance.now();
      tell(`  ${Math.round((toldMs - startMs) / 1000)} s: ${detail}`);
    });
    let end = 0;
    let grownMs = performance.now();
    // Markers of transactions have offsets too, so the last record is known by the quiet after it.
    await until("the output is complete", DRAIN_TIMEOUT_MS, async () => {
      check();
      const now = await committed(lab, output);
      if (now > end) grownMs = performance.now();
      end = now;
      return end >= perLane * LANES && performance.now() - grownMs > QUIET_MS;
    });
    await stop();
    const fault = faultOf(await tally(lab, output, new Array<number>(LANES).fill(perLane)));
    if (fault !== null) throw new Error(fault);
    return { packages: ["kafkajs"], rows: toRows(samples, durationMs) };
  });
}
