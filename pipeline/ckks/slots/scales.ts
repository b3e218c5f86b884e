/**
 * Chooses levels and scales of a slots program: where to rescale and with how many bits each matrix is written.
 *
 * For a fixed structure (where to rescale) every constraint is linear in the logarithms of the scales and the variance
 * of a logit is a sum of their exponentials: a geometric program, so that a walk over whole bits with pair moves finds
 * its optimum. Structures are tried one after the other; the cheapest that meets the precision goal wins, else the most
 * precise. Nothing that could wrap around is feasible: bounds hold for every input in [-1, 1], in every slot.
 * Must not see values of weights, only bounds and gains (`noise.ts`).
 */
import type { SlotStructure, StepStructure } from "./cost.ts";
import type { SlotStatistics, SlotVariances } from "./noise.ts";
import type { SlotProgram } from "./program.ts";
import { deriveScales, type ScaleBits, type StepScales } from "./scale-chain.ts";

/** Bits kept free between the largest value and half the modulus, for noise. */
const MARGIN_BITS = 1;
/** Largest coefficient of an encoded matrix: far below what f64 holds. */
const MOST_PLAIN_BITS = 48;
/**
 * Standard deviations between the predicted error and the predicted deviation. Over slots most noise is a Laplace variable,
 * because it is multiplied by the secret's value at the slot (batch/noise.ts): 12 are passed by one logit in 2 x 10^7.
 */
export const ERROR_DEVIATIONS = 12;
/** Scales of results that the consumer accepts (`blob.ts` and the wire format). */
const OUTPUT_BITS = { least: 14, most: 56 } as const;
const LEAST_SUM_BITS = 8;
/** A mask of fewer bits would let through too much of what it multiplies. */
const LEAST_MASK_BITS = 10;
/** A matrix below has no digit left; one that is encrypted drowns in its own noise. */
const LEAST_PLAIN_SCALE = 2;
const LEAST_CIPHER_SCALE = 2 ** 10;
const MOST_SUM_BITS = 90;
/** Rounds of a walk; seen: below 20. */
const MAX_ROUNDS = 200;

export interface SlotScales {
  readonly structure: SlotStructure;
  readonly bits: ScaleBits;
  readonly steps: readonly StepScales[];
  /** Predicted variance of the worst logit. */
  readonly variance: number;
}

/** What the search depends on. */
export interface ScaleProblem {
  readonly program: SlotProgram;
  readonly statistics: SlotStatistics;
  readonly variances: SlotVariances;
  readonly primes: readonly bigint[];
  /** Results must be rescaled last, masked, and re-randomised. */
  readonly secret: boolean;
  /** Matrices are ciphertexts. */
  readonly encrypted: boolean;
  /** log2 of the scale of the features; null: chosen too. */
  readonly inputScaleBits: number | null;
}

/** Bits of a walk: the input's, one per step (of its sum), and the mask's. */
type Bits = number[];

const square = (value: number): number => value * value;
const bits = (value: number): number => Math.log2(Math.max(value, 2 ** -40));

/** Every structure worth trying: all of them up to two steps, uniform hidden steps beyond. */
export function structures({ program, primes, secret }: ScaleProblem): SlotStructure[] {
  const { steps } = program;
  const choices = [false, true];
  const step: StepStructure[] = choices.flatMap((early) =>
    choices.flatMap((late) => choices.map((isSquare) => ({ early, late, square: isSquare }))),
  );
  const fits = (index: number, candidate: StepStructure): boolean =>
    (candidate.square ? steps[index]?.square === true : true) &&
    !(candidate.early && steps[index]?.matrices.every(({ folds }) => folds.length === 0));
  const last = steps.length - 1;
  const found: SlotStructure[] = [];
  const data = primes.length - 1;
  for (const hidden of step) {
    for (const end of step) {
      if (last === 0 && hidden !== step[0]) continue;
      const list = steps.map((_, index) => (index === last ? end : restrict(hidden, steps[index])));
      if (!list.every((candidate, index) => fits(index, candidate))) continue;
      if (secret && !end.late) continue;
      const used = list.reduce(
        (sum, s) => sum + Number(s.early) + Number(s.late) + Number(s.square),
        0,
      );
      for (let limbs = used + 1; limbs <= data; limbs += 1) found.push({ limbs, steps: list });
    }
  }
  return dedupe(found);
}

