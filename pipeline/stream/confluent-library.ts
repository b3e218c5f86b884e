/**
 * The little of @confluentinc/kafka-javascript 1.10 (librdkafka) that the second client uses: its types, how it is
 * loaded, and what its errors mean here.
 *
 * The library is an optional peer dependency with a native part, so it is described by our own interfaces (the type
 * checker must pass without it) and loaded only when `kafka.client: confluent` asks for it. Its older, callback
 * interface is used throughout: the promise-based one does not read from explicit offsets. Must not import the
 * library by a literal name, or bundlers and test runners would look for it where it is not installed.
 */
import { createRequire } from "node:module";
import { isSealstreamError, SealstreamError } from "../errors.ts";

export const CONFLUENT_LIBRARY = "@confluentinc/kafka-javascript";

/** What the library calls back with and emits: librdkafka's code, negative for errors of its own. */
export interface LibraryError {
  readonly code: number;
  readonly isFatal?: boolean;
}

/** Called once with an error or a result. */
export type Done<T> = (error: LibraryError | null | undefined, result?: T) => void;

export interface TopicPartition {
  readonly topic: string;
  readonly partition: number;
  readonly offset?: number;
}

export interface LibraryMessage {
  readonly offset: number;
  readonly timestamp: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  /** One object with one property per header, in the log's order. */
  readonly headers?: readonly Readonly<Record<string, Buffer>>[];
}

export interface LibraryMetadata {
  readonly topics: readonly {
    readonly name: string;
    readonly partitions: readonly { readonly id: number; readonly leader: number }[];
  }[];
}

interface MetadataOptions {
  readonly topic?: string;
  readonly allTopics: boolean;
  readonly timeout: number;
}

export interface LibraryClient {
  on(event: "error" | "event.error", listener: (error: LibraryError) => void): this;
  on(event: "event.log", listener: (entry: { readonly fac?: string }) => void): this;
  connect(options: MetadataOptions, done: Done<LibraryMetadata>): void;
  getMetadata(options: MetadataOptions, done: Done<LibraryMetadata>): void;
}

export interface LibraryConsumer extends LibraryClient {
  on(event: "partition.eof", listener: (event: { readonly offset: number }) => void): this;
  on(event: "error" | "event.error", listener: (error: LibraryError) => void): this;
  on(event: "event.log", listener: (entry: { readonly fac?: string }) => void): this;
  setDefaultConsumeTimeout(ms: number): void;
  assign(partitions: readonly TopicPartition[]): void;
  unassign(): void;
  subscribe(topics: readonly string[]): void;
  consume(count: number, done: Done<LibraryMessage[]>): void;
  committed(
    partitions: readonly TopicPartition[],
    timeoutMs: number,
    done: Done<(TopicPartition | Error)[]>,
  ): void;
  disconnect(done: Done<unknown>): void;
}

export interface DeliveryReport {
  readonly opaque?: unknown;
}

export interface LibraryProducer extends LibraryClient {
  on(
    event: "delivery-report",
    listener: (error: LibraryError | null, report: DeliveryReport) => void,
  ): this;
  on(event: "error" | "event.error", listener: (error: LibraryError) => void): this;
  on(event: "event.log", listener: (entry: { readonly fac?: string }) => void): this;
  setPollInBackground(on: boolean): void;
  /** @throws LibraryError when the record was not taken into the queue */
  produce(
    topic: string,
    partition: number | null,
    value: Buffer | null,
    key: Buffer | null,
    timestampMs: null,
    opaque: unknown,
    headers: readonly Readonly<Record<string, Buffer>>[],
  ): void;
  initTransactions(timeoutMs: number, done: Done<unknown>): void;
  beginTransaction(done: Done<unknown>): void;
  commitTransaction(timeoutMs: number, done: Done<unknown>): void;
  abortTransaction(timeoutMs: number, done: Done<unknown>): void;
  sendOffsetsToTransaction(
    offsets: readonly TopicPartition[],
    consumer: LibraryConsumer,
    timeoutMs: number,
    done: Done<unknown>,
  ): void;
  disconnect(flushMs: number, done: Done<unknown>): void;
}

export interface LibraryGroups {
  readonly groups: readonly {
    readonly groupId: string;
    readonly error?: LibraryError | null;
    readonly members: readonly {
      readonly memberId: string;
      readonly clientHost: string;
      readonly assignment: { readonly topicPartitions: readonly TopicPartition[] };
    }[];
  }[];
}

export interface LibraryAdmin extends LibraryClient {
  createTopic(
    topic: {
      readonly topic: string;
      readonly num_partitions: number;
      readonly replication_factor: number;
      readonly config: Readonly<Record<string, string>>;
    },
    timeoutMs: number,
    done: Done<unknown>,
  ): void;
  describeGroups(
    groups: readonly string[],
    options: { readonly timeout: number },
    done: Done<LibraryGroups>,
  ): void;
  listTopics(options: { readonly timeout: number }, done: Done<string[]>): void;
  listOffsets(
    queries: readonly {
      readonly topic: string;
      readonly partition: number;
      readonly offset: { readonly timestamp: number };
    }[],
    options: { readonly timeout: number; readonly isolationLevel: number },
    done: Done<{ readonly offset: number; readonly error?: LibraryError }[]>,
  ): void;
  describeTopics(
    names: readonly string[],
    options: { readonly timeout: number },
    done: Done<readonly { readonly error?: LibraryError | null }[]>,
  ): void;
  disconnect(): void;
}

