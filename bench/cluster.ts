/**
 * How fast rows are grouped, and how much their groups hide: 30,000 made-up people with eight fields, k = 10.
 *
 * Speed: all rows at once (batch) and in windows, against anonypy's Mondrian and MDAV over the whole batch, which run by
 * themselves because they take seconds. NCP: the share of its domain that a published cell leaves open; 0 hides nothing,
 * and less is better at the same k. Discernibility: the size of the group of a row, on average; a row that is left out
 * counts as a whole window.
 */
import type { ClusterOptions } from "../pipeline/spec/pipeline-spec.ts";
import { createDomain } from "../pipeline/stages/desensitize/cluster/domain.ts";
import {
  type ClusterWindow,
  type Grouping,
  groupWindow,
} from "../pipeline/stages/desensitize/cluster/group.ts";
import { measureWindow } from "../pipeline/stages/desensitize/cluster/quality.ts";
import { tightGroup } from "../pipeline/stages/desensitize/cluster/ranges.ts";
import { ADULT_FIELDS, createRandom, drawPerson, windowOf } from "./lib/adult.ts";
import { ANONYPY_VERSION, runAnonypy } from "./lib/anonypy-peer.ts";
import { type BenchOptions, type BenchOutcome, type BenchRow, rowOf } from "./lib/report.ts";
import { measure, median } from "./lib/rounds.ts";

const ROWS = 30_000;
const K = 10;
const WINDOWS = [500, 2_000, 10_000];
const SEED = 7;

const OPTIONS: ClusterOptions = {
  k: K,
  windowRecords: ROWS,
  maxDelayMs: 1000,
  method: "mondrian",
  acrossWindows: "nested",
  publish: "range",
  whenTooFew: "suppress",
  suppressUpTo: 0,
  sensitive: null,
};
const INDEPENDENT: ClusterOptions = { ...OPTIONS, acrossWindows: "independent" };
const MDAV: ClusterOptions = { ...INDEPENDENT, method: "mdav" };
const NESTED: readonly (readonly [string, ClusterOptions])[] = [
  ["nested", OPTIONS],
  ["nested, up to 1 % left out", { ...OPTIONS, suppressUpTo: 0.01 }],
  ["nested, up to 5 % left out", { ...OPTIONS, suppressUpTo: 0.05 }],
];

const domains = ADULT_FIELDS.map(({ domain }) => createDomain(domain));

/** One column of codes a field. */
function drawColumns(): Float64Array[] {
  const random = createRandom(SEED);
  const columns = domains.map(() => new Float64Array(ROWS));
  for (let row = 0; row < ROWS; row++) {
    const { values } = drawPerson(random);
    for (const [field, domain] of domains.entries()) {
      const code = domain.encode(values[field]!);
      if (code === null) throw new Error("a person is not of the domains");
      columns[field]![row] = code;
    }
  }
  return columns;
}

function windowsOf(columns: readonly Float64Array[], size: number): ClusterWindow[] {
  return Array.from({ length: ROWS / size }, (_, i) => windowOf(columns, i * size, (i + 1) * size));
}

/** Figures of groupings of windows that together are all rows. Every group is checked for k. */
function judge(windows: readonly ClusterWindow[], groupings: readonly Grouping[]) {
  let [penalty, published, discernibility] = [0, 0, 0];
  for (const [i, window] of windows.entries()) {
    const quality = measureWindow(window, domains, groupings[i]!, OPTIONS);
    if ((quality.smallestGroup ?? 0) < K) throw new Error("a group is smaller than k");
    const kept = quality.rows - quality.suppressed;
    penalty += quality.ncp * kept;
    published += kept;
    discernibility += quality.discernibility;
  }
  return { ncp: penalty / published, discernibility: discernibility / ROWS };
}

function judgeOptions(windows: readonly ClusterWindow[], options: ClusterOptions) {
  return judge(
    windows,
    windows.map((window) => groupWindow(window, domains, options)),
  );
}

/** The groups of a peer as ours: tight ranges of their rows. */
function groupingOf(batch: ClusterWindow, members: readonly (readonly number[])[]): Grouping {
  const group = new Int32Array(batch.rows).fill(-1);
  const groups = members.map((rows, index) => {
    for (const row of rows) group[row] = index;
    const { low, high, mean } = tightGroup(batch, Uint32Array.from(rows));
    return { rows: rows.length, low, high, mean };
  });
  return { group, groups, generalized: -1 };
}

