/**
 * How far train may run ahead of the newest model.
 *
 * A contribution made with model version v helps most when it enters the update to v + 1. So an instance pauses when as
 * many of its own contributions wait as `maxStalenessUpdates` + 1 updates take. What waits is counted from what can be
 * trusted: this process's own committed contributions to the current run, and the ledger's `laneNext`, up to which each
 * lane is in the model. What lies in `contributions` counts for nothing, since others can write there too.
 *
 * Bound. Each of n instances has at most `limit` contributions of its own waiting, so the instances together are at most
 * n * limit ahead. A lane that starts again remembers only where its last range ended: if that is not covered yet, at
 * least one contribution waits and one is counted, so that a restart lets up to limit - 1 more through. This is about
 * usefulness, not privacy: to be a little late in pausing is harmless.
 *
 * No deadlock. Everything that is counted lies in `contributions` and is not in an update yet, and the limit is at least
 * what one update takes: when everybody pauses, aggregate has enough for an update, whoever made it.
 */
export interface StalenessGate {
  /** Call when a lane ends: what its last attempt made may never be committed, or be counted by another process. */
  forget(lane: number): void;
  /**
   * Whether one more contribution may be made now.
   * @param model newest entry: its run, and where each of its lanes goes on
   * @param committedTo end of the lane's last committed range: what was made beyond it was thrown away
   */
  mayContribute(lane: number, model: LedgerPosition, committedTo: number): boolean;
  /** Notes a contribution in the making, before it is computed, so that other lanes count it. */
  note(lane: number, runId: string, to: number): void;
}

/** What the newest ledger entry covers. */
export interface LedgerPosition {
  readonly runId: string;
  /** Lane (decimal) to the source offset up to which its records are in the model; no key: none is. */
  readonly laneNext: Readonly<Record<string, number>>;
}

interface LaneCount {
  readonly runId: string | null;
  /** Ends of the ranges that this process made for that run, rising. */
  readonly made: readonly number[];
  readonly committedTo: number;
}

const NOTHING_MADE: LaneCount = { runId: null, made: [], committedTo: 0 };

/** @param limit own contributions that may wait: (maxStalenessUpdates + 1) * contributions per update */
export function createStalenessGate(limit: number): StalenessGate {
  const lanes = new Map<number, LaneCount>();
  return {
    forget: (lane) => {
      lanes.delete(lane);
    },
    mayContribute: (lane, model, committedTo) => {
      const known = lanes.get(lane) ?? NOTHING_MADE;
      const covered = known.runId === model.runId ? (model.laneNext[lane] ?? 0) : 0;
      const made = known.made.filter((to) => to <= committedTo && to > covered);
      lanes.set(lane, { ...known, made, committedTo });
      let waiting = 0;
      for (const [each, count] of lanes) waiting += waitingOf(each, count, model);
      return waiting < limit;
    },
    note: (lane, runId, to) => {
      const known = lanes.get(lane) ?? NOTHING_MADE;
      lanes.set(lane, {
        ...known,
        runId,
        made: [...(known.runId === runId ? known.made : []), to],
      });
    },
  };
}

/** Contributions of a lane to the newest run that its ledger does not cover. */
function waitingOf(lane: number, count: LaneCount, { runId, laneNext }: LedgerPosition): number {
  const next = laneNext[lane];
  const own = count.runId === runId ? count.made.filter((to) => to > (next ?? 0)).length : 0;
  // Without a position the lane's last range may be of another run; with one, what lies behind it is of this run.
  const atLeast = next !== undefined && count.committedTo > next ? 1 : 0;
  return Math.max(own, atLeast);
}