/** A hidden structure where the step has no square or no fold. */
function restrict(
  structure: StepStructure,
  step: SlotProgram["steps"][number] | undefined,
): StepStructure {
  const folded = step?.matrices.some(({ folds }) => folds.length > 0) === true;
  const moved = structure.early && !folded;
  return {
    early: structure.early && folded,
    late: structure.late || moved,
    square: structure.square && step?.square === true,
  };
}

function dedupe(found: readonly SlotStructure[]): SlotStructure[] {
  const seen = new Map(found.map((structure) => [JSON.stringify(structure), structure]));
  return [...seen.values()];
}

/** Best scales of a structure, or null when nothing fits. */
export function bestScales(problem: ScaleProblem, structure: SlotStructure): SlotScales | null {
  const free = problem.inputScaleBits === null;
  const start = [
    problem.inputScaleBits ?? 20,
    ...structure.steps.map(() => LEAST_SUM_BITS + 6),
    needsMask(problem) ? 18 : 0,
  ];
  const movable = start
    .map((_, index) => index)
    .filter((index) =>
      index === 0 ? free : index <= structure.steps.length || needsMask(problem),
    );
  const at = feasibleStart(problem, structure, start, movable);
  return at === null ? null : descend(problem, structure, at, movable).scales;
}

interface Point {
  readonly bits: Bits;
  readonly scales: SlotScales;
}

function pointAt(problem: ScaleProblem, structure: SlotStructure, at: Bits): Point | null {
  const scales = evaluateScales(problem, structure, at);
  return scales === null ? null : { bits: at, scales };
}

/** A feasible point: sums as small as products allow, raised until every matrix has a scale of at least one. */
function feasibleStart(
  problem: ScaleProblem,
  structure: SlotStructure,
  start: Bits,
  movable: readonly number[],
): Point | null {
  const low = movable.includes(0) ? [14, 20, 30, 40] : [start[0] ?? 20];
  for (const input of low) {
    for (let base = LEAST_SUM_BITS; base <= 60; base += 4) {
      for (const slope of [0, 4, 8, 12, -4, -8]) {
        const candidate = start.map((value, index) => {
          if (index === 0) return input;
          if (index === start.length - 1) return value;
          return base + slope * (index - 1);
        });
        const point = pointAt(problem, structure, candidate);
        if (point !== null) return point;
      }
    }
  }
  return null;
}

const MOVES = [-4, -2, -1, 1, 2, 4];

/** Moves of one bit count, then of pairs: what one gives up another may need. */
function moves(movable: readonly number[]): (readonly [number, number])[][] {
  const single = movable.flatMap((index) => MOVES.map((by) => [index, by] as const));
  const pairs = single.flatMap((one) =>
    single.filter(([index]) => index > one[0]).map((other) => [one, other]),
  );
  return [...single.map((one) => [one]), ...pairs];
}

/** Takes every move that makes the variance smaller until there is none. */
function descend(
  problem: ScaleProblem,
  structure: SlotStructure,
  start: Point,
  movable: readonly number[],
): Point {
  const tried = moves(movable);
  let at = start;
  for (let round = 0, improved = true; improved && round < MAX_ROUNDS; round += 1) {
    improved = false;
    for (const move of tried) {
      const bitsThere = move.reduce(
        (all, [index, by]) => all.with(index, (all[index] ?? 0) + by),
        at.bits,
      );
      const point = pointAt(problem, structure, bitsThere);
      if (point === null || point.scales.variance >= at.scales.variance * 0.999) continue;
      at = point;
      improved = true;
    }
  }
  return at;
}

function needsMask({ secret, program }: ScaleProblem): boolean {
  return secret && program.masked;
}

/** Running total of a check: constraints and variance. */
interface Walk {
  readonly problem: ScaleProblem;
  /** log2 of the product of the first primes, by their number. */
  readonly modulusBits: readonly number[];
  /** Scale of each vector: the features, then each step's result. */
  readonly held: readonly number[];
}

function namedBits({ program }: ScaleProblem, at: Bits, masked: boolean): ScaleBits {
  const sums = at.slice(1, program.steps.length + 1);
  return { input: at[0] ?? 0, sums, mask: masked ? (at.at(-1) ?? 0) : null };
}

