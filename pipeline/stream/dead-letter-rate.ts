/**
 * The share of a lane's last records that were refused, and when it is too large to go on.
 *
 * A stage that refuses everything does no harm to a record, but somebody's producer or pipeline file is broken, and it
 * is better to stop early than to fill a topic. Called with what was committed, after the commit: the letters that tell
 * what is wrong must be there to be looked at. One of these per lane start, so that a stage that is started again on
 * purpose gets a whole window before it stops again. Pure: no Kafka, no clock.
 *
 * Edge cases: `maxShare` 1 never stops, 0 stops at the first letter; records that were not seen yet count as good, so
 * one bad record at the start is not a share of 100 %; a batch longer than the window is judged as a whole.
 */
import type { StageName } from "../../schemas/topics.ts";
import { SealstreamError } from "../errors.ts";
import type { Reason } from "./contract.ts";

export interface DeadLetterRateOptions {
  /** 0..1; more than this is too much. */
  readonly maxShare: number;
  /** Records that the share is taken over, 1 or more. */
  readonly windowRecords: number;
}

/** What the window holds. */
export interface DeadLetterShare {
  /** At least `windowRecords` once that many were seen, and at most 1/64 of it and one batch more. */
  readonly records: number;
  readonly deadLetters: number;
  /** Of the records that the share is taken over. */
  readonly share: number;
  readonly topReason: Reason | null;
}

interface Bucket {
  records: number;
  deadLetters: number;
  readonly reasons: Map<Reason, number>;
}

/** The window slides in steps of 1/64 of itself: that bounds memory to 66 buckets, whatever the window. */
const STEPS = 64;

export class DeadLetterRate {
  readonly #options: DeadLetterRateOptions;
  readonly #bucketRecords: number;
  /** The oldest first. */
  readonly #buckets: Bucket[] = [];
  #records = 0;
  #deadLetters = 0;

  constructor(options: DeadLetterRateOptions) {
    this.#options = options;
    this.#bucketRecords = Math.max(1, Math.floor(options.windowRecords / STEPS));
  }

  /**
   * Counts records that became final.
   * @param records all of them, the refused ones included
   * @param reasons why, one for each letter; may be left out
   * @returns whether too many of the last records were refused
   */
  add(records: number, deadLetters: number, reasons: readonly Reason[] = []): boolean {
    let bucket = this.#buckets.at(-1);
    if (bucket === undefined || bucket.records >= this.#bucketRecords) {
      bucket = { records: 0, deadLetters: 0, reasons: new Map() };
      this.#buckets.push(bucket);
    }
    bucket.records += records;
    bucket.deadLetters += deadLetters;
    for (const reason of reasons) {
      bucket.reasons.set(reason, (bucket.reasons.get(reason) ?? 0) + 1);
    }
    this.#records += records;
    this.#deadLetters += deadLetters;
    this.#forget();
    return this.#deadLetters > this.#options.maxShare * this.#base();
  }

  current(): DeadLetterShare {
    const counts = new Map<Reason, number>();
    for (const { reasons } of this.#buckets) {
      for (const [reason, count] of reasons) {
        counts.set(reason, (counts.get(reason) ?? 0) + count);
      }
    }
    const [top] = [...counts].sort(([, a], [, b]) => b - a);
    return {
      records: this.#records,
      deadLetters: this.#deadLetters,
      share: this.#deadLetters / this.#base(),
      topReason: top?.[0] ?? null,
    };
  }

  /** What is not seen yet counts as good. */
  #base(): number {
    return Math.max(this.#records, this.#options.windowRecords);
  }

  /** Drops the oldest buckets that the window does not need. */
  #forget(): void {
    for (;;) {
      const [oldest] = this.#buckets;
      if (
        oldest === undefined ||
        this.#buckets.length === 1 ||
        this.#records - oldest.records < this.#options.windowRecords
      ) {
        return;
      }
      this.#buckets.shift();
      this.#records -= oldest.records;
      this.#deadLetters -= oldest.deadLetters;
    }
  }
}

/** Why the stage stops, in one sentence that says what to do. */
export function deadLetterRateError(given: {
  readonly stage: StageName;
  readonly lane: number;
  readonly maxShare: number;
  readonly windowRecords: number;
  readonly found: DeadLetterShare;
}): SealstreamError {
  const { stage, lane, maxShare, windowRecords, found } = given;
  const percent = (share: number): string => `${Number((share * 100).toFixed(1))} %`;
  const over = Math.max(found.records, windowRecords);
  const why = found.topReason === null ? "" : `, most often for ${found.topReason}`;
  return new SealstreamError(
    "limit-exceeded",
    `Stage ${stage} refused ${found.deadLetters} of the last ${over} records of lane ${lane} (${percent(found.share)}${why}), and deadLetters.maxShare allows ${percent(maxShare)}: see "sealstream dead-letters list FILE --stage ${stage}" and "dead-letters show", mend the producer or the pipeline file and start again, or raise deadLetters.maxShare.`,
  );
}
