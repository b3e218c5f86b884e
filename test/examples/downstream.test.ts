/** The example service's file: each batch counts once, also when it is handed over twice, and survives a restart. */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { count, load, save } from "../../examples/downstream/store.ts";
import type { Prediction, PredictionBatch } from "../../pipeline/client/predictions.ts";

const folder = mkdtempSync(join(tmpdir(), "sealstream-downstream-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function batch(lane: number, sequence: number, labels: readonly number[]): PredictionBatch {
  const predictions = labels.map((label) => ({ label }) as Prediction);
  return { lane, predictions, next: { offset: sequence + 1, sequence } };
}

test("a batch that comes again is not counted again, another lane's of the same number is", () => {
  const file = join(folder, "tally.json");
  let tally = load(file);
  for (const one of [batch(0, 0, [3, 3, 7]), batch(1, 0, [3]), batch(0, 0, [3, 3, 7])]) {
    tally = count(tally, one);
    save(file, tally);
  }
  expect(load(file)).toEqual({ labels: { 3: 3, 7: 1 }, lanes: { 0: 0, 1: 0 } });
  tally = count(load(file), batch(0, 1, [7]));
  expect(count(tally, batch(0, 1, [7]))).toEqual(tally);
  expect(tally.labels).toEqual({ 3: 3, 7: 2 });
  expect(readdirSync(folder)).toEqual(["tally.json"]);
});
