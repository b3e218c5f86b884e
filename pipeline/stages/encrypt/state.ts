/**
 * What an encrypt lane remembers across restarts, and its bytes in the changelog topic.
 *
 * Sequences must rise for ever: readers refuse an envelope or pack whose sequence does not. The data key is not part
 * of the bytes: a lane that starts again makes a new one, so that no nonce can come twice.
 *
 * Grammar, version 2, 25 bytes, integers big-endian; version 1 ends before recordSequence, which is then 0:
 *   state           = version exampleSequence packSequence recordSequence
 *   version         = 0x02
 *   exampleSequence = u64   of the next example
 *   packSequence    = u64   of the next pack
 *   recordSequence  = u64   of the next record of topic records
 */
import type { DataKey } from "../../crypto/data-key.ts";
import { SealstreamError } from "../../errors.ts";

/** The data key in use. It lives in the state, so that a result that was thrown away takes its key with it. */
export interface ExampleKey {
  readonly dataKey: DataKey;
  /** Who announced it, and who can open it (partiesOf). */
  readonly parties: string;
  readonly sealed: number;
  /** By the clock of the step that made it. */
  readonly madeAtMs: number;
}

/** A data key of `records` in use: of one audience. */
export interface RecordKey {
  readonly dataKey: DataKey;
  /** Who announced it, and who can open it (partiesOf). */
  readonly parties: string;
  /** Records sealed with it. */
  readonly sealed: number;
  readonly madeMs: number;
}

export interface EncryptState {
  readonly exampleSequence: number;
  readonly packSequence: number;
  readonly recordSequence: number;
  readonly key: ExampleKey | null;
  /** By the audience's names, joined. */
  readonly recordKeys: ReadonlyMap<string, RecordKey>;
}

const VERSION = 2;
/** Bytes by version. */
const STATE_BYTES: Readonly<Record<number, number>> = { 1: 17, 2: 25 };

/** Changelog value of a state; a new buffer. */
export function encodeState(state: EncryptState): Uint8Array {
  const bytes = new Uint8Array(25);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, VERSION);
  view.setBigUint64(1, BigInt(state.exampleSequence));
  view.setBigUint64(9, BigInt(state.packSequence));
  view.setBigUint64(17, BigInt(state.recordSequence));
  return bytes;
}

/**
 * State at a lane's start, without data keys.
 * @param changelog last committed changelog value, or null for a lane that never committed
 * @throws SealstreamError state-mismatch when the bytes are not a state of version 1 or 2
 */
export function restoreState(changelog: Uint8Array | null): EncryptState {
  const none = { key: null, recordKeys: new Map() };
  if (changelog === null) {
    return { exampleSequence: 0, packSequence: 0, recordSequence: 0, ...none };
  }
  const view = new DataView(changelog.buffer, changelog.byteOffset, changelog.byteLength);
  if (changelog.length > 0 && changelog.length === STATE_BYTES[view.getUint8(0)]) {
    const exampleSequence = Number(view.getBigUint64(1));
    const packSequence = Number(view.getBigUint64(9));
    const recordSequence = changelog.length > 17 ? Number(view.getBigUint64(17)) : 0;
    if ([exampleSequence, packSequence, recordSequence].every(Number.isSafeInteger)) {
      return { exampleSequence, packSequence, recordSequence, ...none };
    }
  }
  throw new SealstreamError(
    "state-mismatch",
    "The changelog of an encrypt lane is not a state of version 1 or 2; restore the topics together or start a new generation.",
  );
}
