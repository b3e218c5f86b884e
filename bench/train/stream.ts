/**
 * Rows of training on the stream: train and aggregate, Kafka to Kafka and exactly once, beside the bare kernel.
 *
 * Train is pinned to the last core; broker, aggregate and this process have the others. Sealed examples lie ready; what
 * counts is when the ledger entry of an update is committed. In turns: a window of the stream, then train is held where it
 * is (SIGSTOP) and the bare kernel works on the same core with the same backend and batch, without noise, which
 * on the stream is aggregate's work. The staleness of a contribution is the number of updates between the model it was
 * made with and the one it entered; it stands in the ledger. Memory is what the system says of each process.
 */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { readLedger } from "../../pipeline/client/ledger.ts";
import type { BackendName } from "../../pipeline/stages/train/backend.ts";
import { topicName } from "../../schemas/topics.ts";
import type { Child } from "../lib/child.ts";
import { type KafkaLab, withKafkaLab } from "../lib/kafka-lab.ts";
import { type BenchRow, rowOf } from "../lib/report.ts";
import { median } from "../lib/rounds.ts";
import { percentile, slope } from "../lib/stats.ts";
import { CASES, type CaseName } from "./cases.ts";
import { makePipeline, type PipelineLab, trustOf } from "./pipeline-lab.ts";
import { type OursKernel, pinned, startOurs } from "./processes.ts";

const BATCH = 1024;
const LANES = 4;
const KERNEL = "bare kernel";
const MINUTE_MS = 60_000;
const START_TIMEOUT_MS = 120_000;
const FETCH = { maxBytes: 4 * 2 ** 20, maxWaitMs: 50 } as const;
const SAMPLE_MS = 500;
/** Share of the examples after which no round begins. */
const ENOUGH = 0.9;
/** Of the time the processes run: what comes before it is start-up. */
const WARM_SHARE = 1 / 3;

export interface StreamPlan {
  /** And sealed examples in each lane: when they run out, there are fewer rounds. */
  readonly cases: readonly (readonly [CaseName, number])[];
  readonly backend: BackendName;
  readonly rounds: number;
  readonly windowMs: number;
  readonly kernelMs: number;
}

interface Memory {
  readonly atMs: number;
  readonly mib: number;
}

/** Resident memory in MiB, or null where the system does not tell. */
function resident(pid: number): number | null {
  try {
    const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return kib === undefined ? null : Number(kib) / 1024;
  } catch {
    // Because not every system has /proc: the rows of memory are then left out.
    return null;
  }
}

/** Follows the ledger's topic. @returns how many entries are committed so far */
async function watchLedger(lab: KafkaLab, pipeline: string) {
  const reader = await lab.client.createReader(topicName(pipeline, "ledger"), 0, 0);
  let entries = 0;
  let isOpen = true;
  const reading = (async () => {
    while (isOpen) entries += (await reader.fetch(FETCH)).records.length;
  })();
  return {
    entries: () => entries,
    async close() {
      isOpen = false;
      await reading;
      await reader.close();
    },
  };
}

function check(children: readonly Child[]): void {
  for (const child of children) {
    const failure = child.failure();
    if (failure !== null) throw new Error(failure);
  }
}

async function untilUpdates(
  ledger: { entries(): number },
  wanted: number,
  children: readonly Child[],
): Promise<void> {
  const deadline = performance.now() + START_TIMEOUT_MS;
  // The first entry is the model that the run begins with.
  while (ledger.entries() <= wanted) {
    check(children);
    if (performance.now() > deadline) throw new Error("the stages make no updates");
    await sleep(20);
  }
}

interface Measured {
  readonly stream: readonly number[];
  readonly kernel: readonly number[];
  readonly memory: Readonly<Record<"train" | "aggregate", readonly Memory[]>>;
  /** Of every contribution. */
  readonly staleness: readonly number[];
}

async function measureStream(
  lab: KafkaLab,
  { spec, start }: PipelineLab,
  kernel: (ms: number) => Promise<number>,
  plan: StreamPlan & { readonly most: number },
): Promise<Measured> {
  const ledger = await watchLedger(lab, spec.name);
  const aggregate = start("aggregate", []);
  const train = start("train", pinned());
  const children = [train, aggregate];
  const memory = { train: [] as Memory[], aggregate: [] as Memory[] };
  const startMs = performance.now();
  const sampling = setInterval(() => {
    for (const [name, child] of Object.entries({ train, aggregate })) {
      const mib = resident(child.pid);
      if (mib !== null) {
        memory[name as keyof typeof memory].push({ atMs: performance.now() - startMs, mib });
      }
    }
  }, SAMPLE_MS);
  const stream: number[] = [];
  const kernelSpeeds: number[] = [];
  try {
    await untilUpdates(ledger, 3, children);
    for (let round = -1; round < plan.rounds && ledger.entries() < plan.most; round += 1) {
      // A full update before the window, so that neither end of it waits for the process to wake.
      await untilUpdates(ledger, ledger.entries() + 1, children);
      const [before, fromMs] = [ledger.entries(), performance.now()];
      await sleep(plan.windowMs);
      await untilUpdates(ledger, ledger.entries(), children);
      const speed = ((ledger.entries() - before) * BATCH * 1000) / (performance.now() - fromMs);
      train.hold(true);
      const bare = await kernel(plan.kernelMs);
      train.hold(false);
      if (round < 0) continue;
      stream.push(speed);
      kernelSpeeds.push(bare);
    }
  } finally {
    clearInterval(sampling);
    train.hold(false);
    await train.stop();
    await aggregate.stop();
    await ledger.close();
  }
  return { stream, kernel: kernelSpeeds, memory, staleness: await stalenessOf(lab, spec) };
}

