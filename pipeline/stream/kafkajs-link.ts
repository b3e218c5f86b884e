/**
 * One user's own connections to a cluster: finds leaders and coordinators through kafkajs and exchanges our requests.
 *
 * A reader or a producer has one link for itself, so that cutting it cuts nothing of anybody else. A link that had any
 * trouble is severed whole and connects anew on its next use: kafkajs keeps half-read answers of a cut connection, and
 * what was written on one must not go out later. Nothing here waits for ever: kafkajs's own time limits end with a
 * connection that it closes, so that every lookup and every answer has one of ours. Must not repeat a request: only its
 * user knows whether that is safe.
 */
import type { Kafka } from "kafkajs";
import { isSealstreamError, SealstreamError } from "../errors.ts";
import {
  createCluster,
  type RawBroker,
  type RawCluster,
  type RawConnection,
} from "./kafkajs-internals.ts";
import { accessDenied } from "./security.ts";
import { within } from "./time-limit.ts";
import { NONE, protocolError } from "./wire/protocol-errors.ts";
import { CORRELATION_AT, type WireRequest } from "./wire/request-writer.ts";
import {
  type CoordinatorType,
  findCoordinatorRequest,
  REQUIRED_APIS,
  readFindCoordinatorAnswer,
  type Throttled,
} from "./wire/requests.ts";

/** The little of kafkajs's errors that names them. */
interface ClientError {
  readonly name?: string;
  readonly type?: string;
}

/** Whether a failure to find or reach a broker may pass. */
export function mayPass(error: unknown): boolean {
  if (isSealstreamError(error)) {
    return error.code === "kafka-failed" || error.code === "topic-missing";
  }
  return accessDenied(error, "") === null;
}

/** A failure as this project's error; the library's own is kept as its cause. */
export function asSealstreamError(error: unknown, doing: string): SealstreamError {
  if (isSealstreamError(error)) {
    return error;
  }
  const denied = accessDenied(error, doing);
  if (denied !== null) {
    return denied;
  }
  // Because everything kafkajs throws is an Error object whose fields are all optional here.
  const { name, type } = error as ClientError;
  return new SealstreamError(
    "kafka-failed",
    `${doing} failed with ${type ?? name ?? "an error"}.`,
    {
      cause: error,
    },
  );
}

/** Longest that finding and reaching a broker may take, kafkajs's own retries included. */
const LOOKUP_MS = 20_000;
/** Longest that an answer may take: above kafkajs's own limit, which serves while the connection stands. */
const ANSWER_MS = 20_000;

function lateAnswer(ms: number): SealstreamError {
  return new SealstreamError("kafka-failed", `Kafka did not answer within ${ms / 1000} seconds.`);
}

function exchange(connection: RawConnection, { api, frame }: WireRequest): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const { socket } = connection;
    if (socket === undefined || !connection.isConnected()) {
      throw new SealstreamError("kafka-failed", "The connection to the broker was lost.");
    }
    const correlationId = connection.nextCorrelationId();
    frame.writeInt32BE(correlationId, CORRELATION_AT);
    connection.requestQueue.push({
      entry: {
        apiKey: api.key,
        apiName: api.name,
        apiVersion: api.version,
        correlationId,
        resolve: ({ payload }) => resolve(payload),
        reject,
      },
      expectResponse: true,
      requestTimeout: null,
      sendRequest: () => socket.write(frame),
    });
  });
}

/** Ends every connection of a cluster at once: what is unanswered fails, what is unwritten is never written. */
function sever(cluster: RawCluster): void {
  const { brokers, seedBroker } = cluster.brokerPool;
  const all = new Set(Object.values(brokers));
  if (seedBroker !== undefined) {
    all.add(seedBroker);
  }
  for (const { connectionPool } of all) {
    for (const connection of connectionPool.pool) {
      connection.rejectRequests(new SealstreamError("kafka-failed", "The connection was closed."));
      connection.requestQueue.destroy();
      connection.disconnect().catch(() => undefined);
      connection.socket?.destroy();
    }
  }
}

/** The connection we use of a broker's. @throws SealstreamError `broker-unavailable` when the broker is too old */
function firstConnection({ versions, connectionPool }: RawBroker): RawConnection {
  for (const { key, version, name } of REQUIRED_APIS) {
    const range = versions?.[key];
    if (
      versions !== null &&
      !(range && range.minVersion <= version && version <= range.maxVersion)
    ) {
      throw new SealstreamError(
        "broker-unavailable",
        `The broker does not know ${name} version ${version}: Sealstream needs Kafka 2.8 or later.`,
      );
    }
  }
  const [connection] = connectionPool.pool;
  if (connection === undefined) {
    throw new SealstreamError("internal", "kafkajs has lost its connection pool.");
  }
  // Because a small request behind a large one would wait for the large one's acknowledgement otherwise.
  connection.socket?.setNoDelay(true);
  return connection;
}

export class KafkajsLink {
  readonly #kafka: Kafka;
  readonly #topics = new Set<string>();
  readonly #coordinators = new Map<string, number>();
  #cluster: RawCluster | null = null;
  #opening: Promise<RawCluster> | null = null;
  /** Times that this link was severed: what began before is late. */
  #severed = 0;
  #clientId = "";
  #isClosed = false;

  constructor(kafka: Kafka) {
    this.#kafka = kafka;
  }

  /** What requests name as their sender; known once a connection was given out. */
  get clientId(): string {
    return this.#clientId;
  }

