/**
 * The lane's machine at its edges: what it does on a stop, a failure or a halt in every phase, when it calls the stage,
 * and what it takes for a stage's bug. Its behaviour under faults of Kafka is the simulation's: `test/simulation/`.
 */
import { describe, expect, it } from "vitest";
import { SealstreamError } from "../../pipeline/errors.ts";
import { type Asking, Bench, record, WRITE } from "./lane-bench.ts";

const ENTRY = { key: Uint8Array.of(1), value: Uint8Array.of(2) };

/** A machine waiting for the answer to each action. */
const WAITING: readonly (readonly [Asking["type"], () => Bench])[] = [
  ["fence", () => new Bench().feed({ type: "start" })],
  ["locate", () => new Bench().feed({ type: "start" }).fenced()],
  ["recall", () => new Bench().feed({ type: "start" }).fenced().located()],
  ["open", () => new Bench().feed({ type: "start" }).fenced().located().recalled()],
  ["process", () => new Bench().feed({ type: "start" }).fenced().located().recalled().opened()],
  ["begin", () => stepped()],
  ["send", () => stepped().done("begin")],
  ["remember", () => stepped().done("begin").done("send")],
  ["sendOffset", () => stepped().done("begin").done("send").done("remember")],
  ["commit", () => stepped().done("begin").done("send").done("remember").done("sendOffset")],
];

const stepped = () =>
  new Bench()
    .running()
    .fetched(0, 1)
    .processed({ consumedTo: 2, writes: [WRITE] });

/** Answers whatever is asked until nothing is, as a world without faults does. */
function settle(bench: Bench): void {
  for (let at = 0; at < bench.actions.length; at += 1) {
    const action = bench.actions[at];
    if (action !== undefined && "id" in action && action.type !== "fetch") {
      answer(bench, action.type);
    }
  }
}

function answer(bench: Bench, type: Exclude<Asking["type"], "fetch">): void {
  switch (type) {
    case "fence":
      bench.fenced();
      break;
    case "locate":
      bench.located();
      break;
    case "recall":
      bench.recalled();
      break;
    case "open":
      bench.opened();
      break;
    case "process":
      bench.processed();
      break;
    case "discard":
      bench.discarded();
      break;
    default:
      bench.done(type);
  }
}

describe("a stop", () => {
  it("before the start and while waiting to start again ends at once", () => {
    expect(new Bench().feed({ type: "stop" }).ended()).toEqual({ type: "ended", error: null });
    const waiting = new Bench().running().fail("fetch").discarded();
    expect(waiting.feed({ type: "stop" }).ended()).toEqual({ type: "ended", error: null });
  });

  it("of an idle lane discards and ends", () => {
    const bench = new Bench().running().feed({ type: "stop" });
    expect(bench.take()).toEqual(["discard"]);
    expect(bench.discarded().take()).toEqual(["ended"]);
  });

  it.each(WAITING)(
    "during %s lets a transaction that began finish, and nothing begin",
    (type, make) => {
      const bench = make();
      bench.actions = [];
      bench.feed({ type: "stop" });
      expect(bench.take()).toEqual([]);
      answer(bench, type as Exclude<Asking["type"], "fetch">);
      settle(bench);
      const types = bench.take();
      const rest: Partial<Record<Asking["type"], string[]>> = {
        begin: ["send", "remember", "sendOffset", "commit", "report"],
        send: ["remember", "sendOffset", "commit", "report"],
        remember: ["sendOffset", "commit", "report"],
        sendOffset: ["commit", "report"],
        commit: ["report"],
      };
      expect(types.filter((name) => name !== "fetch")).toEqual([
        ...(rest[type] ?? []),
        "discard",
        "ended",
      ]);
    },
  );

  it("during a step throws away what it came to", () => {
    const bench = new Bench().running().fetched(0).feed({ type: "stop" });
    bench.take();
    expect(bench.processed({ consumedTo: 1, writes: [WRITE] }).take()).toEqual(["discard"]);
  });

  it("does not hide an error after which going on would be wrong, whichever came first", () => {
    const first = new Bench().running().fail("fetch", "topic-missing").feed({ type: "stop" });
    expect(first.discarded().ended()?.error?.code).toBe("topic-missing");
    const second = new Bench().running().fetched(0).feed({ type: "stop" });
    second.fail("process", "key-missing").discarded();
    expect(second.ended()?.error?.code).toBe("key-missing");
  });

  it("beats a failure that another try might mend", () => {
    const bench = new Bench().running().fetched(0).feed({ type: "stop" }).fail("process");
    expect(bench.discarded().ended()).toEqual({ type: "ended", error: null });
    const doubtful = new Bench().feed({ type: "start" }).fenced().feed({ type: "stop" });
    expect(doubtful.located(50, 60).discarded().ended()).toEqual({ type: "ended", error: null });
  });
});

