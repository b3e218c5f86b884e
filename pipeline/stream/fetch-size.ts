/**
 * How many bytes to ask for in one fetch, learnt from what came: a compressed batch inflates to many times its size, so
 * that the same request may be a tenth of a lane's window or ten windows.
 *
 * Pure. The broker answers with at least one batch whatever is asked, so a record at the topic's limit always comes.
 */

/**
 * Also the first: what the batches inflate to is not known yet, and a MiB of them may be a hundred MiB of records.
 * Doubling reaches a MiB within four fetches.
 */
const LEAST_BYTES = 64 * 1024;
/** Beyond this a fetch gains nothing (measured: 4 MiB is 6-9 % faster than 1 MiB, more is not). */
const MOST_BYTES = 4 * 1024 * 1024;
/** A full fetch is to fill this share of the window, so that one can be on its way while others are worked on. */
const WINDOW_SHARE = 0.25;

export class FetchSize {
  readonly #targetBytes: number;
  #bytes = LEAST_BYTES;

  /** @param windowBytes what a lane may hold */
  constructor(windowBytes: number) {
    this.#targetBytes = windowBytes * WINDOW_SHARE;
  }

  /** Bytes to ask for next. */
  get bytes(): number {
    return Math.floor(this.#bytes);
  }

  /** @param inflatedBytes keys, values and headers that the last fetch brought */
  learn(inflatedBytes: number): void {
    // A fetch that brought little had little to bring; it says nothing about compression.
    if (inflatedBytes > this.#bytes / 2) {
      const wanted = (this.#bytes * this.#targetBytes) / inflatedBytes;
      // At most doubled a time, since the next batches may inflate more than these did.
      this.#bytes = Math.max(LEAST_BYTES, Math.min(MOST_BYTES, this.#bytes * 2, wanted));
    }
  }
}
