/** Stands for a link to a cluster of two brokers: every request is kept, and answered by hand. */
import { SealstreamError } from "../../pipeline/errors.ts";
import type { RawConnection } from "../../pipeline/stream/kafkajs-internals.ts";
import type { KafkajsLink } from "../../pipeline/stream/kafkajs-link.ts";
import { CORRELATION_AT, type WireRequest } from "../../pipeline/stream/wire/request-writer.ts";

export const NOT_LEADER = 6;

/** In a record batch, version 2. */
const PRODUCER_ID_AT = 43;
const SEQUENCE_AT = 53;
/** Fields of a Produce request before its batch, but for the texts in them: see `produceRequest`. */
const FIELDS_BYTES = 2 + 2 + 2 + 4 + 4 + 2 + 4 + 4 + 4;

/** One request as a broker sees it. */
export interface Asked {
  readonly broker: string;
  readonly producerId: number;
  /** Of its first record. */
  readonly sequence: number;
  /** All of the request but its correlation id. */
  readonly bytes: string;
  readonly answer: (errorCode: number) => void;
  /** The connection is cut: nobody knows what became of it. */
  readonly cut: () => void;
}

interface Connection {
  readonly broker: string;
  isOpen: boolean;
}

export class FakeLink {
  readonly clientId = "test";
  readonly asked: Asked[] = [];
  /** Who leads, and who led when somebody looked last. */
  leads = "old";
  seen = "old";
  refreshes = 0;
  severed = 0;
  readonly #texts: string;
  #connections = new Map<string, Connection>();

  constructor(topic: string, transactionalId: string | null) {
    this.#texts = `${this.clientId}${transactionalId ?? ""}${topic}`;
  }

  /** As what the sender takes it for. */
  get link(): KafkajsLink {
    // Because these are all the members that a sender uses.
    return this as unknown as KafkajsLink;
  }

  leader(): Promise<RawConnection> {
    let found = this.#connections.get(this.seen);
    if (found === undefined) {
      found = { broker: this.seen, isOpen: true };
      this.#connections.set(this.seen, found);
    }
    const connection = found;
    const raw = { ...connection, isConnected: () => connection.isOpen };
    // Because a sender asks a connection only whether it stands, and hands it back.
    return Promise.resolve(raw as unknown as RawConnection);
  }

  refresh(): Promise<void> {
    this.refreshes += 1;
    this.seen = this.leads;
    return Promise.resolve();
  }

  sever(): void {
    this.severed += 1;
    for (const connection of this.#connections.values()) {
      connection.isOpen = false;
    }
    this.#connections = new Map();
  }

  ask(connection: RawConnection, { frame }: WireRequest): Promise<{ errorCode: number }> {
    // Because `leader` made it.
    const { broker } = connection as unknown as Connection;
    const { promise, resolve, reject } = Promise.withResolvers<{ errorCode: number }>();
    const batchAt = CORRELATION_AT + 4 + FIELDS_BYTES + this.#texts.length;
    this.asked.push({
      broker,
      producerId: Number(frame.readBigInt64BE(batchAt + PRODUCER_ID_AT)),
      sequence: frame.readInt32BE(batchAt + SEQUENCE_AT),
      bytes:
        frame.toString("latin1", 0, CORRELATION_AT) + frame.toString("latin1", CORRELATION_AT + 4),
      answer: (errorCode) => resolve({ errorCode }),
      cut: () => reject(new SealstreamError("kafka-failed", "The connection was closed.")),
    });
    return promise;
  }
}
