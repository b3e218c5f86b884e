/** A lane's waits are measured on a clock that nobody sets: the time of day may jump, and the lane wakes all the same. */
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { SealstreamError } from "../../pipeline/errors.ts";
import { startLane } from "../../pipeline/stream/lane.ts";
import type { Lane } from "../../pipeline/stream/lane-options.ts";
import type { KafkaClient } from "../../pipeline/stream/port.ts";
import { openChangelog, silentLogger } from "../lib/kafka.ts";
import { fakeClient, fakeStage, idleProducer, NOTHING_FINAL } from "./fake-client.ts";

const HOUR_MS = 3_600_000;
const ASKED_MS = 1_000;

/** What an operator, or NTP, has set the time of day by. */
let setByMs = 0;
/** Times of day that the stage was called with. */
let calls: number[] = [];
/** Called by the stage while it is at work. */
let duringStep = (): void => undefined;
let lane: Lane | null = null;

const timeOfDay = (): number => 1_700_000_000_000 + performance.now() + setByMs;

function start(client: KafkaClient): void {
  lane = startLane({
    client,
    pipeline: "p",
    stage: fakeStage((_lane, nowMs) => {
      calls.push(nowMs);
      duringStep();
      return { ...NOTHING_FINAL, wakeAtMs: nowMs + ASKED_MS };
    }),
    lane: 0,
    changelog: openChangelog,
    sealDeadLetter: () => new Uint8Array(),
    clock: timeOfDay,
    logger: silentLogger,
    transactionIntervalMs: 0,
    skipsExpired: false,
    onProgress: () => undefined,
    judge: () => null,
    onFailure: () => undefined,
    onFatal: (error) => {
      throw error;
    },
  });
}

beforeEach(() => {
  vi.useFakeTimers();
  setByMs = 0;
  calls = [];
  duringStep = () => undefined;
});

afterEach(async () => {
  await lane?.stop();
  vi.useRealTimers();
});

it("wakes when its stage asked, although the time of day was set back by an hour between two steps", async () => {
  start(fakeClient());
  await vi.advanceTimersByTimeAsync(0);
  expect(calls).toEqual([timeOfDay()]);
  for (let step = 2; step <= 4; step += 1) {
    setByMs -= HOUR_MS;
    await vi.advanceTimersByTimeAsync(ASKED_MS - 1);
    expect(calls).toHaveLength(step - 1);
    await vi.advanceTimersByTimeAsync(1);
    expect(calls).toHaveLength(step);
    // The stage knows the time of day as it is now.
    expect(calls.at(-1)).toBe(timeOfDay());
  }
});

it("wakes when its stage asked, although the time of day was set while the stage was at work", async () => {
  for (const jumpMs of [-HOUR_MS, HOUR_MS]) {
    duringStep = () => {
      setByMs += jumpMs;
    };
    start(fakeClient());
    await vi.advanceTimersByTimeAsync(0);
    expect(calls).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(ASKED_MS - 1);
    expect(calls).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(calls).toHaveLength(2);
    await lane?.stop();
    calls = [];
  }
});

it("does not wake early when the time of day is set forward", async () => {
  start(fakeClient());
  await vi.advanceTimersByTimeAsync(0);
  setByMs += HOUR_MS;
  await vi.advanceTimersByTimeAsync(ASKED_MS - 1);
  expect(calls).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(1);
  expect(calls).toHaveLength(2);
});

it("starts again after a failure, although the time of day was set back by an hour meanwhile", async () => {
  let tries = 0;
  const createLaneProducer = async () => {
    tries += 1;
    if (tries === 1) {
      throw new SealstreamError("kafka-failed", "Failed.");
    }
    return idleProducer;
  };
  start(fakeClient({ createLaneProducer }));
  await vi.advanceTimersByTimeAsync(0);
  expect(tries).toBe(1);
  setByMs -= HOUR_MS;
  await vi.advanceTimersByTimeAsync(5_000);
  expect(tries).toBe(2);
  expect(calls.length).toBeGreaterThan(0);
});
