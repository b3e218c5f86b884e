/**
 * Operations place by place on ciphertexts in ring form; each is SEAL's, residue for residue.
 *
 * A result may be written over the first operand. Shapes of both operands are alike unless said; nothing is checked but
 * what cannot be wrong by accident. Must not take memory.
 */
import type { CkksKernels } from "./kernels.ts";
import { balanced } from "./moduli.ts";
import type { RingShape } from "./ring.ts";

export interface RingArithmetic {
  /** a + b */
  add(a: number, b: number, shape: RingShape, to: number): void;
  /** a - b */
  subtract(a: number, b: number, shape: RingShape, to: number): void;
  /** -a */
  negate(a: number, shape: RingShape, to: number): void;
  /** Every polynomial of a times one, `plain` [limb][N]. */
  multiplyPlain(a: number, plain: number, shape: RingShape, to: number): void;
  /** to += a times `plain`; `to` must not overlap a. */
  multiplyPlainAdd(a: number, plain: number, shape: RingShape, to: number): void;
  /** a plus `plain` [limb][N] in polynomial 0. */
  addPlain(a: number, plain: number, shape: RingShape, to: number): void;
  /** a times an integer of any size and sign. */
  multiplyConstant(a: number, value: bigint, shape: RingShape, to: number): void;
  /** to += a times an integer; `to` must not overlap a. */
  multiplyConstantAdd(a: number, value: bigint, shape: RingShape, to: number): void;
  /** a plus an integer in every slot: the scale is the caller's. */
  addConstant(a: number, value: bigint, shape: RingShape, to: number): void;
  /** Two polynomials squared: three at `to`. */
  square(a: number, limbs: number, to: number): void;
  /** Two polynomials times two: three at `to`, which must not overlap b. */
  multiply(a: number, b: number, limbs: number, to: number): void;
}

/** What the operations need of a ring. */
export interface RingCore {
  readonly kernels: CkksKernels;
  readonly primes: readonly bigint[];
  readonly limbBytes: number;
  /** Address of a modulus record. */
  readonly modulus: (limb: number) => number;
  readonly copy: (from: number, to: number, bytes: number) => void;
}

/** The operations on a ring. */
export function createArithmetic(core: RingCore): RingArithmetic {
  const { kernels, primes, limbBytes, modulus, copy } = core;
  /** Calls `run` for each limb of each polynomial with its offset. */
  const eachLimb = (shape: RingShape, run: (offset: number, limb: number) => void): void => {
    for (let at = 0; at < shape.polys * shape.limbs; at += 1) {
      run(at * limbBytes, at % shape.limbs);
    }
  };
  const constant = (value: bigint, limb: number): number => balanced(value, primes[limb] ?? 1n);
  const firstPoly = ({ limbs }: RingShape): RingShape => ({ polys: 1, limbs });
  const copyOthers = (a: number, { polys, limbs }: RingShape, to: number): void => {
    const bytes = limbs * limbBytes;
    if (a !== to) copy(a + bytes, to + bytes, (polys - 1) * bytes);
  };
  return {
    add: (a, b, shape, to) =>
      eachLimb(shape, (at, limb) => kernels.addLimb(a + at, b + at, to + at, modulus(limb))),
    subtract: (a, b, shape, to) =>
      eachLimb(shape, (at, limb) => kernels.subtractLimb(a + at, b + at, to + at, modulus(limb))),
    negate: (a, shape, to) => eachLimb(shape, (at) => kernels.negateLimb(a + at, to + at)),
    multiplyPlain: (a, plain, shape, to) =>
      eachLimb(shape, (at, limb) =>
        kernels.multiplyLimb(a + at, plain + limb * limbBytes, to + at, modulus(limb)),
      ),
    multiplyPlainAdd: (a, plain, shape, to) =>
      eachLimb(shape, (at, limb) =>
        kernels.multiplyAddLimb(a + at, plain + limb * limbBytes, to + at, modulus(limb)),
      ),
    addPlain(a, plain, shape, to) {
      eachLimb(firstPoly(shape), (at, limb) =>
        kernels.addLimb(a + at, plain + at, to + at, modulus(limb)),
      );
      copyOthers(a, shape, to);
    },
    multiplyConstant: (a, value, shape, to) =>
      eachLimb(shape, (at, limb) =>
        kernels.multiplyConstantLimb(a + at, constant(value, limb), to + at, modulus(limb)),
      ),
    multiplyConstantAdd: (a, value, shape, to) =>
      eachLimb(shape, (at, limb) =>
        kernels.multiplyConstantAddLimb(a + at, constant(value, limb), to + at, modulus(limb)),
      ),
    addConstant(a, value, shape, to) {
      eachLimb(firstPoly(shape), (at, limb) =>
        kernels.addConstantLimb(a + at, constant(value, limb), to + at, modulus(limb)),
      );
      copyOthers(a, shape, to);
    },
    square(a, limbs, to) {
      eachLimb({ polys: 1, limbs }, (at, limb) =>
        kernels.squareLimb(a + at, to + at, limbs * limbBytes, modulus(limb)),
      );
    },
    multiply(a, b, limbs, to) {
      eachLimb({ polys: 1, limbs }, (at, limb) =>
        kernels.productLimb(a + at, b + at, to + at, limbs * limbBytes, modulus(limb)),
      );
    },
  };
}
