/**
 * One partition of the modelled Kafka: records, transaction markers, the last stable offset, retention.
 *
 * What it knows of producers is what a partition leader knows: the newest epoch it has seen of each, and the sequence
 * of its last request, so that a stale producer is refused and a repeated request takes effect once. See KIP-98.
 */
import {
  type AbortedTransaction,
  createCommittedFilter,
} from "../../pipeline/stream/read-committed.ts";

/** What became of the transaction that an entry is part of; the truth that only the model knows. */
export interface Fate {
  outcome: "open" | "committed" | "aborted";
}

/** One entry: a batch of one record, or a marker. */
export interface Entry {
  readonly offset: number;
  readonly lastOffset: number;
  readonly producerId: bigint;
  readonly isTransactional: boolean;
  readonly marker: "abort" | "other" | null;
  readonly body: string;
  readonly fate: Fate | null;
}

export interface Writer {
  readonly producerId: bigint;
  readonly epoch: number;
}

export type Verdict = "ok" | "fenced" | "concurrent" | "invalid";

interface Aborted extends AbortedTransaction {
  readonly lastOffset: number;
}

const NOBODY = -1n;

export class PartitionLog {
  earliest = 0;
  latest = 0;
  entries: Entry[] = [];
  readonly #open = new Map<bigint, { readonly firstOffset: number; readonly fate: Fate }>();
  #aborted: Aborted[] = [];
  readonly #epochs = new Map<bigint, number>();
  readonly #sequences = new Map<bigint, number>();
  /** The topic was deleted and made anew: nobody writes to it any more. */
  isRecreated = false;
  /** Entries of the logs that this one replaced, and those that retention removed. */
  readonly gone: Entry[] = [];
  #watchers: (() => void)[] = [];

  get lastStable(): number {
    let stable = this.latest;
    for (const { firstOffset } of this.#open.values()) {
      stable = Math.min(stable, firstOffset);
    }
    return stable;
  }

  /** Appends what nobody's transaction covers. */
  appendPlain(body: string): void {
    this.#push(NOBODY, null, body, null);
    this.#notify();
  }

  /** Appends a request of a transaction. @param sequence rises by one a request of this writer to this partition */
  append({ producerId, epoch }: Writer, sequence: number, bodies: readonly string[]): Verdict {
    const known = this.#epochs.get(producerId) ?? -1;
    if (epoch < known) {
      return "fenced";
    }
    const last = epoch > known ? -1 : (this.#sequences.get(producerId) ?? -1);
    if (sequence <= last) {
      return "ok";
    }
    this.#epochs.set(producerId, epoch);
    this.#sequences.set(producerId, sequence);
    let open = this.#open.get(producerId);
    if (open === undefined) {
      open = { firstOffset: this.latest, fate: { outcome: "open" } };
      this.#open.set(producerId, open);
    }
    for (const body of bodies) {
      this.#push(producerId, null, body, open.fate);
    }
    return "ok";
  }

  /** Ends a producer's transaction here; from now on nothing of an epoch before is accepted. */
  mark({ producerId, epoch }: Writer, isCommit: boolean): void {
    this.#epochs.set(producerId, Math.max(epoch, this.#epochs.get(producerId) ?? -1));
    const open = this.#open.get(producerId);
    this.#open.delete(producerId);
    if (open !== undefined) {
      open.fate.outcome = isCommit ? "committed" : "aborted";
      if (!isCommit) {
        const { firstOffset } = open;
        this.#aborted.push({ producerId, firstOffset, lastOffset: this.latest });
      }
    }
    this.#push(producerId, isCommit ? "other" : "abort", "", null);
    this.#notify();
  }

  /** What a read_committed consumer makes of the answer to a fetch; null when `from` is not in the log. */
  fetch(
    from: number,
    atMost: number,
    { isFiltered }: { readonly isFiltered: boolean },
  ): { records: Entry[]; next: number } | null {
    if (from < this.earliest || from > this.latest) {
      return null;
    }
    const stable = this.lastStable;
    const answer: Entry[] = [];
    for (
      let at = this.#indexOf(from);
      answer.length < atMost && at < this.entries.length;
      at += 1
    ) {
      const entry = this.entries[at]!;
      if (entry.offset >= stable) {
        break;
      }
      answer.push(entry);
    }
    const end = answer.at(-1)?.lastOffset ?? from - 1;
    // As a broker does: every aborted transaction that overlaps the answer, in the order in which they ended.
    const aborted = this.#aborted.filter(
      ({ firstOffset, lastOffset }) => firstOffset <= end && lastOffset >= from,
    );
    const isCommitted = createCommittedFilter(aborted);
    const records = answer.filter(
      (entry) => isCommitted(entry) || (!isFiltered && entry.marker === null),
    );
    return { records, next: end + 1 };
  }

  hasOpen({ producerId }: Writer): boolean {
    return this.#open.has(producerId);
  }

  /** Calls `watcher` once, when something more may be read. */
  watch(watcher: () => void): void {
    this.#watchers.push(watcher);
  }

  /** Committed data from the log's very beginning, in order, by the model's own knowledge. */
  committed(): Entry[] {
    return [...this.gone, ...this.entries].filter(
      ({ marker, fate }) => marker === null && (fate === null || fate.outcome === "committed"),
    );
  }

  /** A compaction leaves a hole in the offsets. */
  skip(offsets: number): void {
    this.latest += offsets;
  }

  /** Retention removes everything before `offset`. */
  expire(offset: number): void {
    const to = Math.min(offset, this.lastStable);
    if (to <= this.earliest) {
      return;
    }
    this.earliest = to;
    this.gone.push(...this.entries.splice(0, this.#indexOf(to)));
    this.#aborted = this.#aborted.filter(({ lastOffset }) => lastOffset >= to);
  }

  /** The topic is deleted and made anew. */
  recreate(): void {
    this.isRecreated = true;
    this.gone.push(...this.entries);
    this.entries = [];
    this.#aborted = [];
    this.#open.clear();
    this.#epochs.clear();
    this.#sequences.clear();
    this.earliest = 0;
    this.latest = 0;
    this.#notify();
  }

  #push(producerId: bigint, marker: Entry["marker"], body: string, fate: Fate | null): void {
    const offset = this.latest;
    this.latest += 1;
    const isTransactional = producerId !== NOBODY;
    this.entries.push({
      offset,
      lastOffset: offset,
      producerId,
      isTransactional,
      marker,
      body,
      fate,
    });
  }

  #notify(): void {
    const watchers = this.#watchers;
    this.#watchers = [];
    for (const watcher of watchers) {
      watcher();
    }
  }

  /** Index of the first entry at or after `offset`. */
  #indexOf(offset: number): number {
    let low = 0;
    let high = this.entries.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.entries[middle]!.offset < offset) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
}
