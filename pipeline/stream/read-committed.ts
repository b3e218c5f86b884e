/**
 * The read_committed filter: which batches of a fetch answer hold records of committed transactions.
 *
 * A broker answers a read_committed fetch with everything up to the last stable offset, aborted records included,
 * and a list of the aborted transactions that overlap it; dropping their records is the client's work. kafkajs 2.2.4
 * does it wrongly in three ways, each of which is a test here: aborted transactions that arrive out of order, several
 * aborts of one producer in a fetch, and control records recognised by a key that a user's record may have.
 * All records of a batch are of one producer and one transaction, so that whole batches are let in or left out.
 * Source: KIP-98; org.apache.kafka.clients.consumer.internals.CompletedFetch (same algorithm). Pure; no client.
 */

/** What the filter must know of a batch. */
export interface FilterableBatch {
  /** Offset of the last record the batch ever had. */
  readonly lastOffset: number;
  readonly producerId: bigint;
  readonly isTransactional: boolean;
  /** From the batch's control bit, never from a key's bytes: `abort` or another marker; null for data. */
  readonly marker: "abort" | "other" | null;
}

export interface AbortedTransaction {
  readonly producerId: bigint;
  readonly firstOffset: number;
}

/**
 * Makes the filter of one fetch answer; ask it about every batch of the answer in offset order.
 * @param aborted the answer's list of aborted transactions, in any order
 * @returns whether the batch's records are committed data
 */
export function createCommittedFilter(
  aborted: readonly AbortedTransaction[],
): (batch: FilterableBatch) => boolean {
  const waiting = [...aborted].sort((a, b) => a.firstOffset - b.firstOffset);
  const open = new Set<bigint>();
  let next = 0;
  return ({ lastOffset, producerId, isTransactional, marker }) => {
    for (let head = waiting[next]; head !== undefined && head.firstOffset <= lastOffset; ) {
      open.add(head.producerId);
      next += 1;
      head = waiting[next];
    }
    if (marker !== null) {
      if (marker === "abort") {
        open.delete(producerId);
      }
      return false;
    }
    return !(isTransactional && open.has(producerId));
  };
}
