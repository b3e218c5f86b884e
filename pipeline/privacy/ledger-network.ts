/**
 * The network as a ledger entry names it, and how many numbers its gradient has.
 *
 * A reader recomputes an entry's sensitivity from the number of parameters, so the entry says enough to count them.
 * Entries of version 1 know dense layers with `square` or `none`; anything else makes an entry of version 2, and an
 * entry has the lowest version that can say it: one network, one spelling. Mirrors network/layers.ts, which this room
 * may not import.
 */
import { z } from "zod";

export type LedgerActivation = "square" | "none" | { readonly polynomial: readonly number[] };
type Pair = readonly [number, number];
type Triple = readonly [number, number, number];

export type LedgerLayer =
  | { readonly kind?: never; readonly outputs: number; readonly activation: LedgerActivation }
  | {
      readonly kind: "conv2d";
      readonly input: Triple;
      readonly filters: number;
      readonly kernelSize: Pair;
      readonly strides: Pair;
      readonly padding: "valid" | "same";
      readonly outputs: number;
      readonly activation: LedgerActivation;
    }
  | {
      readonly kind: "averagePool2d";
      readonly input: Triple;
      readonly poolSize: Pair;
      readonly strides: Pair;
      readonly outputs: number;
      readonly activation: "none";
    }
  | {
      readonly kind: "rnn";
      readonly input: Pair;
      readonly outputs: number;
      readonly activation: LedgerActivation;
    };

export interface LedgerNetwork {
  readonly inputs: number;
  readonly layers: readonly LedgerLayer[];
}

const size = z.int().min(1);
const pair = z.tuple([size, size]);
const triple = z.tuple([size, size, size]);
const activation = z.union([
  z.enum(["square", "none"]),
  z.strictObject({ polynomial: z.array(z.number()).min(3).max(8) }),
]);
const common = { outputs: size, activation };

const layer = z.union([
  z.strictObject(common),
  z.strictObject({
    kind: z.literal("conv2d"),
    input: triple,
    filters: size,
    kernelSize: pair,
    strides: pair,
    padding: z.enum(["valid", "same"]),
    ...common,
  }),
  z.strictObject({
    kind: z.literal("averagePool2d"),
    input: triple,
    poolSize: pair,
    strides: pair,
    outputs: size,
    activation: z.literal("none"),
  }),
  z.strictObject({ kind: z.literal("rnn"), input: pair, ...common }),
]);

export const ledgerNetworkSchema = z
  .strictObject({ inputs: size, layers: z.array(layer).min(1) })
  .refine(isChain);

/** Whether every layer reads as many values as there are before it. */
function isChain({ inputs, layers }: LedgerNetwork): boolean {
  let before = inputs;
  return layers.every((one) => {
    const reads =
      one.kind === undefined ? before : one.input.reduce((product, side) => product * side, 1);
    const fits = reads === before;
    before = one.outputs;
    return fits;
  });
}

/** Version of an entry that names this network. */
export function ledgerVersion({ layers }: LedgerNetwork): 1 | 2 {
  const isPlain = layers.every(
    (one) => one.kind === undefined && typeof one.activation === "string",
  );
  return isPlain ? 1 : 2;
}

/** Numbers in the kernels and biases. */
export function ledgerParameters({ inputs, layers }: LedgerNetwork): number {
  let before = inputs;
  let parameters = 0;
  for (const one of layers) {
    if (one.kind === "conv2d") {
      const [height, width] = one.kernelSize;
      parameters += (height * width * one.input[2] + 1) * one.filters;
    } else if (one.kind === "rnn") {
      parameters += (one.input[1] + one.outputs + 1) * one.outputs;
    } else if (one.kind === undefined) {
      parameters += (before + 1) * one.outputs;
    }
    before = one.outputs;
  }
  return parameters;
}
