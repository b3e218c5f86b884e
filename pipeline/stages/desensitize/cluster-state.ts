/**
 * What a lane that groups records remembers across restarts: where its next window ends.
 *
 * That is committed before anything is written of the window (invariant 9): who reads aborted records never sees two
 * groupings of the same people, unless the rules themselves were changed in between.
 *
 * Grammar, version 1, 13 bytes, integers big-endian:
 *   state   = version cutTo records
 *   version = 0x01
 *   cutTo   = u64, 0: no cut is pending
 *   records = u32, 0 without a cut
 */
import { SealstreamError } from "../../errors.ts";

export interface WindowCut {
  /** Offset after the window's last record. */
  readonly to: number;
  readonly records: number;
}

export interface DesensitizeState {
  readonly cut: WindowCut | null;
}

export const NO_CUT: DesensitizeState = { cut: null };

const VERSION = 1;
const STATE_BYTES = 13;

/** Changelog value of a state; a new buffer. */
export function encodeState({ cut }: DesensitizeState): Uint8Array {
  const bytes = new Uint8Array(STATE_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, VERSION);
  view.setBigUint64(1, BigInt(cut?.to ?? 0));
  view.setUint32(9, cut?.records ?? 0);
  return bytes;
}

/**
 * State at a lane's start. A pipeline that begins to cluster has no state yet.
 * @throws state-mismatch when the changelog is not of version 1 or disagrees with the position
 */
export function restoreState(changelog: Uint8Array | null, position: number): DesensitizeState {
  if (changelog === null || changelog.length === 0) return NO_CUT;
  const view = new DataView(changelog.buffer, changelog.byteOffset, changelog.byteLength);
  if (changelog.length !== STATE_BYTES || view.getUint8(0) !== VERSION) {
    throw mismatch("is not a state of version 1");
  }
  const to = Number(view.getBigUint64(1));
  const records = view.getUint32(9);
  if (to === 0 && records === 0) return NO_CUT;
  if (!Number.isSafeInteger(to) || to <= position || records < 1) {
    throw mismatch("holds a cut that the committed offset has passed");
  }
  return { cut: { to, records } };
}

function mismatch(what: string): SealstreamError {
  return new SealstreamError(
    "state-mismatch",
    `The changelog of a desensitize lane ${what}; restore the topics together or start a new generation.`,
  );
}
