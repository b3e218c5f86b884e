/** The three cases in which kafkajs 2.2.4 shows aborted records, the ordinary ones, and any history against a model. */
import { describe, expect, it } from "vitest";
import {
  type AbortedTransaction,
  createCommittedFilter,
  type FilterableBatch,
} from "../../pipeline/stream/read-committed.ts";
import { createRandom } from "./wire/random.ts";

interface Placed extends FilterableBatch {
  readonly firstOffset: number;
}

/** A batch of one record unless a last offset says more. */
const data = (firstOffset: number, producer: number, lastOffset = firstOffset): Placed => ({
  firstOffset,
  lastOffset,
  producerId: BigInt(producer),
  isTransactional: producer >= 0,
  marker: null,
});
const marker = (offset: number, producer: number, type: "abort" | "commit"): Placed => ({
  firstOffset: offset,
  lastOffset: offset,
  producerId: BigInt(producer),
  isTransactional: true,
  marker: type === "abort" ? "abort" : "other",
});
const aborted = (producer: number, firstOffset: number): AbortedTransaction => ({
  producerId: BigInt(producer),
  firstOffset,
});

function committed(batches: readonly Placed[], list: readonly AbortedTransaction[]): number[] {
  const admits = createCommittedFilter(list);
  return batches.filter((batch) => admits(batch)).map(({ firstOffset }) => firstOffset);
}

describe("the read_committed filter", () => {
  it("keeps everything when nothing was aborted", () => {
    expect(committed([data(0, -1), data(1, 1), marker(2, 1, "commit")], [])).toEqual([0, 1]);
  });

  it("handles overlapping aborts that arrive out of order", () => {
    const batches = [
      data(0, 1),
      data(1, 2),
      data(2, 1),
      marker(3, 2, "abort"),
      marker(4, 1, "abort"),
      data(5, 2),
    ];
    expect(committed(batches, [aborted(2, 1), aborted(1, 0)])).toEqual([5]);
  });

  it("handles several aborts of one producer in a fetch", () => {
    const batches = [
      data(0, 1),
      marker(1, 1, "abort"),
      data(2, 1),
      marker(3, 1, "commit"),
      data(4, 1),
      marker(5, 1, "abort"),
    ];
    expect(committed(batches, [aborted(1, 0), aborted(1, 4)])).toEqual([2]);
  });

  it("takes no data batch for a marker: a key of four zero bytes is not even seen here", () => {
    const batches = [data(0, 1), data(1, 1), marker(2, 1, "abort"), data(3, 1)];
    expect(committed(batches, [aborted(1, 0)])).toEqual([3]);
  });

  it("keeps a plain batch of a producer whose transaction is open beside it", () => {
    const plain = { ...data(1, 1), isTransactional: false };
    expect(committed([data(0, 1), plain, marker(2, 1, "abort")], [aborted(1, 0)])).toEqual([1]);
  });

  it("agrees with a model over 2,000 random histories, wherever the fetch begins", () => {
    const random = createRandom(20261121);
    for (let round = 0; round < 2_000; round += 1) {
      const log = randomLog(random);
      const start = random(log.batches.length);
      const seen = log.batches.slice(start);
      const from = seen[0]?.firstOffset ?? 0;
      // A broker lists every aborted transaction that overlaps what it answers with, in any order.
      const list = log.aborted
        .filter(({ lastOffset }) => lastOffset >= from)
        .map(({ producerId, firstOffset }) => ({ producerId, firstOffset }))
        .sort(() => random(3) - 1);
      const expected = seen.filter((batch) => log.committed.has(batch)).map((b) => b.firstOffset);
      expect(committed(seen, list)).toEqual(expected);
    }
  });
});

/** Up to four producers, each with one transaction at a time, and a plain one; all transactions end. */
function randomLog(random: (bound: number) => number) {
  const batches: Placed[] = [];
  const ended: (AbortedTransaction & { lastOffset: number })[] = [];
  const visible = new Set<Placed>();
  const open = new Map<number, Placed[]>();
  let offset = 0;
  const end = (producer: number, type: "abort" | "commit"): void => {
    const mine = open.get(producer) ?? [];
    const firstOffset = mine[0]?.firstOffset ?? offset;
    if (type === "commit") {
      for (const batch of mine) visible.add(batch);
    } else {
      ended.push({ producerId: BigInt(producer), firstOffset, lastOffset: offset });
    }
    batches.push(marker(offset, producer, type));
    offset += 1;
    open.delete(producer);
  };
  for (let step = random(40) + 1; step > 0; step -= 1) {
    const producer = random(5) - 1;
    if (open.has(producer) && random(3) === 0) {
      end(producer, random(2) === 0 ? "abort" : "commit");
    } else {
      const batch = data(offset, producer, offset + random(4));
      batches.push(batch);
      offset = batch.lastOffset + 1 + random(2);
      if (producer < 0) visible.add(batch);
      else open.set(producer, [...(open.get(producer) ?? []), batch]);
    }
  }
  for (const producer of [...open.keys()]) end(producer, random(2) === 0 ? "abort" : "commit");
  return { batches, aborted: ended, committed: visible };
}