/** Scales of a point with their variance, or null when something does not fit. */
function evaluateScales(
  problem: ScaleProblem,
  structure: SlotStructure,
  at: Bits,
): SlotScales | null {
  const { program, primes, statistics, variances } = problem;
  const named = namedBits(problem, at, needsMask(problem));
  if (!bitsInRange(named)) return null;
  const steps = deriveScales(program, primes, structure, named);
  if (steps === null) return null;
  let total = 0;
  const modulusBits = [0, ...primes.map((prime) => (total += Math.log2(Number(prime))))];
  const inputScale = 2 ** named.input;
  const held = [inputScale, ...steps.map(({ outScale }) => outScale)];
  const walk: Walk = { problem, modulusBits, held };
  if (!fitsIn(walk, structure.limbs, inputScale, 1)) return null;
  let variance =
    (statistics.features * (variances.encrypt + variances.encode)) / square(inputScale);
  for (const [index, step] of steps.entries()) {
    if (!stepFits(walk, index, step)) return null;
    variance += stepVariance(walk, index, step);
  }
  if (problem.secret) variance += variances.encrypt / square(held.at(-1) ?? 1);
  return { structure, bits: named, steps, variance };
}

function bitsInRange({ sums, mask }: ScaleBits): boolean {
  const out = sums.at(-1) ?? 0;
  return (
    sums.every((sum) => sum >= LEAST_SUM_BITS && sum <= MOST_SUM_BITS) &&
    out >= OUTPUT_BITS.least &&
    out <= OUTPUT_BITS.most &&
    (mask === null || mask >= LEAST_MASK_BITS)
  );
}

/** Whether values up to `bound` at a scale stay below half the modulus of `limbs` primes. */
function fitsIn({ modulusBits }: Walk, limbs: number, scale: number, bound: number): boolean {
  return bits(scale) + Math.max(0, bits(bound)) + 1 + MARGIN_BITS <= (modulusBits[limbs] ?? 0);
}

function stepFits(walk: Walk, index: number, scales: StepScales): boolean {
  const { statistics, program, encrypted } = walk.problem;
  const bound = statistics.bounds[index];
  if (bound === undefined) return false;
  const largest = statistics.largest[index] ?? [];
  const isSquare = program.steps[index]?.square === true;
  return (
    scales.plainScales.every(
      (scale, matrix) =>
        scale >= (encrypted ? LEAST_CIPHER_SCALE : LEAST_PLAIN_SCALE) &&
        bits(scale) + bits(largest[matrix] ?? 0) <= MOST_PLAIN_BITS,
    ) &&
    fitsIn(walk, scales.limbs, scales.productScale, bound.product) &&
    fitsIn(walk, scales.foldLimbs, scales.maskedScale, bound.sum) &&
    fitsIn(walk, scales.sumLimbs, scales.squareScale, isSquare ? square(bound.sum) : bound.sum)
  );
}

/** Variance that one step adds to the worst logit. */
function stepVariance({ problem, held }: Walk, index: number, scales: StepScales): number {
  const { program, statistics, variances, encrypted } = problem;
  const step = program.steps[index];
  const gains = statistics.steps[index];
  if (step === undefined || gains === undefined) return Number.POSITIVE_INFINITY;
  const { limbs, foldLimbs, sumLimbs, outLimbs, sumScale, foldScale, squareScale } = scales;
  const product = square(scales.productScale);
  const weight = encrypted ? variances.encrypt + variances.encode : variances.encode;
  let variance = 0;
  for (const [at, matrix] of step.matrices.entries()) {
    const gain = gains.matrices[at];
    if (gain === undefined) continue;
    const lazy = encrypted ? matrix.groups.length : 0;
    variance += (gain.values * weight) / square(scales.plainScales[at] ?? 1);
    variance += (gain.babies * variances.keySwitch(limbs)) / square(held[matrix.source] ?? 1);
    variance += ((gain.giants + gain.beforeFolds * lazy) * variances.keySwitch(limbs)) / product;
    if (foldLimbs < limbs) variance += (gain.beforeFolds * variances.rescale) / square(foldScale);
    for (const [stage, turns] of matrix.folds.entries()) {
      const added = variances.keySwitch(foldLimbs, turns.length) / square(foldScale);
      variance += (gain.folds[stage] ?? 0) * added;
    }
  }
  variance += (gains.sum * weight) / square(sumScale);
  if (sumLimbs < foldLimbs) variance += (gains.sum * variances.rescale) / square(sumScale);
  if (scales.maskScale !== null) {
    variance += (variances.encode / square(scales.maskScale)) * statistics.logitSquare;
  }
  if (step.square) variance += (gains.square * variances.keySwitch(sumLimbs)) / square(squareScale);
  if (outLimbs < sumLimbs) variance += (gains.square * variances.rescale) / square(scales.outScale);
  return variance;
}
