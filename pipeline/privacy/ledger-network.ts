/**
 * The network as a ledger entry names it, and how many numbers its gradient has.
 *
 * A reader recomputes an entry's sensitivity from the number of parameters, so the entry says enough to count them.
 * Entries of version 1 know dense layers with `square` or `none`; of version 2 polynomials, conv2d, averagePool2d and
 * the last state of an rnn; of version 3 every layer. An entry has the lowest version that can say it: one network, one
 * spelling. Mirrors network/layers.ts and network/products.ts, which this room may not import.
 */
import { z } from "zod";

export const LEDGER_FUNCTIONS = ["relu", "tanh", "sigmoid", "softplus"] as const;
export type LedgerActivation =
  | "square"
  | "none"
  | (typeof LEDGER_FUNCTIONS)[number]
  | { readonly polynomial: readonly number[] };
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
      readonly kind: "averagePool2d" | "maxPool2d";
      readonly input: Triple;
      readonly poolSize: Pair;
      readonly strides: Pair;
      readonly outputs: number;
      readonly activation: "none";
    }
  | {
      readonly kind: "rnn";
      readonly input: Pair;
      readonly sequences?: true;
      readonly outputs: number;
      readonly activation: LedgerActivation;
    }
  | {
      readonly kind: "gru" | "lstm";
      readonly input: Pair;
      readonly sequences?: true;
      readonly outputs: number;
      readonly activation: "tanh";
    }
  | {
      readonly kind: "embedding";
      readonly input: readonly [number];
      readonly vocabulary: number;
      readonly outputs: number;
      readonly activation: "none";
    }
  | {
      readonly kind: "layerNorm";
      readonly input: Pair;
      readonly epsilon: number;
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
  z.enum(["square", "none", ...LEDGER_FUNCTIONS]),
  z.strictObject({ polynomial: z.array(z.number()).min(3).max(8) }),
]);
const common = { outputs: size, activation };
// Because an absent key and one that is undefined are the same to zod, and never differ in JSON.
const sequences = z.literal(true).exactOptional();

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
    kind: z.enum(["averagePool2d", "maxPool2d"]),
    input: triple,
    poolSize: pair,
    strides: pair,
    outputs: size,
    activation: z.literal("none"),
  }),
  z.strictObject({ kind: z.literal("rnn"), input: pair, sequences, ...common }),
  z.strictObject({
    kind: z.enum(["gru", "lstm"]),
    input: pair,
    sequences,
    outputs: size,
    activation: z.literal("tanh"),
  }),
  z.strictObject({
    kind: z.literal("embedding"),
    input: z.tuple([size]),
    vocabulary: size,
    outputs: size,
    activation: z.literal("none"),
  }),
  z.strictObject({ kind: z.literal("layerNorm"), input: pair, epsilon: z.number(), ...common }),
]);

export const ledgerNetworkSchema = z
  .strictObject({ inputs: size, layers: z.array(layer).min(1) })
  .refine(isChain);

/** Whether every layer reads as many values as there are before it, and its outputs can be cut into its steps. */
function isChain({ inputs, layers }: LedgerNetwork): boolean {
  let before = inputs;
  return layers.every((one) => {
    const reads =
      one.kind === undefined
        ? before
        : one.input.reduce((product: number, side) => product * side, 1);
    const fits = reads === before && Number.isInteger(unitsOf(one));
    before = one.outputs;
    return fits;
  });
}

/** Outputs at each step of what gives a sequence, else all. */
function unitsOf(one: LedgerLayer): number {
  const isSequence = one.kind === "embedding" || ("sequences" in one && one.sequences === true);
  return isSequence ? one.outputs / one.input[0] : one.outputs;
}

/** Version of an entry that names this network. */
export function ledgerVersion({ layers }: LedgerNetwork): 1 | 2 | 3 {
  const versions = layers.map(layerVersion);
  return versions.includes(3) ? 3 : versions.includes(2) ? 2 : 1;
}

function layerVersion(one: LedgerLayer): 1 | 2 | 3 {
  const { kind, activation: own } = one;
  if (LEDGER_FUNCTIONS.some((name) => name === own)) return 3;
  if (kind === undefined) return typeof own === "string" ? 1 : 2;
  if (kind === "rnn") return one.sequences === true ? 3 : 2;
  return kind === "conv2d" || kind === "averagePool2d" ? 2 : 3;
}

/** Numbers in the kernels and biases. */
export function ledgerParameters({ inputs, layers }: LedgerNetwork): number {
  let before = inputs;
  let parameters = 0;
  for (const one of layers) {
    parameters += layerParameters(one, before);
    before = one.outputs;
  }
  return parameters;
}

function layerParameters(one: LedgerLayer, before: number): number {
  const units = unitsOf(one);
  switch (one.kind) {
    case "conv2d":
      return (one.kernelSize[0] * one.kernelSize[1] * one.input[2] + 1) * one.filters;
    case "averagePool2d":
    case "maxPool2d":
      return 0;
    case "rnn":
      return (one.input[1] + units + 1) * units;
    case "gru":
      // A bias for the input's product and one for the state's.
      return (one.input[1] + units + 2) * 3 * units;
    case "lstm":
      return (one.input[1] + units + 1) * 4 * units;
    case "embedding":
      return one.vocabulary * units;
    case "layerNorm":
      return 2 * one.input[1];
    default:
      return (before + 1) * one.outputs;
  }
}
