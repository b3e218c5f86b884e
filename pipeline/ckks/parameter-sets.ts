/**
 * The parameter sets that the planner chooses from, each with a name that people can talk about.
 *
 * A set is a ring degree and a chain of primes. Data primes are spent from the right: a rescale divides by the last one
 * left, and one affine map and one square cost about one prime of 46 to 48 bits. The key prime, last of all, is at least
 * as large as the data primes, so that a key switch adds less noise than a rescale removes; where nothing is
 * switched (`shared-1`) it only has to exist. Every prime is within the bound of our kernels, and every sum within the
 * table of `parameters.ts` for 128 bits.
 * The scale of inputs of each is the one under which `planBatch` predicts most for a 64-32-10 network: a larger one
 * leaves the weights fewer bits below the modulus, a smaller one lies nearer to the noise of encryption.
 * Sizes grow from top to bottom. Must not load the library.
 */
import { type CkksParameters, createParameters } from "./parameters.ts";

export interface ParameterSet {
  readonly name: string;
  readonly parameters: CkksParameters;
  /** What it was made for, as the end of a sentence. */
  readonly purpose: string;
}

/** log2 of the scale of inputs on chains of 48-bit primes: 2 (30 + weights of 9 to 12 bits) - 48 stays near 30. */
const DEEP_SCALE_BITS = 30;
/** The same where layers are rescaled by two primes at once: values of deep dense networks are large, and so are errors. */
const WIDE_SCALE_BITS = 36;
/** Bits of a data prime and of the key prime on deep chains. */
const DEEP_PRIME_BITS = 48;
const DEEP_KEY_PRIME_BITS = 49;

/** `data` primes of 48 bits and a key prime of 49. */
function chain(degree: number, data: number, scaleBits: number = DEEP_SCALE_BITS): ParameterSet {
  const bits = [...new Array<number>(data).fill(DEEP_PRIME_BITS), DEEP_KEY_PRIME_BITS];
  return {
    name: `chain-${degree}-${data}`,
    parameters: createParameters(degree, bits, scaleBits),
    purpose: `${data} levels of ${DEEP_PRIME_BITS} bits`,
  };
}

function set(
  name: string,
  [degree, bits, scaleBits]: readonly [number, readonly number[], number],
  purpose: string,
): ParameterSet {
  return { name, parameters: createParameters(degree, bits, scaleBits), purpose };
}

/** The smallest first. */
export const PARAMETER_SETS: readonly ParameterSet[] = [
  set("shared-1", [4096, [46, 46, 17], 21], "one square, no key switch"),
  set("quick-1", [4096, [40, 33, 36], 20], "one square in slots, coarsely"),
  set("secret-1", [8192, [46, 46, 47], 22], "one square, results re-randomised"),
  set("secret-1-fine", [8192, [49, 49, 49], 23], "the same, a bit finer"),
  set("both-1", [8192, [49, 49, 30, 49], 23], "one square in both packings"),
  set("fine-1", [8192, [48, 46, 34, 34, 49], 22], "one square in slots, finely"),
  set("chain-8192-3", [8192, [48, 48, 48, 49], DEEP_SCALE_BITS], "three levels of 48 bits"),
  set("chain-8192-4", [8192, [43, 43, 43, 43, 44], DEEP_SCALE_BITS], "four levels of 43 bits"),
  chain(16_384, 5),
  chain(16_384, 6, WIDE_SCALE_BITS),
  chain(16_384, 7),
  chain(16_384, 8, WIDE_SCALE_BITS),
  // Relinearisation keys of 16 data primes at this degree are more than topic `keys` carries.
  chain(32_768, 9),
  chain(32_768, 11, WIDE_SCALE_BITS),
  chain(32_768, 13),
  chain(32_768, 15, WIDE_SCALE_BITS),
];

/** The name of a set, or its id when it has none. */
export function setName(parameters: CkksParameters): string {
  const named = PARAMETER_SETS.find((one) => one.parameters.id === parameters.id);
  return named?.name ?? parameters.id;
}
