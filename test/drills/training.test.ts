/**
 * Train and aggregate are killed at random for minutes while records flow: the ledger ends as that of a run that nobody
 * disturbed. The same updates, the same places in them, every range once, the same noise multiplier and epsilon.
 *
 * The noise is correlated and its blocks are short, so that most restarts make rows again. Where a kill falls within a
 * transaction is up to the machine; when kills are sent follows from the seed. Run by name: `npm run test:drills`.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, inject, it } from "vitest";
import type { RunningStages } from "../../examples/digits/demo/program.ts";
import type { LedgerEntry } from "../../pipeline/privacy/ledger-entry.ts";
import { createRandom } from "../chaos/harness/random.ts";
import { until } from "../lib/kafka.ts";
import { digits, makePipeline, type TestPipeline, untilStages } from "../lib/pipeline.ts";

const SEED = 8;
const STORM_MS = 150_000;
/** Long enough for a stage to come up and do something on this machine, short enough to fall into its work. */
const KILL_EVERY_MS = [2_500, 7_000] as const;
const PLACES = 8;
const BATCH = 32;
const SLICES = 30;
const VICTIMS = ["train", "aggregate"] as const;
const OTHERS = ["desensitize", "encrypt", "predict"] as const;

const EDITS: readonly (readonly [string, string])[] = [
  ["partitions: 4", "partitions: 2"],
  ["train: 0.9, validate: 0.1, test: 0", "train: 1, validate: 0, test: 0"],
  ["microBatchRecords: 16", `microBatchRecords: ${PLACES}`],
  ["updateBatchRecords: 64", `updateBatchRecords: ${BATCH}`],
  [
    "{ epsilon: 3, delta: 1e-5 }",
    "{ epsilon: 3, delta: 1e-5, noise: { toeplitz: { updates: 8 } } }",
  ],
];

function edited(text: string): string {
  return EDITS.reduce((file, [from, to]) => {
    if (!file.includes(from))
      throw new Error(`test/fixtures/digits/pipeline.yaml has no "${from}"`);
    return file.replace(from, to);
  }, text);
}

const labelled = digits().filter(({ form }) => form.digit !== undefined);

async function entriesOf(pipeline: TestPipeline): Promise<LedgerEntry[]> {
  const lines = await pipeline.run("ledger", ["ledger", pipeline.file, "--verify", "--json"]);
  return lines
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as LedgerEntry);
}

/** What must not depend on who died. Offsets do: aborted transactions take some. */
function countsOf(entries: readonly LedgerEntry[]) {
  const last = entries.at(-1);
  const ranges = entries.flatMap((entry) => entry.ranges);
  return {
    runs: new Set(entries.map(({ runId }) => runId)).size,
    updates: entries.length - 1,
    contributions: ranges.length,
    places: ranges.reduce((sum, { places }) => sum + places, 0),
    noiseMultiplier: last?.noiseMultiplier,
    epsilon: last?.epsilon,
    participations: last?.participations,
  };
}

/** Contributions that the lanes hold in all, known once an undisturbed run has ended. */
async function settled(read: () => Promise<LedgerEntry[]>): Promise<LedgerEntry[]> {
  let before = -1;
  let entries: LedgerEntry[] = [];
  await until(
    "the ledger stands still",
    async () => {
      entries = await read();
      const same = entries.length === before;
      before = entries.length;
      // Longer than a killed stage takes to start again on a busy machine.
      if (!same) await sleep(15_000);
      return same;
    },
    240_000,
  );
  return entries;
}

async function undisturbed(): Promise<LedgerEntry[]> {
  const pipeline = await makePipeline(inject("brokers"), edited);
  try {
    const stages = pipeline.start();
    await pipeline.produce(labelled);
    await untilStages(stages, "all records are sealed", () => {
      return (stages.reports().get("encrypt")?.records ?? 0) >= labelled.length;
    });
    const entries = await settled(() => entriesOf(pipeline));
    await stages.stop();
    return entries;
  } finally {
    pipeline.remove();
  }
}

/** The same records, while train and aggregate are killed with their supervisor, which would wait longer each time. */
async function disturbed(): Promise<{ entries: LedgerEntry[]; kills: Record<string, number> }> {
  const random = createRandom(SEED);
  const pipeline = await makePipeline(inject("brokers"), edited);
  const start = (stage: string): RunningStages => pipeline.start(["--stage", stage]);
  const running = new Map<string, RunningStages>(
    [...OTHERS, ...VICTIMS].map((stage) => [stage, start(stage)]),
  );
  const kills: Record<string, number> = { train: 0, aggregate: 0 };
  const untilMs = performance.now() + STORM_MS;
  const feed = async (): Promise<void> => {
    const size = Math.ceil(labelled.length / SLICES);
    for (let slice = 0; slice < SLICES; slice += 1) {
      await pipeline.produce(labelled.slice(slice * size, (slice + 1) * size));
      await sleep(Math.max(0, (untilMs - performance.now()) / (SLICES - slice)));
    }
  };
  const strike = async (): Promise<void> => {
    let turn = 0;
    while (performance.now() < untilMs) {
      await sleep(random.between(...KILL_EVERY_MS));
      const stage = VICTIMS[turn % VICTIMS.length] ?? "train";
      turn += 1;
      const victim = running.get(stage);
      const pid = victim?.pid(stage);
      if (victim === undefined || pid === undefined) continue;
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // Because it may not be up again since the last time.
        continue;
      }
      kills[stage] = (kills[stage] ?? 0) + 1;
      await victim.stop();
      running.set(stage, start(stage));
    }
  };
  try {
    await Promise.all([feed(), strike()]);
    const entries = await settled(() => entriesOf(pipeline));
    return { entries, kills };
  } finally {
    await Promise.all([...running.values()].map((stages) => stages.stop()));
    pipeline.remove();
  }
}

describe("train and aggregate, killed at random", () => {
  it("end with the counts and the epsilon of a run that nobody disturbed", async () => {
    const calm = await undisturbed();
    const { entries, kills } = await disturbed();
    console.warn(`killed: train ${kills["train"]} times, aggregate ${kills["aggregate"]} times`);
    expect(countsOf(calm).updates).toBeGreaterThan(30);
    expect(countsOf(entries)).toEqual(countsOf(calm));
    expect(Math.min(...Object.values(kills))).toBeGreaterThan(3);
  }, 900_000);
});
