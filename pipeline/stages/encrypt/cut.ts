/**
 * Where a lane's rows are cut: what becomes final now, which of it shares a pack, and when to look again.
 *
 * A pure function. The cut is a prefix. Nothing before the first unlabelled row ever waits. An unlabelled row waits for
 * others to share its ciphertexts with until the pack is full, it has lingered long enough, or the lane can hold no
 * more; what lies behind it waits with it. At most one pack a cut: a pack is megabytes, and lies in one transaction.
 * The time of a cut changes which rows share a ciphertext and nothing that is claimed private, so it need not be
 * committed before its output (invariant 9 is about mechanisms of differential privacy).
 */
import type { Row } from "./row.ts";

export interface CutOptions {
  readonly slotsPerPack: number;
  readonly lingerMs: number;
  readonly nowMs: number;
  /** The lane can hold no more records. */
  readonly windowFull: boolean;
  /** What is needed and known: the training zone's key for examples, the consumer's keys for packs. */
  readonly canSeal: boolean;
  readonly canPack: boolean;
  /** Whether everybody for whom fields are sealed is known; every record has such fields. */
  readonly canRecord: boolean;
}

export interface Cut {
  /** Rows before this index are final. */
  readonly count: number;
  /** Unlabelled rows among them; all of them share one pack. */
  readonly packRows: number;
  /** Index of the first row whose keys are missing, or null. */
  readonly blockedAt: number | null;
  /** When the oldest waiting row has lingered long enough; null: none waits. */
  readonly dueMs: number | null;
}

/** Decides one cut of a lane's rows. */
export function decideCut(rows: readonly Row[], options: CutOptions): Cut {
  const { slotsPerPack, lingerMs, nowMs } = options;
  const firstBlocked = rows.findIndex((row) => isBlocked(row, options));
  const blockedAt = firstBlocked === -1 ? null : firstBlocked;
  const usable = blockedAt === null ? rows : rows.slice(0, blockedAt);
  const waiting: { readonly index: number; readonly seenMs: number }[] = [];
  for (const [index, row] of usable.entries()) {
    if (row.kind === "predict") waiting.push({ index, seenMs: row.seenMs });
    if (waiting.length > slotsPerPack) break;
  }
  const [oldest] = waiting;
  if (oldest === undefined) return { count: usable.length, packRows: 0, blockedAt, dueMs: null };
  const next = waiting[slotsPerPack];
  if (next !== undefined) {
    const dueMs = next.seenMs + lingerMs;
    return { count: next.index, packRows: slotsPerPack, blockedAt, dueMs };
  }
  const ageMs = nowMs - oldest.seenMs;
  // A row of the future was seen before the clock was set back: how long ago, nobody knows.
  const lingered = ageMs >= lingerMs || ageMs < 0;
  if (waiting.length === slotsPerPack || lingered || options.windowFull) {
    return { count: usable.length, packRows: waiting.length, blockedAt, dueMs: null };
  }
  return { count: oldest.index, packRows: 0, blockedAt, dueMs: oldest.seenMs + lingerMs };
}

function isBlocked(row: Row, { canSeal, canPack, canRecord }: CutOptions): boolean {
  if (row.kind === "refused" || row.kind === "above-limit") return false;
  const canGo = { example: canSeal, predict: canPack, dropped: true }[row.kind];
  return !canRecord || !canGo;
}
