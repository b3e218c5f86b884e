/** The ring against node-seal and against slow integers: transfer, transforms, guard and limits, in both variants. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

import { loadKernels } from "../../pipeline/ckks/kernels.ts";
import { createParameters } from "../../pipeline/ckks/parameters.ts";
import { createRing, type Ring } from "../../pipeline/ckks/ring.ts";
import { openContext } from "../../pipeline/ckks/seal.ts";
import { seeded } from "./fixtures.ts";

const MAX_BYTES = 2 ** 28;

/** Exact: one coefficient's transform at SEAL's place `index`, by Horner's rule over the root's odd powers. */
function slowTransform(coefficients: Float64Array, root: bigint, q: bigint): bigint {
  let value = 0n;
  for (let at = coefficients.length - 1; at >= 0; at -= 1) {
    value = (value * root + BigInt(coefficients[at]!)) % q;
  }
  return ((value % q) + q) % q;
}

function power(base: bigint, exponent: bigint, q: bigint): bigint {
  let result = 1n;
  for (let bit = exponent, square = base; bit > 0n; bit >>= 1n, square = (square * square) % q) {
    if (bit & 1n) result = (result * square) % q;
  }
  return result;
}

function reverse(index: number, bits: number): number {
  let reversed = 0;
  for (let bit = 0; bit < bits; bit += 1) reversed |= ((index >> bit) & 1) << (bits - 1 - bit);
  return reversed;
}

/** The smallest primitive 2N-th root, by trying all. */
function minimalRoot(degree: number, q: bigint): bigint {
  let root = 0n;
  for (let base = 2n; root === 0n; base += 1n) {
    const candidate = power(base, (q - 1n) / BigInt(2 * degree), q);
    if (power(candidate, BigInt(degree), q) === q - 1n) root = candidate;
  }
  const square = (root * root) % q;
  let least = root;
  for (let odd = root, tries = 0; tries < degree; tries += 1, odd = (odd * square) % q) {
    if (odd < least) least = odd;
  }
  return least;
}

const residuesOf = (values: (limb: number, index: number) => bigint, ring: Ring, limbs: number) => {
  const words = new BigUint64Array(limbs * ring.degree);
  for (let at = 0; at < words.length; at += 1) {
    words[at] = values(Math.floor(at / ring.degree), at % ring.degree);
  }
  return new Uint8Array(words.buffer);
};

const SETS = [
  createParameters(4096, [36, 36, 37], 30),
  createParameters(8192, [49, 36, 49], 30),
  createParameters(16384, [49, 20, 49], 30),
];

