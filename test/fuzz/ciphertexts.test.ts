/** A slice of `npm run fuzz:ciphertexts`: mutated ciphertexts and keys, every one refused, and the pool goes on. */
import { expect, test } from "vitest";
import { fuzzCiphertexts, TARGETS } from "./ciphertexts.ts";

const CASES = 400;

test("mutated ciphertexts and keys are refused, memory stays, a good pack is evaluated after them", async () => {
  const { refused, accepted, grownBytes, goesOn } = await fuzzCiphertexts({
    seed: 7,
    cases: CASES,
  });
  expect(accepted).toEqual([]);
  expect(refused).toEqual(Object.fromEntries(TARGETS.map((target) => [target, CASES / 5])));
  expect(goesOn).toBe(true);
  // A bomb that was let in has 64 MB.
  expect(grownBytes).toBeLessThan(150e6);
});
