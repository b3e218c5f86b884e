/**
 * Rows of the bare kernel: examples a second of CPU time on one core, ours on each backend beside Opacus.
 *
 * Everybody does the same: updates of DP-SGD on the same network from the same weights and rows, flat clipping. Before
 * anybody is timed the clipped sums of the first micro-batch are compared. What a row counts is in its name:
 * - "noise included": ours makes its noise row in the measured process, Opacus its own as always;
 * - "noise off the hot path": ours makes it elsewhere (in the product aggregate does, in a worker), Opacus has none: it
 *   cannot make it elsewhere.
 */
import type { BackendName } from "../../pipeline/stages/train/backend.ts";
import { type BenchRow, rowOf } from "../lib/report.ts";
import { measure, type Timed } from "../lib/rounds.ts";
import { CASES, type CaseName } from "./cases.ts";
import {
  type Opacus,
  type OpacusMode,
  type OursKernel,
  openOpacus,
  startOurs,
} from "./processes.ts";

const BATCH = 256;
const MODES: readonly OpacusMode[] = ["ghost", "hooks"];
/** Relative L2 distance of two clipped sums: two float32 libraries in different orders. */
const TOLERANCE = 1e-4;
/** By how much two clips may differ. */
const MARGIN = 0.01;
/** On a core that wasm or plain JavaScript needs for seconds a micro-batch, a turn would never end. */
const PLAN: Readonly<Record<"tfjs-node" | "wasm" | "cpu", readonly CaseName[]>> = {
  "tfjs-node": ["mlp64", "mlp784", "cnn"],
  wasm: ["mlp64", "mlp784", "cnn"],
  cpu: ["mlp64"],
};

export interface KernelPlan {
  readonly rounds: number;
  readonly turnMs: number;
}

export interface KernelRows {
  readonly rows: readonly BenchRow[];
  readonly missing: readonly string[];
}

interface Contenders {
  readonly ours: ReadonlyMap<BackendName, OursKernel>;
  readonly opacus: Opacus | null;
}

/**
 * What differs between two clipped sums beside their length, relative to it; Infinity when the lengths are more than a
 * percent apart. Ours clips a little below the norm (stages/train/clip-margin.ts), Opacus at it.
 */
function distance(left: readonly number[], right: readonly number[]): number {
  if (left.length !== right.length) return Number.POSITIVE_INFINITY;
  const dot = (a: readonly number[], b: readonly number[]) =>
    a.reduce((sum, value, at) => sum + value * b[at]!, 0);
  const scale = dot(left, right) / dot(left, left);
  if (!(Math.abs(scale - 1) < MARGIN)) return Number.POSITIVE_INFINITY;
  const apart = right.map((value, at) => value - scale * left[at]!);
  return Math.sqrt(dot(apart, apart) / dot(right, right));
}

/** Opens a case everywhere and compares the sums. @throws Error when somebody computes something else */
async function openCase({ ours, opacus }: Contenders, name: CaseName): Promise<void> {
  let expected: readonly number[] | null = null;
  const check = (who: string, sum: readonly number[]): void => {
    expected ??= sum;
    const apart = distance(expected, sum);
    if (!(apart < TOLERANCE)) throw new Error(`${who} computes another sum of ${name}: ${apart}`);
  };
  for (const mode of MODES) {
    for (const withNoise of [true, false]) {
      if (opacus === null) continue;
      const job = { case: name, batch: BATCH, mode, withNoise };
      check(`Opacus ${mode}`, await opacus.open(`${name} ${mode} ${withNoise}`, job));
    }
  }
  for (const [backend, kernel] of ours) {
    if (!PLAN[backend as keyof typeof PLAN].includes(name)) continue;
    const answer = await kernel.ask({ op: "open", case: name, batch: BATCH });
    if ("sum" in answer) check(backend, answer.sum);
  }
}

function contendersOf({ ours, opacus }: Contenders, name: CaseName, withNoise: boolean): Timed[] {
  const timed: Timed[] = [];
  for (const [backend, kernel] of ours) {
    if (!PLAN[backend as keyof typeof PLAN].includes(name)) continue;
    timed.push({
      name: backend,
      async turn(ms) {
        const answer = await kernel.ask({ op: "turn", case: name, batch: BATCH, ms, withNoise });
        return "perSecond" in answer ? answer.perSecond : Number.NaN;
      },
    });
  }
  if (opacus === null) return timed;
  for (const mode of MODES) {
    const id = `${name} ${mode} ${withNoise}`;
    timed.push({ name: `Opacus ${mode}`, turn: (ms) => opacus.turn(id, ms) });
  }
  return timed;
}

/** All rows of the kernel, one case after the other. */
export async function kernelRows(
  { rounds, turnMs }: KernelPlan,
  tell: (message: string) => void,
): Promise<KernelRows> {
  const missing: string[] = [];
  const opened = await openOpacus(tell);
  if (typeof opened === "string") missing.push(`Opacus: ${opened}`);
  const opacus = typeof opened === "string" ? null : opened;
  const ours = new Map<BackendName, OursKernel>();
  for (const backend of Object.keys(PLAN) as (keyof typeof PLAN)[]) {
    const kernel = startOurs(backend);
    try {
      await kernel.ask({ op: "open", case: "mlp64", batch: BATCH });
      ours.set(backend, kernel);
    } catch (error) {
      // Because a backend this machine lacks is told in the table, and the others are measured.
      missing.push(`our ${backend}: ${error instanceof Error ? error.message : "does not start"}`);
      await kernel.stop();
    }
  }
  const rows: BenchRow[] = [];
  try {
    for (const name of Object.keys(CASES) as CaseName[]) {
      await openCase({ ours, opacus }, name);
      for (const withNoise of [true, false]) {
        tell(`${CASES[name].name}, ${withNoise ? "noise included" : "noise off the hot path"}`);
        const contenders = contendersOf({ ours, opacus }, name, withNoise);
        const speeds = await measure(contenders, { unitsPerRun: BATCH, rounds, turnMs });
        rows.push(...rowsOf({ name, withNoise, rounds }, speeds));
      }
    }
  } finally {
    opacus?.close();
    for (const kernel of ours.values()) await kernel.stop();
  }
  return { rows, missing };
}

function rowsOf(
  about: { readonly name: CaseName; readonly withNoise: boolean; readonly rounds: number },
  speeds: ReadonlyMap<string, number>,
): BenchRow[] {
  const isPeer = (name: string) => name.startsWith("Opacus");
  const noise = about.withNoise ? "noise included" : "noise off the hot path";
  const peers = Object.fromEntries([...speeds].filter(([name]) => isPeer(name)));
  return [...speeds]
    .filter(([name]) => !isPeer(name))
    .map(([backend, speed]) =>
      rowOf(
        {
          case: `${CASES[about.name].name}, B = ${BATCH}, ${backend}, ${noise}`,
          unit: "examples/CPU s",
          rounds: about.rounds,
        },
        speed,
        peers,
      ),
    );
}
