/**
 * Judges records as soon as a lane has fetched them, so that the plugin works while the lane writes what came before.
 *
 * What a record becomes depends on the record and its position alone, so it makes no difference when it is judged.
 * Bounded by what the lane holds: nothing is judged that was not fetched, and what is final is forgotten.
 */
import type { StreamRecord } from "../../stream/contract.ts";
import { type Judged, judgeRecords, type RowJudge } from "./judge-rows.ts";

/**
 * Records and bytes that the plugin gets at once: large enough that crossing into its worker costs little for one record,
 * small enough for the caches and for the plugin's memory.
 */
const BATCH_RECORDS = 4096;
const BATCH_BYTES = 4 * 1024 * 1024;

interface Batch {
  readonly records: readonly StreamRecord[];
  readonly promise: Promise<readonly Judged[]>;
  /** Null until the plugin has answered. */
  judged: readonly Judged[] | null;
}

export interface JudgeAhead {
  /** Begins to judge records that lie behind all that were handed in before. */
  prepare(records: readonly StreamRecord[]): void;
  /**
   * What the first of these records became, in order: as many as are judged, and one batch at least; all of them when
   * they were not prepared.
   * @param all waits until all of them are judged
   * @throws what the plugin's host throws
   */
  take(records: readonly StreamRecord[], all?: boolean): Promise<readonly Judged[]>;
}

/** The end of a batch that begins at `from`. */
function batchEnd(records: readonly StreamRecord[], from: number): number {
  let bytes = 0;
  let end = from;
  while (end < records.length && end - from < BATCH_RECORDS) {
    bytes += records[end]?.value?.length ?? 0;
    if (bytes > BATCH_BYTES && end > from) break;
    end++;
  }
  return end;
}

export function createJudgeAhead(judge: RowJudge): JudgeAhead {
  let batches: Batch[] = [];

  function prepare(records: readonly StreamRecord[]): void {
    for (let from = 0; from < records.length; ) {
      const end = batchEnd(records, from);
      const part = records.slice(from, end);
      const promise = judgeRecords(part, judge);
      const batch: Batch = { records: part, promise, judged: null };
      promise.then(
        (judged) => {
          batch.judged = judged;
        },
        // Whoever takes the batch is told.
        () => undefined,
      );
      batches.push(batch);
      from = end;
    }
  }

  /** Forgets what lies before a record; returns its place in the first batch that is left, -1: it was not prepared. */
  function align({ offset: first }: StreamRecord): number {
    batches = batches.filter(({ records }) => (records.at(-1)?.offset ?? -1) >= first);
    return batches[0]?.records.findIndex(({ offset }) => offset === first) ?? -1;
  }

  return {
    prepare,
    async take(records, all = false) {
      const [first] = records;
      if (first === undefined) return [];
      let from = align(first);
      const isPrepared = from !== -1;
      if (!isPrepared) {
        // By who prepares nothing, or by a lane that goes on elsewhere.
        batches = [];
        prepare(records);
        from = 0;
      }
      const taken: Judged[] = [];
      for (const batch of batches) {
        if (taken.length === records.length) break;
        if (batch.judged === null && taken.length > 0 && isPrepared && !all) break;
        const judged = batch.judged ?? (await batch.promise);
        const wanted = Math.min(judged.length - from, records.length - taken.length);
        for (let i = 0; i < wanted; i++) taken.push(judged[from + i] ?? "plugin-failed");
        from = 0;
      }
      return taken;
    },
  };
}
