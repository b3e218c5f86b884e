/**
 * Precision and recall of the detectors, by type, on a labelled corpus in fifteen locales; `SHOW_MISSES=1` prints what is
 * missed or found wrongly.
 *
 * A label is recalled when one detection of its type covers it; a detection is precise when it lies over a label of its
 * type. Leaked is what no detection of any type covers wholly.
 */
import { expect, test } from "vitest";
import {
  BUILTIN_TYPES,
  type BuiltinType,
} from "../../../pipeline/stages/desensitize/detect/builtin.ts";
import { type LabelledText, makeCorpus } from "./detect-corpus.ts";
import { ALL, createDetectors } from "./detect-guest.ts";

const SEED = 7;
const PER_SENTENCE = 150;

/** Least precision and recall in percent: a little under what is measured, so that a step back is noticed. */
const THRESHOLDS: Readonly<Record<BuiltinType, readonly [precision: number, recall: number]>> = {
  email: [99, 99],
  phone: [99, 94],
  card: [97, 99],
  iban: [99, 99],
  ssn: [99, 99],
  ip: [99, 99],
  mac: [99, 99],
  url: [99, 99],
  date: [99, 99],
  "de-tax-id": [99, 99],
  "cn-id": [99, 99],
};

interface Score {
  labels: number;
  recalled: number;
  exact: number;
  leaked: number;
  detections: number;
  precise: number;
}

function scoreCorpus(corpus: readonly LabelledText[]): {
  scores: Record<BuiltinType, Score>;
  misses: string[];
} {
  const found = createDetectors("desensitize", ALL).detect(corpus.map(({ text }) => text));
  const byRow = Map.groupBy(found, ({ row }) => row);
  const scores = Object.fromEntries(
    BUILTIN_TYPES.map((type) => [
      type,
      { labels: 0, recalled: 0, exact: 0, leaked: 0, detections: 0, precise: 0 },
    ]),
    // Because there is an entry for each type.
  ) as Record<BuiltinType, Score>;
  const misses: string[] = [];
  corpus.forEach(({ text, labels, locale }, row) => {
    const spans = (byRow.get(row) ?? []).map(({ start, end, type }) => ({
      start,
      end,
      type: BUILTIN_TYPES[type]!,
    }));
    const bytes = Buffer.from(text);
    for (const { type, start, end } of labels) {
      const score = scores[type];
      const covering = spans.filter((span) => span.start <= start && span.end >= end);
      const same = covering.filter((span) => span.type === type);
      score.labels++;
      if (same.length > 0) score.recalled++;
      else misses.push(`${locale} not ${type}: ${bytes.toString("utf8", start, end)}`);
      if (same.some((span) => span.start === start && span.end === end)) score.exact++;
      if (covering.length === 0) score.leaked++;
    }
    for (const { type, start, end } of spans) {
      scores[type].detections++;
      if (labels.some((label) => label.type === type && label.start < end && label.end > start))
        scores[type].precise++;
      else
        misses.push(`${locale} wrongly ${type}: ${bytes.toString("utf8", start, end)} in ${text}`);
    }
  });
  return { scores, misses };
}

const percent = (part: number, whole: number) =>
  Math.round((10_000 * part) / Math.max(1, whole)) / 100;

test("precision and recall by type are above their thresholds", () => {
  const corpus = makeCorpus(SEED, PER_SENTENCE);
  expect(new Set(corpus.map(({ locale }) => locale)).size).toBe(15);
  const { scores, misses } = scoreCorpus(corpus);
  const table = BUILTIN_TYPES.map((type) => {
    const { labels, recalled, exact, leaked, detections, precise } = scores[type];
    return {
      type,
      labels,
      precision: percent(precise, detections),
      recall: percent(recalled, labels),
      "exact span": percent(exact, labels),
      leaked: percent(leaked, labels),
    };
  });
  console.table(table);
  if (process.env["SHOW_MISSES"] !== undefined) console.log(misses.join("\n"));
  for (const { type, labels, precision, recall } of table) {
    const [leastPrecision, leastRecall] = THRESHOLDS[type];
    expect(labels, type).toBeGreaterThanOrEqual(PER_SENTENCE);
    expect(precision, `precision of ${type}`).toBeGreaterThanOrEqual(leastPrecision);
    expect(recall, `recall of ${type}`).toBeGreaterThanOrEqual(leastRecall);
  }
});
