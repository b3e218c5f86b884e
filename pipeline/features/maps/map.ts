/**
 * What every feature map is: a pure function from the numbers of one record to others.
 */
export interface FeatureMap {
  /** Numbers that it gives. */
  readonly outputs: number;
  /** @param x numbers of one record, as many as the map was made for; not kept. @returns a new array */
  apply(x: Float32Array): Float32Array;
}
