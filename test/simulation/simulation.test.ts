/**
 * Ten thousand seeds of the lane's simulation; see `world.ts` for what fails in them and what must hold.
 *
 * `SIMULATION_SEEDS=n` runs so many, `SIMULATION_SEED=n` runs one and prints its scenario. A seed that fails prints a
 * scenario made small, to paste into `regressions.test.ts`.
 */
import { describe, expect, it } from "vitest";
import { ACTIONS, FAULTS, printScenario, REQUESTS, scenarioOf } from "./scenario.ts";
import { shrink, simulate } from "./shrink.ts";

const FIRST_SEED = 1;
const SEEDS = Number(process.env["SIMULATION_SEEDS"] ?? 10_000);
const ONE_SEED = process.env["SIMULATION_SEED"];
/** Far above what it takes, on a machine that does something else too. */
const TIMEOUT_MS = 300_000;
/** A run below this many seeds is somebody looking for something: it says nothing of what was covered. */
const COVERED_SEEDS = 10_000;
/** How often each action must have been cut short on either side, and each kind of fault have struck. */
const LEAST_CRASHES = 10;
const LEAST_FAULTS = 50;

const EVENTS = [
  "settle",
  "gap",
  "join",
  "leave",
  "kill",
  "wake",
  "tick",
  "pause",
  "rebalance",
  "retention",
  "expire",
  "set-offset",
  "lose-changelog",
  "recreate-input",
];

function add(into: Map<string, number>, from: ReadonlyMap<string, number>): void {
  for (const [name, count] of from) {
    into.set(name, (into.get(name) ?? 0) + count);
  }
}

function report(seed: number, violations: readonly string[]): string {
  const small = shrink(scenarioOf(seed));
  return `Seed ${seed}:\n${violations.join("\n")}\nMade small:\n${printScenario(small)}\n${simulate(small).violations.join("\n")}`;
}

describe("the lane in simulation", () => {
  it("runs the same way each time", () => {
    for (let seed = FIRST_SEED; seed < FIRST_SEED + 20; seed += 1) {
      expect(simulate(scenarioOf(seed))).toEqual(simulate(scenarioOf(seed)));
    }
  });

  it.skipIf(ONE_SEED === undefined)("keeps its promises in the seed asked for", () => {
    const seed = Number(ONE_SEED);
    const { violations, fatal, struck } = simulate(scenarioOf(seed));
    console.log(printScenario(scenarioOf(seed)), fatal, struck);
    expect(violations, violations.length === 0 ? "" : report(seed, violations)).toEqual([]);
  });

  it.skipIf(ONE_SEED !== undefined)(
    `keeps its promises in ${SEEDS} seeds`,
    () => {
      const struck = new Map<string, number>();
      let slowest = { seed: 0, tasks: 0 };
      let ended = 0;
      let tasks = 0;
      for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed += 1) {
        const outcome = simulate(scenarioOf(seed));
        if (outcome.violations.length > 0) {
          expect.fail(report(seed, outcome.violations));
        }
        add(struck, outcome.struck);
        ended += outcome.fatal.length > 0 ? 1 : 0;
        tasks += outcome.tasks;
        slowest = outcome.tasks > slowest.tasks ? { seed, tasks: outcome.tasks } : slowest;
      }
      const faults = new Map<string, number>();
      for (const [name, count] of struck) {
        const kind = name.split("/").at(-1) ?? name;
        faults.set(kind, (faults.get(kind) ?? 0) + count);
      }
      console.log(
        `${SEEDS} seeds from ${FIRST_SEED}, ${tasks} events, ${ended} ended by a state fault; slowest ${slowest.seed} with ${slowest.tasks} events; ${[...faults].map(([name, count]) => `${name} ${count}`).join(", ")}`,
      );
      if (SEEDS >= COVERED_SEEDS) {
        expect(uncovered(struck, faults)).toEqual([]);
        // A state fault that never ends a lane was not one.
        expect(ended).toBeGreaterThan(LEAST_FAULTS);
      }
    },
    TIMEOUT_MS,
  );
});

/** What was not tried often enough: a test that cannot fail is a defect. */
function uncovered(
  struck: ReadonlyMap<string, number>,
  faults: ReadonlyMap<string, number>,
): string[] {
  const missing: string[] = [];
  for (const action of ACTIONS) {
    const crashes = REQUESTS.has(action)
      ? ["crash-before", "crash-sent", "crash-after"]
      : ["crash-before", "crash-after"];
    for (const crash of crashes) {
      if ((struck.get(`${action}/${crash}`) ?? 0) < LEAST_CRASHES) {
        missing.push(`${action}/${crash}: ${struck.get(`${action}/${crash}`) ?? 0}`);
      }
    }
  }
  for (const kind of [...FAULTS, ...EVENTS]) {
    if ((faults.get(kind) ?? 0) < LEAST_FAULTS) {
      missing.push(`${kind}: ${faults.get(kind) ?? 0}`);
    }
  }
  return missing;
}
