/**
 * The read_committed filter: which records of a fetch response belong to committed transactions.
 *
 * A broker answers a read_committed fetch with everything up to the last stable offset, aborted records included,
 * and a list of the aborted transactions that overlap it; dropping their records is the client's work. kafkajs 2.2.4
 * does it wrongly in three ways, each of which is a test here: aborted transactions that arrive out of order, several
 * aborts of one producer in a fetch, and control records recognised by a key that a user's record may have.
 * Source: KIP-98; org.apache.kafka.clients.consumer.internals.CompletedFetch (same algorithm). Pure; no client.
 */

/** What the filter must know of a record, whatever the client calls it. */
export interface FilterableRecord {
  readonly offset: number;
  readonly key: Uint8Array | null;
  /** True for transaction markers: decided by the batch's control bit, never by the key's bytes. */
  readonly isControl: boolean;
  readonly inTransaction: boolean;
  readonly producerId: string;
}

export interface AbortedTransaction {
  readonly producerId: string;
  readonly firstOffset: number;
}

/** Control record key: int16 version, int16 type; type 0 is ABORT, 1 is COMMIT (KIP-98). */
const CONTROL_KEY_BYTES = 4;
const CONTROL_TYPE_ABORT = 0;

function isAbortMarker(key: Uint8Array | null): boolean {
  if (key === null || key.byteLength < CONTROL_KEY_BYTES) {
    return false;
  }
  const view = new DataView(key.buffer, key.byteOffset, key.byteLength);
  return view.getInt16(2) === CONTROL_TYPE_ABORT;
}

/**
 * Committed data records of one partition's fetch response, in order.
 * @param records every record of the response in offset order, control records included
 * @param aborted the response's list of aborted transactions, in any order
 */
export function readCommitted<R extends FilterableRecord>(
  records: readonly R[],
  aborted: readonly AbortedTransaction[],
): R[] {
  const waiting = [...aborted].sort((a, b) => a.firstOffset - b.firstOffset);
  const open = new Set<string>();
  const committed: R[] = [];
  let next = 0;
  for (const record of records) {
    for (let head = waiting[next]; head !== undefined && head.firstOffset <= record.offset; ) {
      open.add(head.producerId);
      next += 1;
      head = waiting[next];
    }
    if (record.isControl) {
      if (isAbortMarker(record.key)) {
        open.delete(record.producerId);
      }
      continue;
    }
    if (!(record.inTransaction && open.has(record.producerId))) {
      committed.push(record);
    }
  }
  return committed;
}
