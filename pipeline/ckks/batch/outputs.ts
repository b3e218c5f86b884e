/**
 * At which scale, and over how many primes, a program leaves its results.
 *
 * Most logits have room below the first prime at a scale that rounding does not reach. In deep networks a logit could be so
 * large that too few bits of scale are left, for it and for the weights in front of it: then results may keep two primes,
 * which costs bytes. `plan.ts` tries both.
 */
import type { CircuitStep } from "../../network/circuit.ts";
import {
  boundBits,
  ciphertextOf,
  type Draft,
  MARGIN_BITS,
  modulusBits,
  Overflow,
} from "./draft.ts";
import { boundOf, type Interval, scaled } from "./noise.ts";
import type { Wire } from "./rows.ts";

/** Results of fewer bits than this above the binary point's other side say nothing. */
const MIN_OUTPUT_BITS = 12;
/** Beyond this a double cannot say more. */
const MOST_OUTPUT_BITS = 50;
export interface OutputForm {
  /** log2 of the scale. */
  readonly bits: number;
  readonly limbs: 1 | 2;
}

export interface OutputRequest {
  readonly step: CircuitStep;
  readonly wires: readonly Wire[];
  /** Primes that the step's rows are divided by. */
  readonly rescales: number;
  /** Primes that results are to keep. */
  readonly limbs: 1 | 2;
}

/** @throws Overflow when the primes have no room for a logit, or are not there any more */
export function outputForm(draft: Draft, request: OutputRequest): OutputForm {
  const bound = boundBits(largestLogit(draft, request));
  // One bit more than the margin: rounded weights may add up to a little more than the weights.
  const room = Math.floor(modulusBits(draft.primes, request.limbs) - 2 - MARGIN_BITS - bound);
  if (limbsAtEnd(draft, request) < request.limbs) throw new Overflow("a result");
  if (!(room >= MIN_OUTPUT_BITS)) {
    throw new Overflow(`a logit of this model could reach 2^${Math.ceil(bound)}`);
  }
  return { bits: Math.min(room, MOST_OUTPUT_BITS), limbs: request.limbs };
}

/** Limbs that the shortest result has. */
function limbsAtEnd(draft: Draft, { step, wires, rescales }: OutputRequest): number {
  const read = [...step.inputs].flatMap((wire) => wires[wire]?.terms ?? []);
  const limbs = read.map(({ ciphertext }) => ciphertextOf(draft, ciphertext).limbs);
  return limbs.reduce((least, one) => Math.min(least, one), draft.primes.length) - rescales;
}

/** What no |logit| can pass. */
function largestLogit(draft: Draft, { step, wires }: OutputRequest): number {
  const ranges = Array.from(step.inputs, (wire) => rangeOf(draft, wires[wire]));
  let most = 0;
  for (let row = 0; row < step.outputs; row += 1) {
    let { low, high }: Interval = { low: step.bias[row] ?? 0, high: step.bias[row] ?? 0 };
    const to = step.rowStarts[row + 1] ?? 0;
    for (let at = step.rowStarts[row] ?? 0; at < to; at += 1) {
      const range = ranges[step.columns[at] ?? 0];
      if (range === undefined) continue;
      const part = scaled(range, step.values[at] ?? 0);
      low += part.low;
      high += part.high;
    }
    most = Math.max(most, boundOf({ low, high }));
  }
  return most;
}

function rangeOf(draft: Draft, wire: Wire | undefined): Interval | undefined {
  return wire?.terms.reduce<Interval>(
    ({ low, high }, { ciphertext, coefficient }) => {
      const part = scaled(ciphertextOf(draft, ciphertext).estimate, coefficient);
      return { low: low + part.low, high: high + part.high };
    },
    { low: wire.constant, high: wire.constant },
  );
}
