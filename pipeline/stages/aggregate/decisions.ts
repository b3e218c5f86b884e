/**
 * What aggregate must remember beside the ledger, and its bytes in the changelog topic.
 *
 * What an aborted transaction wrote counts as released (invariant 9), so what depends on time, or on which settings are
 * in force, is committed before anything is written that depends on it:
 * - `refusedForKey`: contributions that were refused because their data key was not in `keys`. A repeated attempt
 *   refuses them too, so that it has the same contributions in the update, and the same noise.
 * - `spendingRun`: the run whose first update may have been written. A run without an update in the ledger costs no
 *   budget, so it may be replaced by one of other settings only if it never got this far.
 * - `noiseRows`: which rows that run is noised with (NOISE_ROWS of privacy/noise.ts). An update that was cut off under
 *   others must not be made again: it would be a second look at the same records.
 * - `refusedTo`: the group's position while it is ahead of the newest entry's `contributionsNext`, because everything
 *   between them was refused and is final. The lane signs its changelog, so the position can be believed.
 *
 * Grammar, version 2: CBOR map {"noiseRows": uint, "refusedForKey": [* uint], "refusedTo": null / [sequence: uint,
 * position: uint], "spendingRun": null / tstr (32 hex digits), "v": 2}; version 1 has no "noiseRows", which are then 1
 */
import {
  type CborValue,
  decodeCbor,
  encodeCbor,
  isTextMap,
  isUnsigned,
} from "../../crypto/cbor.ts";
import { SealstreamError } from "../../errors.ts";
import { NOISE_ROWS } from "../../privacy/noise.ts";

export interface Decisions {
  /** Offsets in `contributions`, rising. */
  readonly refusedForKey: readonly number[];
  /** Null: the position is the newest entry's `contributionsNext`. */
  readonly refusedTo: RefusedTo | null;
  /** 32 hex digits, or null. */
  readonly spendingRun: string | null;
  /** Of `spendingRun`; of the run to come while there is none. */
  readonly noiseRows: number;
}

export interface RefusedTo {
  /** Of the ledger entry that was the newest. */
  readonly sequence: number;
  /** Everything from the entry's `contributionsNext` up to this offset was refused. */
  readonly position: number;
}

const VERSION = 2;
/** Of the fields of each version. */
const FIELDS: Readonly<Record<number, number>> = { 1: 4, 2: 5 };

export const NO_DECISIONS: Decisions = {
  refusedForKey: [],
  refusedTo: null,
  spendingRun: null,
  noiseRows: NOISE_ROWS,
};

/** Changelog value; a new buffer. */
export function encodeDecisions(decisions: Decisions): Uint8Array {
  const { refusedForKey, refusedTo, spendingRun, noiseRows } = decisions;
  const pair = refusedTo === null ? null : [refusedTo.sequence, refusedTo.position];
  return encodeCbor({ v: VERSION, refusedForKey, refusedTo: pair, spendingRun, noiseRows });
}

/**
 * Decisions in a changelog value; none for null.
 * @throws state-mismatch when the value is not one of `encodeDecisions`
 */
export function decodeDecisions(changelog: Uint8Array | null): Decisions {
  if (changelog === null) return NO_DECISIONS;
  const map = decodeCbor(changelog) ?? undefined;
  if (isTextMap(map) && Object.keys(map).length === FIELDS[Number(map["v"])]) {
    const { refusedForKey, spendingRun } = map;
    // Nothing was noised yet where no run has begun to spend.
    const oldRows = spendingRun === null ? NOISE_ROWS : 1;
    const noiseRows = map["v"] === 1 ? oldRows : map["noiseRows"];
    const refusedTo = parseRefusedTo(map["refusedTo"]);
    const isWhole = refusedTo !== undefined && isUnsigned(noiseRows);
    if (isOffsets(refusedForKey) && isWhole && isRunId(spendingRun)) {
      return { refusedForKey, refusedTo, spendingRun, noiseRows };
    }
  }
  throw new SealstreamError(
    "state-mismatch",
    "The changelog of aggregate is not one that this version wrote: restore the topic, or start a new generation of the pipeline.",
  );
}

function isOffsets(value: CborValue | undefined): value is readonly number[] {
  return Array.isArray(value) && value.every(isUnsigned);
}

/** Undefined when it is neither null nor a pair. */
function parseRefusedTo(value: CborValue | undefined): RefusedTo | null | undefined {
  if (value === null) return null;
  if (!(isOffsets(value) && value.length === 2)) return undefined;
  const [sequence, position] = value;
  return sequence === undefined || position === undefined ? undefined : { sequence, position };
}

function isRunId(value: CborValue | undefined): value is string | null {
  return value === null || (typeof value === "string" && /^[0-9a-f]{32}$/.test(value));
}
