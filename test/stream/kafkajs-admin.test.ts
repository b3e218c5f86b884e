/** kafkajs's admin client: one that does not answer is thrown away, and disturbs nobody when it answers late. */
import type { Kafka } from "kafkajs";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { KafkajsAdmin } from "../../pipeline/stream/kafkajs-admin.ts";

const ANSWER_MS = 60_000;
const NO_ANSWER = { code: "kafka-failed", message: "The brokers do not answer." };

/** One admin client; the test says when it has connected and answered. */
class FakeAdmin {
  readonly connected = Promise.withResolvers<void>();
  readonly answered = Promise.withResolvers<string[]>();
  asked = 0;
  disconnected = 0;

  connect(): Promise<void> {
    return this.connected.promise;
  }

  listTopics(): Promise<string[]> {
    this.asked += 1;
    return this.answered.promise;
  }

  disconnect(): Promise<void> {
    this.disconnected += 1;
    return Promise.reject(new Error("was not connected"));
  }
}

function start(...admins: FakeAdmin[]) {
  const made: FakeAdmin[] = [];
  const kafka = {
    admin() {
      const admin = admins[made.length];
      if (admin === undefined) throw new Error("one admin client too many");
      made.push(admin);
      return admin;
    },
  };
  // Because nothing but this is asked of kafkajs.
  const admin = new KafkajsAdmin(kafka as unknown as Kafka);
  return { admin, made, list: () => admin.ask((on) => on.listTopics()) };
}

function ready(...topics: string[]): FakeAdmin {
  const admin = new FakeAdmin();
  admin.connected.resolve();
  admin.answered.resolve(topics);
  return admin;
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("KafkajsAdmin", () => {
  it("uses one admin client for all, and leaves no timer behind", async () => {
    const { list, made } = start(ready("a"));
    expect(await list()).toEqual(["a"]);
    expect(await list()).toEqual(["a"]);
    expect(made).toHaveLength(1);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("passes a failure on and goes on with the same admin client", async () => {
    const first = new FakeAdmin();
    const { list, made } = start(first);
    const failure = new Error("refused");
    first.connected.resolve();
    first.answered.reject(failure);
    await expect(list()).rejects.toBe(failure);
    await expect(list()).rejects.toBe(failure);
    expect(made).toHaveLength(1);
    expect(first.disconnected).toBe(0);
  });

  it("makes a new client after one could not connect", async () => {
    const first = new FakeAdmin();
    const { list, made } = start(first, ready("b"));
    const failure = new Error("no broker");
    const failed = expect(list()).rejects.toBe(failure);
    first.connected.reject(failure);
    await failed;
    expect(first.disconnected).toBeGreaterThan(0);
    expect(await list()).toEqual(["b"]);
    expect(made).toHaveLength(2);
  });

  it.each(["connecting", "answering"])("gives up a client that hangs in %s", async (where) => {
    const first = new FakeAdmin();
    const { list, made } = start(first, ready("b"));
    if (where === "answering") first.connected.resolve();
    let isOver = false;
    const hung = expect(list().finally(() => (isOver = true))).rejects.toMatchObject(NO_ANSWER);
    await pass(ANSWER_MS - 1);
    expect(isOver).toBe(false);
    await pass(1);
    await hung;
    expect(first.disconnected).toBe(1);
    expect(await list()).toEqual(["b"]);
    expect(made).toHaveLength(2);
  });

  it("lets every call on the client that hangs fail, and makes one new client", async () => {
    const { list, made } = start(new FakeAdmin(), ready("b"));
    const first = expect(list()).rejects.toMatchObject(NO_ANSWER);
    await pass(ANSWER_MS / 2);
    const second = expect(list()).rejects.toMatchObject(NO_ANSWER);
    await pass(ANSWER_MS / 2);
    await first;
    expect(await list()).toEqual(["b"]);
    await pass(ANSWER_MS / 2);
    await second;
    expect(await list()).toEqual(["b"]);
    expect(made).toHaveLength(2);
    expect(made[1]?.disconnected).toBe(0);
  });

  it("asks nothing of a client that connects late, and disconnects it again", async () => {
    const first = new FakeAdmin();
    const second = ready("b");
    const { list } = start(first, second);
    const hung = expect(list()).rejects.toMatchObject(NO_ANSWER);
    await pass(ANSWER_MS);
    await hung;
    await list();
    first.connected.resolve();
    first.answered.resolve(["late"]);
    await pass(0);
    expect(first.asked).toBe(0);
    expect(first.disconnected).toBe(2);
    expect(second.disconnected).toBe(0);
    expect(await list()).toEqual(["b"]);
  });

  it.each(["answers", "fails"])("is not disturbed by a client that %s late", async (what) => {
    const first = new FakeAdmin();
    const second = ready("b");
    const { list, made } = start(first, second);
    first.connected.resolve();
    const hung = expect(list()).rejects.toMatchObject(NO_ANSWER);
    await pass(ANSWER_MS);
    await hung;
    await list();
    what === "answers" ? first.answered.resolve(["late"]) : first.answered.reject(new Error("no"));
    await pass(0);
    // Because it may have connected again meanwhile.
    expect(first.disconnected).toBe(2);
    expect(await list()).toEqual(["b"]);
    expect(made).toHaveLength(2);
    expect(second.disconnected).toBe(0);
  });

  it("disconnects at its end, also what connects after it", async () => {
    const first = new FakeAdmin();
    const { admin, list } = start(first);
    const asked = expect(list()).rejects.toMatchObject({ code: "kafka-failed" });
    await admin.close();
    expect(first.disconnected).toBe(1);
    first.connected.resolve();
    await asked;
    expect(first.asked).toBe(0);
    expect(first.disconnected).toBe(2);
  });

  it("ends without ever having been used", async () => {
    const { admin, made } = start();
    await admin.close();
    expect(made).toEqual([]);
  });
});
