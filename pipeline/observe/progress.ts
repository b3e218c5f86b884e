/**
 * Progress of stages: what a stage process reports once a second, and the lines a person sees of it.
 *
 * A report holds counts, sizes and codes only.
 */
import type { Stage } from "../stream/contract.ts";
import type { LaneProgress } from "../stream/lane-options.ts";

/** One line of a stage process's standard output under `--json`. */
export interface StageReport {
  readonly event: "progress";
  readonly stage: Stage["name"];
  readonly instance: number;
  readonly lanes: number;
  readonly records: number;
  readonly outputs: number;
  readonly deadLetters: number;
  readonly lag: number;
  /** Seconds spent in the stage's own work. */
  readonly busySeconds: number;
  readonly rssBytes: number;
  readonly rssMaxBytes: number;
  /** What only this stage knows, such as the model version or epsilon. */
  readonly notes: Readonly<Record<string, number | string>>;
}

/** Adds up the progress of an instance's lanes. */
export class ProgressCounter {
  readonly #stage: Stage["name"];
  readonly #instance: number;
  readonly #lagByLane = new Map<number, number>();
  readonly #notes: Record<string, number | string> = {};
  readonly #drops = new Map<string, number>();
  #records = 0;
  #outputs = 0;
  #deadLetters = 0;
  #busyMs = 0;

  constructor(stage: Stage["name"], instance: number) {
    this.#stage = stage;
    this.#instance = instance;
  }

  record(progress: LaneProgress): void {
    this.#records += progress.records;
    this.#outputs += progress.outputs;
    this.#deadLetters += progress.deadLetters;
    this.#busyMs += progress.processMs;
    for (const reason of progress.drops) {
      const name = `left out: ${reason}`;
      this.#drops.set(name, (this.#drops.get(name) ?? 0) + 1);
    }
    // A lane that was given away may still finish its last step.
    if (this.#lagByLane.has(progress.lane)) {
      this.#lagByLane.set(progress.lane, progress.lag);
    }
  }

  /** Replaces the set of lanes: a lane that went elsewhere has no lag here. */
  assign(lanes: readonly number[]): void {
    this.#lagByLane.clear();
    for (const lane of lanes) {
      this.#lagByLane.set(lane, 0);
    }
  }

  /** @param value null: there is nothing to say any more */
  note(name: string, value: number | string | null): void {
    if (value === null) {
      delete this.#notes[name];
    } else {
      this.#notes[name] = value;
    }
  }

  /** @param memory resident set size now and at its largest, in bytes */
  report(memory: { rssBytes: number; rssMaxBytes: number }): StageReport {
    return {
      event: "progress",
      stage: this.#stage,
      instance: this.#instance,
      lanes: this.#lagByLane.size,
      records: this.#records,
      outputs: this.#outputs,
      deadLetters: this.#deadLetters,
      lag: [...this.#lagByLane.values()].reduce((sum, lag) => sum + lag, 0),
      busySeconds: this.#busyMs / 1000,
      ...memory,
      notes: { ...this.#notes, ...Object.fromEntries(this.#drops) },
    };
  }
}

const MEBIBYTE = 1024 * 1024;

/** One line for a person. */
export function progressLine(report: StageReport): string {
  const notes = Object.entries(report.notes).map(([name, value]) => `${name} ${value}`);
  return [
    `${report.stage}${report.instance > 0 ? `#${report.instance}` : ""}`.padEnd(13),
    `${report.records.toLocaleString("en")} records`.padStart(16),
    `lag ${report.lag}`.padStart(8),
    `dead ${report.deadLetters}`.padStart(7),
    `${Math.round(report.rssBytes / MEBIBYTE)} MB`.padStart(7),
    ...notes,
  ].join("  ");
}
