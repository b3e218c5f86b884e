/** A kafkajs group membership: over at a crash, at silence and at its end, and sent away when it speaks again. */
import type { ConsumerConfig, Kafka } from "kafkajs";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { joinKafkajsGroup } from "../../pipeline/stream/kafkajs-group.ts";

const SESSION_MS = 1_000;
/** Four sessions, and the next look at the watch. */
const SILENT_MS = 4 * SESSION_MS + 1_000;
const LEAVE_MS = 5_000;
const FELL_SILENT = { code: "kafka-failed", message: "Consumer group g fell silent." };

// Because these timers are no global ones, so that fake timers do not reach them.
vi.mock("node:timers/promises", () => ({
  setTimeout: (ms: number) => new Promise((resolve) => setTimeout(resolve, ms)),
}));

type Step = () => Promise<void>;
type Listener = (event: { payload: object }) => void;

/** A kafkajs with one consumer that only writes down what it is asked; `steps` says what else a call does. */
function fakeKafka(steps: { connect?: Step; run?: Step; disconnect?: Step } = {}) {
  const calls: string[] = [];
  const configs: ConsumerConfig[] = [];
  const listeners = new Map<string, Listener>();
  const step = (name: string, run?: Step) => () => {
    calls.push(name);
    return run?.() ?? Promise.resolve();
  };
  const consumer = {
    events: { HEARTBEAT: "heartbeat", GROUP_JOIN: "join", CRASH: "crash" },
    on: (name: string, listener: Listener) => listeners.set(name, listener),
    connect: step("connect", steps.connect),
    subscribe: step("subscribe"),
    run: step("run", steps.run),
    pause: step("pause"),
    disconnect: step("disconnect", steps.disconnect),
  };
  const kafka = {
    consumer(config: ConsumerConfig) {
      configs.push(config);
      return consumer;
    },
  };
  const emit = (name: string, payload: object = {}) => listeners.get(name)?.({ payload });
  return {
    // Because a membership asks kafkajs for nothing but this consumer.
    kafka: kafka as unknown as Kafka,
    calls,
    configs,
    count: (name: string) => calls.filter((call) => call === name).length,
    heartbeat: () => emit("heartbeat"),
    assign: (memberAssignment: Record<string, number[]>) => emit("join", { memberAssignment }),
    crash: (error: Error) => emit("crash", { error, restart: false }),
  };
}

