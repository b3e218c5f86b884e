/** The chaos run of `npm run chaos`, short: twenty seconds of faults, counted by Kafka's own console consumer. */
import { join } from "node:path";
import { expect, it } from "vitest";
import { runChaos } from "./harness/chaos.ts";

const SEED = 14;

it("loses, doubles and reorders nothing while brokers and stages die", {
  // It drains within two minutes at worst; a machine that does much else starts thirteen processes slowly.
  timeout: 480_000,
}, async () => {
  const told: string[] = [];
  const result = await runChaos({
    ...{ seed: SEED, durationMs: 20_000, recordsPerSecond: 30, faultsEveryMs: [1_500, 3_500] },
    ...{ drainMs: 120_000, sabotage: null },
    cacheDir: join(import.meta.dirname, "../../build/kafka"),
    signal: new AbortController().signal,
    tell: (line) => told.push(line),
  });
  const { hops, findings, verdict, logs, faults } = result;
  expect(findings, `${told.join("\n")}\nlogs: ${logs}`).toEqual([]);
  expect(verdict, `${JSON.stringify(hops, null, 1)}\nlogs: ${logs}`).toEqual({
    missing: 0,
    duplicated: 0,
    outOfOrder: 0,
    foreign: 0,
  });
  // It says nothing where nothing flowed or nothing died.
  for (const name of ["raw -> desensitized", "examples -> contributions", "packs -> predictions"]) {
    expect(hops.find((hop) => hop.name === name)?.found).toBeGreaterThan(0);
  }
  const { skipped: _, ...done } = faults;
  expect(Object.values(done).reduce((sum, count) => sum + count, 0)).toBeGreaterThan(4);
});
