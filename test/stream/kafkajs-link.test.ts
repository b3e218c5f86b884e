/** A link through kafkajs: nothing waits for ever, and what was cut is neither used again nor left connected. */
import type { Socket } from "node:net";
import type { Kafka } from "kafkajs";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type {
  QueuedRequest,
  RawBroker,
  RawCluster,
  RawConnection,
} from "../../pipeline/stream/kafkajs-internals.ts";
import { KafkajsLink } from "../../pipeline/stream/kafkajs-link.ts";
import {
  findCoordinatorRequest,
  readFindCoordinatorAnswer,
} from "../../pipeline/stream/wire/requests.ts";

const LOOKUP_MS = 20_000;
const ANSWER_MS = 20_000;
const LATE = { code: "kafka-failed", message: "Kafka did not answer within 20 seconds." };
const CLOSED = { code: "kafka-failed", message: "The connection was closed." };
const GROUP_AUTHORIZATION_FAILED = 30;

/** Throttle time, error code, no error message, node; host and port are not read. */
function coordinatorAnswer(errorCode: number, nodeId: number): Buffer {
  const payload = Buffer.alloc(12);
  payload.writeInt16BE(errorCode, 4);
  payload.writeInt16BE(-1, 6);
  payload.writeInt32BE(nodeId, 8);
  return payload;
}

/** A connection that can be cut over and over; `answers` says what the broker says, null for nothing. */
class FakeConnection implements RawConnection {
  readonly host = "localhost";
  readonly port = 9092;
  readonly clientId = "test";
  readonly sasl = null;
  readonly asked: QueuedRequest[] = [];
  cuts = 0;
  answers: Buffer | null = coordinatorAnswer(0, 1);
  // Because nothing but these is asked of a socket.
  readonly socket = {
    setNoDelay: () => undefined,
    write: () => true,
    destroy: () => {
      this.cuts += 1;
    },
  } as unknown as Socket;
  readonly requestQueue = {
    push: (request: QueuedRequest) => {
      this.asked.push(request);
      if (this.answers !== null) request.entry.resolve({ payload: this.answers });
    },
    maybeThrottle: () => undefined,
    destroy: () => undefined,
  };

  isConnected = () => true;
  isAuthenticated = () => true;
  authenticate = () => Promise.resolve();
  nextCorrelationId = () => this.asked.length;
  disconnect = () => Promise.reject(new Error("was cut"));

  rejectRequests(error: Error): void {
    for (const { entry } of this.asked) entry.reject(error);
  }
}

/** A cluster of one broker, number 1, that leads partition 0 of every topic it was asked for. */
class FakeCluster implements RawCluster {
  readonly connection = new FakeConnection();
  readonly broker: RawBroker = {
    versions: null,
    connectionPool: { pool: [this.connection] },
  };
  readonly topics: string[] = [];
  readonly brokerPool = {
    brokers: { 1: this.broker },
    seedBroker: undefined,
    findConnectedBroker: () => Promise.resolve(this.broker),
  };
  connects = 0;
  /** What the calls of the same name wait for. */
  readonly waits: Partial<
    Record<"connect" | "addTargetTopic" | "refreshMetadata", () => Promise<void>>
  > = {};
  findBroker = () => Promise.resolve(this.broker);

  get cuts(): number {
    return this.connection.cuts;
  }

  connect(): Promise<void> {
    this.connects += 1;
    return this.waits.connect?.() ?? Promise.resolve();
  }

  addTargetTopic(topic: string): Promise<void> {
    this.topics.push(topic);
    return this.waits.addTargetTopic?.() ?? Promise.resolve();
  }

  refreshMetadata(): Promise<void> {
    return this.waits.refreshMetadata?.() ?? Promise.resolve();
  }

  findLeaderForPartitions(topic: string, partitions: number[]): Record<string, number[]> {
    return this.topics.includes(topic) ? { 1: partitions } : {};
  }
}

