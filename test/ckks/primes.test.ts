/** The primes of a set are those that the library chooses. */
import { expect, test } from "vitest";
import { createParameters } from "../../pipeline/ckks/parameters.ts";
import { primesOf } from "../../pipeline/ckks/primes.ts";
import { openContext } from "../../pipeline/ckks/seal.ts";

test.each([
  createParameters(4096, [46, 46, 17], 24),
  createParameters(4096, [40, 33, 36], 24),
  createParameters(8192, [48, 40, 48], 30),
  createParameters(8192, [60, 30, 30, 40], 30),
  createParameters(8192, [21, 21, 21, 22], 30),
  createParameters(16384, [49, 48, 48, 48, 48, 48, 49], 40),
  createParameters(32768, [49, 45, 45, 49], 40),
])("primes of $id", async (parameters) => {
  const ckks = await openContext(parameters);
  expect(primesOf(parameters)).toEqual(ckks.primes);
  expect(primesOf(parameters)).toBe(primesOf(parameters));
  ckks.close();
});

test("a size with too few primes is refused", () => {
  const parameters = createParameters(8192, [18, 18, 18, 18, 18, 18, 18, 18, 18], 30);
  expect(() => primesOf(parameters)).toThrow(
    expect.objectContaining({
      code: "ciphertext-refused",
      message: expect.stringMatching(/fewer than 9 primes of 18 bits/),
    }),
  );
});
