/**
 * What aggregate must remember beside the ledger, and its bytes in the changelog topic.
 *
 * What an aborted transaction wrote counts as released (invariant 9), so what depends on time, or on which settings are
 * in force, is committed before anything is written that depends on it:
 * - `refusedForKey`: contributions that were refused because their data key was not in `keys`. A repeated attempt
 *   refuses them too, so that it has the same contributions in the update, and the same noise.
 * - `spendingRun`: the run whose first update may have been written. A run without an update in the ledger costs no
 *   budget, so it may be replaced by one of other settings only if it never got this far.
 * - `refusedTo`: the group's position while it is ahead of the newest entry's `contributionsNext`, because everything
 *   between them was refused and is final. The lane signs its changelog, so the position can be believed.
 *
 * Grammar, version 1: CBOR map {"refusedForKey": [* uint], "refusedTo": null / [sequence: uint, position: uint],
 * "spendingRun": null / tstr (32 hex digits), "v": 1}
 */
import {
  type CborValue,
  decodeCbor,
  encodeCbor,
  isTextMap,
  isUnsigned,
} from "../../crypto/cbor.ts";
import { SealstreamError } from "../../errors.ts";

export interface Decisions {
  /** Offsets in `contributions`, rising. */
  readonly refusedForKey: readonly number[];
  /** Null: the position is the newest entry's `contributionsNext`. */
  readonly refusedTo: RefusedTo | null;
  /** 32 hex digits, or null. */
  readonly spendingRun: string | null;
}

export interface RefusedTo {
  /** Of the ledger entry that was the newest. */
  readonly sequence: number;
  /** Everything from the entry's `contributionsNext` up to this offset was refused. */
  readonly position: number;
}

const VERSION = 1;

export const NO_DECISIONS: Decisions = {
  refusedForKey: [],
  refusedTo: null,
  spendingRun: null,
};

/** Changelog value; a new buffer. */
export function encodeDecisions({ refusedForKey, refusedTo, spendingRun }: Decisions): Uint8Array {
  const pair = refusedTo === null ? null : [refusedTo.sequence, refusedTo.position];
  return encodeCbor({ v: VERSION, refusedForKey, refusedTo: pair, spendingRun });
}

/**
 * Decisions in a changelog value; none for null.
 * @throws state-mismatch when the value is not one of `encodeDecisions`
 */
export function decodeDecisions(changelog: Uint8Array | null): Decisions {
  if (changelog === null) return NO_DECISIONS;
  const map = decodeCbor(changelog) ?? undefined;
  if (isTextMap(map) && Object.keys(map).length === 4 && map["v"] === VERSION) {
    const { refusedForKey, spendingRun } = map;
    const refusedTo = parseRefusedTo(map["refusedTo"]);
    if (isOffsets(refusedForKey) && refusedTo !== undefined && isRunId(spendingRun)) {
      return { refusedForKey, refusedTo, spendingRun };
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
