/**
 * The records a lane holds that are not final yet, within a bound of records and bytes.
 *
 * Must not drop or reorder anything: what is pushed stays until the lane says it is final.
 */
import type { LaneBounds, StreamRecord } from "./contract.ts";

/** Bytes of a record's key, value and headers. */
export function sizeOf(record: StreamRecord): number {
  if (record.sizeBytes !== undefined) {
    return record.sizeBytes;
  }
  let bytes = (record.key?.byteLength ?? 0) + (record.value?.byteLength ?? 0);
  for (const value of Object.values(record.headers)) {
    bytes += value.byteLength;
  }
  return bytes;
}

/** Whether a lane that holds these records asks for no more: a stage that waits then waits for ever. */
export function fillsLane(records: readonly StreamRecord[], bounds: LaneBounds): boolean {
  return (
    records.length >= bounds.maxRecords ||
    records.reduce((sum, record) => sum + sizeOf(record), 0) >= bounds.maxBytes
  );
}

export class RecordWindow {
  readonly #bounds: LaneBounds;
  #records: StreamRecord[] = [];
  #bytes = 0;

  constructor(bounds: LaneBounds) {
    this.#bounds = bounds;
  }

  get length(): number {
    return this.#records.length;
  }

  /** Offset of the first held record; null when none is held. */
  get position(): number | null {
    return this.#records.at(0)?.offset ?? null;
  }

  /** Whether another fetch may be asked for. One fetch may overshoot the bound by its own size. */
  get hasRoom(): boolean {
    return this.#bytes < this.#bounds.maxBytes && this.#records.length < this.#bounds.maxRecords;
  }

  push(records: readonly StreamRecord[]): void {
    for (const record of records) {
      this.#records.push(record);
      this.#bytes += sizeOf(record);
    }
  }

  /** What the stage is handed: at most `maxRecords`, in order. */
  view(): readonly StreamRecord[] {
    return this.#records.slice(0, this.#bounds.maxRecords);
  }

  /** Forgets every record before `offset`; returns how many. */
  drop(offset: number): number {
    const last = this.#records.at(-1);
    if (last === undefined || last.offset < offset) {
      const count = this.#records.length;
      this.#records = [];
      this.#bytes = 0;
      return count;
    }
    const count = this.#records.findIndex((record) => record.offset >= offset);
    for (const record of this.#records.slice(0, count)) {
      this.#bytes -= sizeOf(record);
    }
    this.#records = this.#records.slice(count);
    return count;
  }
}
