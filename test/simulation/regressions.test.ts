/**
 * Found once, kept for ever: literal lists of operations.
 *
 * The first group are bugs that the simulation found in the lane's machine; each failed before it was mended. The second
 * are the classical failures of exactly once, built by hand: each holds with every guard in place, and fails with the
 * one it is about taken away.
 */
import { describe, expect, it } from "vitest";
import type { Sabotage } from "./sabotage.ts";
import type { Operation, Scenario } from "./scenario.ts";
import { simulate } from "./shrink.ts";

const PLAIN = {
  stage: "pass",
  lanes: 1,
  instances: 1,
  maxRecords: 10,
  fetchRecords: 10,
  transactionIntervalMs: 0,
  skipsExpired: false,
  latency: null,
  finish: "same",
  operations: [],
} as const satisfies Scenario;

const scenario = (changes: Partial<Scenario>): Scenario => ({ ...PLAIN, ...changes });
const violations = (changes: Partial<Scenario>, sabotage: Sabotage | null = null) =>
  simulate(scenario(changes), sabotage).violations;

describe("bugs that the simulation found", () => {
  it("a first fetch that fills the window during the first step is not too much for the stage", () => {
    const operations: Operation[] = [{ do: "write", at: 510, lane: 0, by: 1, records: 6 }];
    const changes = { instances: 2, maxRecords: 5, fetchRecords: 8, finish: "fresh", operations };
    expect(violations(changes as Partial<Scenario>)).toEqual([]);
  });

  it("an owner that stood still between offset and changelog does not take its successor's work for damage", () => {
    const operations: Operation[] = [
      { do: "write", at: 163, lane: 0, by: null, records: 1 },
      { on: "locate", nth: 1, fault: "pause-after", ms: 600, part: 0 },
    ];
    expect(violations({ instances: 2, operations })).toEqual([]);
  });

  it("a lane that may go on without expired records does, instead of reading for ever where nothing is", () => {
    const operations: Operation[] = [
      { do: "write", at: 18, lane: 0, by: null, records: 2 },
      { do: "kill", at: 100, instance: 0 },
      { do: "write", at: 120, lane: 0, by: null, records: 4 },
      { do: "expire", at: 130, lane: 0, beyond: 2 },
    ];
    expect(violations({ skipsExpired: true, operations })).toEqual([]);
    expect(simulate(scenario({ skipsExpired: true, operations })).fatal).toEqual([]);
  });

  it("a lost changelog is noticed, also when only state was ever committed", () => {
    const lost: Operation = { do: "lose-changelog", at: 1_200, lane: 0 };
    const write: Operation = { do: "write", at: 18, lane: 0, by: null, records: 2 };
    for (const [stage, operations] of [
      ["genesis", [lost]],
      ["pass", [write, lost]],
    ] as const) {
      const outcome = simulate(scenario({ stage, operations }));
      expect(outcome.violations).toEqual([]);
      expect(outcome.fatal.map(({ code }) => code)).toEqual(["state-mismatch"]);
    }
  });

  it("a zombie whose next records were worked off and removed elsewhere is no case for an operator", () => {
    const operations: Operation[] = [
      { do: "write", at: 18, lane: 0, by: null, records: 2 },
      // The reader's next fetch is held back until everything behind it is done and gone.
      { on: "fetch", nth: 2, fault: "pause-before", ms: 900, part: 0 },
      { do: "write", at: 300, lane: 0, by: null, records: 4 },
      { do: "retention", at: 700, lane: 0 },
    ];
    expect(violations({ instances: 2, operations })).toEqual([]);
  });
});

