/**
 * Makes a failing scenario small: takes operations away, then settings, as long as it still fails in the same way.
 */

import type { Sabotage } from "./sabotage.ts";
import type { Operation, Scenario } from "./scenario.ts";
import { type Outcome, World } from "./world.ts";

export function simulate(scenario: Scenario, sabotage: Sabotage | null = null): Outcome {
  return new World(scenario, sabotage).run();
}

/** What went wrong first, without its time and its numbers. */
function kindOf({ violations }: Outcome): string | null {
  return (
    violations
      .at(0)
      ?.replace(/^[\d.]+ ms: /, "")
      .replace(/\d+/g, "N")
      .slice(0, 40) ?? null
  );
}

export function shrink(scenario: Scenario, sabotage: Sabotage | null = null): Scenario {
  const wanted = kindOf(simulate(scenario, sabotage));
  let smallest = scenario;
  const accept = (candidate: Scenario): boolean => {
    if (wanted === null || kindOf(simulate(candidate, sabotage)) !== wanted) {
      return false;
    }
    smallest = candidate;
    return true;
  };
  for (const change of [
    { latency: null },
    { instances: 1 },
    { instances: 2 },
    { lanes: 1 },
    { transactionIntervalMs: 0 },
    { skipsExpired: false },
    { finish: "fresh" },
    { stage: "pass" },
  ] satisfies Partial<Scenario>[]) {
    accept({ ...smallest, ...change });
  }
  for (let isSmaller = true; isSmaller; ) {
    isSmaller = false;
    for (let size = Math.ceil(smallest.operations.length / 2); size > 0; size = size >> 1) {
      for (let at = smallest.operations.length - size; at >= 0; at -= size) {
        const operations = smallest.operations.toSpliced(at, size);
        isSmaller = accept({ ...smallest, operations }) || isSmaller;
      }
    }
    for (const [index, operation] of smallest.operations.entries()) {
      for (const simpler of simplerThan(operation)) {
        const operations = smallest.operations.with(index, simpler);
        isSmaller = accept({ ...smallest, operations }) || isSmaller;
      }
    }
  }
  return smallest;
}

function simplerThan(operation: Operation): Operation[] {
  if ("on" in operation) {
    return operation.part === 1 ? [{ ...operation, part: 0 }] : [];
  }
  if (operation.do === "write") {
    const simpler: Operation[] = operation.by === null ? [] : [{ ...operation, by: null }];
    return operation.records > 1 ? [...simpler, { ...operation, records: 1 }] : simpler;
  }
  return [];
}
