/**
 * The checks of the conformance suite: their names, what each holds a plugin to, and what to do when it does not.
 *
 * Names are part of what users see and scripts read: they do not change.
 */
import type { ProbeFault } from "./messages.ts";

export type CheckOutcome = "pass" | "fail" | "note" | "skipped";

export interface CheckResult {
  readonly name: CheckName;
  readonly outcome: CheckOutcome;
  /** What holds, or what does not and what to do. */
  readonly sentence: string;
}

interface Check {
  readonly holds: string;
  readonly remedy: string;
}

/** In the order in which they are reported. */
export const CHECKS = {
  module: {
    holds: "is a WebAssembly module with one memory of its own, below the maximum",
    remedy: "build it for wasm32 with one memory that is neither imported nor shared",
  },
  imports: {
    holds: "imports nothing but env.abort and host.log",
    remedy: "build it without a standard library that asks for files, clocks or randomness",
  },
  exports: {
    holds: "exports its memory and the six functions, with their parameters",
    remedy: "export memory, abi_version, alloc, configure, reset, transform and last_error",
  },
  version: { holds: "speaks version 1 of the ABI", remedy: "let abi_version answer 1" },
  alloc: {
    holds: "hands out memory that it has, aligned, and 0 when there is none",
    remedy: "let alloc grow the memory, align what it returns and answer 0 when growing fails",
  },
  configure: {
    holds: "takes its configuration",
    remedy: "hand over what it wants with --config FILE, or mend configure",
  },
  "empty-batch": {
    holds: "answers a batch of no rows",
    remedy: "answer a result of 0 rows: hosts ask with an empty batch whether a plugin still works",
  },
  traps: {
    holds: "does not trap",
    remedy: "answer a status for what cannot be done; a trap costs the rows of a batch their time",
  },
  deadline: {
    holds: "ends within the deadline",
    remedy: "look for a loop that does not end; hosts end the worker and refuse the row",
  },
  memory: {
    holds: "leaves memory alone that it does not need",
    remedy: "look for memory.grow in a loop: a small batch must not take all there is",
  },
  result: {
    holds: "answers with a result as plugins/ABI.md lays it out",
    remedy: "compare header, counts and columns with plugins/ABI.md",
  },
  pointers: {
    holds: "points into its own memory, aligned",
    remedy: "check the pointers of result, statuses, row numbers, offsets and data",
  },
  offsets: {
    holds: "has offsets that begin at 0, rise and end where the data ends",
    remedy: "write rows + 1 offsets, each at least the one before",
  },
  "row-statuses": {
    holds: "gives every row a status, and output to the rows that are ok and to no others",
    remedy: "write one known status a row, and for each ok row an output row that names it",
  },
  "output-size": {
    holds: "stays below the output limit",
    remedy:
      "look for output that is not made from the batch; refuse a row that would grow without bounds",
  },
  "whole-batch": {
    holds: "fails no batch as a whole",
    remedy:
      "give the row that cannot be done status 12 and go on; last_error says what your plugin said",
  },
  "null-rows": {
    holds: "takes null rows, and they change nothing for the others",
    remedy: "look at the validity bit before the offsets, and give null rows a status, such as 2",
  },
  "large-values": {
    holds: "takes values above a page, and they change nothing for the others",
    remedy: "take room by the length of the value, not a fixed buffer; or refuse with status 3",
  },
  "not-utf8": {
    holds: "takes bytes that are not UTF-8, and they change nothing for the others",
    remedy: "refuse the row with status 4, or treat it as bytes",
  },
  repeatable: {
    holds: "makes the same of the same batch, again and in a fresh instance",
    remedy: "begin every batch from what configure left: no counters, caches or random numbers",
  },
  "other-batches": {
    holds: "makes the same of a batch whatever came before it",
    remedy: "keep nothing of a batch: look for globals that transform writes",
  },
  "row-fates": {
    holds: "decides the fate of a row alone, however batches are cut",
    remedy:
      "decide each row by itself: hosts cut batches where they like, and again after a failure",
  },
  "row-values": {
    holds: "makes the same of a row, however batches are cut",
    remedy:
      "make each row's output from that row alone: look for state that is kept from row to row",
  },
  reset: {
    holds: "needs no more memory after thousands of batches than after half of them",
    remedy: "let reset drop everything that was allocated since configure",
  },
  "config-after-wipe": {
    holds: "does not read the host's copy of its configuration after configure",
    remedy: "copy in configure what is needed later: hosts wipe that memory",
  },
  "accepts-rows": {
    holds: "accepts some of the rows that were tried",
    remedy: "hand over rows that it takes with --input FILE, else little of it has been tried",
  },
  "one-row-each": {
    holds:
      "has one column, and one row for each accepted row: fit for `plugins` of a pipeline file",
    remedy:
      "a pipeline file's `plugins` need one column out and exactly one row for each accepted row",
  },
} as const satisfies Record<string, Check>;

export type CheckName = keyof typeof CHECKS;

/** The check that a fault belongs to. */
const CHECK_OF_FAULT: Readonly<Record<ProbeFault["kind"], CheckName>> = {
  module: "module",
  imports: "imports",
  exports: "exports",
  version: "version",
  alloc: "alloc",
  configuration: "configure",
  trap: "traps",
  "refused-batch": "whole-batch",
  result: "result",
  pointers: "pointers",
  offsets: "offsets",
  rows: "row-statuses",
  "output-size": "output-size",
  deadline: "deadline",
  died: "traps",
};

/** In the order in which starting goes through them. */
const START_CHECKS: readonly CheckName[] = [
  ...(["module", "imports", "exports", "version", "alloc", "configure"] as const),
];

/** What is known so far; a check that nobody complained about passes, if it was run. */
export class Findings {
  readonly #found = new Map<CheckName, CheckResult>();
  readonly #ran = new Set<CheckName>();

  ran(...names: readonly CheckName[]): void {
    for (const name of names) this.#ran.add(name);
  }

  /** What keeps a plugin from starting: the checks before that one have passed. */
  startFault(fault: ProbeFault): void {
    const failed = START_CHECKS.indexOf(CHECK_OF_FAULT[fault.kind]);
    this.ran(...START_CHECKS.slice(0, Math.max(0, failed)));
    this.fault(fault, "");
  }

  started(): void {
    this.ran(...START_CHECKS);
  }

  fail(name: CheckName, what: string): void {
    if (this.#found.get(name)?.outcome === "fail") return;
    const sentence = `${what}: ${CHECKS[name].remedy}`;
    this.#found.set(name, { name, outcome: "fail", sentence });
  }

  fault({ kind, message }: ProbeFault, where: string): void {
    this.fail(CHECK_OF_FAULT[kind], where === "" ? message : `${message} (${where})`);
  }

  note(name: CheckName, what: string): void {
    this.#found.set(name, { name, outcome: "note", sentence: `${what}: ${CHECKS[name].remedy}` });
  }

  skip(name: CheckName, why: string): void {
    this.#found.set(name, { name, outcome: "skipped", sentence: why });
  }

  hasFailed(): boolean {
    return [...this.#found.values()].some(({ outcome }) => outcome === "fail");
  }

  results(): CheckResult[] {
    // Because the keys of CHECKS are the names.
    return (Object.keys(CHECKS) as CheckName[]).map((name) => {
      const found = this.#found.get(name);
      if (found !== undefined) return found;
      return this.#ran.has(name)
        ? { name, outcome: "pass", sentence: CHECKS[name].holds }
        : { name, outcome: "skipped", sentence: "not run, because of what fails above" };
    });
  }
}
