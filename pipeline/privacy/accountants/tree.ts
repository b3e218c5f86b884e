/**
 * The accountant of tree aggregation (DP-FTRL; Kairouz et al., Practical and Private (Deep) Learning without Sampling or
 * Shuffling, ICML 2021, Theorem 4.1 and appendix D): binary counters over the updates.
 *
 * A record in one of n updates is in at most ceil(log2(n + 1)) nodes of the tree, each a Gaussian release of the whole
 * sensitivity, so it is as private as that many releases. Every restart in which the record takes part again counts once
 * more. Kept for comparison with dp-accounting: correlated noise (correlation/) is what training uses. Must not be used for a
 * record that is twice in one tree.
 */
import { SealstreamError } from "../../errors.ts";
import { kFoldNoiseMultiplier } from "../gaussian.ts";

/** Nodes of the tree over `updates` updates that one of them is in at most. */
export function treeHeight(updates: number): number {
  if (!(Number.isInteger(updates) && updates >= 1 && updates < 2 ** 31)) {
    throw new SealstreamError("internal", "A tree has 1 to 2^31 - 1 updates.");
  }
  // ceil(log2(n + 1)) is the number of binary digits of n.
  return 32 - Math.clz32(updates);
}

/**
 * Noise multiplier of one release that is as private as `restarts` trees with `noiseMultiplier` a node.
 * @param updates of the longest tree
 */
export function treeNoiseMultiplier(
  noiseMultiplier: number,
  updates: number,
  restarts: number,
): number {
  return kFoldNoiseMultiplier(noiseMultiplier, treeHeight(updates) * restarts);
}
