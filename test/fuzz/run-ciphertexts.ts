/**
 * `npm run fuzz:ciphertexts -- --seed S --cases N`: mutated ciphertexts, public, relinearization and Galois keys.
 *
 * The last line is `nothing found` and the exit code 0, or what was let through, and 1.
 */
import { parseArgs } from "node:util";
import { fuzzCiphertexts } from "./ciphertexts.ts";

const CASES = "5000";
const TOLD_EVERY = 1_000;

const { values } = parseArgs({
  options: { seed: { type: "string" }, cases: { type: "string", default: CASES } },
});
const seed = values.seed === undefined ? Date.now() % 2 ** 31 : Number(values.seed);
const cases = Number(values.cases);
if (!Number.isSafeInteger(seed) || !Number.isSafeInteger(cases) || cases < 1) {
  throw new Error("usage: fuzz:ciphertexts [--seed INTEGER] [--cases N]");
}
process.stderr.write(`fuzz of ${cases} ciphertexts and keys with seed ${seed}\n`);
const { refused, accepted, grownBytes, goesOn } = await fuzzCiphertexts({
  seed,
  cases,
  onProgress: (done) => {
    if (done % TOLD_EVERY === 0) process.stderr.write(`${done} of ${cases}\n`);
  },
});
process.stdout.write(
  `refused ${JSON.stringify(refused)}, memory +${Math.round(grownBytes / 1e6)} MB\n`,
);
for (const finding of accepted) process.stdout.write(`let through: ${finding}\n`);
const isFine = accepted.length === 0 && goesOn;
process.stdout.write(
  isFine ? `seed ${seed}: nothing found\n` : `seed ${seed}: goes on: ${goesOn}\n`,
);
process.exitCode = isFine ? 0 : 1;
