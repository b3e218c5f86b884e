/**
 * A circuit written for one slot layout: products with place vectors, turns, and squares.
 *
 * A step is out = sum over its sources of fold(sum_giant turn_giant(sum_baby values * turn_baby(source))) + bias, then
 * perhaps its square. `turn_k` brings place p + k to place p, cyclically within a record; `fold` adds, stage by stage,
 * turns of what it has. Every vector has one number per place; records are side by side (`layout.ts`).
 *
 * Activations. a z^2 + b z + c = sign(a) (sqrt|a| z + sqrt|a| b / 2a)^2 + (c - b^2 / 4a): the square is completed, its
 * inner part goes into the step's own matrix and bias, its sign and constant into the steps that read it. So every
 * activation is z^2 on ciphertexts. Only degree 2 is taken; what else there is has the batch packing.
 *
 * Diagonals. With p the input's period and m the output's, both powers of two: min(p, m) diagonals, diagonal k at
 * place i being W[i mod m][(i + k) mod p] (columns taken cyclically), and when m < p a fold over p / m, which leaves the
 * result repeated with period m. Diagonal k = giant + baby; its values are turned back by `giant` beforehand.
 * Must hold no ciphertext and no scale.
 */
import { SealstreamError } from "../../errors.ts";
import type { Circuit, CircuitStep } from "../../network/circuit.ts";
import { powerOfTwo, type SlotLayout } from "./layout.ts";

/** A product: the source turned by `baby` places, times `values`. */
export interface SlotTerm {
  readonly baby: number;
  /** [places] */
  readonly values: Float64Array;
}

/** One source's part of a step. */
export interface SlotMatrix {
  /** 0: the features; s + 1: the result of step s. */
  readonly source: number;
  /** Terms by giant turn, in places; none is empty. */
  readonly groups: readonly { readonly giant: number; readonly terms: readonly SlotTerm[] }[];
  /** Stages: v = v + sum of turns of v by these places. */
  readonly folds: readonly (readonly number[])[];
}

export interface SlotStep {
  readonly matrices: readonly SlotMatrix[];
  /** [places] */
  readonly bias: Float64Array;
  readonly square: boolean;
}

export interface SlotProgram {
  readonly layout: SlotLayout;
  readonly steps: readonly SlotStep[];
  /** Per place 1 where a logit (or a copy of one) lies, else 0: what a secret model must not let through. */
  readonly mask: Float64Array;
  /** Whether any place is 0 in `mask`. */
  readonly masked: boolean;
}

/** A step after completing the square: row-major dense matrices are never built; entries are visited. */
interface PlainStep {
  readonly step: CircuitStep;
  /** Per entry its value, after signs and factors. */
  readonly values: Float64Array;
  readonly bias: Float64Array;
}

/**
 * Why a circuit cannot be written for slots whatever the layout, as the end of a sentence, or null.
 */
export function slotProgramFault({ steps }: Circuit): string | null {
  for (const [index, { activation, values, bias }] of steps.entries()) {
    if (activation !== null && index === steps.length - 1) return "its last step has an activation";
    if (activation !== null && !(activation.length === 3 && (activation[2] ?? 0) !== 0)) {
      return `the activation of step ${index} is not of degree 2`;
    }
    const finite = [...(activation ?? [])].every(Number.isFinite);
    if (!(finite && values.every(Number.isFinite) && bias.every(Number.isFinite))) {
      return `a weight of step ${index} is not a number`;
    }
    if (values.every((value) => value === 0)) return `every weight of step ${index} is zero`;
  }
  return null;
}

/**
 * Writes a circuit for a layout of its shape.
 * @throws limit-exceeded when {@link slotProgramFault} names a reason
 */
export function slotProgram(circuit: Circuit, layout: SlotLayout): SlotProgram {
  const fault = slotProgramFault(circuit);
  if (fault !== null) {
    throw new SealstreamError(
      "limit-exceeded",
      `The slots packing cannot evaluate this model: ${fault}; use predict.packing: batch.`,
    );
  }
  const plain = completeSquares(circuit);
  const steps =
    layout.packing === "replicated"
      ? replicatedSteps(plain, layout)
      : diagonalSteps(circuit, plain, layout);
  const mask = logitPlaces(layout, steps.length);
  return { layout, steps, mask, masked: mask.includes(0) };
}

function completeSquares(circuit: Circuit): PlainStep[] {
  // Per wire: the true value is sign * (value on the ciphertext) + constant.
  const signs: number[] = new Array<number>(circuit.features).fill(1);
  const constants: number[] = new Array<number>(circuit.features).fill(0);
  return circuit.steps.map((step) => {
    const [c = 0, b = 0, a = 1] = step.activation ?? [];
    const factor = step.activation === null ? 1 : Math.sqrt(Math.abs(a));
    const values = new Float64Array(step.values.length);
    const bias = new Float64Array(step.outputs);
    for (let row = 0; row < step.outputs; row += 1) {
      let offset = step.bias[row] ?? 0;
      for (let at = step.rowStarts[row] ?? 0; at < (step.rowStarts[row + 1] ?? 0); at += 1) {
        const wire = step.inputs[step.columns[at] ?? 0] ?? 0;
        const value = step.values[at] ?? 0;
        values[at] = factor * value * (signs[wire] ?? 1);
        offset += value * (constants[wire] ?? 0);
      }
      bias[row] = factor * (step.activation === null ? offset : offset + b / (2 * a));
    }
    for (let row = 0; row < step.outputs; row += 1) {
      signs.push(step.activation === null ? 1 : Math.sign(a));
      constants.push(step.activation === null ? 0 : c - (b * b) / (4 * a));
    }
    return { step, values, bias };
  });
}

