/** Numbers as bytes: the bytes that a DataView writes, at any address, on a machine of either order. */
import { describe, expect, test } from "vitest";
import { type Numbers, putNumbers, takeNumbers } from "../pipeline/little-endian.ts";

const CASES: readonly [string, Numbers, (view: DataView, at: number, value: number) => void][] = [
  [
    "float32",
    Float32Array.of(0, -0, 1.5, -3.25e-38, Number.POSITIVE_INFINITY),
    (view, at, value) => view.setFloat32(at, value, true),
  ],
  ["float64", Float64Array.of(-0, Math.PI, 5e-324), (view, at, v) => view.setFloat64(at, v, true)],
  [
    "int32",
    Int32Array.of(0, -1, 2 ** 31 - 1, -(2 ** 31)),
    (view, at, value) => view.setInt32(at, value, true),
  ],
];

describe.each(CASES)("%s", (_name, values, write) => {
  const width = values.BYTES_PER_ELEMENT;
  // From an odd address, with bytes before and behind that must stay.
  const expected = new Uint8Array(3 + values.byteLength + 2).fill(7);
  for (const [index, value] of values.entries()) {
    write(new DataView(expected.buffer), 3 + index * width, value);
  }

  test("is written as a DataView writes it", () => {
    const bytes = new Uint8Array(expected.length).fill(7);
    putNumbers(bytes, 3, values);
    expect(bytes).toEqual(expected);
  });

  test("is read back to the bit", () => {
    const read = takeNumbers(values.slice().fill(0), expected, 3);
    expect(Buffer.from(read.buffer)).toEqual(Buffer.from(values.buffer));
  });

  test("is turned around on the other kind of machine, number by number", () => {
    const bytes = new Uint8Array(expected.length).fill(7);
    putNumbers(bytes, 3, values, false);
    const turned = expected.slice();
    for (let at = 3; at < 3 + values.byteLength; at += width) {
      turned.subarray(at, at + width).reverse();
    }
    expect(bytes).toEqual(turned);
    expect(takeNumbers(values.slice(), turned, 3, false)).toEqual(values);
  });

  test("what does not fit throws", () => {
    const short = new Uint8Array(values.byteLength + 2);
    expect(() => putNumbers(short, 3, values)).toThrow(RangeError);
    expect(() => takeNumbers(values.slice(), short, 3)).toThrow(RangeError);
  });
});

test("the bits of a NaN are kept", () => {
  const bits = Uint8Array.of(0x01, 0x02, 0xc3, 0xff);
  const bytes = new Uint8Array(4);
  putNumbers(bytes, 0, takeNumbers(new Float32Array(1), bits, 0));
  expect(bytes).toEqual(bits);
});