describe("what a stage finds to disagree when it restores", () => {
  const opening = (bench: Bench) => bench.fenced().located(50, 0).recalled(50);
  const refused = () =>
    opening(new Bench().feed({ type: "start" }))
      .fail("open", "state-mismatch")
      .discarded();

  it("is looked at again by another ownership, since an owner in between may have committed", () => {
    const bench = refused();
    expect(bench.ended()).toBeUndefined();
    expect(bench.actions).toContainEqual(
      expect.objectContaining({
        type: "restart",
        error: expect.objectContaining({ code: "fenced" }),
      }),
    );
    bench.nowMs = 100;
    opening(bench.feed({ type: "time" })).opened();
    expect(bench.take()).toContain("process");
  });

  it("ends the lane when the next ownership finds the same", () => {
    const bench = refused();
    bench.nowMs = 100;
    opening(bench.feed({ type: "time" }))
      .fail("open", "state-mismatch")
      .discarded();
    expect(bench.ended()?.error).toMatchObject({ code: "state-mismatch", message: "Failed." });
  });

  it("is doubted anew after an ownership in which all agreed", () => {
    const bench = refused();
    bench.nowMs = 100;
    opening(bench.feed({ type: "time" })).opened();
    bench.fail("process").discarded();
    bench.nowMs = 10_000;
    opening(bench.feed({ type: "time" }))
      .fail("open", "state-mismatch")
      .discarded();
    expect(bench.ended()).toBeUndefined();
  });
});

