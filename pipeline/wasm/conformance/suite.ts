/**
 * The conformance suite: runs a plugin against plugins/ABI.md and says for each rule whether it holds.
 *
 * The plugin may do anything: it runs in workers that are ended at the deadline, with a memory maximum. What it is held to
 * beyond the bytes of the ABI is what the host relies on when it cuts batches, repeats them and starts instances anew.
 */

import { STATUS_OK } from "../abi.ts";
import { PluginFault } from "../fault.ts";
import { compilePlugin, PAGE_BYTES } from "../module-check.ts";
import { type CheckName, type CheckResult, Findings } from "./checks.ts";
import type { ProbeSetup, Wipe } from "./messages.ts";
import { type Answer, type Probe, type RowAnswer, startProbe } from "./probe.ts";
import { largeRows, NOT_UTF8, sampleRows } from "./samples.ts";

export interface ConformanceOptions {
  /** The WASM module, as built. */
  readonly module: Uint8Array;
  readonly config: Uint8Array;
  /** Rows of the user's, beside those that are always tried. */
  readonly rows: readonly Uint8Array[];
  readonly memoryMaxBytes: number;
  /** For each batch. */
  readonly deadlineMs: number;
}

export interface ConformanceReport {
  readonly checks: readonly CheckResult[];
  readonly passed: boolean;
  /** Whether it has one column out and one row for each accepted row. */
  readonly fitsPipeline: boolean;
}

/** Batches of the suite are small; a plugin that makes this much of them does not make it of them. */
const MAX_OUTPUT_BYTES = 32 * 1024 * 1024;
const TINY_ROWS = 8;
/** A leak of 64 bytes a batch shows: half of these batches leak a page. */
const TINY_BATCHES = 2048;
const LARGE_BATCHES = 40;
const MOST_SINGLES = 128;
/** Enough to know that a plugin does not end; each costs its time. */
const MOST_DEADLINES = 3;
/** What a lane hands over at once. */
const MANY_ROWS = 4096;
/** Many batches in one go may take this many times as long as one. */
const MANY_BATCHES_SHARE = 15;

const DURING_BATCHES: readonly CheckName[] = [
  ...(["traps", "deadline", "memory", "result", "pointers", "offsets"] as const),
  ...(["row-statuses", "output-size", "whole-batch"] as const),
];

/** One run of the suite. */
class Suite {
  readonly findings = new Findings();
  readonly #options: ConformanceOptions;
  readonly #module: WebAssembly.Module;
  readonly #rows: readonly Uint8Array[];
  /** What the sample rows become in a fresh instance. */
  #base: readonly RowAnswer[] = [];
  /** Of the guest's memory before any batch. */
  #initialBytes = 0;
  /** Columns of its first result; -1 before that. */
  #columns = -1;
  #sharedProbe: Probe | null = null;
  #deadlines = 0;

  constructor(options: ConformanceOptions, module: WebAssembly.Module) {
    this.#options = options;
    this.#module = module;
    this.#rows = sampleRows(options.rows);
  }

  #startProbe(wipe: Wipe): Probe {
    const { config, deadlineMs } = this.#options;
    const limits = { maxOutputBytes: MAX_OUTPUT_BYTES };
    const setup: ProbeSetup = { module: this.#module, config, limits, wipe };
    return startProbe(setup, deadlineMs, deadlineMs * MANY_BATCHES_SHARE);
  }

