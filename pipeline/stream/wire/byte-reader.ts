/**
 * Reads Kafka's primitive types out of an answer, every length checked against what is left.
 *
 * An answer comes from the network: whatever its bytes, a reader throws `kafka-failed` and never reads outside its
 * range. Source: Kafka protocol guide, "Protocol Primitive Types" (the non-flexible ones). Must not copy anything.
 */
import { SealstreamError } from "../../errors.ts";

/** What every answer that does not follow the protocol ends in. @param what what was read, in words without content */
export function malformed(what: string): SealstreamError {
  return new SealstreamError(
    "kafka-failed",
    `The broker sent ${what} that does not follow the Kafka protocol: check the network and the broker's log.`,
  );
}

export class ByteReader {
  readonly #bytes: Buffer;
  readonly #what: string;
  #at = 0;

  /** @param what names the answer in errors, such as `a Fetch answer` */
  constructor(bytes: Buffer, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }

  get remaining(): number {
    return this.#bytes.length - this.#at;
  }

  int8(): number {
    return this.#bytes.readInt8(this.#take(1));
  }

  int16(): number {
    return this.#bytes.readInt16BE(this.#take(2));
  }

  int32(): number {
    return this.#bytes.readInt32BE(this.#take(4));
  }

  int64(): bigint {
    return this.#bytes.readBigInt64BE(this.#take(8));
  }

  /** An int64 that must be a safe integer, such as an offset. */
  safeInt64(): number {
    const value = Number(this.int64());
    if (!Number.isSafeInteger(value)) {
      throw malformed(this.#what);
    }
    return value;
  }

  /** Null for length -1. */
  nullableString(): string | null {
    const length = this.int16();
    if (length === -1) {
      return null;
    }
    const at = this.#take(length);
    return this.#bytes.toString("utf8", at, at + length);
  }

  string(): string {
    const value = this.nullableString();
    if (value === null) {
      throw malformed(this.#what);
    }
    return value;
  }

  /** A view; empty for length -1, which Kafka calls null records. */
  bytes(): Buffer {
    const length = this.int32();
    if (length === -1) {
      return this.#bytes.subarray(0, 0);
    }
    const at = this.#take(length);
    return this.#bytes.subarray(at, at + length);
  }

  /** Elements of an array; a null array is empty. Each element reads at least one byte, so a count is bounded too. */
  array<T>(element: () => T): T[] {
    const count = this.int32();
    if (count < -1 || count > this.remaining) {
      throw malformed(this.#what);
    }
    const elements: T[] = [];
    for (let index = 0; index < count; index += 1) {
      elements.push(element());
    }
    return elements;
  }

  #take(length: number): number {
    const at = this.#at;
    if (length < 0 || length > this.remaining) {
      throw malformed(this.#what);
    }
    this.#at = at + length;
    return at;
  }
}