/** Calls `visit` for every entry of a step. */
function eachEntry(
  { step, values }: PlainStep,
  visit: (row: number, wire: number, value: number) => void,
): void {
  for (let row = 0; row < step.outputs; row += 1) {
    for (let at = step.rowStarts[row] ?? 0; at < (step.rowStarts[row + 1] ?? 0); at += 1) {
      visit(row, step.inputs[step.columns[at] ?? 0] ?? 0, values[at] ?? 0);
    }
  }
}

/** Stages that add `count` (a power of two) copies `stride` places apart, `radix` copies a stage. */
export function foldStages(count: number, stride: number, radix: number): number[][] {
  const stages: number[][] = [];
  for (let done = 1; done < count; ) {
    const take = Math.min(radix, count / done);
    stages.push(Array.from({ length: take - 1 }, (_, turn) => (turn + 1) * done * stride));
    done *= take;
  }
  return stages;
}

/**
 * Copies added by one stage. Four: a stage costs one decomposition and one mod-down whatever it adds, and three
 * products with keys; measured cheaper per copy than two or eight.
 */
const FOLD_RADIX = 4;

function replicatedSteps(plain: readonly PlainStep[], layout: SlotLayout): SlotStep[] {
  const { places, columns, features } = layout;
  const rows = places / columns;
  return plain.map((entry, index) => {
    const values = new Float64Array(places);
    const bias = new Float64Array(places);
    const { step } = entry;
    if (index === 0) {
      eachEntry(entry, (row, wire, value) => {
        values[wire * columns + row] = value;
      });
      for (let place = 0; place < places; place += 1)
        bias[place] = entry.bias[place % columns] ?? 0;
    } else {
      eachEntry(entry, (row, wire, value) => {
        values[row * columns + (wire - features)] = value;
      });
      for (let row = 0; row < step.outputs; row += 1) bias[row * columns] = entry.bias[row] ?? 0;
    }
    const folds =
      index === 0 ? foldStages(rows, columns, FOLD_RADIX) : foldStages(columns, 1, FOLD_RADIX);
    const groups = [{ giant: 0, terms: [{ baby: 0, values }] }];
    return {
      matrices: [{ source: index, groups, folds }],
      bias,
      square: step.activation !== null,
    };
  });
}

function diagonalSteps(
  circuit: Circuit,
  plain: readonly PlainStep[],
  layout: SlotLayout,
): SlotStep[] {
  // Vectors: 0 the features, s + 1 the result of step s; the first wire and the width of each.
  const starts = [0];
  const widths = [circuit.features];
  return plain.map((entry) => {
    const { step } = entry;
    const period = powerOfTwo(step.outputs);
    const bySource = new Map<number, [number, number, number][]>();
    eachEntry(entry, (row, wire, value) => {
      const source = starts.findLastIndex((start) => start <= wire);
      const entries = bySource.get(source) ?? [];
      bySource.set(source, entries);
      entries.push([row, wire - (starts[source] ?? 0), value]);
    });
    const matrices = [...bySource]
      .map(([source, entries]) =>
        diagonalMatrix(source, entries, {
          inputPeriod: powerOfTwo(widths[source] ?? 1),
          outputPeriod: period,
          places: layout.places,
        }),
      )
      .filter(({ groups }) => groups.length > 0);
    starts.push((starts.at(-1) ?? 0) + (widths.at(-1) ?? 0));
    widths.push(step.outputs);
    const bias = Float64Array.from(
      { length: layout.places },
      (_, place) => entry.bias[place % period] ?? 0,
    );
    return { matrices, bias, square: step.activation !== null };
  });
}

interface Periods {
  readonly inputPeriod: number;
  readonly outputPeriod: number;
  readonly places: number;
}

