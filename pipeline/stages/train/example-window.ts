/**
 * The opened records of a lane that are not final yet.
 *
 * The lane hands in the same records again until they are final; this window opens each of them once. Everything in
 * it follows from the lane's state and the records, except when a data key is given up, so it can be thrown away and made
 * again at any time. A record of an unknown key waits until the view of `keys` has everything that was in that topic
 * when the record was first seen: a key's entry is written before the first record sealed under it becomes visible, so
 * what is refused then as `key-unknown` is never authentic, however late the view is. Must not decide what a micro-batch
 * is.
 */
import type { Reason, StreamRecord } from "../../stream/contract.ts";
import { type Example, type ExampleOpener, isPlace, openExample } from "./example.ts";
import type { TrainState } from "./state.ts";

/** One record, opened. */
export interface WindowItem {
  readonly offset: number;
  /** Whether it takes a place of a micro-batch. */
  readonly place: boolean;
  readonly firstSeenMs: number;
  /** Why it is refused; null when it is not. */
  readonly reason: Reason | null;
  /** Of a train or validate record that was accepted; test records are checked and not kept. */
  readonly example: Example | null;
  /** Sequence of the last accepted envelope up to and including this record. */
  readonly sequenceAfter: number | null;
}

export interface WindowView {
  /** Opened records from the lane's position on, without gaps. */
  readonly items: readonly WindowItem[];
  /** Whether the record after the last item waits for its data key. */
  readonly blocked: boolean;
}

export interface ExampleWindow {
  /** Opens what is new. `records` and `state` as the lane hands them in. */
  read(records: readonly StreamRecord[], state: TrainState, nowMs: number): WindowView;
}

/** @param keysFreshAsOf every entry that was in `keys` before that time is in the directory */
export function createExampleWindow(
  opener: ExampleOpener,
  keysFreshAsOf: () => number,
): ExampleWindow {
  let items: WindowItem[] = [];
  let sequenceBefore: number | null = null;
  /** By rising offset: records before `to`, and not before that of the entry before, were first seen at `atMs`. */
  let seen: { readonly to: number; readonly atMs: number }[] = [];

  /** Marks what is new; all of it at once, also behind a record that waits, so that waits do not add up. */
  function mark(records: readonly StreamRecord[], nowMs: number): void {
    const first = records[0]?.offset ?? 0;
    const to = (records.at(-1)?.offset ?? -1) + 1;
    seen = seen.filter((entry) => entry.to > first);
    if (to > (seen.at(-1)?.to ?? 0)) seen.push({ to, atMs: nowMs });
  }

  /** Whether what was in `keys` when a record was first seen is known. */
  function keysAreKnown({ offset }: StreamRecord): boolean {
    const entry = seen.find(({ to }) => to > offset);
    return entry !== undefined && keysFreshAsOf() > entry.atMs;
  }

  /** Forgets what is final, and everything when the lane does not go on where this window stands. */
  function align(records: readonly StreamRecord[], state: TrainState): void {
    const first = records[0]?.offset ?? Number.POSITIVE_INFINITY;
    const final = items.findIndex((item) => item.offset >= first);
    const dropped = items.slice(0, final === -1 ? items.length : final);
    sequenceBefore = dropped.at(-1)?.sequenceAfter ?? sequenceBefore;
    items = items.slice(dropped.length);
    const aligned = items.every((item, index) => records[index]?.offset === item.offset);
    if (!aligned || sequenceBefore !== state.lastSequence) {
      items = [];
      sequenceBefore = state.lastSequence;
    }
  }

  function open(record: StreamRecord, nowMs: number): WindowItem | null {
    const last = items.at(-1);
    const sequence = last === undefined ? sequenceBefore : last.sequenceAfter;
    const { headers } = record;
    const place = isPlace(headers);
    const opened = openExample(opener, record, sequence, headers);
    const item = { offset: record.offset, place, firstSeenMs: nowMs };
    if (opened.status === "ok") {
      const example = opened.split === "test" ? null : opened.example;
      return { ...item, reason: null, example, sequenceAfter: opened.sequence };
    }
    if (opened.status === "refused") {
      return { ...item, reason: opened.reason, example: null, sequenceAfter: sequence };
    }
    if (!keysAreKnown(record)) return null;
    return { ...item, reason: "key-unknown", example: null, sequenceAfter: sequence };
  }

  return {
    read: (records, state, nowMs) => {
      align(records, state);
      mark(records, nowMs);
      for (const record of records.slice(items.length)) {
        const item = open(record, nowMs);
        if (item === null) return { items, blocked: true };
        items.push(item);
      }
      return { items, blocked: false };
    },
  };
}
