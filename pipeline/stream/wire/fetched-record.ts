/**
 * One record of a fetched batch, as a stage sees it: positions into the batch, views made when they are asked for.
 *
 * A lane moves hundreds of thousands of records a second and looks at few fields of each; objects and views that
 * nobody asks for were a tenth of its time. Fields are getters of the class, so `{...record}` has none of them. The
 * decoder has checked every position before it makes one. Must not read what the decoder did not check.
 */
import type { Headers, StreamRecord } from "../contract.ts";

export const NO_HEADERS: Headers = Object.freeze({});
const EMPTY = new Uint8Array();

/** What the records of a batch share. */
export interface BatchContext {
  /** Records of the batch, inflated. */
  readonly bytes: Buffer;
  readonly baseOffset: number;
  readonly baseTimestampMs: number;
  /** The broker's time for all of them, or null when each carries its producer's. */
  readonly appendTimeMs: number | null;
}

/** Positions of a record in {@link BatchContext.bytes}; lengths are -1 for null. */
export interface RecordLayout {
  readonly offsetDelta: number;
  readonly timestampDelta: number;
  readonly keyAt: number;
  readonly keyBytes: number;
  readonly valueAt: number;
  readonly valueBytes: number;
  readonly headersAt: number;
  readonly headerCount: number;
  readonly headerBytes: number;
}

export class FetchedRecord implements StreamRecord {
  readonly #batch: BatchContext;
  readonly #offsetDelta: number;
  readonly #timestampDelta: number;
  readonly #keyAt: number;
  readonly #keyBytes: number;
  readonly #valueAt: number;
  readonly #valueBytes: number;
  readonly #headersAt: number;
  readonly #headerCount: number;
  readonly #headerBytes: number;

  constructor(batch: BatchContext, layout: RecordLayout) {
    this.#batch = batch;
    this.#offsetDelta = layout.offsetDelta;
    this.#timestampDelta = layout.timestampDelta;
    this.#keyAt = layout.keyAt;
    this.#keyBytes = layout.keyBytes;
    this.#valueAt = layout.valueAt;
    this.#valueBytes = layout.valueBytes;
    this.#headersAt = layout.headersAt;
    this.#headerCount = layout.headerCount;
    this.#headerBytes = layout.headerBytes;
  }

  get offset(): number {
    return this.#batch.baseOffset + this.#offsetDelta;
  }

  get timestampMs(): number {
    return this.#batch.appendTimeMs ?? this.#batch.baseTimestampMs + this.#timestampDelta;
  }

  get key(): Uint8Array | null {
    return this.#view(this.#keyAt, this.#keyBytes);
  }

  get value(): Uint8Array | null {
    return this.#view(this.#valueAt, this.#valueBytes);
  }

  /** Bytes of key, value, and names and values of headers. */
  get sizeBytes(): number {
    return Math.max(0, this.#keyBytes) + Math.max(0, this.#valueBytes) + this.#headerBytes;
  }

  /** Of a repeated header the last value; a null value is an empty one. */
  get headers(): Headers {
    if (this.#headerCount === 0) {
      return NO_HEADERS;
    }
    // Because a header may be called `__proto__`: the object must have no prototype.
    const headers = Object.create(null) as Record<string, Uint8Array>;
    const { bytes } = this.#batch;
    let at = this.#headersAt;
    const next = (): Uint8Array => {
      // The decoder has walked these very lengths: they are varints of at most 32 bits inside the record.
      let zigzag = 0;
      let shift = 0;
      let byte = 0;
      do {
        byte = bytes[at] ?? 0;
        at += 1;
        zigzag |= (byte & 0x7f) << shift;
        shift += 7;
      } while (byte > 0x7f && shift < 35);
      const length = (zigzag >>> 1) ^ -(zigzag & 1);
      const view = length < 0 ? EMPTY : bytes.subarray(at, at + length);
      at += Math.max(0, length);
      return view;
    };
    for (let index = 0; index < this.#headerCount; index += 1) {
      const { buffer, byteOffset, byteLength } = next();
      // A view: copying the few bytes of a name costs more than reading them.
      const name = Buffer.from(buffer, byteOffset, byteLength).toString("utf8");
      headers[name] = next();
    }
    return headers;
  }

  #view(at: number, length: number): Uint8Array | null {
    return length < 0 ? null : this.#batch.bytes.subarray(at, at + length);
  }
}
