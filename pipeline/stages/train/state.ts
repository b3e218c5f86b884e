/**
 * What a train lane remembers across restarts, and its bytes in the changelog topic.
 *
 * The range of the next contribution begins where the last one ended, which the group offset alone cannot say: the lane
 * may have passed validation records since. So a position beyond `nextFrom` is in order, and what lies between them was
 * passed alone and has no place; that the position is the one that was committed with this state is for the lane to check,
 * which keeps it in its changelog. A position before `nextFrom` would train records twice and is refused. Must not hold anything about a record but offsets and a sequence.
 *
 * Grammar, version 1, 30 bytes, integers big-endian:
 *   state        = version flags nextFrom lastSequence cutTo cutPlaces
 *   version      = 0x01
 *   flags        = u8: bit 0 a sequence was seen, bit 1 a cut is pending; other bits 0
 *   nextFrom     = u64
 *   lastSequence = u64, 0 without bit 0
 *   cutTo        = u64, 0 without bit 1
 *   cutPlaces    = u32, 0 without bit 1
 */
import { SealstreamError } from "../../errors.ts";

/** The end of a tail that was cut by time, committed before its contribution is written (invariant 9). */
export interface Cut {
  /** Offset after the last place of the tail. */
  readonly to: number;
  /** Places between `nextFrom` and `to`. */
  readonly places: number;
}

export interface TrainState {
  /** Offset at which the range of the next contribution begins. */
  readonly nextFrom: number;
  /** Sequence of the last envelope that was accepted before the lane's position; null: none yet. */
  readonly lastSequence: number | null;
  readonly cut: Cut | null;
}

const VERSION = 1;
const HAS_SEQUENCE = 1;
const HAS_CUT = 2;
const STATE_BYTES = 30;

/** Changelog value of a state; a new buffer. */
export function encodeState(state: TrainState): Uint8Array {
  const bytes = new Uint8Array(STATE_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, VERSION);
  view.setUint8(
    1,
    (state.lastSequence === null ? 0 : HAS_SEQUENCE) | (state.cut === null ? 0 : HAS_CUT),
  );
  view.setBigUint64(2, BigInt(state.nextFrom));
  view.setBigUint64(10, BigInt(state.lastSequence ?? 0));
  view.setBigUint64(18, BigInt(state.cut?.to ?? 0));
  view.setUint32(26, state.cut?.places ?? 0);
  return bytes;
}

/**
 * State at a lane's start.
 * @param changelog last committed changelog value, or null for a lane that never committed
 * @param position offset of the first record that will be handed in
 * @throws state-mismatch when the changelog is not of version 1 or disagrees with the position
 */
export function restoreState(changelog: Uint8Array | null, position: number): TrainState {
  if (changelog === null) return { nextFrom: position, lastSequence: null, cut: null };
  const state = decodeState(changelog);
  if (state === null) throw mismatch("is not a state of version 1");
  if (state.nextFrom > position) throw mismatch("is ahead of the committed offset");
  if (state.cut !== null && (state.cut.to <= position || state.cut.places < 1)) {
    throw mismatch("holds a cut that the committed offset has passed");
  }
  return state;
}

/** The state, or null for anything `encodeState` would not have written. */
export function decodeState(bytes: Uint8Array): TrainState | null {
  if (bytes.length !== STATE_BYTES) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const flags = view.getUint8(1);
  const state: TrainState = {
    nextFrom: Number(view.getBigUint64(2)),
    lastSequence: (flags & HAS_SEQUENCE) === 0 ? null : Number(view.getBigUint64(10)),
    cut:
      (flags & HAS_CUT) === 0
        ? null
        : { to: Number(view.getBigUint64(18)), places: view.getUint32(26) },
  };
  const numbers = [state.nextFrom, state.lastSequence ?? 0, state.cut?.to ?? 0];
  if (!numbers.every(Number.isSafeInteger)) return null;
  // Version, unused bits and the zeros of what is absent are all checked by writing it again.
  return Buffer.compare(encodeState(state), bytes) === 0 ? state : null;
}

function mismatch(what: string): SealstreamError {
  return new SealstreamError(
    "state-mismatch",
    `The changelog of a train lane ${what}; restore the topics together or start a new generation.`,
  );
}
