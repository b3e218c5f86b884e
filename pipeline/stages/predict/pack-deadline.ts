/**
 * How long a lane waits for the end of a pack that has begun.
 *
 * A pack lies in one transaction, so that all of it is read at once; one without an end was written by something that is
 * not the owner's stage, or by a mirror that stopped. It would hold the lane's position for ever. The time since when it
 * is open is committed, so that no restart gives it more; that it is given up, and which records that takes, is committed
 * before a letter about it is written (invariant 9): what was decided once is done in the same way again.
 * Must not be asked about a pack that is complete and waits for a key or a model.
 */
import type { OpenPack } from "./state.ts";

/** Long enough for a mirror to be repaired by itself, short enough for a person to be told the same day. */
export const PACK_DEADLINE_MS = 600_000;
/** An open pack is not worth a commit before this: the next fetch ends it. */
const COMMIT_AFTER_MS = 5_000;

export interface OpenPackView {
  /** Offset of the first record of the pack that is open; null: none is. */
  readonly pendingFrom: number | null;
  /** What the lane has committed about it. */
  readonly open: OpenPack | null;
  /** Offset behind the last record that is held. */
  readonly heldTo: number;
  /** When this lane first saw the pack's first record. */
  readonly seenMs: number;
  readonly nowMs: number;
  readonly deadlineMs: number;
}

export interface OpenPackVerdict {
  /** To be committed. */
  readonly open: OpenPack | null;
  /** When to look again; null: nothing is open. */
  readonly wakeAtMs: number | null;
}

/** What time says about the pack that is open. */
export function judgeOpenPack(view: OpenPackView): OpenPackVerdict {
  const { pendingFrom, open, heldTo, nowMs, deadlineMs } = view;
  if (pendingFrom === null) return { open: null, wakeAtMs: null };
  const known = open?.from === pendingFrom ? open : null;
  if (known !== null && known.cutTo !== null) return { open: known, wakeAtMs: nowMs };
  // A clock that was set back: since when, nobody knows any more.
  const sinceMs = Math.min(known?.sinceMs ?? view.seenMs, nowMs);
  const remembered = { from: pendingFrom, sinceMs, cutTo: null };
  if (nowMs - sinceMs >= deadlineMs) {
    return { open: { ...remembered, cutTo: heldTo }, wakeAtMs: nowMs };
  }
  const commitAtMs = sinceMs + Math.min(COMMIT_AFTER_MS, deadlineMs);
  if (known === null && nowMs < commitAtMs) return { open: null, wakeAtMs: commitAtMs };
  return { open: remembered, wakeAtMs: sinceMs + deadlineMs };
}
