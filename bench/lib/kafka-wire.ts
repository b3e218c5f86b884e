/**
 * A few requests of the Kafka protocol on a plain socket: the outside observer of the benchmarks.
 *
 * It sees how far an output is committed and reads it back without any client library, ours included, so that no
 * contender is measured by its own word. It is no client: no retries, no TLS, and an error ends the benchmark.
 * Source: Kafka protocol guide; Produce 3, Fetch 4, ListOffsets 2, Metadata 0, the oldest that Kafka 4 still speaks
 * and that know transactions.
 */
import { connect, type Socket } from "node:net";
import type { AbortedTransaction } from "./record-batch.ts";

const PRODUCE = { key: 0, version: 3 };
const FETCH = { key: 1, version: 4 };
const LIST_OFFSETS = { key: 2, version: 2 };
const METADATA = { key: 3, version: 0 };
const COMMITTED = 1;
const CLIENT_ID = "bench-observer";
const REQUEST_TIMEOUT_MS = 30_000;

type Api = typeof PRODUCE;

function i8(value: number): Buffer {
  return Buffer.of(value & 0xff);
}
function i16(value: number): Buffer {
  const out = Buffer.alloc(2);
  out.writeInt16BE(value);
  return out;
}
function i32(value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeInt32BE(value);
  return out;
}
function i64(value: number): Buffer {
  const out = Buffer.alloc(8);
  out.writeBigInt64BE(BigInt(value));
  return out;
}
function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([i16(bytes.length), bytes]);
}
function list<T>(values: readonly T[], write: (value: T) => Buffer): Buffer {
  return Buffer.concat([i32(values.length), ...values.map(write)]);
}

/** Reads an answer from its front. */
class Answer {
  readonly #bytes: Buffer;
  #at = 0;
  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }
  #step(length: number): number {
    const at = this.#at;
    this.#at += length;
    return at;
  }
  i16(): number {
    return this.#bytes.readInt16BE(this.#step(2));
  }
  i32(): number {
    return this.#bytes.readInt32BE(this.#step(4));
  }
  i64(): bigint {
    return this.#bytes.readBigInt64BE(this.#step(8));
  }
  offset(): number {
    return Number(this.i64());
  }
  text(): string {
    const length = Math.max(0, this.i16());
    const at = this.#step(length);
    return this.#bytes.toString("utf8", at, at + length);
  }
  bytes(): Buffer {
    const length = Math.max(0, this.i32());
    const at = this.#step(length);
    return this.#bytes.subarray(at, at + length);
  }
  list<T>(read: () => T): T[] {
    return Array.from({ length: Math.max(0, this.i32()) }, read);
  }
  /** Reads an error code. @throws Error when it is one */
  check(what: string): void {
    const code = this.i16();
    if (code !== 0) throw new Error(`the broker answered ${what} with error code ${code}`);
  }
}

/** One connection; requests are answered in the order in which they were sent. */
class Connection {
  readonly #socket: Socket;
  readonly #waiting: PromiseWithResolvers<Answer>[] = [];
  #chunks: Buffer[] = [];
  #held = 0;
  #wanted: number | null = null;
  #correlation = 0;

