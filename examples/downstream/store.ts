/**
 * What the example service makes of predictions: how often each label came, and where it stands, in one small file.
 *
 * A batch may be handed over twice, when the service was killed before its place was kept. Its sequence tells: what is
 * not above the last one of its lane was counted. Count and place are one file, replaced at once, so that they agree.
 * Must not keep record ids or scores: those are for whoever asked for the prediction.
 */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import type { PredictionBatch } from "../../pipeline/client/predictions.ts";

export interface Tally {
  /** Predictions by label. */
  readonly labels: Readonly<Record<string, number>>;
  /** Last counted sequence by lane. */
  readonly lanes: Readonly<Record<string, number>>;
}

/** The tally with a batch in it, or as it was when the batch is in it already. */
export function count(tally: Tally, { lane, next, predictions }: PredictionBatch): Tally {
  if (next.sequence <= (tally.lanes[lane] ?? -1)) return tally;
  const labels = { ...tally.labels };
  for (const { label } of predictions) labels[label] = (labels[label] ?? 0) + 1;
  return { labels, lanes: { ...tally.lanes, [lane]: next.sequence } };
}

/** The tally of a file; an empty one where there is no file yet. */
export function load(file: string): Tally {
  try {
    // Because this service alone writes the file.
    return JSON.parse(readFileSync(file, "utf8")) as Tally;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return { labels: {}, lanes: {} };
    throw error;
  }
}

/** Replaces the file in one step: whoever reads it sees the old tally or the new one. */
export function save(file: string, tally: Tally): void {
  writeFileSync(`${file}.new`, `${JSON.stringify(tally)}\n`);
  renameSync(`${file}.new`, file);
}
