/**
 * The port between the stream room and a Kafka client library: the little of Kafka that Sealstream uses.
 *
 * Everything above it (lanes, tails, topics, dead letters) is written against these types, so that another client
 * can stand behind them. An adapter must give exactly these guarantees and no convenience beyond them:
 * a transactional send reaches one partition, reads are read_committed, and an error whose outcome is unknown is
 * thrown, never retried into a second transaction. Must not name a client library.
 */
import type { Headers, StreamRecord } from "./contract.ts";

/** What the stream room asks of a logger; never given a record's key, value or headers. */
export interface Logger {
  debug(fields: Readonly<Record<string, unknown>>, message: string): void;
  info(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
  error(fields: Readonly<Record<string, unknown>>, message: string): void;
}

/** Milliseconds since the epoch. */
export type Clock = () => number;

export interface ProducerRecord {
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  readonly headers?: Headers | undefined;
}

/**
 * `uncommitted` shows records of open and aborted transactions too, and is never held back by an open one: only for
 * topics whose every record proves itself, such as `keys`.
 */
export type Isolation = "committed" | "uncommitted";

export type Compression = "none" | "gzip" | "zstd";

/** One fetch's worth of committed records of one partition. */
export interface FetchedRecords {
  /** Committed data records only, in offset order; may be empty although the position moved. */
  readonly records: readonly StreamRecord[];
  /** Position after this fetch: beyond control records and aborted ones. */
  readonly nextOffset: number;
  /** End of what read_committed readers can see. */
  readonly lastStableOffset: number;
  readonly highWatermark: number;
}

/** Reads one partition from an explicit position; knows no group and commits nothing. */
export interface PartitionReader {
  /**
   * Waits at most `maxWaitMs` for data. One call at a time.
   * @throws SealstreamError `state-mismatch` when the position is no longer in the log
   */
  fetch(options: { maxBytes: number; maxWaitMs: number }): Promise<FetchedRecords>;
  /** Position of the next fetch. */
  position(): number;
  close(): Promise<void>;
}

/** A fenced transactional producer of one lane. After any error it must be closed and a new one made. */
export interface LaneProducer {
  begin(): Promise<void>;
  /** Sends to exactly one partition, in one or more requests below the broker's message limit. */
  send(topic: string, partition: number, records: readonly ProducerRecord[]): Promise<void>;
  /** At least one `send` must come before. */
  sendOffset(group: string, topic: string, partition: number, offset: number): Promise<void>;
  commit(): Promise<void>;
  abort(): Promise<void>;
  close(): Promise<void>;
}

/** An idempotent producer outside transactions, for people who feed `raw`. */
export interface PlainProducer {
  /** @param records with `partition` null the record key chooses the partition */
  send(
    topic: string,
    records: readonly (ProducerRecord & { readonly partition: number | null })[],
  ): Promise<void>;
  close(): Promise<void>;
}

export interface GroupMembership {
  /** Leaves the group. */
  close(): Promise<void>;
}

/** A process that has joined a group, as the group's coordinator knows it. */
export interface GroupMember {
  /** Made up by the coordinator; whoever joins again has another. */
  readonly id: string;
  /** Address that it connected from, as the broker saw it. */
  readonly host: string;
  /** Of the topic that was asked for; empty for one that stands by, and for all while lanes are given out anew. */
  readonly partitions: readonly number[];
}

export interface TopicDescription {
  readonly name: string;
  readonly partitions: number;
}

export interface NewTopic {
  readonly name: string;
  readonly partitions: number;
  readonly replicationFactor: number;
  readonly config: Readonly<Record<string, string>>;
}

export interface GroupPlace {
  readonly group: string;
  readonly topic: string;
  readonly partition: number;
}

/** Where a reader goes on, and a short text of its own beside it. */
export interface ReaderPosition {
  /** Of the next record. */
  readonly offset: number;
  /** At most 4,096 characters. */
  readonly note: string;
}

/** Positions of a reader that reads on its own, kept with a group that nobody joins. */
export interface ReaderPositions {
  /** Null: nothing was kept. */
  find(place: GroupPlace): Promise<ReaderPosition | null>;
  /** @throws SealstreamError `kafka-failed` while the group has members */
  keep(place: GroupPlace, position: ReaderPosition): Promise<void>;
}

/** A connection to one Kafka cluster. */
export interface KafkaClient {
  /** Existing topics among `names`. */
  describeTopics(names: readonly string[]): Promise<readonly TopicDescription[]>;
  /** Names of all topics that start with `prefix`. */
  listTopics(prefix: string): Promise<readonly string[]>;
  /** Creates those that do not exist; returns the names it created. */
  createTopics(topics: readonly NewTopic[]): Promise<readonly string[]>;
  /** First offset in the log and the offset after its last record. */
  offsets(topic: string, partition: number): Promise<{ earliest: number; latest: number }>;
  /** Committed offset of a group, or null when it never committed. */
  committedOffset(group: string, topic: string, partition: number): Promise<number | null>;
  /** Who is in a group, and what of a topic is given to whom; nobody in a group that does not exist. */
  groupMembers(group: string, topic: string): Promise<readonly GroupMember[]>;
  /** @param isolation unless said, committed records only */
  createReader(
    topic: string,
    partition: number,
    offset: number,
    isolation?: Isolation,
  ): Promise<PartitionReader>;
  /**
   * Makes a producer and registers its transactional id: that fences the previous owner and settles what it left open.
   */
  createLaneProducer(transactionalId: string): Promise<LaneProducer>;
  createPlainProducer(): Promise<PlainProducer>;
  /** Absent where the library cannot keep positions of a reader without membership. */
  readonly positions?: ReaderPositions;
  /**
   * Joins a consumer group for one topic and reports its partitions, at the first join and after every rebalance.
   * Fetches nothing.
   */
  joinGroup(options: {
    group: string;
    topic: string;
    onAssignment: (partitions: readonly number[]) => void;
    onCrash: (error: Error) => void;
  }): Promise<GroupMembership>;
  close(): Promise<void>;
}