/** A term for every diagonal that has an entry, whatever its value: the shape of a program is that of its circuit. */
function diagonalMatrix(
  source: number,
  entries: readonly [number, number, number][],
  { inputPeriod, outputPeriod, places }: Periods,
): SlotMatrix {
  const count = Math.min(inputPeriod, outputPeriod);
  const babies = 2 ** Math.ceil(Math.log2(count) / 2);
  const diagonals = Array.from({ length: count }, () => new Float64Array(places));
  const present = new Set<number>();
  for (const [row, column, value] of entries) {
    // Places i = row (mod outputPeriod) with i + k = column (mod inputPeriod), 0 <= k < count.
    for (let place = row; place < places; place += outputPeriod) {
      const k = (((column - place) % inputPeriod) + inputPeriod) % inputPeriod;
      const diagonal = diagonals[k];
      if (diagonal === undefined) continue;
      present.add(k);
      const giant = k - (k % babies);
      const turned = (place + giant) % places;
      diagonal[turned] = (diagonal[turned] ?? 0) + value;
    }
  }
  const groups: { giant: number; terms: SlotTerm[] }[] = [];
  for (let giant = 0; giant < count; giant += babies) {
    const terms = diagonals
      .slice(giant, giant + babies)
      .map((values, baby) => ({ baby, values }))
      .filter(({ baby }) => present.has(giant + baby));
    if (terms.length > 0) groups.push({ giant, terms });
  }
  const folds = foldStages(inputPeriod / count, outputPeriod, FOLD_RADIX);
  return { source, groups, folds };
}

/** Diagonal results hold logits everywhere; a second replicated step only in column 0 of the classes' rows. */
function logitPlaces(
  { packing, places, columns, classes }: SlotLayout,
  steps: number,
): Float64Array {
  const partial = packing === "replicated" && steps === 2;
  return Float64Array.from({ length: places }, (_, place) =>
    !partial || (place % columns === 0 && place / columns < classes) ? 1 : 0,
  );
}

/** Every turn of a program, in places, once each. */
export function programTurns({ steps, layout }: SlotProgram): number[] {
  const turns = new Set<number>();
  for (const { matrices } of steps) {
    for (const { groups, folds } of matrices) {
      for (const { giant, terms } of groups) {
        turns.add(giant);
        for (const { baby } of terms) turns.add(baby);
      }
      for (const stage of folds) for (const turn of stage) turns.add(turn);
    }
  }
  return [...turns].filter((turn) => turn % layout.places !== 0).sort((a, b) => a - b);
}

/** target[p] += factor * values[p + turn], cyclically; `values` squared first if asked. */
function addTurned(target: Float64Array, values: Float64Array, turn: number): void {
  const { length } = values;
  for (let place = 0; place < length; place += 1) {
    target[place] = (target[place] ?? 0) + (values[(place + turn) % length] ?? 0);
  }
}

/** What one run of {@link runMatrix} does with numbers: a product of a weight and a value. */
export type SlotProduct = (weight: number, value: number, baby: number) => number;

/** A matrix on one record's places; a new array. `product` defaults to multiplication. */
export function runMatrix(
  { groups, folds }: SlotMatrix,
  input: Float64Array,
  product: SlotProduct = (weight, value) => weight * value,
): Float64Array {
  let sum: Float64Array = new Float64Array(input.length);
  for (const { giant, terms } of groups) {
    const inner = new Float64Array(input.length);
    for (const { baby, values } of terms) {
      for (let place = 0; place < inner.length; place += 1) {
        const value = input[(place + baby) % inner.length] ?? 0;
        inner[place] = (inner[place] ?? 0) + product(values[place] ?? 0, value, baby);
      }
    }
    addTurned(sum, inner, giant);
  }
  for (const stage of folds) sum = runFold(stage, sum);
  return sum;
}

/** One fold stage; a new array. */
export function runFold(stage: readonly number[], values: Float64Array): Float64Array {
  const sum = Float64Array.from(values);
  for (const turn of stage) addTurned(sum, values, turn);
  return sum;
}

/**
 * A program on one record in floats: the reference of the encrypted evaluation.
 * @param absolute bounds instead of values: |weights|, |bias|
 * @returns per vector (0 the features, s + 1 the result of step s) its places
 */
export function runProgram(
  { steps }: SlotProgram,
  features: Float64Array,
  absolute = false,
): Float64Array[] {
  const vectors = [features];
  for (const { matrices, bias, square } of steps) {
    const out = absolute ? bias.map(Math.abs) : Float64Array.from(bias);
    for (const matrix of matrices) {
      const input = vectors[matrix.source] ?? new Float64Array(out.length);
      const part = runMatrix(matrix, input, (weight, value) =>
        absolute ? Math.abs(weight) * value : weight * value,
      );
      addTurned(out, part, 0);
    }
    vectors.push(square ? out.map((value) => value * value) : out);
  }
  return vectors;
}

/**
 * Exactly the rotations that programs of this shape use: the Galois keys the consumer makes, before any model exists.
 * @param circuit only where its matrices have entries is looked at, not their values
 * @returns steps in slots, 1..slots - 1, rising
 */
export function rotationSteps(circuit: Circuit, layout: SlotLayout): number[] {
  const program = shapeProgram(circuit, layout);
  return programTurns(program).map((turn) => turn * layout.recordsPerPack);
}

/** The program of any model of this shape, all weights 1: what a zone without the weights knows. */
export function shapeProgram(circuit: Circuit, layout: SlotLayout): SlotProgram {
  const steps = circuit.steps.map((step) => ({
    ...step,
    values: new Float64Array(step.values.length).fill(1),
    bias: new Float64Array(step.outputs),
    activation: step.activation === null ? null : [0, 0, 1],
  }));
  return slotProgram({ features: circuit.features, steps }, layout);
}
