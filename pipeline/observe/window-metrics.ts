/**
 * Metrics of records that are grouped: how many subjects share a group, how much detail that costs, and how long it takes.
 *
 * Counts, shares and times only; nothing of a record, a group's range or a field's name.
 */
import { Counter, Gauge, Histogram, type Registry } from "prom-client";

/** One window of records that was grouped. */
export interface WindowObservation {
  readonly lane: number;
  readonly rows: number;
  /** Rows that no group took and that are refused. */
  readonly suppressed: number;
  /** Rows that no group took and that leave with the widest range. */
  readonly generalized: number;
  /** Fewest distinct subjects of a group; null: nothing was grouped. */
  readonly smallestGroup: number | null;
  /** Normalized certainty penalty, 0 to 1. */
  readonly ncp: number;
  /** Sum over groups of their rows squared. */
  readonly discernibility: number;
  /** How long the first record waited for the others, in ms. */
  readonly delayMs: number;
}

const DELAY_BUCKETS_MS = [10, 50, 100, 200, 500, 1_000, 2_000, 5_000, 30_000, 300_000];

/** Makes the metrics in the registries of a stage. */
export function createWindowMetrics(registers: Registry[]): (window: WindowObservation) => void {
  const labelNames = ["lane"] as const;
  const windows = new Counter({
    name: "sealstream_cluster_windows",
    help: "Windows of records that were grouped.",
    labelNames,
    registers,
  });
  const records = new Counter({
    name: "sealstream_cluster_records",
    help: "Records by what became of them: grouped, suppressed, or generalized to the widest range.",
    labelNames: ["lane", "outcome"] as const,
    registers,
  });
  const gauge = (name: string, help: string) => new Gauge({ name, help, labelNames, registers });
  const smallest = gauge(
    "sealstream_cluster_smallest_group",
    "Fewest distinct subjects of a group in the last window.",
  );
  const ncp = gauge(
    "sealstream_cluster_ncp",
    "Normalized certainty penalty of the last window, 0 (as they came) to 1 (nothing left).",
  );
  const discernibility = gauge(
    "sealstream_cluster_discernibility",
    "Discernibility metric of the last window: sum of squared group sizes.",
  );
  const delay = new Histogram({
    name: "sealstream_cluster_delay_milliseconds",
    help: "How long each window's first record waited for the others.",
    labelNames,
    buckets: DELAY_BUCKETS_MS,
    registers,
  });
  return (window) => {
    const labels = { lane: String(window.lane) };
    const { rows, suppressed, generalized } = window;
    windows.inc(labels);
    records.inc({ ...labels, outcome: "grouped" }, rows - suppressed - generalized);
    records.inc({ ...labels, outcome: "suppressed" }, suppressed);
    records.inc({ ...labels, outcome: "generalized" }, generalized);
    if (window.smallestGroup !== null) smallest.set(labels, window.smallestGroup);
    ncp.set(labels, window.ncp);
    discernibility.set(labels, window.discernibility);
    delay.observe(labels, window.delayMs);
  };
}
