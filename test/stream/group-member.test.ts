/** Staying in a consumer group: joined again after whatever passes, and deaf to attempts that are over. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { SealstreamError } from "../../pipeline/errors.ts";
import { joinAndStay } from "../../pipeline/stream/group-member.ts";
import type { GroupMembership, KafkaClient } from "../../pipeline/stream/port.ts";

type JoinOptions = Parameters<KafkaClient["joinGroup"]>[0];

const FIRST_WAIT_MS = 200;
const LONGEST_WAIT_MS = 5_000;
const MOST_FAILURES = 16;
const silent = () => undefined;
const logger = { debug: silent, info: silent, warn: silent, error: silent };
const failure = new Error("coordinator moved");

/** What the client was asked for once; the test answers. */
class Attempt {
  readonly says: JoinOptions;
  readonly #answer = Promise.withResolvers<GroupMembership>();
  closed = 0;

  constructor(says: JoinOptions) {
    this.says = says;
  }

  get answer(): Promise<GroupMembership> {
    return this.#answer.promise;
  }

  succeed(): void {
    this.#answer.resolve({
      close: () => {
        this.closed += 1;
        return Promise.resolve();
      },
    });
  }

  fail(error: Error = failure): void {
    this.#answer.reject(error);
  }
}

function start() {
  const attempts: Attempt[] = [];
  const client = {
    joinGroup(options: JoinOptions) {
      const attempt = new Attempt(options);
      attempts.push(attempt);
      return attempt.answer;
    },
  };
  const onAssignment = vi.fn();
  const onGiveUp = vi.fn();
  const member = joinAndStay({
    // Because a member asks its client for nothing but to join.
    client: client as Partial<KafkaClient> as KafkaClient,
    group: "g",
    topic: "t",
    logger,
    onAssignment,
    onGiveUp,
  });
  const attempt = (number: number): Attempt => {
    const found = attempts[number - 1];
    if (found === undefined) throw new Error(`there is no attempt ${number}`);
    return found;
  };
  return { attempts, attempt, onAssignment, onGiveUp, member };
}