  /** Connection to the leader of a partition. @throws SealstreamError `topic-missing`, or what kafkajs throws */
  leader(topic: string, partition: number): Promise<RawConnection> {
    return this.#lookUp(async (cluster) => {
      if (!this.#topics.has(topic)) {
        await cluster.addTargetTopic(topic);
        this.#assertCurrent(cluster);
        this.#topics.add(topic);
      }
      const nodeId = Object.keys(cluster.findLeaderForPartitions(topic, [partition])).at(0);
      if (nodeId === undefined) {
        throw new SealstreamError("topic-missing", `Topic ${topic} has no partition ${partition}.`);
      }
      return this.#connection(cluster, await cluster.findBroker({ nodeId }));
    });
  }

  /** Connection to a group's or a transactional id's coordinator, remembered until {@link forgetCoordinator}. */
  coordinator(type: CoordinatorType, key: string): Promise<RawConnection> {
    return this.#lookUp(async (cluster) => {
      const name = `${type} ${key}`;
      let nodeId = this.#coordinators.get(name);
      if (nodeId === undefined) {
        nodeId = await this.#findCoordinator(cluster, type, key);
        this.#assertCurrent(cluster);
        this.#coordinators.set(name, nodeId);
      }
      return this.#connection(cluster, await cluster.findBroker({ nodeId }));
    });
  }

  forgetCoordinator(type: CoordinatorType, key: string): void {
    this.#coordinators.delete(`${type} ${key}`);
  }

  anyBroker(): Promise<RawConnection> {
    return this.#lookUp(async (cluster) =>
      this.#connection(cluster, await cluster.brokerPool.findConnectedBroker()),
    );
  }

  /** Looks up leaders anew. */
  refresh(): Promise<void> {
    return this.#lookUp((cluster) => cluster.refreshMetadata());
  }

  /**
   * Sends a request, at once and in the order of calls, and reads its answer.
   * @throws what kafkajs throws when the connection is lost or the time is up: the outcome is unknown then
   */
  async ask<T>(
    connection: RawConnection,
    request: WireRequest,
    read: (payload: Buffer) => Throttled<T>,
  ): Promise<T> {
    const { throttleMs, answer } = read(
      await within(ANSWER_MS, exchange(connection, request), () => lateAnswer(ANSWER_MS)),
    );
    if (throttleMs > 0) {
      connection.requestQueue.maybeThrottle(throttleMs);
    }
    return answer;
  }

  /** Cuts all connections, now; the next use connects anew. */
  sever(): void {
    if (this.#cluster !== null) {
      sever(this.#cluster);
      this.#cluster = null;
    }
    this.#opening = null;
    this.#severed += 1;
    this.#topics.clear();
    this.#coordinators.clear();
  }

  /** Cuts all connections for good. */
  close(): void {
    this.#isClosed = true;
    this.sever();
  }

  /** Uses the cluster; severs the link when that takes too long. */
  #lookUp<T>(use: (cluster: RawCluster) => Promise<T>): Promise<T> {
    const severed = this.#severed;
    const work = this.#open().then(async (cluster) => {
      try {
        return await use(cluster);
      } finally {
        if (this.#cluster !== cluster) {
          // Because kafkajs's own retries may have connected again what was severed meanwhile.
          sever(cluster);
        }
      }
    });
    return within(LOOKUP_MS, work, () => {
      // Otherwise it hung on what was severed already; what there is now is not to blame.
      if (severed === this.#severed) {
        this.sever();
      }
      return lateAnswer(LOOKUP_MS);
    });
  }

  /** @throws SealstreamError `kafka-failed` when the cluster was severed while we waited for it */
  #assertCurrent(cluster: RawCluster): void {
    if (this.#cluster !== cluster) {
      throw new SealstreamError("kafka-failed", "The connection was closed.");
    }
  }

  async #open(): Promise<RawCluster> {
    if (this.#isClosed) {
      throw new SealstreamError("internal", "The connection to Kafka was closed by its user.");
    }
    if (this.#cluster !== null) {
      return this.#cluster;
    }
    if (this.#opening === null) {
      const opening = this.#connect().finally(() => {
        if (this.#opening === opening) {
          this.#opening = null;
        }
      });
      this.#opening = opening;
    }
    return this.#opening;
  }

  async #connect(): Promise<RawCluster> {
    const severed = this.#severed;
    const cluster = createCluster(this.#kafka);
    try {
      await cluster.connect();
      if (this.#isClosed) {
        throw new SealstreamError("internal", "The connection to Kafka was closed by its user.");
      }
      if (severed !== this.#severed) {
        throw new SealstreamError("kafka-failed", "The connection was closed.");
      }
    } catch (error) {
      sever(cluster);
      throw error;
    }
    this.#cluster = cluster;
    return cluster;
  }

  /** A broker's connection, authenticated, unless the cluster was cut while we waited for it. */
  async #connection(cluster: RawCluster, broker: RawBroker): Promise<RawConnection> {
    const connection = firstConnection(broker);
    this.#clientId = connection.clientId;
    if (connection.sasl && !connection.isAuthenticated()) {
      await connection.authenticate();
    }
    this.#assertCurrent(cluster);
    return connection;
  }

  async #findCoordinator(cluster: RawCluster, type: CoordinatorType, key: string): Promise<number> {
    if (Object.keys(cluster.brokerPool.brokers).length === 0) {
      await cluster.refreshMetadata();
    }
    const broker = await cluster.brokerPool.findConnectedBroker();
    const connection = await this.#connection(cluster, broker);
    const request = findCoordinatorRequest(connection.clientId, type, key);
    const { errorCode, nodeId } = await this.ask(connection, request, readFindCoordinatorAnswer);
    if (errorCode !== NONE) {
      throw protocolError(errorCode, `finding the coordinator of ${type} ${key}`);
    }
    if (cluster.brokerPool.brokers[nodeId] === undefined) {
      await cluster.refreshMetadata();
    }
    return nodeId;
  }
}
