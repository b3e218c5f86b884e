/** The dense kernel on residues, against exact integers and against the library, bit for bit, at the edges of its bounds. */
import { expect, test } from "vitest";
import { readResidues, writeCiphertext } from "../../pipeline/ckks/blob.ts";
import { denseLayer, MAX_WEIGHT } from "../../pipeline/ckks/dense.ts";
import { encryptPack } from "../../pipeline/ckks/pack.ts";
import { DEFAULT_PARAMETERS, dataLimbs } from "../../pipeline/ckks/parameters.ts";
import { openContext, saveUncompressed, withHandles } from "../../pipeline/ckks/seal.ts";
import { keysFor, seeded } from "./fixtures.ts";

const DEGREE = 64;

/** The same in exact integers. */
function reference(
  {
    inputs,
    inputLimbs,
    limbs,
    primes,
  }: Omit<Parameters<typeof denseLayer>[0], "weights" | "biases">,
  weights: readonly bigint[],
  bias: bigint,
): Uint32Array {
  const words = (input: Uint32Array) => new BigUint64Array(input.buffer, input.byteOffset);
  const output = new BigUint64Array(2 * limbs * DEGREE);
  for (let poly = 0; poly < 2; poly += 1)
    for (let limb = 0; limb < limbs; limb += 1) {
      const prime = primes[limb]!;
      for (let at = 0; at < DEGREE; at += 1) {
        let sum = poly === 0 ? bias : 0n;
        for (const [index, input] of inputs.entries())
          sum += weights[index]! * words(input)[(poly * inputLimbs + limb) * DEGREE + at]!;
        output[(poly * limbs + limb) * DEGREE + at] = ((sum % prime) + prime) % prime;
      }
    }
  return new Uint32Array(output.buffer);
}

/** Primes of every width the split meets, among them the extremes (a modulus here need not be prime). */
const PRIMES = [
  (1n << 60n) - 1n,
  1152921504606830593n,
  (1n << 59n) + 1n,
  (1n << 31n) - 1n,
  (1n << 30n) + 1n,
  1n << 30n,
  (1n << 30n) - 1n,
  1073692673n,
  114689n,
];

test.each([
  [
    "random residues, small weights",
    9,
    (q: bigint, r: () => number) => BigInt(Math.floor(r() * 2 ** 53)) % q,
    2 ** 15,
  ],
  [
    "random residues, weights up to the limit, many groups",
    23,
    (q: bigint, r: () => number) => (BigInt(Math.floor(r() * 2 ** 53)) * 977n) % q,
    MAX_WEIGHT,
  ],
  ["all residues q - 1", 7, (q: bigint) => q - 1n, MAX_WEIGHT],
  [
    "residues 0, 1 and q - 1",
    6,
    (q: bigint, r: () => number) => [0n, 1n, q - 1n][Math.floor(r() * 3)]!,
    MAX_WEIGHT,
  ],
] as const)("equals exact integers: %s", (_, count, residue, most) => {
  const random = seeded(11);
  const inputLimbs = PRIMES.length;
  const inputs = Array.from({ length: count }, () => {
    const words = new BigUint64Array(2 * inputLimbs * DEGREE);
    for (let at = 0; at < words.length; at += 1)
      words[at] = residue(PRIMES[Math.floor(at / DEGREE) % inputLimbs]!, random);
    return new Uint32Array(words.buffer);
  });
  const rows = 5;
  const weights = Int32Array.from({ length: rows * count }, (_, index) => {
    if (index < count) return most;
    if (index < 2 * count) return -most;
    return Math.round((2 * random() - 1) * most);
  });
  const biases = [0n, -1n, 10n ** 30n, -(10n ** 30n), 123456789n];
  for (const limbs of [inputLimbs, inputLimbs - 2]) {
    const request = {
      inputs,
      inputLimbs,
      limbs,
      degree: DEGREE,
      primes: PRIMES,
      weights,
      rows,
      biases,
    };
    const outputs = denseLayer(request);
    for (const [row, output] of outputs.entries()) {
      const own = Array.from(weights.subarray(row * count, (row + 1) * count), BigInt);
      expect(output).toEqual(reference(request, own, biases[row]!));
    }
  }
});

test("equals the library's multiplyPlain and add, bit for bit", async () => {
  const parameters = DEFAULT_PARAMETERS;
  const { publicKey } = await keysFor(parameters);
  const blobs = await encryptPack({
    publicKey,
    parameters,
    rows: 3,
    features: 3,
    at: (r, f) => (r - f) / 4,
  });
  const ckks = await openContext(parameters);
  const limbs = dataLimbs(parameters);
  const weights = Int32Array.of(12345, -777, 30000);
  const [mine] = denseLayer({
    inputs: blobs.map(readResidues),
    inputLimbs: limbs,
    limbs,
    degree: parameters.polyModulusDegree,
    primes: ckks.primes,
    weights,
    rows: 1,
    biases: [0n],
  });
  const theirs = withHandles((keep) => {
    const evaluator = keep(new ckks.seal.Evaluator(ckks.context));
    const encoder = keep(new ckks.seal.CKKSEncoder(ckks.context));
    const sum = keep(new ckks.seal.Ciphertext());
    for (const [index, blob] of blobs.entries()) {
      const plaintext = keep(new ckks.seal.Plaintext());
      encoder.encode(new Float64Array(4096).fill(weights[index]!), 1, plaintext);
      const term = keep(new ckks.seal.Ciphertext());
      term.loadFromArray(ckks.context, blob);
      evaluator.multiplyPlainInplace(term, plaintext);
      if (index === 0) sum.assign(term);
      else evaluator.addInplace(sum, term);
    }
    return saveUncompressed(ckks, sum);
  });
  const shape = { limbs, polys: 2, scale: 2 ** 30 };
  expect(Buffer.compare(writeCiphertext(ckks, shape, mine!), theirs)).toBe(0);
  ckks.close();
});

test("wrong shapes and weights beyond the limit are a bug, not a wrong sum", () => {
  const right = {
    inputs: [new Uint32Array(4 * DEGREE)],
    inputLimbs: 1,
    limbs: 1,
    degree: DEGREE,
    primes: [97n],
    weights: Int32Array.of(1),
    rows: 1,
    biases: [0n],
  };
  expect(denseLayer(right)).toHaveLength(1);
  for (const wrong of [
    { ...right, weights: Int32Array.of(MAX_WEIGHT + 1) },
    { ...right, weights: Int32Array.of(1, 1) },
    { ...right, biases: [] },
    { ...right, limbs: 2 },
    { ...right, primes: [1n << 60n] },
    { ...right, inputs: [new Uint32Array(3)] },
  ]) {
    expect(() => denseLayer(wrong)).toThrow(expect.objectContaining({ code: "internal" }));
  }
});
