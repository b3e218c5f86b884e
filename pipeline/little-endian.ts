/**
 * Numbers as little-endian bytes and back: a copy of memory, turned around where the machine is big-endian.
 *
 * Every bit is kept, those of a NaN too. A loop over a DataView costs ten times as much. Imports nothing of ours, so that
 * every room may use it; must not know a format.
 */
import { endianness } from "node:os";

export type Numbers = Float32Array | Float64Array | Int32Array;

const IS_LITTLE = endianness() === "LE";

/**
 * Writes `values` to `bytes` from position `at` on; any alignment.
 * @param hostIsLittle for tests
 * @throws RangeError when they do not fit
 */
export function putNumbers(
  bytes: Uint8Array,
  at: number,
  values: Numbers,
  hostIsLittle = IS_LITTLE,
): void {
  bytes.set(bytesOf(values), at);
  if (!hostIsLittle) turn(bytes.subarray(at, at + values.byteLength), values.BYTES_PER_ELEMENT);
}

/**
 * Fills `target` from position `at` of `bytes` on; any alignment.
 * @param hostIsLittle for tests
 * @returns `target`
 * @throws RangeError when there are not enough bytes
 */
export function takeNumbers<T extends Numbers>(
  target: T,
  bytes: Uint8Array,
  at: number,
  hostIsLittle = IS_LITTLE,
): T {
  if (at + target.byteLength > bytes.length) throw new RangeError("There are not enough bytes.");
  const own = bytesOf(target);
  own.set(bytes.subarray(at, at + target.byteLength));
  if (!hostIsLittle) turn(own, target.BYTES_PER_ELEMENT);
  return target;
}

function bytesOf({ buffer, byteOffset, byteLength }: Numbers): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

function turn({ buffer, byteOffset, byteLength }: Uint8Array, width: number): void {
  const view = Buffer.from(buffer, byteOffset, byteLength);
  if (width === 8) view.swap64();
  else view.swap32();
}
