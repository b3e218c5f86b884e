/**
 * The report of a benchmark: one format for all of them (DESIGN.md, section 4), as a table and as a JSON file.
 *
 * A ratio is ours over the peer's, turned so that above 1 we are better, whatever the unit.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, totalmem } from "node:os";
import { join } from "node:path";

export interface BenchRow {
  readonly case: string;
  readonly unit: string;
  readonly ours: number;
  readonly peers: Readonly<Record<string, number>>;
  readonly ratios: Readonly<Record<string, number>>;
  readonly rounds: number;
}

export interface BenchOutcome {
  /** Packages that were measured, beside Node itself. */
  readonly packages: readonly string[];
  /** Versions of what is no package here, by name. */
  readonly versions?: Readonly<Record<string, string>>;
  readonly rows: readonly BenchRow[];
  /** Peers that could not be measured, with the reason; never made up. */
  readonly missing?: readonly string[];
}

export interface BenchOptions {
  /** Fewer and shorter rounds: a minute at most. */
  readonly quick: boolean;
}

/** What a file `bench/NAME.ts` exports as `bench`. */
export type Bench = (options: BenchOptions) => Promise<BenchOutcome>;

const ROOT = join(import.meta.dirname, "..", "..");

/** Four significant digits: more is noise. */
function round(value: number): number {
  return Number(value.toPrecision(4));
}

/** A row about speeds or other figures of which more is better, unless `better` says less. */
export function rowOf(
  about: { case: string; unit: string; rounds: number; better?: "more" | "less" },
  ours: number,
  peers: Readonly<Record<string, number>>,
): BenchRow {
  const { better = "more", ...rest } = about;
  const entries = Object.entries(peers);
  const ratio = (value: number) => round(better === "more" ? ours / value : value / ours);
  return {
    ...rest,
    ours: round(ours),
    peers: Object.fromEntries(entries.map(([name, value]) => [name, round(value)])),
    ratios: Object.fromEntries(entries.map(([name, value]) => [name, ratio(value)])),
  };
}

function versionOf(name: string): string {
  const file = join(ROOT, "node_modules", name, "package.json");
  // Because every package file has a version.
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}

/** Prints the table and writes `bench/results/NAME.json`; returns the file's path. */
export function report(
  name: string,
  { packages, versions: others = {}, rows, missing = [] }: BenchOutcome,
  quick: boolean,
): string {
  const machine = {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: availableParallelism(),
    memoryGiB: round(totalmem() / 2 ** 30),
    platform: `${process.platform} ${process.arch}`,
  };
  const versions = {
    node: process.versions.node,
    ...Object.fromEntries(packages.map((one) => [one, versionOf(one)])),
    ...others,
  };
  const folder = join(ROOT, "bench", "results");
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `${name}.json`);
  const at = new Date().toISOString();
  writeFileSync(
    file,
    `${JSON.stringify({ name, at, quick, machine, versions, rows, missing }, null, 2)}\n`,
  );
  console.table(
    rows.flatMap(({ case: about, unit, ours, peers, ratios }): object[] => {
      const named = Object.entries(peers);
      if (named.length === 0) return [{ case: about, unit, ours }];
      return named.map(([peer, value]) => ({
        case: about,
        unit,
        ours,
        peer,
        "peer's": value,
        ratio: ratios[peer],
      }));
    }),
  );
  for (const line of missing) console.log(`missing: ${line}`);
  return file;
}
