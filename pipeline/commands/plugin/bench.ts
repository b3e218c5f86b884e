/** `sealstream plugin bench MODULE --input FILE`: how fast a plugin is by itself, and in its worker as a stage runs it. */
import { SealstreamError } from "../../errors.ts";
import { STATUS_NAMES } from "../../wasm/abi.ts";
import { type InputColumn, packBatch } from "../../wasm/columns.ts";
import { createPluginHost } from "../../wasm/host.ts";
import { createInstance } from "../../wasm/instance.ts";
import { compilePlugin } from "../../wasm/module-check.ts";
import { type CommandContext, EXIT } from "../context.ts";
import type { Options } from "../options.ts";
import { type PluginInputs, readInputs } from "./inputs.ts";

/** What the desensitize stage hands over at once. */
const BATCH_ROWS = 4096;
const BATCH_BYTES = 4 * 1024 * 1024;
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;
const ROUNDS = 5;
const ROUND_MS = 200;

interface Speed {
  readonly way: string;
  readonly recordsPerSecond: number;
  readonly megabytesPerSecond: number;
}

/** Batches of the lane's bounds; a short input is repeated, so that a batch is one. */
function batchesOf(rows: readonly Uint8Array[]): InputColumn[] {
  const repeats = Math.max(1, Math.ceil(BATCH_ROWS / rows.length));
  const all = Array.from({ length: repeats }, () => rows).flat();
  const batches: Uint8Array[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const row of all) {
    if (bytes + row.length > BATCH_BYTES || batches.at(-1)?.length === BATCH_ROWS) {
      batches.push([]);
      bytes = 0;
    }
    batches.at(-1)?.push(row);
    bytes += row.length;
  }
  return batches;
}

/** A way to run a batch. */
type Way = readonly [name: string, run: (batch: InputColumn) => unknown];

/** Passes through all batches a second, for one round. */
async function passesPerSecond(batches: readonly InputColumn[], [, run]: Way): Promise<number> {
  const start = performance.now();
  let passes = 0;
  while (passes === 0 || performance.now() - start < ROUND_MS) {
    for (const batch of batches) await run(batch);
    passes++;
  }
  return (passes * 1000) / (performance.now() - start);
}

/** Medians of rounds in which the ways take turns; one before them warms up. */
async function measure(batches: readonly InputColumn[], ways: readonly Way[]): Promise<Speed[]> {
  const records = batches.reduce((sum, batch) => sum + batch.length, 0);
  const bytes = batches.flat().reduce((sum, row) => sum + (row?.length ?? 0), 0);
  const rounds = ways.map((): number[] => []);
  for (let round = 0; round <= ROUNDS; round++) {
    for (const [i, way] of ways.entries()) {
      const passes = await passesPerSecond(batches, way);
      if (round > 0) rounds[i]?.push(passes);
    }
  }
  return ways.map(([way], i) => {
    const median = rounds[i]?.sort((a, b) => a - b)[ROUNDS >> 1] ?? 0;
    return {
      way,
      recordsPerSecond: Math.round(median * records),
      megabytesPerSecond: Math.round(median * bytes) / 1e6,
    };
  });
}

/** @throws plugin-invalid when the plugin itself fails rows: there is nothing to measure */
function judge(counts: ReadonlyMap<string, number>): void {
  const failed = counts.get("plugin-failed") ?? 0;
  if (failed === 0) return;
  const what = `the plugin fails ${failed} of the rows: run "sealstream plugin test" with this input first`;
  throw new SealstreamError("plugin-invalid", what);
}

async function runBench(inputs: PluginInputs, batches: readonly InputColumn[]) {
  const { module, config, memoryMaxBytes, deadlineMs } = inputs;
  const limits = { memoryMaxBytes, deadlineMs, maxOutputBytes: MAX_OUTPUT_BYTES };
  const host = await createPluginHost({ module, config, limits });
  try {
    const counts = new Map<string, number>();
    for (const batch of batches) {
      // First of all where it can be ended: what loops would hang this process.
      for (const code of (await host.transform([batch], batch.length)).status) {
        const name = STATUS_NAMES[code] ?? "";
        counts.set(name, (counts.get(name) ?? 0) + 1);
      }
    }
    judge(counts);
    const compiled = compilePlugin(module, memoryMaxBytes);
    const instance = createInstance({ module: compiled, config, limits });
    const speeds = await measure(batches, [
      [
        "instance, in this thread",
        (batch) => instance.transform(packBatch([batch], 0, batch.length)),
      ],
      ["worker, as in a stage", (batch) => host.transform([batch], batch.length)],
    ]);
    return { speeds, counts };
  } finally {
    await host.close();
  }
}

export async function benchCommand(
  context: CommandContext,
  path: string,
  options: Options,
): Promise<number> {
  const inputs = readInputs(path, options);
  if (inputs.rows.length === 0) {
    throw new SealstreamError(
      "usage",
      "plugin bench needs --input FILE with a record on each line.",
    );
  }
  const { speeds, counts } = await runBench(inputs, batchesOf(inputs.rows));
  if (options["json"] === true) {
    const statuses = Object.fromEntries(counts);
    context.print(JSON.stringify({ sha256: inputs.sha256, statuses, rounds: ROUNDS, speeds }));
    return EXIT.ok;
  }
  context.print(`${"way".padEnd(26)}${"records/s".padStart(14)}${"MB/s".padStart(10)}`);
  for (const { way, recordsPerSecond, megabytesPerSecond } of speeds) {
    const records = recordsPerSecond.toLocaleString("en").padStart(14);
    context.print(`${way.padEnd(26)}${records}${megabytesPerSecond.toFixed(1).padStart(10)}`);
  }
  const ends = [...counts].map(([name, count]) => `${count} ${name}`).join(", ");
  context.tell(`medians of ${ROUNDS} rounds; of the rows of one pass: ${ends}`);
  return EXIT.ok;
}
