/**
 * How far train may run ahead of the newest model.
 *
 * A contribution made with model version v helps most when it enters the update to v + 1. So train pauses when as many
 * contributions wait as `maxStalenessUpdates` + 1 updates take. What waits is counted twice, and the larger count holds:
 * the committed contributions that the newest ledger entry does not cover, read from the topics by whoever hands in
 * `pendingContributions`, and those that this process made with the newest model, which surely are not covered yet but
 * may not have been read back. This is about usefulness, not privacy: instances that pause a little late are harmless.
 */
export interface StalenessGate {
  /** Call when a lane ends: what its last attempt made may never be committed, or be counted by another process. */
  forget(lane: number): void;
  /**
   * Whether one more contribution may be made now.
   * @param model names the newest model version of the newest run
   * @param committedTo end of the lane's last committed range: what was made beyond it was thrown away
   */
  mayContribute(lane: number, model: string, committedTo: number): boolean;
  /** Notes a contribution in the making, before it is computed, so that other lanes count it. */
  note(lane: number, model: string, to: number): void;
}

interface Made {
  readonly model: string;
  readonly to: number;
}

/**
 * @param limit contributions that may wait: (maxStalenessUpdates + 1) * contributions per update
 * @param pendingContributions committed contributions that the newest ledger entry does not cover
 */
export function createStalenessGate(
  limit: number,
  pendingContributions: () => number,
): StalenessGate {
  const made = new Map<number, readonly Made[]>();
  return {
    forget: (lane) => {
      made.delete(lane);
    },
    mayContribute: (lane, model, committedTo) => {
      const mine = made.get(lane) ?? [];
      made.set(
        lane,
        mine.filter(({ to }) => to <= committedTo),
      );
      const own = [...made.values()].flat().filter((item) => item.model === model).length;
      return Math.max(own, pendingContributions()) < limit;
    },
    note: (lane, model, to) => {
      const current = (made.get(lane) ?? []).filter((item) => item.model === model);
      made.set(lane, [...current, { model, to }]);
    },
  };
}