  constructor(host: string, port: number) {
    this.#socket = connect({ host, port, noDelay: true });
    this.#socket.on("data", (chunk) => this.#take(chunk));
    const fail = () => {
      for (const { reject } of this.#waiting.splice(0)) {
        reject(new Error("the broker closed the observer's connection"));
      }
    };
    this.#socket.on("error", fail);
    this.#socket.on("close", fail);
    this.#socket.setTimeout(REQUEST_TIMEOUT_MS, () => {
      if (this.#waiting.length > 0) this.#socket.destroy();
    });
  }

  request({ key, version }: Api, body: Buffer): Promise<Answer> {
    const header = [i16(key), i16(version), i32(this.#correlation++), text(CLIENT_ID)];
    const message = Buffer.concat([...header, body]);
    const waiting = Promise.withResolvers<Answer>();
    this.#waiting.push(waiting);
    this.#socket.write(i32(message.length));
    this.#socket.write(message);
    return waiting.promise;
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#held += chunk.length;
    for (;;) {
      if (this.#wanted === null) {
        if (this.#held < 4) return;
        this.#wanted = this.#whole().readInt32BE(0);
      }
      if (this.#held < 4 + this.#wanted) return;
      const whole = this.#whole();
      const end = 4 + this.#wanted;
      this.#chunks = [whole.subarray(end)];
      this.#held -= end;
      this.#wanted = null;
      // Length and correlation id come first; answers keep the order of their requests.
      this.#waiting.shift()?.resolve(new Answer(whole.subarray(8, end)));
    }
  }

  #whole(): Buffer {
    const whole = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks);
    this.#chunks = [whole];
    return whole;
  }
}

export interface Fetched {
  readonly bytes: Buffer;
  readonly aborted: readonly AbortedTransaction[];
  readonly lastStableOffset: number;
}

/** The observer. One task at a time uses one of these. */
export class KafkaWire {
  readonly #bootstrap: { readonly host: string; readonly port: number };
  readonly #addresses = new Map<number, { readonly host: string; readonly port: number }>();
  readonly #connections = new Map<number, Connection>();
  /** Leader by topic and partition. */
  readonly #leaders = new Map<string, readonly number[]>();

  /** @param broker `host:port` */
  constructor(broker: string) {
    const colon = broker.lastIndexOf(":");
    this.#bootstrap = { host: broker.slice(0, colon), port: Number(broker.slice(colon + 1)) };
  }

  close(): void {
    for (const connection of this.#connections.values()) connection.close();
    this.#connections.clear();
  }

  /** Forgets a topic: it was deleted, and one of the same name may come. */
  forget(topic: string): void {
    this.#leaders.delete(topic);
  }

  /** End of what is committed in each partition. */
  async committedEnds(topic: string): Promise<number[]> {
    const leaders = await this.#leadersOf(topic);
    const ends = leaders.map(() => 0);
    for (const leader of new Set(leaders)) {
      const partitions = leaders.flatMap((one, partition) => (one === leader ? [partition] : []));
      const body = [i32(-1), i8(COMMITTED), i32(1), text(topic)];
      const asked = list(partitions, (one) => Buffer.concat([i32(one), i64(-1)]));
      const connection = this.#connectionTo(leader);
      const answer = await connection.request(LIST_OFFSETS, Buffer.concat([...body, asked]));
      answer.i32();
      answer.list(() => {
        answer.text();
        answer.list(() => {
          const partition = answer.i32();
          answer.check("a question for offsets");
          answer.i64();
          ends[partition] = answer.offset();
        });
      });
    }
    return ends;
  }

  /** One read_committed fetch. */
  async fetch(topic: string, partition: number, offset: number, maxBytes: number) {
    const leaders = await this.#leadersOf(topic);
    const body = [i32(-1), i32(500), i32(1), i32(maxBytes), i8(COMMITTED), i32(1), text(topic)];
    const asked = [i32(1), i32(partition), i64(offset), i32(maxBytes)];
    const connection = this.#connectionTo(leaders[partition] ?? -1);
    const answer = await connection.request(FETCH, Buffer.concat([...body, ...asked]));
    answer.i32();
    const read = (): Fetched => {
      answer.i32();
      answer.check("a fetch");
      answer.i64();
      const lastStableOffset = answer.offset();
      const aborted = answer.list(() => ({
        producerId: answer.i64(),
        firstOffset: answer.offset(),
      }));
      return { lastStableOffset, aborted, bytes: answer.bytes() };
    };
    const [found] = answer.list(() => {
      answer.text();
      return answer.list(read);
    });
    return found![0]!;
  }

  /** Appends one record batch to a partition, acknowledged by all in-sync replicas. */
  async produce(topic: string, partition: number, batch: Buffer): Promise<void> {
    const leaders = await this.#leadersOf(topic);
    const head = [i16(-1), i16(-1), i32(REQUEST_TIMEOUT_MS), i32(1), text(topic)];
    const data = [i32(1), i32(partition), i32(batch.length), batch];
    const connection = this.#connectionTo(leaders[partition] ?? -1);
    const answer = await connection.request(PRODUCE, Buffer.concat([...head, ...data]));
    answer.list(() => {
      answer.text();
      answer.list(() => {
        answer.i32();
        answer.check("a batch");
        answer.i64();
        answer.i64();
      });
    });
  }

  async #leadersOf(topic: string): Promise<readonly number[]> {
    const known = this.#leaders.get(topic);
    if (known !== undefined) return known;
    const { host, port } = this.#bootstrap;
    const connection = new Connection(host, port);
    try {
      const answer = await connection.request(METADATA, list([topic], text));
      for (const [id, at] of answer.list(
        () => [answer.i32(), { host: answer.text(), port: answer.i32() }] as const,
      )) {
        this.#addresses.set(id, at);
      }
      const leaders: number[] = [];
      answer.list(() => {
        answer.check("a question for metadata");
        answer.text();
        answer.list(() => {
          answer.check("a question for a leader");
          leaders[answer.i32()] = answer.i32();
          answer.list(() => answer.i32());
          answer.list(() => answer.i32());
        });
      });
      this.#leaders.set(topic, leaders);
      return leaders;
    } finally {
      connection.close();
    }
  }

  #connectionTo(node: number): Connection {
    const open = this.#connections.get(node);
    if (open !== undefined) return open;
    const at = this.#addresses.get(node);
    if (at === undefined) throw new Error("a partition has no leader");
    const connection = new Connection(at.host, at.port);
    this.#connections.set(node, connection);
    return connection;
  }
}
