/**
 * What a predict lane remembers across restarts, and its bytes in the changelog topic.
 *
 * The sequence of the last pack makes a replayed pack visible; the lane's own sequence lets the consumer see a gap.
 * Must not hold anything of a pack but its sequence.
 *
 * Grammar, version 1, 18 bytes, integers big-endian:
 *   state        = version flags lastSequence nextSequence
 *   version      = 0x01
 *   flags        = u8: bit 0 a pack was seen; other bits 0
 *   lastSequence = u64, 0 without bit 0
 *   nextSequence = u64
 */
import { SealstreamError } from "../../errors.ts";

export interface PredictState {
  /** Sequence of the last authentic pack; null: none yet. */
  readonly lastSequence: number | null;
  /** Sequence that the lane's next prediction bundle gets. */
  readonly nextSequence: number;
}

const VERSION = 1;
const HAS_SEQUENCE = 1;
const STATE_BYTES = 18;

/** Changelog value of a state; a new buffer. */
export function encodeState(state: PredictState): Uint8Array {
  const bytes = new Uint8Array(STATE_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, VERSION);
  view.setUint8(1, state.lastSequence === null ? 0 : HAS_SEQUENCE);
  view.setBigUint64(2, BigInt(state.lastSequence ?? 0));
  view.setBigUint64(10, BigInt(state.nextSequence));
  return bytes;
}

/**
 * State at a lane's start; a lane that never committed has seen no pack.
 * @throws state-mismatch when the changelog is not of version 1
 */
export function restoreState(changelog: Uint8Array | null): PredictState {
  if (changelog === null) return { lastSequence: null, nextSequence: 0 };
  const state = decodeState(changelog);
  if (state === null) {
    throw new SealstreamError(
      "state-mismatch",
      "The predict changelog is not a state of version 1; start a new generation of the pipeline.",
    );
  }
  return state;
}

/** The state, or null for anything `encodeState` would not have written. */
export function decodeState(bytes: Uint8Array): PredictState | null {
  if (bytes.length !== STATE_BYTES) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const seen = (view.getUint8(1) & HAS_SEQUENCE) !== 0;
  const state: PredictState = {
    lastSequence: seen ? Number(view.getBigUint64(2)) : null,
    nextSequence: Number(view.getBigUint64(10)),
  };
  const numbers = [state.lastSequence ?? 0, state.nextSequence];
  if (!numbers.every(Number.isSafeInteger)) return null;
  // Version, unused bits and the zero of what is absent are all checked by writing it again.
  return Buffer.compare(encodeState(state), bytes) === 0 ? state : null;
}
