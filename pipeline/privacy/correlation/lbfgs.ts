/**
 * L-BFGS for the strategy optimisers: small smooth problems, always the same steps for the same start.
 *
 * Two-loop recursion of Nocedal & Wright (Numerical Optimization, 2nd edition, Algorithm 7.4) with the bisection line
 * search of Lewis & Overton (2013), which ends at a point of the weak Wolfe conditions. Draws no random number and reads
 * no clock; must not be given a function that is not deterministic. A value of Infinity or NaN marks a point as out of bounds.
 */

/** Writes the gradient at `x` into `gradient` and returns the value. */
export type Objective = (x: Float64Array, gradient: Float64Array) => number;

const MEMORY = 20;
const ARMIJO = 1e-4;
const CURVATURE = 0.9;
const MAX_HALVINGS = 30;
/** Ends when a step gains less than this: the value is a logarithm, so it is relative. */
const LEAST_GAIN = 1e-13;

interface Point {
  readonly x: Float64Array;
  readonly gradient: Float64Array;
  readonly value: number;
}

interface Pair {
  readonly step: Float64Array;
  readonly change: Float64Array;
  readonly rho: number;
}

/**
 * A local minimum near `start`.
 * @param options.start not written
 * @param options.maxIterations steps at most
 * @param options.tolerance ends when the largest component of the gradient is below it
 * @returns a new buffer; `start`'s values when nothing better was found
 */
export function minimize(
  objective: Objective,
  options: {
    readonly start: Float64Array;
    readonly maxIterations: number;
    readonly tolerance: number;
  },
): Float64Array {
  const evaluate = (x: Float64Array): Point => {
    const gradient = new Float64Array(x.length);
    return { x, value: objective(x, gradient), gradient };
  };
  let here = evaluate(options.start.slice());
  let pairs: readonly Pair[] = [];
  for (let iteration = 0; iteration < options.maxIterations; iteration += 1) {
    if (here.gradient.every((g) => Math.abs(g) <= options.tolerance)) break;
    let next = lineSearch(evaluate, here, descentDirection(here.gradient, pairs));
    if (next === null && pairs.length > 0) {
      // Because the memory may have gone bad where the gradient alone still leads down.
      pairs = [];
      next = lineSearch(evaluate, here, descentDirection(here.gradient, pairs));
    }
    if (next === null) break;
    pairs = remember(pairs, here, next);
    const gain = here.value - next.value;
    here = next;
    if (gain < LEAST_GAIN) break;
  }
  return here.x;
}

function remember(pairs: readonly Pair[], from: Point, to: Point): readonly Pair[] {
  const step = to.x.map((value, i) => value - (from.x[i] ?? 0));
  const change = to.gradient.map((value, i) => value - (from.gradient[i] ?? 0));
  const curvature = dot(step, change);
  if (!(curvature > Number.EPSILON * dot(change, change))) return pairs;
  return [...pairs.slice(1 - MEMORY), { step, change, rho: 1 / curvature }];
}

/** Minus the approximate inverse Hessian times the gradient; the negative gradient, scaled to length 1 at most, without memory. */
function descentDirection(gradient: Float64Array, pairs: readonly Pair[]): Float64Array {
  const direction = gradient.map((g) => -g);
  const newest = pairs.at(-1);
  if (newest === undefined) {
    const norm = Math.sqrt(dot(gradient, gradient));
    return direction.map((d) => d / Math.max(1, norm));
  }
  const alphas: number[] = [];
  for (const { step, change, rho } of pairs.toReversed()) {
    const alpha = rho * dot(step, direction);
    alphas.push(alpha);
    addScaled(direction, change, -alpha);
  }
  const scale = 1 / (newest.rho * dot(newest.change, newest.change));
  for (const [i, d] of direction.entries()) direction[i] = d * scale;
  for (const { step, change, rho } of pairs) {
    const beta = rho * dot(change, direction);
    addScaled(direction, step, (alphas.pop() ?? 0) - beta);
  }
  return direction;
}

/** A point of the weak Wolfe conditions, or the best Armijo point found; null when there is none. */
function lineSearch(
  evaluate: (x: Float64Array) => Point,
  from: Point,
  direction: Float64Array,
): Point | null {
  const slope = dot(from.gradient, direction);
  if (!(slope < 0)) return null;
  let low = 0;
  let high = Number.POSITIVE_INFINITY;
  let length = 1;
  let best: Point | null = null;
  for (let halving = 0; halving < MAX_HALVINGS; halving += 1) {
    const at = length;
    const point = evaluate(from.x.map((value, i) => value + at * (direction[i] ?? 0)));
    if (!(point.value <= from.value + ARMIJO * at * slope)) {
      high = at;
    } else {
      best = point;
      if (dot(point.gradient, direction) >= CURVATURE * slope) return point;
      low = at;
    }
    length = high === Number.POSITIVE_INFINITY ? 2 * low : (low + high) / 2;
  }
  return best;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i += 1) sum += (a[i] ?? 0) * (b[i] ?? 0);
  return sum;
}

function addScaled(target: Float64Array, source: Float64Array, scale: number): void {
  for (let i = 0; i < target.length; i += 1) {
    target[i] = (target[i] ?? 0) + scale * (source[i] ?? 0);
  }
}
