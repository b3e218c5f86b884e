/**
 * A circuit for a network whose weights nobody knows yet: keys are made before the first model is trained.
 *
 * Weights are taken to be uniform within {@link WEIGHT_FACTOR} times the bound of a run's first weights
 * (`initialWeights`), the same ones every time. A plan made from them is a prediction; a model whose weights turn out
 * larger than its parameter set carries is refused when it is evaluated, never computed wrongly.
 * The generator below is for this alone: it must never make weights, noise or keys.
 */
import type { Circuit } from "../network/circuit.ts";
import type { Network } from "../network/definition.ts";
import { initialWeights } from "../network/initial-weights.ts";
import { lowerNetwork } from "../network/lower.ts";
import { scaleFeatures } from "./feature-bounds.ts";

/**
 * How far beyond a run's first weights a plan looks. With 1.5 the largest logit that 64-32-10 could give is 2,147; the
 * digits model that the tests train without privacy could give 2,070, and its predicted precision is the same within half a bit.
 */
export const WEIGHT_FACTOR = 1.5;

/** The assumption in words, for those who read a plan. */
export const WEIGHT_ASSUMPTION = `weights spread evenly up to ${WEIGHT_FACTOR} times the bound of a run's first weights`;

/** Circuits of the last few networks: a process asks about one or two. */
const known = new Map<string, Circuit>();
const MOST_KNOWN = 16;

/**
 * The network with assumed weights; the same object for the same question while it is remembered.
 * @param scale by which features are divided when they are packed (`feature-bounds.ts`)
 */
export function assumedCircuit(network: Network, scale = 1): Circuit {
  const key = JSON.stringify([network, scale]);
  const circuit = known.get(key) ?? scaleFeatures(makeCircuit(network), scale);
  if (known.size >= MOST_KNOWN) known.clear();
  known.set(key, circuit);
  return circuit;
}

function makeCircuit(network: Network): Circuit {
  const weights = initialWeights(network, reproducibleBytes());
  return lowerNetwork(network, {
    layers: weights.layers.map(({ kernel, bias }) => ({
      kernel: kernel.map((value) => value * WEIGHT_FACTOR),
      bias,
    })),
  });
}

/** mulberry32. */
function reproducibleBytes(): (bytes: number) => Uint8Array {
  let state = 0x5ea1;
  return (bytes) => {
    const words = new Uint32Array(Math.ceil(bytes / 4));
    for (let index = 0; index < words.length; index += 1) {
      state = (state + 0x6d2b79f5) | 0;
      let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
      words[index] = mixed ^ (mixed >>> 14);
    }
    return new Uint8Array(words.buffer, 0, bytes);
  };
}