/** A member that has joined and was given partitions 1 and 2. */
async function startJoined() {
  const { attempts, attempt, onAssignment, onGiveUp, member: joined } = start();
  attempt(1).succeed();
  const member = await joined;
  attempt(1).says.onAssignment([1, 2]);
  onAssignment.mockClear();
  return { attempts, attempt, onAssignment, onGiveUp, member };
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

/** Lets the latest attempts fail, by joins that are refused or by crashes of what was joined. */
async function failTimes(world: Awaited<ReturnType<typeof startJoined>>, times: number) {
  for (let index = 0; index < times; index += 1) {
    const latest = world.attempt(world.attempts.length);
    index % 2 === 0 ? latest.says.onCrash(failure) : latest.fail();
    await pass(LONGEST_WAIT_MS);
  }
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("a crash", () => {
  it("ends the lanes, leaves the group, and joins it again after a while", async () => {
    const { attempts, attempt, onAssignment } = await startJoined();
    attempt(1).says.onCrash(failure);
    expect(onAssignment.mock.calls).toEqual([[[]]]);
    await pass(FIRST_WAIT_MS - 1);
    expect(attempts).toHaveLength(1);
    await pass(1);
    expect(attempts).toHaveLength(2);
    expect(attempt(1).closed).toBe(1);
    attempt(2).says.onAssignment([3]);
    expect(onAssignment.mock.calls).toEqual([[[]], [[3]]]);
  });

  it("is waited for twice as long each time, up to five seconds", async () => {
    const world = await startJoined();
    for (const waitMs of [200, 400, 800, 1_600, 3_200, 5_000, 5_000]) {
      const before = world.attempts.length;
      world.attempt(before).says.onCrash(failure);
      await pass(waitMs - 1);
      expect(world.attempts).toHaveLength(before);
      await pass(1);
      expect(world.attempts).toHaveLength(before + 1);
    }
  });

  it("of the first attempt, which may hang on, does not hold up who asked", async () => {
    const { attempts, attempt, member, onGiveUp } = start();
    attempt(1).says.onCrash(failure);
    const joined = await member;
    await pass(FIRST_WAIT_MS);
    attempt(2).succeed();
    attempt(1).fail();
    await pass(10 * LONGEST_WAIT_MS);
    expect(attempts).toHaveLength(2);
    expect(onGiveUp).not.toHaveBeenCalled();
    await joined.close();
    expect(attempt(2).closed).toBe(1);
  });
});

describe("a first attempt that fails before anything else", () => {
  it("is for who asked, and nothing is tried again", async () => {
    const { attempts, attempt, member, onAssignment, onGiveUp } = start();
    attempt(1).fail();
    await expect(member).rejects.toBe(failure);
    attempt(1).says.onCrash(failure);
    await pass(10 * LONGEST_WAIT_MS);
    expect(attempts).toHaveLength(1);
    expect(onAssignment).not.toHaveBeenCalled();
    expect(onGiveUp).not.toHaveBeenCalled();
  });
});

describe("a late word of an earlier attempt", () => {
  /** The second attempt hung until the client gave it up; the third holds partition 4. */
  async function startThird() {
    const world = await startJoined();
    world.attempt(1).says.onCrash(failure);
    await pass(FIRST_WAIT_MS);
    world.attempt(2).says.onCrash(failure);
    await pass(2 * FIRST_WAIT_MS);
    world.attempt(3).succeed();
    world.attempt(3).says.onAssignment([4]);
    await pass(0);
    world.onAssignment.mockClear();
    return world;
  }

  it.each<[string, (world: Awaited<ReturnType<typeof startThird>>) => void]>([
    ["an assignment", ({ attempt }) => attempt(1).says.onAssignment([9])],
    ["an assignment while it hung", ({ attempt }) => attempt(2).says.onAssignment([9])],
    ["a crash", ({ attempt }) => attempt(1).says.onCrash(failure)],
    ["a second crash", ({ attempt }) => attempt(2).says.onCrash(failure)],
    [
      "a crash that nothing mends",
      ({ attempt }) => attempt(2).says.onCrash(new SealstreamError("access-denied", "No.")),
    ],
    ["a join that comes about", ({ attempt }) => attempt(2).succeed()],
    ["a join that fails", ({ attempt }) => attempt(2).fail()],
  ])("changes nothing: %s", async (_, speak) => {
    const world = await startThird();
    speak(world);
    await pass(10 * LONGEST_WAIT_MS);
    expect(world.onAssignment).not.toHaveBeenCalled();
    expect(world.onGiveUp).not.toHaveBeenCalled();
    expect(world.attempts).toHaveLength(3);
    expect(world.attempt(3).closed).toBe(0);
    await world.member.close();
    expect(world.attempt(3).closed).toBe(1);
  });

  it("has its membership closed, and only that", async () => {
    const { attempt } = await startThird();
    attempt(2).succeed();
    await pass(0);
    expect(attempt(2).closed).toBe(1);
    expect(attempt(3).closed).toBe(0);
  });

  it("does not begin the count of failures anew", async () => {
    const world = await startJoined();
    await failTimes(world, MOST_FAILURES - 1);
    world.attempt(1).says.onAssignment([9]);
    expect(world.onGiveUp).not.toHaveBeenCalled();
    await failTimes(world, 1);
    expect(world.onGiveUp).toHaveBeenCalledOnce();
  });
});

describe("giving up", () => {
  it("comes after 16 failures in a row, once, and is the last thing", async () => {
    const world = await startJoined();
    await failTimes(world, MOST_FAILURES - 1);
    expect(world.onGiveUp).not.toHaveBeenCalled();
    await failTimes(world, 1);
    expect(world.onGiveUp.mock.calls).toMatchObject([[{ code: "kafka-failed", cause: failure }]]);
    expect(world.onAssignment).toHaveBeenLastCalledWith([]);
    world.onAssignment.mockClear();
    const latest = world.attempt(world.attempts.length);
    latest.says.onAssignment([9]);
    latest.says.onCrash(failure);
    latest.succeed();
    await pass(10 * LONGEST_WAIT_MS);
    expect(world.attempts).toHaveLength(MOST_FAILURES);
    expect(world.onGiveUp).toHaveBeenCalledOnce();
    expect(world.onAssignment).not.toHaveBeenCalled();
  });

  it("begins its count anew at each assignment", async () => {
    const world = await startJoined();
    await failTimes(world, MOST_FAILURES - 1);
    world.attempt(MOST_FAILURES).says.onAssignment([1]);
    await failTimes(world, MOST_FAILURES - 1);
    expect(world.onGiveUp).not.toHaveBeenCalled();
    await failTimes(world, 1);
    expect(world.onGiveUp).toHaveBeenCalledOnce();
  });

  it("comes at once for what nothing mends", async () => {
    const denied = new SealstreamError("access-denied", "No.");
    const { attempts, attempt, onGiveUp } = await startJoined();
    attempt(1).says.onCrash(denied);
    expect(onGiveUp.mock.calls).toEqual([[denied]]);
    attempt(1).says.onCrash(denied);
    await pass(10 * LONGEST_WAIT_MS);
    expect(attempts).toHaveLength(1);
    expect(onGiveUp).toHaveBeenCalledOnce();
  });

  it("does not come at once for a failure of ours that may pass", async () => {
    const { attempts, attempt, onGiveUp } = await startJoined();
    attempt(1).says.onCrash(new SealstreamError("kafka-failed", "It fell silent."));
    await pass(FIRST_WAIT_MS);
    expect(attempts).toHaveLength(2);
    expect(onGiveUp).not.toHaveBeenCalled();
  });
});

describe("closing", () => {
  it("leaves the group, and nothing is heard of it any more", async () => {
    const { attempts, attempt, onAssignment, onGiveUp, member } = await startJoined();
    await member.close();
    expect(attempt(1).closed).toBe(1);
    attempt(1).says.onAssignment([9]);
    attempt(1).says.onCrash(failure);
    await pass(10 * LONGEST_WAIT_MS);
    expect(attempts).toHaveLength(1);
    expect(onAssignment).not.toHaveBeenCalled();
    expect(onGiveUp).not.toHaveBeenCalled();
  });

  it("during a join closes what joins later, whose assignment is nobody's", async () => {
    const { attempt, onAssignment, member } = await startJoined();
    attempt(1).says.onCrash(failure);
    await pass(FIRST_WAIT_MS);
    onAssignment.mockClear();
    await member.close();
    attempt(2).says.onAssignment([9]);
    attempt(2).succeed();
    await pass(0);
    expect(attempt(2).closed).toBe(1);
    expect(onAssignment).not.toHaveBeenCalled();
  });

  it("between two attempts ends the waiting", async () => {
    const { attempts, attempt, member } = await startJoined();
    attempt(1).says.onCrash(failure);
    await member.close();
    expect(vi.getTimerCount()).toBe(0);
    await pass(10 * LONGEST_WAIT_MS);
    expect(attempts).toHaveLength(1);
  });
});