describe.each(["fused", "exact"] as const)("the %s ring", (variant) => {
  const open = async (set: (typeof SETS)[number]): Promise<Ring> => {
    const ckks = await openContext(set);
    const ring = createRing(ckks, { maxBytes: MAX_BYTES, exactOnly: variant === "exact" });
    ckks.close();
    expect(ring.variant).toBe(variant);
    return ring;
  };

  it.each(SETS)("transfers residues of $id and refuses those that are none", async (set) => {
    const ring = await open(set);
    const limbs = ring.primes.length;
    const random = seeded(1);
    const patterns: ((limb: number, index: number) => bigint)[] = [
      (limb) => BigInt(Math.floor(random() * Number(ring.primes[limb]))),
      (limb) => ring.primes[limb]! - 1n,
      (limb, index) => (index % 2 === 0 ? 0n : ring.primes[limb]! - 1n),
      () => 0n,
    ];
    const at = ring.take(limbs * ring.limbBytes);
    for (const pattern of patterns) {
      const residues = residuesOf(pattern, ring, limbs);
      expect(ring.importResidues(residues, { polys: 1, limbs }, at)).toBe(true);
      expect(ring.floats(at, ring.degree).every(Number.isInteger)).toBe(true);
      expect(ring.exportResidues(at, { polys: 1, limbs })).toEqual(residues);
    }
    for (const place of [0, ring.degree / 2, limbs * ring.degree - 1]) {
      for (const wrong of [
        ring.primes[Math.floor(place / ring.degree)]!,
        2n ** 52n,
        2n ** 64n - 1n,
      ]) {
        const residues = residuesOf(() => 1n, ring, limbs);
        new BigUint64Array(residues.buffer)[place] = wrong;
        expect(ring.importResidues(residues, { polys: 1, limbs }, at)).toBe(false);
      }
    }
  });

  it.each(SETS)("transforms in SEAL's order over $id and back", async (set) => {
    const ring = await open(set);
    const { degree } = ring;
    const random = seeded(2);
    const [from, to, back] = [0, 1, 2].map(() => ring.take(ring.limbBytes)) as [
      number,
      number,
      number,
    ];
    ring.primes.forEach((q, limb) => {
      const prime = Number(q);
      const half = (prime - 1) / 2;
      const root = minimalRoot(degree, q);
      const inputs: readonly ((index: number) => number)[] = [
        () => Math.floor((random() - 0.5) * prime),
        () => half,
        (index) => (index === degree - 1 ? -half : 0),
        (index) => (index % 2 === 0 ? 2 * prime : -2 * prime),
        () => Math.floor((random() - 0.5) * 2 ** 51),
      ];
      for (const input of inputs) {
        const coefficients = Float64Array.from({ length: degree }, (_, index) => input(index));
        ring.floats(from, degree).set(coefficients);
        ring.forward(from, limb, to);
        expect(ring.floats(to, degree).every((value) => Math.abs(value) <= prime)).toBe(true);
        const { limbBytes } = ring;
        const scratch = ring.mark();
        const out = new Uint8Array(limbBytes);
        const at = ring.take(limbBytes);
        ring.kernels.exportLimb(to, at, ring.modulus(limb));
        out.set(ring.bytes(at, limbBytes));
        ring.release(scratch);
        const places = new BigUint64Array(out.buffer);
        for (const index of [0, 1, 2, degree / 2 - 1, degree / 2, degree - 1]) {
          const odd = BigInt(2 * reverse(index, Math.log2(degree)) + 1);
          expect(places[index]).toBe(slowTransform(coefficients, power(root, odd, q), q));
        }
        ring.inverse(to, limb, back);
        const expected = coefficients.map((value) => {
          const rest = value % prime;
          return rest > half ? rest - prime : rest < -half ? rest + prime : rest;
        });
        // Because -0 and 0 are one residue.
        expect(ring.floats(back, degree).map((value) => value + 0)).toEqual(
          expected.map((value) => value + 0),
        );
      }
    });
  });
});

/** The largest prime below 2^bits that is 1 modulo 2N; Fermat's test with three bases is enough for a fixed test. */
function largestPrime(bits: bigint, degree: number): bigint {
  const step = BigInt(2 * degree);
  let q = ((2n ** bits - 2n) / step) * step + 1n;
  while (![2n, 3n, 5n].every((base) => power(base, q - 1n, q) === 1n)) q -= step;
  return q;
}

describe.each([4096, 8192, 16384, 32768])("the largest primes at degree %i", (degree) => {
  it("keep every transform within its bound, and exact", async () => {
    const ckks = await openContext(SETS[0]!);
    const primes = [49n, 48n, 17n].map((bits) =>
      bits === 17n && degree > 8192 ? largestPrime(20n, degree) : largestPrime(bits, degree),
    );
    const parameters = { ...SETS[0]!, polyModulusDegree: degree };
    const ring = createRing({ ...ckks, parameters, primes }, { maxBytes: MAX_BYTES });
    const random = seeded(3);
    const most = 2 ** 50;
    const [from, to, back] = [0, 1, 2].map(() => ring.take(ring.limbBytes)) as [
      number,
      number,
      number,
    ];
    primes.forEach((q, limb) => {
      const prime = Number(q);
      // As large as a transform may start, in signs of every kind.
      const inputs: readonly ((index: number) => number)[] = [
        () => (random() < 0.5 ? most : -most),
        () => most - Math.floor((random() * prime) / 2),
        (index) => (index & (degree >> 1) ? most : -most),
        (index) => (index % 3) * prime - (index % 2),
      ];
      const bound = prime < 2 ** 48 ? 18.7 * 2 ** 48 : 11.8 * 2 ** 49;
      for (const input of inputs) {
        const coefficients = Float64Array.from({ length: degree }, (_, index) => input(index));
        ring.floats(from, degree).set(coefficients);
        ring.kernels.forward(from, to, ring.modulus(limb));
        const values = ring.floats(to, degree);
        const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
        expect(largest).toBeLessThan(bound);
        expect(values.every(Number.isInteger)).toBe(true);
        // The inverse starts within 4 q.
        values.forEach((value, index) => {
          values[index] = value % prime;
        });
        ring.inverse(to, limb, back);
        const result = ring.floats(back, degree);
        const half = (prime - 1) / 2;
        const wrong = coefficients.findIndex((value, index) => {
          const rest = value % prime;
          const expected = rest > half ? rest - prime : rest < -half ? rest + prime : rest;
          return expected !== result[index];
        });
        expect(wrong).toBe(-1);
      }
    });
  });
});