/** A link whose clusters are these, in their order. */
function linkOver(...clusters: FakeCluster[]): KafkajsLink {
  let made = 0;
  const createCluster = () => {
    const cluster = clusters[made];
    if (cluster === undefined) throw new Error("one cluster too many");
    made += 1;
    return cluster;
  };
  // Because kafkajs keeps its factory under a symbol of this name, and nothing else is asked of it.
  return new KafkajsLink({
    [Symbol("private:Kafka:createCluster")]: createCluster,
  } as unknown as Kafka);
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("a lookup", () => {
  it("connects once for all, and leaves no timer behind", async () => {
    const cluster = new FakeCluster();
    const link = linkOver(cluster);
    const [leader, any] = await Promise.all([link.leader("t", 0), link.anyBroker()]);
    expect([leader, any]).toEqual([cluster.connection, cluster.connection]);
    await link.leader("t", 0);
    expect(cluster.topics).toEqual(["t"]);
    expect(cluster.connects).toBe(1);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("that hangs in connecting fails, and the next one connects anew", async () => {
    const [first, second] = [new FakeCluster(), new FakeCluster()];
    const connected = Promise.withResolvers<void>();
    first.waits.connect = () => connected.promise;
    const link = linkOver(first, second);
    let isOver = false;
    const hung = expect(
      link.anyBroker().finally(() => {
        isOver = true;
      }),
    ).rejects.toMatchObject(LATE);
    await pass(LOOKUP_MS - 1);
    expect(isOver).toBe(false);
    await pass(1);
    await hung;
    expect(await link.anyBroker()).toBe(second.connection);

    connected.resolve();
    await pass(0);
    expect(first.cuts).toBe(1);
    expect(await link.anyBroker()).toBe(second.connection);
    expect(second.cuts).toBe(0);
  });

  it("that hangs on a broker fails and severs, and the broker is severed again when it comes", async () => {
    const [first, second] = [new FakeCluster(), new FakeCluster()];
    const found = Promise.withResolvers<RawBroker>();
    first.findBroker = () => found.promise;
    const link = linkOver(first, second);
    const hung = expect(link.leader("t", 0)).rejects.toMatchObject(LATE);
    await pass(LOOKUP_MS);
    await hung;
    expect(first.cuts).toBe(1);
    expect(await link.leader("t", 0)).toBe(second.connection);

    found.resolve(first.broker);
    await pass(0);
    expect(first.cuts).toBe(2);
    expect(await link.leader("t", 0)).toBe(second.connection);
    expect(second.cuts).toBe(0);
  });

  it("is not given a connection that was severed while it waited", async () => {
    const cluster = new FakeCluster();
    const found = Promise.withResolvers<RawBroker>();
    cluster.findBroker = () => found.promise;
    const link = linkOver(cluster);
    const waiting = expect(link.leader("t", 0)).rejects.toMatchObject(CLOSED);
    await pass(0);
    link.sever();
    found.resolve(cluster.broker);
    await waiting;
    expect(cluster.cuts).toBe(2);
  });

  it("that is late has not made a topic known to the next cluster", async () => {
    const [first, second] = [new FakeCluster(), new FakeCluster()];
    const added = Promise.withResolvers<void>();
    first.waits.addTargetTopic = () => added.promise;
    const link = linkOver(first, second);
    const hung = expect(link.leader("t", 0)).rejects.toMatchObject(LATE);
    await pass(LOOKUP_MS);
    await hung;
    await link.anyBroker();
    added.resolve();
    await pass(0);
    expect(await link.leader("t", 0)).toBe(second.connection);
    expect(second.topics).toEqual(["t"]);
    expect(first.cuts).toBe(2);
  });

  it("severs nothing that was connected after it began", async () => {
    const [first, second] = [new FakeCluster(), new FakeCluster()];
    first.findBroker = () => new Promise(() => undefined);
    const link = linkOver(first, second);
    const hung = expect(link.leader("t", 0)).rejects.toMatchObject(LATE);
    await pass(LOOKUP_MS / 2);
    link.sever();
    await link.anyBroker();
    await pass(LOOKUP_MS / 2);
    await hung;
    expect(await link.anyBroker()).toBe(second.connection);
    expect(second.cuts).toBe(0);
  });

  it("that is refused severs nothing", async () => {
    const cluster = new FakeCluster();
    const refusal = Object.assign(new Error("refused"), { type: "TOPIC_AUTHORIZATION_FAILED" });
    cluster.waits.addTargetTopic = () => Promise.reject(refusal);
    cluster.waits.refreshMetadata = () => Promise.reject(refusal);
    cluster.connection.answers = coordinatorAnswer(GROUP_AUTHORIZATION_FAILED, -1);
    const link = linkOver(cluster);
    await expect(link.leader("t", 0)).rejects.toBe(refusal);
    await expect(link.refresh()).rejects.toBe(refusal);
    await expect(link.coordinator("group", "g")).rejects.toMatchObject({ code: "access-denied" });
    await pass(10 * LOOKUP_MS);
    expect(await link.anyBroker()).toBe(cluster.connection);
    expect(cluster.cuts).toBe(0);
    expect(cluster.connects).toBe(1);
  });

  it("connects anew after connecting failed, and what failed is severed", async () => {
    const [first, second] = [new FakeCluster(), new FakeCluster()];
    const failure = new Error("no broker");
    first.waits.connect = () => Promise.reject(failure);
    const link = linkOver(first, second);
    await expect(link.anyBroker()).rejects.toBe(failure);
    expect(first.cuts).toBe(1);
    expect(await link.anyBroker()).toBe(second.connection);
  });
});

describe("looking up leaders anew", () => {
  it.each(["comes about", "fails"])(
    "severs a cluster that was severed before it %s",
    async (how) => {
      const cluster = new FakeCluster();
      const refreshed = Promise.withResolvers<void>();
      cluster.waits.refreshMetadata = () => refreshed.promise;
      const link = linkOver(cluster);
      const refreshing = link.refresh().catch(() => undefined);
      await pass(0);
      link.sever();
      expect(cluster.cuts).toBe(1);
      how === "fails" ? refreshed.reject(new Error("cut")) : refreshed.resolve();
      await refreshing;
      expect(cluster.cuts).toBe(2);
    },
  );

  it("severs a cluster that hangs", async () => {
    const cluster = new FakeCluster();
    cluster.waits.refreshMetadata = () => new Promise(() => undefined);
    const hung = expect(linkOver(cluster).refresh()).rejects.toMatchObject(LATE);
    await pass(LOOKUP_MS);
    await hung;
    expect(cluster.cuts).toBe(1);
  });
});

describe("a coordinator", () => {
  it("is remembered until it is forgotten, each for itself", async () => {
    const cluster = new FakeCluster();
    const link = linkOver(cluster);
    const { asked } = cluster.connection;
    await link.coordinator("group", "a");
    await link.coordinator("group", "a");
    expect(asked).toHaveLength(1);
    await link.coordinator("group", "b");
    await link.coordinator("transaction", "a");
    expect(asked).toHaveLength(3);
    link.forgetCoordinator("group", "a");
    await link.coordinator("group", "b");
    await link.coordinator("transaction", "a");
    expect(asked).toHaveLength(3);
    await link.coordinator("group", "a");
    expect(asked).toHaveLength(4);
  });

  it("is forgotten with the connections", async () => {
    const [first, second] = [new FakeCluster(), new FakeCluster()];
    const link = linkOver(first, second);
    await link.coordinator("group", "a");
    link.sever();
    await link.coordinator("group", "a");
    expect(second.connection.asked).toHaveLength(1);
  });

  it("that is found too late is not remembered", async () => {
    const [first, second] = [new FakeCluster(), new FakeCluster()];
    const refreshed = Promise.withResolvers<void>();
    first.connection.answers = coordinatorAnswer(0, 7);
    first.waits.refreshMetadata = () => refreshed.promise;
    const link = linkOver(first, second);
    const hung = expect(link.coordinator("group", "a")).rejects.toMatchObject(LATE);
    await pass(LOOKUP_MS);
    await hung;
    await link.anyBroker();
    refreshed.resolve();
    await pass(0);
    expect(await link.coordinator("group", "a")).toBe(second.connection);
    expect(second.connection.asked).toHaveLength(1);
  });
});

describe("an answer", () => {
  const request = () => findCoordinatorRequest("test", "group", "a");

  it("is read, and leaves no timer behind", async () => {
    const { connection } = new FakeCluster();
    const link = linkOver();
    const answer = await link.ask(connection, request(), readFindCoordinatorAnswer);
    expect(answer).toEqual({ errorCode: 0, nodeId: 1 });
    expect(vi.getTimerCount()).toBe(0);
  });

  it("that never comes fails the request", async () => {
    const { connection } = new FakeCluster();
    connection.answers = null;
    let isOver = false;
    const asking = linkOver().ask(connection, request(), readFindCoordinatorAnswer);
    const failed = expect(
      asking.finally(() => {
        isOver = true;
      }),
    ).rejects.toMatchObject(LATE);
    await pass(ANSWER_MS - 1);
    expect(isOver).toBe(false);
    await pass(1);
    await failed;
  });

  it("is not waited for on a connection that is cut", async () => {
    const cluster = new FakeCluster();
    const link = linkOver(cluster);
    const connection = await link.anyBroker();
    cluster.connection.answers = null;
    const asking = link.ask(connection, request(), readFindCoordinatorAnswer);
    const failed = expect(asking).rejects.toMatchObject(CLOSED);
    link.sever();
    await failed;
  });
});

describe("closing", () => {
  it("severs what there is, and what connects after it, and connects no more", async () => {
    const cluster = new FakeCluster();
    const connected = Promise.withResolvers<void>();
    cluster.waits.connect = () => connected.promise;
    const link = linkOver(cluster);
    const waiting = expect(link.anyBroker()).rejects.toMatchObject({ code: "internal" });
    link.close();
    connected.resolve();
    await waiting;
    expect(cluster.cuts).toBe(1);
    await expect(link.anyBroker()).rejects.toMatchObject({ code: "internal" });
    expect(cluster.connects).toBe(1);
  });
});
