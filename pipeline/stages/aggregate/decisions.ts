/**
 * Decisions of aggregate that do not follow from committed input, and their bytes in the changelog topic.
 *
 * What an aborted transaction wrote counts as released (invariant 9), so what depends on time, or on which settings are
 * in force, is committed before anything is written that depends on it:
 * - `refusedForKey`: contributions that were refused because their data key did not come in time. A repeated attempt
 *   refuses them too, so that it has the same contributions in the update, and the same noise.
 * - `spendingRun`: the run whose first update may have been written. A run without an update in the ledger costs no
 *   budget, so it may be replaced by one of other settings only if it never got this far.
 *
 * Grammar, version 1: CBOR map {"refusedForKey": [* uint], "spendingRun": null / tstr (32 hex digits), "v": 1}
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
  /** 32 hex digits, or null. */
  readonly spendingRun: string | null;
}

const VERSION = 1;

export const NO_DECISIONS: Decisions = { refusedForKey: [], spendingRun: null };

/** Changelog value; a new buffer. */
export function encodeDecisions({ refusedForKey, spendingRun }: Decisions): Uint8Array {
  return encodeCbor({ v: VERSION, refusedForKey, spendingRun });
}

/**
 * Decisions in a changelog value; none for null.
 * @throws state-mismatch when the value is not one of `encodeDecisions`
 */
export function decodeDecisions(changelog: Uint8Array | null): Decisions {
  if (changelog === null) return NO_DECISIONS;
  const map = decodeCbor(changelog) ?? undefined;
  if (isTextMap(map) && Object.keys(map).length === 3 && map["v"] === VERSION) {
    const { refusedForKey, spendingRun } = map;
    if (isOffsets(refusedForKey) && isRunId(spendingRun)) return { refusedForKey, spendingRun };
  }
  throw new SealstreamError(
    "state-mismatch",
    "The changelog of aggregate is not one that this version wrote: restore the topic, or start a new generation of the pipeline.",
  );
}

function isOffsets(value: CborValue | undefined): value is readonly number[] {
  return Array.isArray(value) && value.every(isUnsigned);
}

function isRunId(value: CborValue | undefined): value is string | null {
  return value === null || (typeof value === "string" && /^[0-9a-f]{32}$/.test(value));
}