describe("the guard", () => {
  const read = (file: string) =>
    readFileSync(new URL(`../../build/wasm/${file}`, import.meta.url)) as Uint8Array<ArrayBuffer>;
  const maxBytes = 2 ** 20;

  it("takes the fused module where it fuses", () => {
    expect(loadKernels({ maxBytes }).variant).toBe("fused");
  });

  it("falls back from a module that does not fuse, or does not validate", () => {
    // The exact module answers the residue test with no, as an engine that rounds twice does.
    const unfused = () => read("ckks-exact.wasm");
    expect(loadKernels({ maxBytes, read: unfused }).variant).toBe("exact");
    const invalid = (file: string) =>
      file === "ckks.wasm" ? Uint8Array.from([...read(file)].slice(0, -1)) : read(file);
    expect(loadKernels({ maxBytes, read: invalid }).variant).toBe("exact");
    expect(loadKernels({ maxBytes, exactOnly: true }).variant).toBe("exact");
  });

  it("refuses rather than computes wrongly when no module runs", () => {
    const none = () => new Uint8Array(8);
    expect(() => loadKernels({ maxBytes, read: none })).toThrow(
      expect.objectContaining({ code: "backend-unavailable" }),
    );
  });
});

describe("the limits", () => {
  const code = (expected: string) => expect.objectContaining({ code: expected });

  it("refuses primes past 49 bits, numbers that are no primes of the ring, and other degrees", async () => {
    const ckks = await openContext(SETS[0]!);
    const { primes } = ckks;
    const at = (wrong: bigint[], degree = 4096) => ({
      ...ckks,
      parameters: { ...SETS[0]!, polyModulusDegree: degree },
      primes: wrong,
    });
    const fifty = (1n << 49n) + 1n;
    for (const prime of [fifty, 65_535n]) {
      expect(() => createRing(at([prime, ...primes]), { maxBytes: MAX_BYTES })).toThrow(
        code("ciphertext-refused"),
      );
    }
    expect(() => createRing(at([...primes], 2048), { maxBytes: MAX_BYTES })).toThrow(
      code("ciphertext-refused"),
    );
  });

  it("takes memory up to its maximum and not a page further", async () => {
    const ckks = await openContext(SETS[0]!);
    const ring = createRing(ckks, { maxBytes: 2 ** 22 });
    const mark = ring.mark();
    const left = 2 ** 22 - mark;
    const whole = ring.take(left);
    ring.bytes(whole, left).fill(255);
    expect(() => ring.take(1)).toThrow(code("limit-exceeded"));
    ring.release(mark);
    expect(ring.take(left)).toBe(whole);
    expect(() => ring.release(mark - 64 * 2 ** 20)).toThrow(code("internal"));
    expect(() => createRing(ckks, { maxBytes: 2 ** 16 })).toThrow(code("limit-exceeded"));
    expect(() => createRing(ckks, { maxBytes: 100 })).toThrow(code("limit-exceeded"));
  });
});