async function stalenessOf(lab: KafkaLab, spec: PipelineLab["spec"]): Promise<number[]> {
  const { name: pipeline } = spec;
  const { entries, findings } = await readLedger({
    ...{ client: lab.client, pipeline },
    ...trustOf(spec),
  });
  if (findings.length > 0) throw new Error("the ledger does not verify");
  return entries.flatMap(({ entry }) =>
    // An update of a model makes the next version of it: 0 is as fresh as can be.
    entry.ranges.map(({ modelVersion }) => entry.modelVersion - 1 - modelVersion),
  );
}

function plainRow(about: { case: string; unit: string; rounds: number }, ours: number): BenchRow {
  return { ...about, ours: Number(ours.toPrecision(4)), peers: {}, ratios: {} };
}

function memoryRows(title: string, name: string, samples: readonly Memory[]): BenchRow[] {
  const last = samples.at(-1)?.atMs ?? 0;
  const later = samples.filter(({ atMs }) => atMs >= last * WARM_SHARE);
  if (later.length === 0) return [];
  const of = (what: string) => ({ case: `${title}: RSS of ${name}, ${what}`, rounds: 1 });
  const points = later.map(({ atMs, mib }) => [atMs / MINUTE_MS, mib] as const);
  const seconds = Math.round(last / 1000);
  return [
    plainRow({ ...of("highest"), unit: "MiB" }, Math.max(...samples.map(({ mib }) => mib))),
    plainRow({ ...of(`slope in the last 2/3 of ${seconds} s`), unit: "MiB/min" }, slope(points)),
  ];
}

function rowsOf(name: CaseName, measured: Measured, { backend }: StreamPlan): BenchRow[] {
  const title = `train + aggregate, ${CASES[name].name}, B = ${BATCH}, ${backend}`;
  const stale = { case: `${title}: staleness of a contribution`, unit: "updates", rounds: 1 };
  const { stream, kernel, staleness, memory } = measured;
  const about = { case: `${title}, Kafka to Kafka`, unit: "examples/s", rounds: stream.length };
  return [
    rowOf(about, median(stream), { [KERNEL]: median(kernel) }),
    plainRow({ ...stale, case: `${stale.case}, median` }, median(staleness)),
    plainRow({ ...stale, case: `${stale.case}, p99` }, percentile(staleness, 0.99)),
    ...memoryRows(title, "train", memory.train),
    ...memoryRows(title, "aggregate", memory.aggregate),
  ];
}

async function openKernel(kernel: OursKernel, name: CaseName) {
  await kernel.ask({ op: "open", case: name, batch: BATCH });
  return async (ms: number): Promise<number> => {
    const request = { op: "turn", case: name, batch: BATCH, ms, withNoise: false } as const;
    const answer = await kernel.ask(request);
    return "perSecond" in answer ? answer.perSecond : Number.NaN;
  };
}

/** All rows of the stream, one network after the other. */
export function streamRows(plan: StreamPlan, tell: (message: string) => void): Promise<BenchRow[]> {
  return withKafkaLab(async (lab) => {
    const kernel = startOurs(plan.backend);
    lab.defer("the kernel", () => kernel.stop());
    const rows: BenchRow[] = [];
    for (const [name, recordsPerLane] of plan.cases) {
      const names = { name: `${lab.prefix}-${name}`, lanes: LANES, batch: BATCH };
      const pipeline = await makePipeline(lab, CASES[name], { ...names, backend: plan.backend });
      tell(`${CASES[name].name}: sealing ${LANES * recordsPerLane} examples`);
      await pipeline.fill(recordsPerLane);
      tell(`${CASES[name].name}: training on the stream, ${plan.rounds} rounds`);
      const bare = await openKernel(kernel, name);
      const most = (ENOUGH * LANES * recordsPerLane) / BATCH;
      const measured = await measureStream(lab, pipeline, bare, { ...plan, most });
      rows.push(...rowsOf(name, measured, plan));
    }
    return rows;
  });
}
