/**
 * Tokens as features: a whole number t of 0..vocabulary - 1, scaled to t / (vocabulary - 1) like any number of that range.
 *
 * float32 keeps t / (vocabulary - 1) to a relative 2^-24, so t comes back within vocabulary * 2^-23 and, with
 * vocabularies up to 2^16, is never mistaken for a neighbour. What is further from a whole number was none: it is
 * refused, because a token between two tokens means nothing. Must not know tensors.
 */

/** How far from a whole number a token may come back. */
export function tokenTolerance(vocabulary: number): number {
  return vocabulary * 2 ** -22;
}

/** The token that a feature stands for; null when it stands for none. */
export function tokenOf(feature: number, vocabulary: number): number | null {
  const scaled = feature * (vocabulary - 1);
  const token = Math.round(scaled);
  const fits = token >= 0 && token < vocabulary;
  return fits && Math.abs(scaled - token) <= tokenTolerance(vocabulary) ? token : null;
}
