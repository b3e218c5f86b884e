/** How `preview` drives a stage that holds records back until a window is full or its time has come. */
import { describe, expect, it } from "vitest";
import { runLane } from "../../pipeline/commands/preview/run-rules.ts";
import type { LaneProcessor, StreamRecord } from "../../pipeline/stream/contract.ts";

const records = Array.from(
  { length: 5 },
  (_, offset): StreamRecord => ({
    offset,
    timestampMs: 0,
    key: null,
    value: Uint8Array.of(offset),
    headers: {},
  }),
);

/** How many records each call was handed. */
let handed: number[] = [];

/** Windows of `size` records; one that is not full ends after a second, if it ends at all. */
function windows(size: number, ends: boolean): LaneProcessor<number> {
  return {
    restore: () => 0,
    process(given, state, nowMs) {
      handed.push(given.length);
      const isDue = given.length >= size || (ends && nowMs >= state + 1000);
      const taken = isDue ? given.slice(0, size) : [];
      const last = taken.at(-1);
      return {
        outputs: taken.flatMap(({ offset, value }) =>
          offset === 1
            ? []
            : [{ role: "desensitized" as const, key: Uint8Array.of(offset), value }],
        ),
        outcomes: taken.flatMap(({ offset }) =>
          offset === 1 ? [{ offset, kind: "dead-letter" as const, reason: "schema" as const }] : [],
        ),
        state: isDue ? nowMs : state,
        consumedTo: last === undefined ? null : last.offset + 1,
        wakeAtMs: isDue || !ends ? null : state + 1000,
      };
    },
  };
}

const states = async (lane: LaneProcessor<number>, maxBytes = 100): Promise<string[]> =>
  (await runLane(lane, records, maxBytes)).map((result) => {
    const what = result.status === "passes" ? `key ${result.key[0]}` : result.status;
    return `${result.record} ${result.raw[0]} ${what}`;
  });

const ALL = ["1 0 key 0", "2 1 refused", "3 2 key 2", "4 3 key 3", "5 4 key 4"];

describe("a stage with windows", () => {
  it("gives each record its own output, over several windows and the last one's time", async () => {
    expect(await states(windows(2, true))).toEqual(ALL);
    expect(await states(windows(5, true))).toEqual(ALL);
    handed = [];
    // Three records of one byte each at once.
    expect(await states(windows(2, true), 3)).toEqual(ALL);
    expect(handed).toEqual([3, 3, 1, 1]);
  });

  it("leaves records waiting whose window never ends", async () => {
    const waiting = ALL.map((one, i) => (i < 4 ? one : "5 4 waiting"));
    expect(await states(windows(2, false))).toEqual(waiting);
    expect(await states(windows(9, false))).toEqual(records.map((_, i) => `${i + 1} ${i} waiting`));
  });
});
