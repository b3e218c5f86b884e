/** Rebalances of a stage's instance: only what changed moves, and no lane waits for another's end but for its own. */
import { afterEach, beforeEach, expect, it } from "vitest";
import type { StepResult } from "../../pipeline/stream/contract.ts";
import { runStage, type StageRunner } from "../../pipeline/stream/stage-runner.ts";
import { openChangelog, silentLogger } from "../lib/kafka.ts";
import { fakeClient, fakeStage, idleProducer, NOTHING_FINAL, settled } from "./fake-client.ts";

/** What became of lanes, in order: "+2" was opened, "-2" has ended. */
let events: string[] = [];
/** What the group reported to its member last. */
let assigned: readonly (readonly number[])[] = [];
let assign = (_lanes: readonly number[]): void => undefined;
/** Lanes whose step does not end before it is let go. */
let held = new Map<number, PromiseWithResolvers<StepResult<null>>>();
let runner: StageRunner;

function hold(...lanes: readonly number[]): void {
  for (const lane of lanes) {
    held.set(lane, Promise.withResolvers());
  }
}

async function letGo(lane: number): Promise<void> {
  held.get(lane)?.resolve(NOTHING_FINAL);
  held.delete(lane);
  await settled();
}

async function give(...lanes: readonly number[]): Promise<void> {
  assign(lanes);
  await settled();
}

/** What happened since the last call. */
function news(): string[] {
  return events.splice(0);
}

beforeEach(async () => {
  events = [];
  assigned = [];
  held = new Map();
  runner = await runStage({
    client: fakeClient({
      createLaneProducer: async (transactionalId) => {
        const lane = transactionalId.split(".").at(-1);
        events.push(`+${lane}`);
        return {
          ...idleProducer,
          close: async () => {
            events.push(`-${lane}`);
          },
        };
      },
      joinGroup: async ({ onAssignment }) => {
        assign = onAssignment;
        return { close: async () => undefined };
      },
    }),
    pipeline: "p",
    partitions: 4,
    stage: fakeStage((lane) => held.get(lane)?.promise ?? NOTHING_FINAL),
    sealDeadLetter: () => new Uint8Array(),
    changelog: openChangelog,
    clock: () => 0,
    logger: silentLogger,
    transactionIntervalMs: 0,
    onProgress: () => undefined,
    onAssignment: (lanes) => {
      assigned = [...assigned, lanes];
    },
  });
});

afterEach(async () => {
  for (const lane of [...held.keys()]) {
    await letGo(lane);
  }
  await runner.stop();
});

it("stops at a rebalance what is lost, starts what is gained, and leaves alone what stays", async () => {
  await give(1, 0);
  expect(news()).toEqual(["+0", "+1"]);
  await give(2, 1);
  expect(news().sort()).toEqual(["+2", "-0"]);
  await give(2, 1);
  expect(news()).toEqual([]);
  await give();
  expect(news()).toEqual(["-1", "-2"]);
  expect(assigned).toEqual([[0, 1], [1, 2], [1, 2], []]);
});

it("starts gained lanes while a lost one still has a step to finish", async () => {
  hold(0);
  await give(0);
  await give(1, 2);
  expect(news()).toEqual(["+0", "+1", "+2"]);
  expect(assigned.at(-1)).toEqual([1, 2]);
  await letGo(0);
  expect(news()).toEqual(["-0"]);
});

it("carries out later assignments beside a lane that does not end at all", async () => {
  hold(0);
  await give(0, 1);
  await give(1);
  await give(1, 2);
  expect(news()).toEqual(["+0", "+1", "+2"]);
  await give(0, 2, 3);
  expect(news().sort()).toEqual(["+3", "-1"]);
  expect(assigned.at(-1)).toEqual([0, 2, 3]);
});

it("opens a lane that is given back while it is still ending once it has ended, and not beside itself", async () => {
  hold(0);
  await give(0);
  await give();
  await give(0);
  await give(0, 1);
  expect(news()).toEqual(["+0", "+1"]);
  await letGo(0);
  expect(news()).toEqual(["-0", "+0"]);
});

it("does not open a lane that was given back and lost again before it ended", async () => {
  hold(0);
  await give(0);
  await give();
  await give(0);
  await give(1);
  expect(news()).toEqual(["+0", "+1"]);
  await letGo(0);
  expect(news()).toEqual(["-0"]);
});

it("ends only when lost lanes have ended too, and opens none on the way", async () => {
  hold(0);
  await give(0, 1);
  await give(1);
  await give(0, 1);
  news();
  let isStopped = false;
  const stopped = runner.stop().then(() => {
    isStopped = true;
  });
  await settled();
  expect(news()).toEqual(["-1"]);
  expect(isStopped).toBe(false);
  await letGo(0);
  await stopped;
  expect(news()).toEqual(["-0"]);
  await expect(runner.done).resolves.toBeUndefined();
});

it("refuses partitions beyond the pipeline's lanes, and works on none any more", async () => {
  hold(0);
  await give(0, 1);
  await give(0, 1, 4);
  await expect(runner.done).rejects.toMatchObject({ code: "topic-missing" });
  await letGo(0);
  expect(news()).toEqual(["+0", "+1", "-1", "-0"]);
});
