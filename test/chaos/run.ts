/**
 * `npm run chaos -- --seed S --minutes M`: loses nothing, doubles nothing, reorders nothing, whatever dies.
 *
 * The last line is `missing 0, duplicated 0, out of order 0` and the exit code 0, or what was wrong, 1, and where the
 * logs are. `--json` prints the result as one JSON line instead. `--sabotage duplicate|drop|swap` falsifies the outcome:
 * the check must then fail.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type ChaosResult, runChaos, type Sabotage } from "./harness/chaos.ts";
import { verdictLine } from "./harness/checker.ts";

const SABOTAGES: readonly Sabotage[] = ["duplicate", "drop", "swap"];
const MINUTE_MS = 60_000;
/** Beyond a run's own minutes: what came in at the end of it must come through in this. */
const DRAIN_MS = 150_000;

function readOptions() {
  const { values } = parseArgs({
    options: {
      seed: { type: "string" },
      minutes: { type: "string", default: "2" },
      rate: { type: "string", default: "40" },
      sabotage: { type: "string" },
      json: { type: "boolean", default: false },
    },
  });
  const seed = values.seed === undefined ? Date.now() % 1_000_000 : Number(values.seed);
  const minutes = Number(values.minutes);
  const rate = Number(values.rate);
  const sabotage = SABOTAGES.find((name) => name === values.sabotage) ?? null;
  const isFine =
    Number.isSafeInteger(seed) &&
    minutes > 0 &&
    rate > 0 &&
    (sabotage !== null) === (values.sabotage !== undefined);
  if (!isFine) {
    throw new Error(
      "usage: chaos [--seed INTEGER] [--minutes M] [--rate RECORDS_PER_SECOND] [--json]",
    );
  }
  return { seed, minutes, rate, sabotage, json: values.json };
}

function print(result: ChaosResult): void {
  const say = (line: string): boolean => process.stdout.write(`${line}\n`);
  for (const {
    name,
    expected,
    found,
    missing,
    duplicated,
    outOfOrder,
    foreign,
    examples,
  } of result.hops) {
    const faults = missing + duplicated + outOfOrder + foreign;
    const wrong = `  missing ${missing}, duplicated ${duplicated}, out of order ${outOfOrder}, foreign ${foreign}: ${examples.join("; ")}`;
    say(
      `${name.padEnd(38)} expected ${String(expected).padStart(6)} found ${String(found).padStart(6)}${faults === 0 ? "" : wrong}`,
    );
  }
  const faults = Object.entries(result.faults).map(([kind, count]) => `${kind} ${count}`);
  say(
    `seed ${result.seed}; faults: ${faults.join(", ")}; restarts ${result.restarts}; repeated sends ${result.repeatedSends}`,
  );
  for (const finding of result.findings) say(`FINDING ${finding}`);
  if (result.logs !== null) say(`logs: ${result.logs}`);
  say(verdictLine(result.verdict));
}

const { seed, minutes, rate, sabotage, json } = readOptions();
const stop = new AbortController();
for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
  process.once(signal, () => stop.abort(new Error(`stopped by ${signal}`)));
}
process.stderr.write(`chaos with seed ${seed} for ${minutes} minutes\n`);
const beganMs = performance.now();
try {
  const result = await runChaos({
    ...{ seed, durationMs: minutes * MINUTE_MS, recordsPerSecond: rate },
    ...{ faultsEveryMs: [2_000, 5_000], drainMs: DRAIN_MS, sabotage },
    cacheDir: join(import.meta.dirname, "../../build/kafka"),
    signal: stop.signal,
    tell: (line) => {
      const seconds = Math.round((performance.now() - beganMs) / 1_000);
      process.stderr.write(`${String(seconds).padStart(4)} s  ${line}\n`);
    },
  });
  if (json) process.stdout.write(`${JSON.stringify(result)}\n`);
  else print(result);
  process.exitCode = result.passed ? 0 : 1;
} catch (error) {
  process.stderr.write(
    `chaos could not run: ${error instanceof Error ? error.message : String(error)}\n`,
  );
  process.exitCode = 1;
}
