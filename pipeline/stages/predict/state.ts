/**
 * What a predict lane remembers across restarts, and its bytes in the changelog topic.
 *
 * The sequence of the last pack makes a replayed pack visible; the lane's own sequence lets the consumer see a gap. A
 * pack whose end does not come is remembered with the time since when, so that a restart does not give it more.
 * Must not hold anything else of a pack.
 *
 * Grammar, integers big-endian; version 1 ends before openFrom and is written when no pack has been open for long:
 *   state        = version flags lastSequence nextSequence [openFrom openSinceMs cutTo]
 *   version      = 0x01 (18 bytes), 0x02 (42 bytes)
 *   flags        = u8: bit 0 a pack was seen; other bits 0
 *   lastSequence = u64, 0 without bit 0
 *   nextSequence = u64
 *   openFrom     = u64, offset of the first record of the pack that is open
 *   openSinceMs  = u64, when the lane first saw it
 *   cutTo        = u64, 0: not given up; else the pack is given up and its records end before this offset
 */
import { SealstreamError } from "../../errors.ts";

/** A pack that began and has not ended. */
export interface OpenPack {
  /** Offset of its first record. */
  readonly from: number;
  /** When a lane first saw it, milliseconds since the epoch. */
  readonly sinceMs: number;
  /** Null: it may still end. Else it is given up: whatever comes, its records before this offset are dead letters. */
  readonly cutTo: number | null;
}

export interface PredictState {
  /** Sequence of the last authentic pack; null: none yet. */
  readonly lastSequence: number | null;
  /** Sequence that the lane's next prediction bundle gets. */
  readonly nextSequence: number;
  /** Null: no pack has been open for long. */
  readonly open: OpenPack | null;
}

const HAS_SEQUENCE = 1;
const PLAIN_BYTES = 18;
const OPEN_BYTES = 42;

/** Changelog value of a state; a new buffer. */
export function encodeState(state: PredictState): Uint8Array {
  const { lastSequence, nextSequence, open } = state;
  const bytes = new Uint8Array(open === null ? PLAIN_BYTES : OPEN_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, open === null ? 1 : 2);
  view.setUint8(1, lastSequence === null ? 0 : HAS_SEQUENCE);
  view.setBigUint64(2, BigInt(lastSequence ?? 0));
  view.setBigUint64(10, BigInt(nextSequence));
  if (open !== null) {
    view.setBigUint64(18, BigInt(open.from));
    view.setBigUint64(26, BigInt(open.sinceMs));
    view.setBigUint64(34, BigInt(open.cutTo ?? 0));
  }
  return bytes;
}

/**
 * State at a lane's start; a lane that never committed has seen no pack.
 * @throws state-mismatch when the changelog is not of version 1 or 2
 */
export function restoreState(changelog: Uint8Array | null): PredictState {
  if (changelog === null) return { lastSequence: null, nextSequence: 0, open: null };
  const state = decodeState(changelog);
  if (state === null) {
    throw new SealstreamError(
      "state-mismatch",
      "The predict changelog is not a state of version 1 or 2; start a new generation of the pipeline.",
    );
  }
  return state;
}

/** The state, or null for anything `encodeState` would not have written. */
export function decodeState(bytes: Uint8Array): PredictState | null {
  if (bytes.length !== PLAIN_BYTES && bytes.length !== OPEN_BYTES) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const number = (at: number) => Number(view.getBigUint64(at));
  const seen = (view.getUint8(1) & HAS_SEQUENCE) !== 0;
  const isOpen = bytes.length === OPEN_BYTES;
  const state: PredictState = {
    lastSequence: seen ? number(2) : null,
    nextSequence: number(10),
    open: isOpen ? { from: number(18), sinceMs: number(26), cutTo: number(34) || null } : null,
  };
  const { open } = state;
  const numbers = [state.lastSequence, state.nextSequence, open?.from, open?.sinceMs, open?.cutTo];
  if (!numbers.every((value) => Number.isSafeInteger(value ?? 0))) return null;
  // Version, unused bits and the zero of what is absent are all checked by writing it again.
  return Buffer.compare(encodeState(state), bytes) === 0 ? state : null;
}