describe("a failure", () => {
  it.each(WAITING)("of %s throws the ownership away and starts again later", (type, make) => {
    const bench = make();
    bench.actions = [];
    bench.fail(type);
    expect(bench.take()).toEqual(["discard"]);
    bench.discarded();
    expect(bench.actions).toEqual([
      expect.objectContaining({ type: "restart", waitMs: 100 }),
      { type: "wait", untilMs: 100 },
    ]);
    bench.take();
    expect(bench.feed({ type: "time" }).take()).toEqual(["fence"]);
  });

  it.each(WAITING)("of %s that no other try mends ends the lane", (type, make) => {
    const bench = make().fail(type, "topic-missing").discarded();
    expect(bench.ended()?.error?.code).toBe("topic-missing");
    expect(bench.feed({ type: "start" }).feed({ type: "wake" }).take().at(-1)).toBe("ended");
  });

  it("of a fetch waits for the transaction under way", () => {
    const bench = stepped();
    bench.take();
    bench.fail("fetch");
    expect(bench.take()).toEqual([]);
    bench.done("begin").done("send").done("remember").done("sendOffset").done("commit");
    expect(bench.take()).toEqual(["send", "remember", "sendOffset", "commit", "report", "discard"]);
  });

  it("waits twice as long each time, up to five seconds, and little again after a commit", () => {
    const bench = new Bench();
    bench.feed({ type: "start" });
    const waits = () =>
      bench.actions.flatMap((action) => (action.type === "restart" ? [action.waitMs] : []));
    for (let count = 0; count < 8; count += 1) {
      bench.fail("fence").discarded().feed({ type: "time" });
    }
    expect(waits()).toEqual([100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
    bench.fenced().located().recalled().opened().processed().fetched(0);
    bench.processed({ consumedTo: 1 }).commit();
    bench.fail("fetch").discarded();
    expect(waits().at(-1)).toBe(100);
  });
});

describe("a halt", () => {
  const error = new SealstreamError("limit-exceeded", "Too many.");
  it("ends the lane with its reason after the transaction under way", () => {
    const bench = stepped();
    bench.take();
    bench.feed({ type: "halt", error });
    bench.done("begin").done("send").done("remember").done("sendOffset").done("commit").discarded();
    expect(bench.ended()).toEqual({ type: "ended", error });
  });

  it("keeps its reason while idle, while waiting to start again, and when a stop follows", () => {
    expect(new Bench().feed({ type: "halt", error }).ended()?.error).toBe(error);
    const waiting = new Bench().running().fail("fetch").discarded();
    expect(waiting.feed({ type: "halt", error }).ended()?.error).toBe(error);
    const stopped = new Bench().running().feed({ type: "halt", error }).feed({ type: "stop" });
    expect(stopped.discarded().ended()?.error).toBe(error);
  });
});

describe("answers and signals that nobody waits for", () => {
  it("change nothing: a second answer, one of an ownership before, an early time, a second start", () => {
    const bench = new Bench().running();
    const old = bench.last("fetch").id;
    bench.fetched(0).processed({ consumedTo: 1 });
    bench.take();
    bench.fetched(0).fail("process").processed({ consumedTo: 1 });
    bench.feed({ type: "time" }).feed({ type: "start" }).feed({ type: "wake" });
    expect(bench.take().filter((type) => type !== "fetch")).toEqual([]);
    bench.fail("begin").discarded().feed({ type: "time" });
    bench.fenced().located().recalled().opened();
    bench.take();
    bench.feed({ type: "fetched", id: old, records: [record(7)] }).processed();
    expect(bench.take()).toEqual([]);
  });

  it("a wake while waiting to start again starts nothing", () => {
    const bench = new Bench().running().fail("fetch").discarded();
    bench.take();
    expect(bench.feed({ type: "wake" }).take()).toEqual([]);
  });
});

describe("when the stage is called", () => {
  it("first without records, then for news no sooner than the interval after the last call's beginning", () => {
    const bench = new Bench({ transactionIntervalMs: 25 });
    bench.feed({ type: "start" }).fenced().located().recalled().opened();
    expect(bench.last("process").records).toEqual([]);
    bench.processed();
    bench.take();
    bench.nowMs = 10;
    bench.fetched(0);
    expect(bench.actions).toContainEqual({ type: "wait", untilMs: 25 });
    bench.take();
    bench.nowMs = 24;
    expect(bench.feed({ type: "time" }).take()).toEqual(["wait"]);
    bench.nowMs = 25;
    expect(bench.feed({ type: "time" }).take()).toEqual(["process"]);
  });

  it("at once when the window is full, on wake, and at the time that it asked for", () => {
    const full = new Bench({ transactionIntervalMs: 1_000 }).running().fetched(0, 1, 2, 3);
    expect(full.take()).toEqual(["process"]);
    const woken = new Bench({ transactionIntervalMs: 1_000 }).running().feed({ type: "wake" });
    expect(woken.take()).toEqual(["process"]);
    const asked = new Bench().running().feed({ type: "wake" }).processed({ wakeAtMs: 70 });
    expect(asked.actions).toContainEqual({ type: "wait", untilMs: 70 });
    asked.take();
    asked.nowMs = 70;
    expect(asked.feed({ type: "time" }).take()).toEqual(["process"]);
  });

  it("again at once after it left a rest or committed only its state, with the rest in hand", () => {
    const rest = new Bench({ transactionIntervalMs: 0 }).running().fetched(0, 1, 2);
    rest.processed({ consumedTo: 2 }).commit();
    expect(rest.last("process").records.map(({ offset }) => offset)).toEqual([2]);
    const state = new Bench().running().feed({ type: "wake" });
    state.processed({ state: Uint8Array.of(1) });
    expect(state.done("begin").last("remember").value).toEqual({
      position: 0,
      state: Uint8Array.of(1),
    });
    state.done("remember");
    expect(state.last("sendOffset").offset).toBe(0);
    state.take();
    expect(state.done("sendOffset").done("commit").take()).toEqual(["commit", "report", "process"]);
  });

  it("not at all where its state came out the same", () => {
    const bench = new Bench().running().feed({ type: "wake" });
    bench.take();
    expect(bench.processed({ state: new Uint8Array() }).take()).toEqual([]);
  });
});

describe("a stage that is wrong", () => {
  it("or whose bounds are: a full window from which it makes nothing, and no time to try again", () => {
    const bench = new Bench().running().fetched(0, 1, 2, 3).processed().discarded();
    expect(bench.ended()?.error?.code).toBe("limit-exceeded");
    const patient = new Bench().running().fetched(0, 1, 2, 3).processed({ wakeAtMs: 9 });
    expect(patient.actions).toContainEqual({ type: "wait", untilMs: 9 });
  });

  it("is not blamed for records that came while it was at work", () => {
    const bench = new Bench().feed({ type: "start" }).fenced().located().recalled().opened();
    bench.fetched(0, 1, 2, 3).processed();
    expect(bench.last("process").records).toHaveLength(4);
    expect(bench.processed({ consumedTo: 4 }).last("begin")).toBeDefined();
  });

  it.each([
    ["before its view", { consumedTo: 0 }],
    ["beyond its view", { consumedTo: 3 }],
    ["a refusal beyond what is final", { consumedTo: 1, refused: [1] }],
    ["a refusal where nothing is final", { refused: [0] }],
    ["an entry where nothing is final", { entries: [ENTRY], writes: [WRITE] }],
  ])("finishes what it was not given: %s", (_, step) => {
    const bench = new Bench().running().fetched(0, 1).processed(step).discarded();
    expect(bench.ended()?.error?.code).toBe("internal");
  });
});

describe("entries beside the state", () => {
  it("are remembered in the step's transaction, with the position and the state", () => {
    const state = Uint8Array.of(9);
    const bench = new Bench()
      .running()
      .fetched(0, 1)
      .processed({ consumedTo: 2, state, entries: [ENTRY] });
    bench.done("begin");
    expect(bench.last("remember")).toMatchObject({
      value: { position: 2, state },
      entries: [ENTRY],
    });
  });
});

describe("group, log and changelog that do not agree", () => {
  const again = (bench: Bench) => bench.discarded().feed({ type: "time" }).fenced();

  it.each<[string, (bench: Bench) => Bench]>([
    ["records expired", (bench) => bench.located(50, 60)],
    ["a topic made anew", (bench) => bench.located(50, 0, 10)],
    ["a changelog ahead", (bench) => bench.located(50).recalled(60)],
    ["a changelog behind", (bench) => bench.located(50).recalled(40)],
    ["a changelog lost", (bench) => bench.located(50).recalled(null)],
    ["an offset lost", (bench) => bench.located(null).recalled(50)],
  ])("end the lane once a second look finds the same: %s", (_, find) => {
    const bench = new Bench().feed({ type: "start" }).fenced();
    find(bench);
    again(bench);
    expect(bench.ended()).toBeUndefined();
    find(bench).discarded();
    expect(bench.ended()?.error?.code).toBe("state-mismatch");
  });

  it("are an owner in between where a second look finds them agree", () => {
    const bench = new Bench().feed({ type: "start" }).fenced().located(50).recalled(60);
    again(bench).located(60).recalled(60);
    expect(bench.last("open").position).toBe(60);
  });

  it("begin at the first record that is left where that is allowed, with the group where it was", () => {
    const bench = new Bench({ skipsExpired: true }).feed({ type: "start" }).fenced();
    bench.located(50, 60).recalled(50);
    expect(bench.last("open").position).toBe(60);
    bench
      .opened()
      .processed({ state: Uint8Array.of(1) })
      .done("begin");
    expect(bench.last("remember").value.position).toBe(50);
    const refused = new Bench({ skipsExpired: true }).feed({ type: "start" }).fenced();
    again(refused.located(50, 0, 10))
      .located(50, 0, 10)
      .discarded();
    expect(refused.ended()?.error?.code).toBe("state-mismatch");
  });

  it("are looked into when a fetch finds its records gone", () => {
    const bench = new Bench().running().fail("fetch", "state-mismatch", true);
    again(bench);
    expect(bench.located(60, 60).recalled(60).last("open").position).toBe(60);
  });
});