async function measureSpeeds(
  columns: readonly Float64Array[],
  { rounds, turnMs, slowRounds }: { rounds: number; turnMs: number; slowRounds: number },
  anonypy: number | null,
): Promise<BenchRow[]> {
  const batch = windowsOf(columns, ROWS);
  const contenders = [
    { name: "30k rows at once, Mondrian", windows: batch, options: INDEPENDENT },
    ...[2_000, 10_000].flatMap((size) => [
      ...NESTED.map(([name, options]) => ({
        name: `windows of ${size}, ${name}`,
        windows: windowsOf(columns, size),
        options,
      })),
      {
        name: `windows of ${size}, independent Mondrian`,
        windows: windowsOf(columns, size),
        options: INDEPENDENT,
      },
      { name: `windows of ${size}, MDAV`, windows: windowsOf(columns, size), options: MDAV },
    ]),
  ];
  const run = (windows: readonly ClusterWindow[], options: ClusterOptions) => () =>
    windows.map((window) => groupWindow(window, domains, options));
  const isSlow = (options: ClusterOptions) => options.method === "mdav";
  const timed = (slow: boolean) =>
    contenders
      .filter(({ options }) => isSlow(options) === slow)
      .map(({ name, windows, options }) => ({ name, run: run(windows, options) }));
  const exact = "MDAV over the whole batch, plain JS";
  const fast = await measure(timed(false), { unitsPerRun: ROWS, rounds, turnMs });
  const slow = await measure([...timed(true), { name: exact, run: run(batch, MDAV) }], {
    unitsPerRun: ROWS,
    rounds: slowRounds,
    turnMs,
  });
  const peers = {
    [exact]: slow.get(exact)!,
    ...(anonypy === null ? {} : { "anonypy, Mondrian over the whole batch": anonypy }),
  };
  return contenders.map(({ name, options }) =>
    rowOf(
      { case: name, unit: "rows/s", rounds: isSlow(options) ? slowRounds : rounds },
      (isSlow(options) ? slow : fast).get(name)!,
      peers,
    ),
  );
}

function measureQuality(
  columns: readonly Float64Array[],
  anonypy: readonly (readonly number[])[] | null,
): BenchRow[] {
  const batch = windowsOf(columns, ROWS);
  const whole = judgeOptions(batch, INDEPENDENT);
  const theirs = anonypy && judge(batch, [groupingOf(batch[0]!, anonypy)]);
  const rows: BenchRow[] = [];
  const ways: typeof NESTED = [...NESTED, ["independent Mondrian", INDEPENDENT], ["MDAV", MDAV]];
  for (const figure of ["ncp", "discernibility"] as const) {
    const peers = {
      "Mondrian over the whole batch": whole[figure],
      ...(theirs ? { "anonypy, Mondrian over the whole batch": theirs[figure] } : {}),
    };
    const unit = figure === "ncp" ? "NCP" : "discernibility/row";
    for (const size of figure === "ncp" ? WINDOWS : WINDOWS.slice(-1)) {
      const windows = windowsOf(columns, size);
      for (const [name, options] of ways) {
        const about = { case: `windows of ${size}, ${name}`, unit, rounds: 1 };
        rows.push(
          rowOf({ ...about, better: "less" }, judgeOptions(windows, options)[figure], peers),
        );
      }
    }
  }
  return rows;
}

export async function bench({ quick }: BenchOptions): Promise<BenchOutcome> {
  const columns = drawColumns();
  const named = Object.fromEntries(
    ADULT_FIELDS.map(({ name }, field) => [name, Array.from(columns[field]!)]),
  );
  const slowRounds = quick ? 1 : 3;
  const job = { k: K, rounds: slowRounds, columns: named };
  const anonypy = await runAnonypy(job, (message) => console.log(message));
  const speed = typeof anonypy === "string" ? null : ROWS / median(anonypy.seconds);
  const times = { rounds: quick ? 5 : 11, turnMs: quick ? 60 : 200, slowRounds };
  const rows = [
    ...(await measureSpeeds(columns, times, speed)),
    ...measureQuality(columns, typeof anonypy === "string" ? null : anonypy.groups),
  ];
  const missing = typeof anonypy === "string" ? [`anonypy ${ANONYPY_VERSION}: ${anonypy}`] : [];
  return { packages: [], versions: { anonypy: ANONYPY_VERSION }, rows, missing };
}