describe("the classical failures of exactly once", () => {
  const twoOwners: Operation[] = [
    { do: "write", at: 20, lane: 0, by: null, records: 4 },
    { do: "write", at: 400, lane: 0, by: null, records: 2 },
  ];

  function holdsOnlyWith(guard: Sabotage, changes: Partial<Scenario>): void {
    expect(violations(changes)).toEqual([]);
    expect(violations(changes, guard)).not.toEqual([]);
  }

  it("a zombie finishes its transaction after its successor did the same work", () => {
    const paused: Operation = { on: "commit", nth: 1, fault: "pause-before", ms: 700, part: 0 };
    holdsOnlyWith("fence-keeps-epoch", { instances: 2, operations: [...twoOwners, paused] });
  });

  it("a dead process's commit arrives when its successor has begun", () => {
    const late: Operation = { on: "commit", nth: 1, fault: "crash-sent", ms: 210, part: 0 };
    holdsOnlyWith("fence-keeps-epoch", { instances: 2, operations: [...twoOwners, late] });
  });

  it("a commit takes effect and its answer is lost", () => {
    const unknown: Operation = { on: "commit", nth: 1, fault: "unknown", ms: 0, part: 0 };
    holdsOnlyWith("commit-is-retried", { operations: [...twoOwners, unknown] });
  });

  it("a commit is lost and taken for done", () => {
    const operations: Operation[] = [
      { do: "write", at: 255, lane: 0, by: null, records: 4 },
      { on: "commit", nth: 1, fault: "lost", ms: 0, part: 0 },
    ];
    holdsOnlyWith("commit-is-success", { stage: "window", operations });
  });

  it("the offset is read before the previous owner is fenced", () => {
    // The second owner has asked for the offset when the first one's commit, long on its way, takes effect.
    const operations: Operation[] = [
      { do: "write", at: 20, lane: 0, by: null, records: 4 },
      { on: "commit", nth: 1, fault: "slow", ms: 100, part: 0 },
      { do: "rebalance", at: 60 },
      { on: "fence", nth: 2, fault: "slow", ms: 150, part: 1 },
    ];
    holdsOnlyWith("read-before-fence", { instances: 2, operations });
  });

  it("the offset is not read again when the lane starts again", () => {
    // The second owner stands still before it starts again, while the first goes on.
    const operations: Operation[] = [
      { do: "write", at: 234, lane: 0, by: 1, records: 6 },
      { do: "write", at: 454, lane: 0, by: null, records: 6 },
      { do: "settle", at: 545, lane: 0, by: 1, isCommit: true },
      { on: "restart", nth: 1, fault: "pause-before", ms: 600, part: 0 },
      { on: "sendOffset", nth: 6, fault: "unknown", ms: 250, part: 0 },
      { on: "sendOffset", nth: 5, fault: "slow", ms: 600, part: 0 },
    ];
    holdsOnlyWith("located-once", { instances: 2, maxRecords: 4, fetchRecords: 2, operations });
  });

  it("records of an aborted transaction are handed in", () => {
    const operations: Operation[] = [
      { do: "write", at: 20, lane: 0, by: 0, records: 2 },
      { do: "write", at: 21, lane: 0, by: 1, records: 2 },
      { do: "settle", at: 60, lane: 0, by: 1, isCommit: false },
      { do: "write", at: 61, lane: 0, by: 1, records: 2 },
      { do: "settle", at: 80, lane: 0, by: 0, isCommit: true },
      { do: "settle", at: 90, lane: 0, by: 1, isCommit: true },
    ];
    holdsOnlyWith("unfiltered", { operations });
  });

  it("the group's offset is set back", () => {
    const operations: Operation[] = [...twoOwners, { do: "set-offset", at: 900, lane: 0, by: -3 }];
    holdsOnlyWith("changelog-unchecked", { operations });
  });

  it("a fetch of an ownership that was discarded is answered in the next", () => {
    const operations: Operation[] = [
      { do: "write", at: 157, lane: 0, by: null, records: 2 },
      { do: "write", at: 389, lane: 0, by: null, records: 5 },
      { on: "commit", nth: 2, fault: "unknown", ms: 250, part: 0 },
    ];
    holdsOnlyWith("ids-ignored", { instances: 2, fetchRecords: 2, finish: "fresh", operations });
  });

  it("an entry is written outside the transaction", () => {
    const crash: Operation = { on: "commit", nth: 1, fault: "crash-before", ms: 0, part: 0 };
    const operations: Operation[] = [{ do: "write", at: 20, lane: 0, by: null, records: 6 }, crash];
    holdsOnlyWith("entries-outside", { stage: "count", instances: 2, operations });
  });

  it("an owner that lives on writes its state into a changelog that lost the entries", () => {
    const operations: Operation[] = [
      { do: "write", at: 53, lane: 0, by: null, records: 5 },
      { do: "lose-changelog", at: 487, lane: 0 },
      { do: "write", at: 599, lane: 0, by: null, records: 2 },
      { do: "leave", at: 650, instance: 0 },
      { do: "join", at: 700 },
      { do: "write", at: 725, lane: 0, by: null, records: 4 },
    ];
    holdsOnlyWith("entries-unchecked", { stage: "count", finish: "fresh", operations });
  });

  it("an output is written outside the transaction", () => {
    const crash: Operation = { on: "commit", nth: 1, fault: "crash-before", ms: 0, part: 0 };
    holdsOnlyWith("output-outside", { operations: [...twoOwners, crash] });
  });
});