/** librdkafka's settings by their own names, and the callbacks that the library takes among them. */
export type LibrarySettings = Readonly<Record<string, unknown>>;

export interface ConfluentLibrary {
  readonly features: readonly string[];
  readonly KafkaConsumer: new (
    settings: LibrarySettings,
    topic: LibrarySettings,
  ) => LibraryConsumer;
  readonly Producer: new (settings: LibrarySettings, topic: LibrarySettings) => LibraryProducer;
  readonly AdminClient: {
    create(settings: LibrarySettings, listeners: Readonly<Record<string, unknown>>): LibraryAdmin;
  };
}

/** librdkafka's error codes that decide something here (rdkafka.h). */
export const CODE = {
  destroyed: -197,
  unknownPartition: -190,
  unknownTopic: -188,
  queueFull: -184,
  assignPartitions: -175,
  revokePartitions: -174,
  notImplemented: -170,
  authentication: -169,
  ssl: -181,
  noEntry: -156,
  fatal: -150,
  fenced: -144,
  autoOffsetReset: -140,
  unknownTopicOrPartition: 3,
  leaderNotAvailable: 5,
  notLeader: 6,
  messageTooLarge: 10,
  recordListTooLarge: 18,
  topicAuthorization: 29,
  groupAuthorization: 30,
  clusterAuthorization: 31,
  topicExists: 36,
  invalidConfig: 40,
  policyViolation: 44,
  invalidProducerEpoch: 47,
  transactionalIdAuthorization: 53,
  groupIdNotFound: 69,
  saslAuthentication: 58,
  producerFenced: 90,
} as const;

const FENCED: readonly number[] = [CODE.fenced, CODE.invalidProducerEpoch, CODE.producerFenced];
/** Permissions and credentials: no second attempt mends them. */
export const REFUSED: readonly number[] = [
  CODE.authentication,
  CODE.saslAuthentication,
  CODE.topicAuthorization,
  CODE.groupAuthorization,
  CODE.clusterAuthorization,
  CODE.transactionalIdAuthorization,
];

/** Loads the library. @throws SealstreamError `backend-unavailable` when it is missing or was built for another Node */
export function loadConfluentLibrary(): ConfluentLibrary {
  const require = createRequire(import.meta.url);
  try {
    require.resolve(CONFLUENT_LIBRARY);
  } catch (error) {
    throw new SealstreamError(
      "backend-unavailable",
      `kafka.client: confluent needs npm install ${CONFLUENT_LIBRARY}.`,
      { cause: error },
    );
  }
  try {
    // Because the library has no types here; the interfaces above are what 1.10.1 offers, and the conformance suite tries them.
    return require(CONFLUENT_LIBRARY) as ConfluentLibrary;
  } catch (error) {
    throw new SealstreamError(
      "backend-unavailable",
      `${CONFLUENT_LIBRARY} is installed and does not load: its native part is bound to one version of Node, so run npm rebuild ${CONFLUENT_LIBRARY} with this one.`,
      { cause: error },
    );
  }
}

/** A callback method as a promise; what it rejects with is the library's error as it came. */
export function call<T>(start: (done: Done<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    start((error, result) => {
      if (error) {
        reject(error);
      } else {
        // Because the library passes a result whenever it passes no error, and callers of void methods ask for none.
        resolve(result as T);
      }
    });
  });
}

/** librdkafka's code of an error, or null for an error that is not the library's. */
export function codeOf(error: unknown): number | null {
  // Because the library's errors are the only ones with a number here.
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === "number" ? code : null;
}

/** Whether an error says that another producer has taken over the transactional id. */
export function isFenced(error: unknown): boolean {
  const code = codeOf(error);
  if (code === null || REFUSED.includes(code)) {
    return false;
  }
  // Because the only fatal states of a transactional producer with the right to its id are those of a taken-over epoch.
  return FENCED.includes(code) || code === CODE.fatal || (error as LibraryError).isFatal === true;
}

/**
 * An error of the library in Sealstream's words: only its number is repeated, since its text may name anything.
 * @param doing what failed, as the subject of a sentence, such as "Committing"
 */
export function toSealstreamError(error: unknown, doing: string): SealstreamError {
  if (isSealstreamError(error)) {
    return error;
  }
  const code = codeOf(error);
  if (isFenced(error)) {
    return new SealstreamError(
      "fenced",
      `${doing} was refused: another producer has taken over this lane. Start again from the committed offset.`,
      { cause: error },
    );
  }
  if (code !== null && REFUSED.includes(code)) {
    return new SealstreamError(
      "access-denied",
      `${doing} is refused to this user (librdkafka code ${code}): check kafka.sasl and kafka.tls, and compare its ACLs with those of "sealstream topics FILE --acls".`,
      { cause: error },
    );
  }
  return new SealstreamError(
    "kafka-failed",
    `${doing} failed (librdkafka code ${code ?? "none"}): see the broker's log, then try again.`,
    { cause: error },
  );
}
