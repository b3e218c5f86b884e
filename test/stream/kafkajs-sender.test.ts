/** What a sender does with each answer of a leader, and without one: nothing lost, doubled or overtaken. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { KafkajsSender } from "../../pipeline/stream/kafkajs-sender.ts";
import {
  DUPLICATE_SEQUENCE_NUMBER,
  NONE,
  OUT_OF_ORDER_SEQUENCE_NUMBER,
} from "../../pipeline/stream/wire/protocol-errors.ts";
import { FakeLink, NOT_LEADER } from "./fake-link.ts";

// Because fake timers do not reach the promises of node:timers on their own.
vi.mock("node:timers/promises", () => ({
  setTimeout: (ms: number) =>
    new Promise<void>((resolve) => {
      setTimeout(resolve, ms);
    }),
}));

const TOPIC = "topic";
/** Above the first wait before a batch is sent again, and below the second. */
const A_RETRY_MS = 25;
const TEN_MINUTES_MS = 600_000;

let link: FakeLink;
let sender: KafkajsSender;
/** What became of each record sent, by its value. */
let outcomes: Record<string, string>;

function open(transactionalId: string | null): void {
  outcomes = {};
  link = new FakeLink(TOPIC, transactionalId);
  sender = new KafkajsSender({
    link: link.link,
    transactionalId,
    producerId: 7n,
    producerEpoch: 1,
    compression: "none",
    retryMs: 10_000,
    clock: () => 1_700_000_000_000,
  });
}

