/**
 * Concept drift: whether the error of the newest models on validation records has risen for good.
 *
 * Page-Hinkley's test (Page 1954; Mouss et al. 2004), as river 0.26 computes it with its defaults: for errors x_1, x_2, ...
 * since the last alarm with running mean m_n, the sum s_n = alpha s_(n-1) + x_n - m_n - delta; an alarm when s_n is more
 * than the threshold above its least value, and the test begins anew. It rises only: a model that gets better is none.
 *
 * For people and their alarms. It reads validation records, which no epsilon covers, so it stays in the training zone
 * and steers nothing. Must not see a record, only whether a model was right.
 */

const MIN_RECORDS = 30;
const DELTA = 0.005;
const ALPHA = 1 - 0.0001;
const THRESHOLD = 50;

export interface DriftDetector {
  /** @param error 0 to 1 @returns whether this one raises an alarm */
  add(error: number): boolean;
}

/** @param threshold errors above what was to be expected: higher is slower and surer */
export function createDriftDetector(threshold = THRESHOLD): DriftDetector {
  let count = 0;
  let mean = 0;
  let sum = 0;
  let least = Number.POSITIVE_INFINITY;
  return {
    add(error) {
      count += 1;
      mean += (error - mean) / count;
      sum = ALPHA * sum + error - mean - DELTA;
      least = Math.min(least, sum);
      if (count < MIN_RECORDS || sum - least <= threshold) return false;
      [count, mean, sum, least] = [0, 0, 0, Number.POSITIVE_INFINITY];
      return true;
    },
  };
}
