/** The two methods of kafkajs's request queue that are replaced, on kafkajs's own class. */
import { createRequire } from "node:module";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { installQueueFixes } from "../../pipeline/stream/kafkajs-internals.ts";

const LAST_ANSWERS_MS = 1_000;
const LONGEST_CHECK_MS = 1_000;
const CHECK_PENDING_MS = 10;

interface Entry {
  readonly correlationId: number;
  readonly resolve: (answer: { payload: Buffer | null }) => void;
  readonly reject: (error: Error) => void;
}

interface Queue {
  throttledUntil: number;
  readonly pending: readonly unknown[];
  push(request: { entry: Entry; expectResponse: boolean; sendRequest: () => void }): void;
  fulfillRequest(answer: { correlationId: number; payload: Buffer; size: number }): void;
  scheduleCheckPendingRequests(): void;
  waitForPendingRequests(): Promise<void>;
}

// Because the pinned version exports this class from this file.
const RequestQueue = createRequire(import.meta.url)(
  "kafkajs/src/network/requestQueue/index.js",
) as new (
  options: object,
) => Queue;
const silent = () => undefined;
/** As kafkajs has them: the fixes replace them for the whole process. */
const stock = Object.getOwnPropertyDescriptors(RequestQueue.prototype);

const createQueue = () =>
  new RequestQueue({
    maxInFlightRequests: null,
    requestTimeout: 10_000,
    enforceRequestTimeout: false,
    clientId: "test",
    broker: "localhost:9092",
    logger: { debug: silent, warn: silent },
  });

function push(queue: Queue, correlationId: number) {
  const request = { resolve: vi.fn(), reject: vi.fn(), sendRequest: vi.fn() };
  const { resolve, reject, sendRequest } = request;
  queue.push({ entry: { correlationId, resolve, reject }, expectResponse: true, sendRequest });
  return request;
}

/** Whether a promise has resolved by now. */
function watch(work: Promise<void>): () => boolean {
  let isOver = false;
  void work.then(() => {
    isOver = true;
  });
  return () => isOver;
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

beforeEach(() => {
  vi.useFakeTimers();
  // Because the fixes reckon by the process's own clock, which fake timers begin at its origin.
  vi.setSystemTime(performance.timeOrigin + performance.now());
  installQueueFixes();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("waiting for the last answers of a connection", () => {
  it("is over at once when nothing is asked", async () => {
    const isOver = watch(createQueue().waitForPendingRequests());
    await pass(0);
    expect(isOver()).toBe(true);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("is over when the answer comes", async () => {
    const queue = createQueue();
    const request = push(queue, 1);
    const isOver = watch(queue.waitForPendingRequests());
    await pass(LAST_ANSWERS_MS / 2);
    expect(isOver()).toBe(false);
    queue.fulfillRequest({ correlationId: 1, payload: Buffer.of(7), size: 1 });
    await pass(0);
    expect(isOver()).toBe(true);
    expect(request.resolve.mock.calls).toMatchObject([[{ payload: Buffer.of(7) }]]);
    expect(request.reject).not.toHaveBeenCalled();
    expect(vi.getTimerCount()).toBe(0);
  });

  it("is over after a second without an answer, and the request has failed", async () => {
    const queue = createQueue();
    const request = push(queue, 1);
    const isOver = watch(queue.waitForPendingRequests());
    await pass(LAST_ANSWERS_MS - 1);
    expect(isOver()).toBe(false);
    await pass(1);
    expect(isOver()).toBe(true);
    expect(request.reject.mock.calls).toMatchObject([[{ name: "KafkaJSConnectionError" }]]);
    expect(request.resolve).not.toHaveBeenCalled();
  });

  it("fails a request that was never sent as well", async () => {
    const queue = createQueue();
    queue.throttledUntil = Number.MAX_SAFE_INTEGER;
    const request = push(queue, 1);
    const isOver = watch(queue.waitForPendingRequests());
    await pass(LAST_ANSWERS_MS);
    expect(isOver()).toBe(true);
    expect(request.reject).toHaveBeenCalledOnce();
    expect(request.sendRequest).not.toHaveBeenCalled();
  });

  it("is over for everybody who waits, and each request fails once", async () => {
    const queue = createQueue();
    const requests = [push(queue, 1), push(queue, 2)];
    const first = watch(queue.waitForPendingRequests());
    await pass(LAST_ANSWERS_MS / 2);
    const second = watch(queue.waitForPendingRequests());
    await pass(LAST_ANSWERS_MS / 2);
    expect([first(), second()]).toEqual([true, true]);
    expect(vi.getTimerCount()).toBe(0);
    for (const { reject } of requests) expect(reject).toHaveBeenCalledOnce();
  });

  it("is for ever with kafkajs's own method", async () => {
    const queue = createQueue();
    const request = push(queue, 1);
    const isOver = watch(stock["waitForPendingRequests"]?.value.call(queue));
    await pass(1_000 * LAST_ANSWERS_MS);
    expect(isOver()).toBe(false);
    expect(request.reject).not.toHaveBeenCalled();
  });
});

describe("looking at what waits to be sent", () => {
  /** Delays of the timers that are set, in whole milliseconds. */
  const delaysOf = (look: () => void): number[] => {
    const timers = vi.spyOn(globalThis, "setTimeout");
    look();
    const delays = timers.mock.calls.map(([, delay]) => Math.round(delay ?? 0));
    timers.mockRestore();
    return delays;
  };

  it("sets no timer when nothing waits, where kafkajs's own method sets a negative one", () => {
    const queue = createQueue();
    expect(delaysOf(() => queue.scheduleCheckPendingRequests())).toEqual([]);
    const [delay] = delaysOf(() => stock["scheduleCheckPendingRequests"]?.value.call(queue));
    expect(delay).toBeLessThan(0);
  });

  it.each([
    ["after the throttling", 300, 300],
    ["soon, when the throttling is over", -300, CHECK_PENDING_MS],
    ["soon, at its very end", 0, CHECK_PENDING_MS],
    ["again after a second at most, in case the clock was set", 86_400_000, LONGEST_CHECK_MS],
  ])("happens %s", (_, throttledMs, waitMs) => {
    const queue = createQueue();
    queue.throttledUntil = Number.MAX_SAFE_INTEGER;
    const delays = delaysOf(() => push(queue, 1));
    expect(delays).toEqual([LONGEST_CHECK_MS]);
    vi.clearAllTimers();
    Object.assign(queue, { throttleCheckTimeoutId: null });
    queue.throttledUntil = performance.timeOrigin + performance.now() + throttledMs;
    expect(delaysOf(() => queue.scheduleCheckPendingRequests())).toEqual([waitMs]);
    // Because one timer serves all that wait.
    expect(delaysOf(() => queue.scheduleCheckPendingRequests())).toEqual([]);
  });

  it("sends what waited when its time has come, and then sets no timer", async () => {
    const queue = createQueue();
    queue.throttledUntil = Date.now() + 2_500;
    const request = push(queue, 1);
    await pass(2_499);
    expect(request.sendRequest).not.toHaveBeenCalled();
    await pass(CHECK_PENDING_MS);
    expect(request.sendRequest).toHaveBeenCalledOnce();
    expect(vi.getTimerCount()).toBe(0);
  });

  it("sends in time although the clock was set forward after the process began", async () => {
    vi.setSystemTime(Date.now() + 86_400_000);
    const queue = createQueue();
    queue.throttledUntil = Date.now() + 50;
    const request = push(queue, 1);
    await pass(LONGEST_CHECK_MS);
    expect(request.sendRequest).toHaveBeenCalledOnce();
  });
});
