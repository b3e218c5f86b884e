/**
 * What the configuration says about records as a whole; written once by configure.ts, read by record.ts and index.ts.
 */

/** Unknown fields are dropped instead of making the record fail. */
export let allowsUnknown: bool = false;
/** Longest record id, in bytes after decoding. */
export let idMaxBytes: usize = 0;
/** Fields that every record must have. */
export let requiredCount: u32 = 0;
/** Objects or arrays are rebuilt: a record's values are bounded by its bytes, not by the number of fields. */
export let nests: bool = false;
/** Rules make results while the record is read. */
export let makes: bool = false;

/** A batch has a second column: the position of each record. */
export let hasPositions: bool = false;

export function setHasPositions(has: bool): void {
  hasPositions = has;
}

export function setAllowsUnknown(allows: bool): void {
  allowsUnknown = allows;
}

export function setIdMaxBytes(bytes: u32): void {
  idMaxBytes = bytes;
}

export function setRequiredCount(count: u32): void {
  requiredCount = count;
}

export function setWork(hasNested: bool, hasMade: bool): void {
  nests = hasNested;
  makes = hasMade;
}
