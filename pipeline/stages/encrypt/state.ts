/**
 * What an encrypt lane remembers across restarts, and its bytes in the changelog topic.
 *
 * Sequences must rise for ever: readers refuse an envelope or pack whose sequence does not. The data key is not part
 * of the bytes: a lane that starts again makes a new one, so that no nonce can come twice.
 *
 * Grammar, version 1, 17 bytes, integers big-endian:
 *   state           = version exampleSequence packSequence
 *   version         = 0x01
 *   exampleSequence = u64   of the next example
 *   packSequence    = u64   of the next pack
 */
import type { DataKey } from "../../crypto/data-key.ts";
import { SealstreamError } from "../../errors.ts";

/** The data key in use. It lives in the state, so that a result that was thrown away takes its key with it. */
export interface ExampleKey {
  readonly dataKey: DataKey;
  /** Who can open it (recipientNames). */
  readonly recipients: string;
  readonly sealed: number;
  /** By the clock of the step that made it. */
  readonly madeAtMs: number;
}

export interface EncryptState {
  readonly exampleSequence: number;
  readonly packSequence: number;
  readonly key: ExampleKey | null;
}

const VERSION = 1;
const STATE_BYTES = 17;

/** Changelog value of a state; a new buffer. */
export function encodeState(state: EncryptState): Uint8Array {
  const bytes = new Uint8Array(STATE_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, VERSION);
  view.setBigUint64(1, BigInt(state.exampleSequence));
  view.setBigUint64(9, BigInt(state.packSequence));
  return bytes;
}

/**
 * State at a lane's start, without a data key.
 * @param changelog last committed changelog value, or null for a lane that never committed
 * @throws SealstreamError state-mismatch when the bytes are not a state of version 1
 */
export function restoreState(changelog: Uint8Array | null): EncryptState {
  if (changelog === null) return { exampleSequence: 0, packSequence: 0, key: null };
  const view = new DataView(changelog.buffer, changelog.byteOffset, changelog.byteLength);
  if (changelog.length === STATE_BYTES && view.getUint8(0) === VERSION) {
    const exampleSequence = Number(view.getBigUint64(1));
    const packSequence = Number(view.getBigUint64(9));
    if (Number.isSafeInteger(exampleSequence) && Number.isSafeInteger(packSequence)) {
      return { exampleSequence, packSequence, key: null };
    }
  }
  throw new SealstreamError(
    "state-mismatch",
    "The changelog of an encrypt lane is not a state of version 1; restore the topics together or start a new generation.",
  );
}