function join(group: ReturnType<typeof fakeKafka>) {
  const onAssignment = vi.fn();
  const onCrash = vi.fn();
  const joined = joinKafkajsGroup(
    group.kafka,
    { sessionTimeoutMs: SESSION_MS },
    { group: "g", topic: "t", onAssignment, onCrash },
  );
  return { onAssignment, onCrash, joined };
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("joining", () => {
  it("asks kafkajs never to restart the consumer by itself", async () => {
    const group = fakeKafka();
    await join(group).joined;
    expect(await group.configs[0]?.retry?.restartOnFailure?.(new Error("crash"))).toBe(false);
  });

  it("reports the partitions of its topic, and fetches none of them", async () => {
    const group = fakeKafka();
    const { onAssignment, joined } = join(group);
    await joined;
    group.assign({ t: [0, 2], other: [1] });
    group.assign({ other: [1] });
    expect(onAssignment.mock.calls).toEqual([[[0, 2]], [[]]]);
    expect(group.calls).toEqual(["connect", "subscribe", "run", "pause", "pause"]);
  });

  it.each(["connect", "run"] as const)("leaves and throws when %s fails", async (step) => {
    const failure = new Error("no broker");
    const group = fakeKafka({ [step]: () => Promise.reject(failure) });
    const { onCrash, joined } = join(group);
    await expect(joined).rejects.toBe(failure);
    expect(group.calls.at(-1)).toBe("disconnect");
    await pass(10 * SILENT_MS);
    expect(onCrash).not.toHaveBeenCalled();
  });
});

describe("silence", () => {
  it("ends a membership once, after four sessions, and leaves the group", async () => {
    const group = fakeKafka();
    const { onCrash, joined } = join(group);
    await joined;
    await pass(4 * SESSION_MS);
    expect(onCrash).not.toHaveBeenCalled();
    expect(group.count("disconnect")).toBe(0);
    await pass(SILENT_MS - 4 * SESSION_MS);
    expect(onCrash.mock.calls).toMatchObject([[FELL_SILENT]]);
    expect(group.count("disconnect")).toBe(1);
    await pass(10 * SILENT_MS);
    expect(onCrash).toHaveBeenCalledOnce();
    expect(group.count("disconnect")).toBe(1);
  });

  it.each(["heartbeats", "rebalances"])("is broken by %s", async (word) => {
    const group = fakeKafka();
    const { onCrash, joined } = join(group);
    await joined;
    for (let index = 0; index < 10; index += 1) {
      await pass(4 * SESSION_MS);
      word === "heartbeats" ? group.heartbeat() : group.assign({ t: [0] });
    }
    expect(onCrash).not.toHaveBeenCalled();
    await pass(SILENT_MS);
    expect(onCrash).toHaveBeenCalledOnce();
  });

  it("is reported while the consumer hangs in connecting, which then never runs", async () => {
    const connected = Promise.withResolvers<void>();
    const group = fakeKafka({ connect: () => connected.promise });
    const { onCrash, joined } = join(group);
    const failed = expect(joined).rejects.toMatchObject(FELL_SILENT);
    await pass(SILENT_MS);
    expect(onCrash.mock.calls).toMatchObject([[FELL_SILENT]]);
    expect(group.count("disconnect")).toBe(1);
    connected.resolve();
    await failed;
    expect(group.count("run")).toBe(0);
    expect(group.count("disconnect")).toBe(2);
    expect(onCrash).toHaveBeenCalledOnce();
  });
});

describe("a crash", () => {
  it("is passed on once, and silence afterwards is none", async () => {
    const group = fakeKafka();
    const { onCrash, joined } = join(group);
    await joined;
    const failure = new Error("session lost");
    group.crash(failure);
    group.crash(new Error("again"));
    await pass(10 * SILENT_MS);
    expect(onCrash.mock.calls).toEqual([[failure]]);
  });

  it("is nobody's after the end, even one from before whose reason was still looked up", async () => {
    const group = fakeKafka();
    const { onCrash, joined } = join(group);
    const membership = await joined;
    group.crash(new Error("session lost"));
    await membership.close();
    group.crash(new Error("again"));
    await pass(10 * SILENT_MS);
    expect(onCrash).not.toHaveBeenCalled();
  });
});

describe("the end", () => {
  it("leaves the group, and silence afterwards is none", async () => {
    const group = fakeKafka();
    const { onCrash, joined } = join(group);
    await (await joined).close();
    expect(group.count("disconnect")).toBe(1);
    await pass(10 * SILENT_MS);
    expect(onCrash).not.toHaveBeenCalled();
  });

  it("waits only so long for a consumer that hangs in leaving", async () => {
    const group = fakeKafka({ disconnect: () => new Promise(() => undefined) });
    const membership = await join(group).joined;
    let isLeft = false;
    const left = membership.close().then(() => {
      isLeft = true;
    });
    await pass(LEAVE_MS - 1);
    expect(isLeft).toBe(false);
    await pass(1);
    await left;
  });
});

describe("a late word", () => {
  type Group = ReturnType<typeof fakeKafka>;
  type Membership = Awaited<ReturnType<typeof join>["joined"]>;
  const ends: Record<string, (group: Group, membership: Membership) => unknown> = {
    close: (_, membership) => membership.close(),
    "a crash": (group) => group.crash(new Error("session lost")),
    silence: () => pass(SILENT_MS),
  };
  const words: Record<string, (group: Group) => unknown> = {
    "join the group": (group) => group.assign({ t: [0] }),
    heartbeat: (group) => group.heartbeat(),
  };
  const cases = Object.keys(ends).flatMap((end) => Object.keys(words).map((word) => [end, word]));

  it.each(cases)("after %s calls nothing and sends the consumer away: %s", async (end, word) => {
    const group = fakeKafka();
    const { onAssignment, onCrash, joined } = join(group);
    await ends[end]?.(group, await joined);
    await pass(1);
    const before = { crashes: onCrash.mock.calls.length, calls: [...group.calls] };

    words[word]?.(group);
    // Because a consumer that is told to leave within its join goes on joining.
    expect(group.calls).toEqual(before.calls);
    await pass(1);
    expect(group.calls).toEqual([...before.calls, "disconnect"]);
    await pass(10 * SILENT_MS);
    expect(onAssignment).not.toHaveBeenCalled();
    expect(onCrash).toHaveBeenCalledTimes(before.crashes);
  });
});
