/**
 * When a lane first saw each record it holds, on the process's own clock: a record's own timestamp is its producer's word.
 *
 * All records of a call are marked at once, those behind a waiting one too, so that waits never add up.
 * Must not outlive its lane: after a restart everything is seen anew.
 */
export interface FirstSeen {
  /** Marks the records of a call. @param offsets of the first and the last record that is held */
  mark(offsets: { readonly from: number; readonly to: number }, nowMs: number): void;
  /** Milliseconds since the epoch; a record that was never marked was seen at no time: positive infinity. */
  at(offset: number): number;
}

export function createFirstSeen(): FirstSeen {
  /** By rising offset: records up to `to`, inclusive, were there at `atMs`. One entry for each fetch that is held. */
  let marks: { readonly to: number; readonly atMs: number }[] = [];
  return {
    mark({ from, to }, nowMs) {
      if (marks.some((mark) => mark.to < from)) marks = marks.filter((mark) => mark.to >= from);
      if (to > (marks.at(-1)?.to ?? -1)) marks.push({ to, atMs: nowMs });
    },
    at(offset) {
      let low = 0;
      let high = marks.length;
      while (low < high) {
        const middle = (low + high) >> 1;
        if ((marks[middle]?.to ?? -1) < offset) low = middle + 1;
        else high = middle;
      }
      return marks[low]?.atMs ?? Number.POSITIVE_INFINITY;
    },
  };
}