  async #withProbe<T>(work: (probe: Probe) => Promise<T>, wipe: Wipe = "zeros"): Promise<T> {
    const probe = this.#startProbe(wipe);
    try {
      return await work(probe);
    } finally {
      await probe.end();
    }
  }

  /** What became of the rows; null after a fault, which is kept as a finding of its own check and of `name`. */
  async #rowsOf(
    answering: Promise<Answer>,
    what: string,
    name: CheckName | null,
  ): Promise<readonly RowAnswer[] | null> {
    const answer = await answering;
    if (name !== null) this.findings.ran(name);
    const most = Math.floor(this.#options.memoryMaxBytes / PAGE_BYTES) * PAGE_BYTES;
    const bytes = answer.type === "answer" ? answer.memoryBytes[1] : answer.memoryBytes;
    if (bytes >= most && bytes > this.#initialBytes) {
      this.findings.fail("memory", `it has grown its memory to its maximum (${what})`);
    }
    if (answer.type === "answer") {
      if (this.#columns < 0) this.#columns = answer.columns;
      if (answer.columns !== this.#columns) {
        this.findings.fail("result", `it has changed its number of columns (${what})`);
      }
      return answer.rows;
    }
    if (answer.fault.kind === "deadline") this.#deadlines++;
    this.findings.fault(answer.fault, what);
    if (name !== null) this.findings.fail(name, answer.fault.message);
    return null;
  }
  /** Compares what became of rows with what became of the same rows in a fresh instance. */
  #compare(
    rows: readonly RowAnswer[],
    which: (i: number) => number,
    what: string,
    names: { readonly fate: CheckName; readonly value: CheckName },
  ): void {
    this.findings.ran(names.fate, names.value);
    for (const [i, row] of rows.entries()) {
      const expected = this.#base[which(i)];
      if (expected === undefined) continue;
      if (row.status !== expected.status) {
        this.findings.fail(names.fate, `a row got another status ${what}`);
      } else if (JSON.stringify(row.outputs) !== JSON.stringify(expected.outputs)) {
        this.findings.fail(names.value, `a row became something else ${what}`);
      }
    }
  }

  /** Starts, and runs the sample rows; false: nothing else can be said. */
  async start(): Promise<boolean> {
    return this.#withProbe(async (probe) => {
      const started = await probe.started;
      if (typeof started !== "number") {
        this.findings.startFault(started);
        return false;
      }
      this.#initialBytes = started;
      this.findings.started();
      await this.#rowsOf(probe.run([]), "an empty batch", "empty-batch");
      const base = await this.#rowsOf(probe.run(this.#rows), "the sample rows", null);
      if (base === null) return false;
      this.findings.ran(...DURING_BATCHES);
      this.#base = base;
      const again = await this.#rowsOf(probe.run(this.#rows), "the sample rows again", null);
      const both = { fate: "repeatable", value: "repeatable" } as const;
      if (again !== null) this.#compare(again, (i) => i, "in the same batch again", both);
      return true;
    });
  }

  async repeat(): Promise<void> {
    await this.#withProbe(async (probe) => {
      const rows = await this.#rowsOf(probe.run(this.#rows), "a fresh instance", null);
      const both = { fate: "repeatable", value: "repeatable" } as const;
      if (rows !== null) this.#compare(rows, (i) => i, "in a fresh instance", both);
    });
    await this.#withProbe(async (probe) => {
      const others = this.#rows.toReversed().flatMap((row) => [row, Buffer.concat([row, row])]);
      await this.#rowsOf(probe.run(others), "other rows", null);
      const rows = await this.#rowsOf(probe.run(this.#rows), "after other rows", null);
      const both = { fate: "other-batches", value: "other-batches" } as const;
      if (rows !== null) this.#compare(rows, (i) => i, "after a batch of other rows", both);
    });
  }

  async split(): Promise<void> {
    const names = { fate: "row-fates", value: "row-values" } as const;
    const { length } = this.#rows;
    const parts: [from: number, to: number][] = [
      [0, length >> 1],
      [length >> 1, length],
      ...Array.from({ length: Math.min(length, MOST_SINGLES) }, (_, i): [number, number] => [
        i,
        i + 1,
      ]),
    ];
    for (const [from, to] of parts) {
      if (this.#deadlines > MOST_DEADLINES) return;
      // Each part in an instance of its own would take minutes; what is kept between batches has checks of its own.
      const rows = await this.#shared((probe) =>
        this.#rowsOf(probe.run(this.#rows.slice(from, to)), "a part of the sample rows", null),
      );
      if (rows !== null) this.#compare(rows, (i) => from + i, "in a smaller batch", names);
    }
    const reversed = await this.#shared((probe) =>
      this.#rowsOf(probe.run(this.#rows.toReversed()), "the sample rows reversed", null),
    );
    if (reversed !== null) {
      this.#compare(reversed, (i) => length - 1 - i, "beside others in another order", names);
    }
    const many = Array.from({ length: MANY_ROWS }, (_, i) => this.#rows[i % length] ?? null);
    const tiled = await this.#shared((probe) =>
      this.#rowsOf(probe.run(many), `a batch of ${MANY_ROWS} rows`, null),
    );
    if (tiled !== null) this.#compare(tiled, (i) => i % length, "in a larger batch", names);
  }

  /** Rows that plugins forget about, each beside a sample row that must not notice. */
  async edges(): Promise<void> {
    const kinds: [CheckName, readonly (Uint8Array | null)[], string][] = [
      ["null-rows", this.#rows.map(() => null), "null rows"],
      ["large-values", largeRows(), "values of 64 KiB and more"],
      ["not-utf8", NOT_UTF8, "bytes that are not UTF-8"],
    ];
    for (const [name, edges, what] of kinds) {
      const mixed = edges.flatMap((edge, i) => [edge, this.#rows[i % this.#rows.length] ?? null]);
      const rows = await this.#shared((probe) => this.#rowsOf(probe.run(mixed), what, name));
      const samples = rows?.filter((_, i) => i % 2 === 1) ?? [];
      const both = { fate: name, value: name };
      this.#compare(samples, (i) => i % this.#rows.length, `beside ${what}`, both);
    }
  }

  async leaks(): Promise<void> {
    const large = largeRows().slice(0, 3);
    const tries: [readonly Uint8Array[], number][] = [
      [this.#rows.slice(0, TINY_ROWS), TINY_BATCHES],
      [large, LARGE_BATCHES],
    ];
    for (const [rows, times] of tries) {
      await this.#withProbe(async (probe) => {
        const answer = await probe.run(rows, times);
        await this.#rowsOf(Promise.resolve(answer), `${times} batches`, null);
        this.findings.ran("reset");
        if (answer.type === "fault") {
          this.findings.fail("reset", `${answer.fault.message} in the course of ${times} batches`);
        } else if (answer.memoryBytes[1] > answer.memoryBytes[0]) {
          const [half, after] = answer.memoryBytes;
          const pages = Math.ceil((after - half) / PAGE_BYTES);
          const what = `batches ${times / 2} to ${times} took ${pages} pages of memory more`;
          this.findings.fail("reset", what);
        }
      });
    }
  }

  async wipes(): Promise<void> {
    if (this.#options.config.length === 0) {
      this.findings.skip("config-after-wipe", "not run: there is no configuration (--config FILE)");
      return;
    }
    for (const wipe of ["noise", "nothing"] as const) {
      await this.#withProbe(async (probe) => {
        const rows = await this.#rowsOf(probe.run(this.#rows), "another wipe", "config-after-wipe");
        const both = { fate: "config-after-wipe", value: "config-after-wipe" } as const;
        if (rows !== null) this.#compare(rows, (i) => i, "when that memory held other bytes", both);
      }, wipe);
    }
  }

  /** What is no fault, but worth saying. Returns whether a pipeline file can run it. */
  notes(): boolean {
    this.findings.ran("accepts-rows", "one-row-each");
    const accepted = this.#base.filter(({ status }) => status === STATUS_OK);
    if (accepted.length === 0) this.findings.note("accepts-rows", "it refused every row");
    const one = accepted.every(({ outputs }) => outputs.length === 1 && outputs[0]?.[0] !== null);
    const fits = this.#columns === 1 && one;
    if (!fits) {
      const what =
        this.#columns === 1
          ? "a row became several rows, or null"
          : `it has ${this.#columns} columns`;
      this.findings.note("one-row-each", what);
    }
    return fits;
  }

  /** Runs with a probe that is shared for as long as it lives. */
  async #shared<T>(work: (probe: Probe) => Promise<T>): Promise<T> {
    if (this.#sharedProbe === null || this.#sharedProbe.hasEnded()) {
      this.#sharedProbe = this.#startProbe("zeros");
    }
    return work(this.#sharedProbe);
  }

  async end(): Promise<void> {
    await this.#sharedProbe?.end();
  }
}

function report(findings: Findings, fitsPipeline: boolean): ConformanceReport {
  const passed = !findings.hasFailed();
  return { checks: findings.results(), passed, fitsPipeline: passed && fitsPipeline };
}

/** Runs every check. A plugin that fails is an outcome; nothing that it does is thrown. */
export async function testPlugin(options: ConformanceOptions): Promise<ConformanceReport> {
  let module: WebAssembly.Module;
  try {
    module = compilePlugin(options.module, options.memoryMaxBytes);
  } catch (error) {
    if (!(error instanceof PluginFault)) throw error;
    const findings = new Findings();
    findings.startFault(error);
    return report(findings, false);
  }
  const suite = new Suite(options, module);
  try {
    if (!(await suite.start())) return report(suite.findings, false);
    await suite.repeat();
    await suite.split();
    await suite.edges();
    await suite.leaks();
    await suite.wipes();
    return report(suite.findings, suite.notes());
  } finally {
    await suite.end();
  }
}
