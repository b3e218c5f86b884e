/**
 * What the configuration says about records as a whole; written once by configure.ts, read by record.ts and index.ts.
 */

/** Unknown fields are dropped instead of making the record fail. */
export let allowsUnknown: bool = false;
/** Longest record id, in bytes after decoding. */
export let idMaxBytes: usize = 0;
/** Fields that every record must have. */
export let requiredCount: u32 = 0;
/** Most output bytes of a record: its own bytes times `growthFactor`, plus `growthBytes`. */
export let growthFactor: u32 = 1;
export let growthBytes: u64 = 0;

export function setAllowsUnknown(allows: bool): void {
  allowsUnknown = allows;
}

export function setIdMaxBytes(bytes: u32): void {
  idMaxBytes = bytes;
}

export function setRequiredCount(count: u32): void {
  requiredCount = count;
}

export function setGrowth(factor: u32, bytes: u64): void {
  growthFactor = factor;
  growthBytes = bytes;
}
