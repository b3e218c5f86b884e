/**
 * Writes one Kafka request, frame and header included, into one buffer that goes to the socket as it is.
 *
 * The correlation id is left open until the request is sent. Source: Kafka protocol guide, request header version 1.
 * Must not know any request's fields.
 */

/** Which request it is. */
export interface Api {
  readonly key: number;
  readonly version: number;
  readonly name: string;
}

export interface WireRequest {
  readonly api: Api;
  /** The whole frame, its length field included; {@link CORRELATION_AT} is still to be filled in. */
  readonly frame: Buffer;
}

/** Position of the correlation id: after the frame's length, api key and api version. */
export const CORRELATION_AT = 8;
const LENGTH_BYTES = 4;
const FIRST_CAPACITY = 256;

export class RequestWriter {
  readonly #api: Api;
  #buffer: Buffer;
  #at = 0;

  /** @param capacity bytes expected beside the header; it grows where they do not suffice */
  constructor(api: Api, clientId: string, capacity = FIRST_CAPACITY) {
    this.#api = api;
    this.#buffer = Buffer.allocUnsafe(
      CORRELATION_AT + 6 + Buffer.byteLength(clientId) + Math.max(capacity, 1),
    );
    this.int32(0).int16(api.key).int16(api.version).int32(0).string(clientId);
  }

  int8(value: number): this {
    this.#at = this.#room(1).writeInt8(value, this.#at);
    return this;
  }

  int16(value: number): this {
    this.#at = this.#room(2).writeInt16BE(value, this.#at);
    return this;
  }

  int32(value: number): this {
    this.#at = this.#room(4).writeInt32BE(value, this.#at);
    return this;
  }

  int64(value: bigint): this {
    this.#at = this.#room(8).writeBigInt64BE(value, this.#at);
    return this;
  }

  string(value: string | null): this {
    if (value === null) {
      return this.int16(-1);
    }
    const length = Buffer.byteLength(value);
    this.int16(length);
    this.#at += this.#room(length).write(value, this.#at, "utf8");
    return this;
  }

  array<T>(elements: readonly T[], write: (element: T) => void): this {
    this.int32(elements.length);
    elements.forEach(write);
    return this;
  }

  /**
   * Bytes with their length before them, written in place.
   * @param mostBytes room that `write` needs at most
   * @param write gets the buffer and where to begin, and returns where it ended
   */
  block(mostBytes: number, write: (target: Buffer, at: number) => number): this {
    const lengthAt = this.#at;
    this.int32(0);
    const from = this.#at;
    this.#at = write(this.#room(mostBytes), from);
    this.#buffer.writeInt32BE(this.#at - from, lengthAt);
    return this;
  }

  finish(): WireRequest {
    this.#buffer.writeInt32BE(this.#at - LENGTH_BYTES, 0);
    return { api: this.#api, frame: this.#buffer.subarray(0, this.#at) };
  }

  #room(bytes: number): Buffer {
    if (this.#at + bytes > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(2 * this.#buffer.length, this.#at + bytes));
      this.#buffer.copy(larger, 0, 0, this.#at);
      this.#buffer = larger;
    }
    return this.#buffer;
  }
}