/** Sends each value as a batch of its own. */
async function send(...values: readonly string[]): Promise<void> {
  for (const value of values) {
    outcomes[value] = "under way";
    sender.send(TOPIC, 0, [{ key: null, value: Buffer.from(value) }]).then(
      () => {
        outcomes[value] = "written";
      },
      (error: { code: string }) => {
        outcomes[value] = error.code;
      },
    );
  }
  await pass(0);
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

/** What was written to brokers since the last call. */
let reported = 0;
function written(): string[] {
  const news = link.asked.slice(reported).map(({ broker, sequence }) => `${broker} ${sequence}`);
  reported = link.asked.length;
  return news;
}

/** Answers the request of this number, counted over the whole test. */
async function answer(index: number, errorCode: number): Promise<void> {
  link.asked[index]?.answer(errorCode);
  await pass(0);
}

async function cut(index: number): Promise<void> {
  link.asked[index]?.cut();
  await pass(0);
}

/** The leader has acknowledged one batch, so that five may be under way. */
async function proven(): Promise<void> {
  await send("first");
  await answer(0, NONE);
  expect(written()).toEqual(["old 0"]);
}

beforeEach(() => {
  vi.useFakeTimers();
  reported = 0;
  open(null);
});

afterEach(() => {
  vi.useRealTimers();
});

describe("a leader that moved while its old broker lives", () => {
  it("is found by looking again, and gets the batch once", async () => {
    link.leads = "new";
    await send("a");
    expect(written()).toEqual(["old 0"]);
    await answer(0, NOT_LEADER);
    await pass(A_RETRY_MS);
    expect(written()).toEqual(["new 0"]);
    expect(link.asked[1]?.bytes).toBe(link.asked[0]?.bytes);
    await answer(1, NONE);
    expect(outcomes).toEqual({ a: "written" });
    await send("b");
    expect(written()).toEqual(["new 1"]);
    await answer(2, NONE);
    await pass(TEN_MINUTES_MS);
    expect(outcomes).toEqual({ a: "written", b: "written" });
    expect(written()).toEqual([]);
  });

  it("gets what waited behind the batch only after it", async () => {
    link.leads = "new";
    await send("a", "b", "c");
    await answer(0, NOT_LEADER);
    await pass(A_RETRY_MS);
    expect(written()).toEqual(["old 0", "new 0"]);
    await answer(1, NONE);
    expect(written()).toEqual(["new 1", "new 2"]);
  });

  it("is looked for until it answers, and no longer than the sender may retry", async () => {
    await send("a");
    for (let at = 0; outcomes["a"] === "under way"; at += 1) {
      await answer(at, NOT_LEADER);
      await pass(1_000);
    }
    expect(outcomes).toEqual({ a: "kafka-failed" });
    expect(performance.now()).toBeGreaterThan(10_000);
    expect(link.refreshes).toBe(link.asked.length - 1);
    expect(sender.death?.message).toContain("NOT_LEADER_OR_FOLLOWER");
  });
});

describe("batches under way", () => {
  const six = ["a", "b", "c", "d", "e", "f"] as const;

  it("are one until the leader has acknowledged one, then five", async () => {
    await send(...six, "g");
    expect(written()).toEqual(["old 0"]);
    await answer(0, NONE);
    expect(written()).toEqual(["old 1", "old 2", "old 3", "old 4", "old 5"]);
    await answer(1, NONE);
    expect(written()).toEqual(["old 6"]);
  });

  it("are one again after ten minutes without an acknowledgement, when the leader may have forgotten us", async () => {
    await proven();
    await pass(TEN_MINUTES_MS);
    await send(...six);
    expect(written()).toEqual(["old 1"]);
    await answer(1, NONE);
    expect(written()).toHaveLength(5);
  });

  it("are five for just less than ten minutes", async () => {
    await proven();
    await pass(TEN_MINUTES_MS - 1);
    await send(...six);
    expect(written()).toHaveLength(5);
  });

  it("count a batch that was sent again as an acknowledgement", async () => {
    await send(...six);
    await answer(0, NOT_LEADER);
    await pass(A_RETRY_MS);
    await answer(1, NONE);
    expect(written().slice(2)).toEqual(["old 1", "old 2", "old 3", "old 4", "old 5"]);
  });
});

describe("a refused batch with others behind it", () => {
  it("and all of those are sent again one by one, in order, with the same bytes", async () => {
    await proven();
    await send("a", "b", "c", "d", "e", "f");
    const underWay = [1, 2, 3, 4, 5] as const;
    expect(written()).toEqual(underWay.map((sequence) => `old ${sequence}`));
    link.leads = "new";
    await answer(1, NOT_LEADER);
    await answer(2, OUT_OF_ORDER_SEQUENCE_NUMBER);
    await answer(3, OUT_OF_ORDER_SEQUENCE_NUMBER);
    await answer(4, OUT_OF_ORDER_SEQUENCE_NUMBER);
    await pass(A_RETRY_MS);
    // Not before everything under way has landed.
    expect(written()).toEqual([]);
    await answer(5, OUT_OF_ORDER_SEQUENCE_NUMBER);
    for (const before of underWay) {
      const again = before + underWay.length;
      await pass(A_RETRY_MS);
      expect(written()).toEqual([`new ${before}`]);
      expect(link.asked[again]?.bytes).toBe(link.asked[before]?.bytes);
      await answer(again, NONE);
    }
    // What waited meanwhile comes last.
    expect(written()).toEqual(["new 6"]);
    await answer(11, NONE);
    const all = ["first", "a", "b", "c", "d", "e", "f"].map((value) => [value, "written"]);
    expect(outcomes).toEqual(Object.fromEntries(all));
  });

  it("is not sent again where those behind it were refused for good", async () => {
    await proven();
    await send("a", "b");
    written();
    await answer(1, NOT_LEADER);
    await answer(2, 10);
    await pass(A_RETRY_MS);
    expect(outcomes).toEqual({ first: "written", a: "limit-exceeded", b: "limit-exceeded" });
    expect(written()).toEqual([]);
  });

  it("ends the sender when it is out of order itself: something before it was lost", async () => {
    await proven();
    await send("a");
    written();
    await answer(1, OUT_OF_ORDER_SEQUENCE_NUMBER);
    await pass(A_RETRY_MS);
    expect(outcomes["a"]).toBe("kafka-failed");
    expect(written()).toEqual([]);
  });
});

describe("no answer", () => {
  it("is a transactional sender's end: nothing more is written, since the batch may still arrive", async () => {
    open("lane");
    await proven();
    await send("a", "b", "c", "d", "e", "f");
    expect(written()).toHaveLength(5);
    await cut(1);
    for (const other of [2, 3, 4, 5]) {
      await answer(other, NONE);
    }
    await pass(TEN_MINUTES_MS);
    expect(sender.death).toMatchObject({ code: "kafka-failed" });
    expect(link.severed).toBeGreaterThan(0);
    expect(outcomes).toMatchObject({ a: "kafka-failed", f: "kafka-failed" });
    await send("g");
    await pass(TEN_MINUTES_MS);
    expect(outcomes["g"]).toBe("kafka-failed");
    expect(written()).toEqual([]);
  });

  it("ends a transactional sender as well while it sends a refused batch again", async () => {
    open("lane");
    await send("a", "b");
    await answer(0, NOT_LEADER);
    await pass(A_RETRY_MS);
    expect(written()).toEqual(["old 0", "old 0"]);
    await cut(1);
    await pass(TEN_MINUTES_MS);
    expect(outcomes).toEqual({ a: "kafka-failed", b: "kafka-failed" });
    expect(written()).toEqual([]);
  });

  it("has a plain sender send the same bytes again on a new connection", async () => {
    await send("a");
    await cut(0);
    expect(link.severed).toBe(1);
    await pass(A_RETRY_MS);
    expect(written()).toEqual(["old 0", "old 0"]);
    expect(link.asked[1]?.bytes).toBe(link.asked[0]?.bytes);
    await answer(1, NONE);
    expect(outcomes).toEqual({ a: "written" });
  });

  it("is made good by the broker that knows the batch already", async () => {
    await proven();
    await send("a", "b");
    await cut(1);
    await cut(2);
    await pass(A_RETRY_MS);
    await answer(3, DUPLICATE_SEQUENCE_NUMBER);
    await pass(A_RETRY_MS);
    await answer(4, NONE);
    expect(written()).toEqual(["old 1", "old 2", "old 1", "old 2"]);
    expect(outcomes).toEqual({ first: "written", a: "written", b: "written" });
    await send("c");
    expect(written()).toEqual(["old 3"]);
  });
});
