/**
 * The requests that this project sends itself, and how their answers are read: Fetch, Produce and the transaction ones.
 *
 * Everything else (metadata, groups, admin) goes through kafkajs. Versions are the newest that have no flexible fields:
 * Kafka 2.3 and later answer all of them. Source: Kafka protocol guide. Must not decide what an error code means.
 */
import type { Compression, Isolation } from "../port.ts";
import type { AbortedTransaction } from "../read-committed.ts";
import { ByteReader, malformed } from "./byte-reader.ts";
import { type RecordChunk, writeRecordBatch } from "./record-batch-encoder.ts";
import { type Api, RequestWriter, type WireRequest } from "./request-writer.ts";

/** What every request of a session begins with. */
export interface ProducerIdentity {
  readonly producerId: bigint;
  readonly producerEpoch: number;
}

export type CoordinatorType = "group" | "transaction";

const PRODUCE: Api = { key: 0, version: 7, name: "Produce" };
const FETCH: Api = { key: 1, version: 11, name: "Fetch" };
const FIND_COORDINATOR: Api = { key: 10, version: 1, name: "FindCoordinator" };
const INIT_PRODUCER_ID: Api = { key: 22, version: 1, name: "InitProducerId" };
const ADD_PARTITIONS: Api = { key: 24, version: 1, name: "AddPartitionsToTxn" };
const ADD_OFFSETS: Api = { key: 25, version: 1, name: "AddOffsetsToTxn" };
const END_TXN: Api = { key: 26, version: 1, name: "EndTxn" };
const TXN_OFFSET_COMMIT: Api = { key: 28, version: 1, name: "TxnOffsetCommit" };

/** All that a broker must offer; asked once per connection. */
export const REQUIRED_APIS: readonly Api[] = [
  PRODUCE,
  FETCH,
  FIND_COORDINATOR,
  INIT_PRODUCER_ID,
  ADD_PARTITIONS,
  ADD_OFFSETS,
  END_TXN,
  TXN_OFFSET_COMMIT,
];

const ISOLATION_LEVEL: Readonly<Record<Isolation, number>> = { uncommitted: 0, committed: 1 };
const COORDINATOR_TYPE: Readonly<Record<CoordinatorType, number>> = { group: 0, transaction: 1 };
const ALL_REPLICAS = -1;
/** How long the leader waits for its replicas before it answers REQUEST_TIMED_OUT. */
const REPLICATION_TIMEOUT_MS = 20_000;
const REQUEST_FIELDS_BYTES = 64;

export interface FetchRequest {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly isolation: Isolation;
  readonly maxBytes: number;
  readonly maxWaitMs: number;
}

export interface FetchAnswer {
  readonly errorCode: number;
  readonly highWatermark: number;
  readonly lastStableOffset: number;
  readonly aborted: readonly AbortedTransaction[];
  /** Record batches, as `decodeBatches` reads them; a view of the answer. */
  readonly batches: Buffer;
}

/** Asks for one partition, outside any fetch session. */
export function fetchRequest(clientId: string, request: FetchRequest): WireRequest {
  const writer = new RequestWriter(FETCH, clientId);
  const consumer = -1;
  const noSession = { id: 0, epoch: -1 };
  return writer
    .int32(consumer)
    .int32(request.maxWaitMs)
    .int32(1)
    .int32(request.maxBytes)
    .int8(ISOLATION_LEVEL[request.isolation])
    .int32(noSession.id)
    .int32(noSession.epoch)
    .array([request.topic], (topic) => {
      writer.string(topic).array([request.partition], (partition) => {
        const unknown = -1;
        writer
          .int32(partition)
          .int32(unknown)
          .int64(BigInt(request.offset))
          .int64(BigInt(unknown))
          .int32(request.maxBytes);
      });
    })
    .array([], () => undefined)
    .string("")
    .finish();
}

export function readFetchAnswer(
  payload: Buffer,
  topic: string,
  partition: number,
): Throttled<FetchAnswer> {
  const what = "a Fetch answer";
  const reader = new ByteReader(payload, what);
  const throttleMs = reader.int32();
  const errorCode = reader.int16();
  reader.int32();
  let found: FetchAnswer | null = null;
  reader.array(() => {
    const name = reader.string();
    reader.array(() => {
      const index = reader.int32();
      const partitionCode = reader.int16();
      const highWatermark = reader.safeInt64();
      const lastStableOffset = reader.safeInt64();
      reader.int64();
      const aborted = reader.array(() => ({
        producerId: reader.int64(),
        firstOffset: reader.safeInt64(),
      }));
      reader.int32();
      const batches = reader.bytes();
      if (name === topic && index === partition) {
        found = { errorCode: partitionCode, highWatermark, lastStableOffset, aborted, batches };
      }
    });
  });
  const nothing = {
    errorCode,
    highWatermark: -1,
    lastStableOffset: -1,
    aborted: [],
    batches: payload.subarray(0, 0),
  };
  if (errorCode !== 0) {
    return { throttleMs, answer: nothing };
  }
  if (found === null) {
    throw malformed(what);
  }
  return { throttleMs, answer: found };
}

/** An answer and for how long the broker wants no more requests (KIP-219). */
export interface Throttled<T> {
  readonly throttleMs: number;
  readonly answer: T;
}

export interface ProduceRequest extends ProducerIdentity {
  readonly transactionalId: string | null;
  readonly topic: string;
  readonly partition: number;
  readonly baseSequence: number;
  readonly timestampMs: number;
  readonly compression: Compression;
}

/** Writes a chunk to one partition as one batch, acknowledged by all in-sync replicas. */
export function produceRequest(
  clientId: string,
  request: ProduceRequest,
  chunk: RecordChunk,
): WireRequest {
  const { mostBytes } = chunk;
  const { transactionalId, topic } = request;
  const names = Buffer.byteLength(topic) + Buffer.byteLength(transactionalId ?? "");
  const writer = new RequestWriter(PRODUCE, clientId, mostBytes + names + REQUEST_FIELDS_BYTES);
  const isTransactional = transactionalId !== null;
  return writer
    .string(transactionalId)
    .int16(ALL_REPLICAS)
    .int32(REPLICATION_TIMEOUT_MS)
    .array([topic], () => {
      writer.string(topic).array([request.partition], (partition) => {
        writer
          .int32(partition)
          .block(mostBytes, (target, at) =>
            writeRecordBatch(target, at, chunk, { ...request, isTransactional }),
          );
      });
    })
    .finish();
}

export function readProduceAnswer(payload: Buffer): Throttled<{ errorCode: number }> {
  const what = "a Produce answer";
  const reader = new ByteReader(payload, what);
  const codes = reader.array(() => {
    reader.string();
    return reader.array(() => {
      reader.int32();
      const errorCode = reader.int16();
      reader.int64();
      reader.int64();
      reader.int64();
      return errorCode;
    });
  });
  const [errorCode, ...others] = codes.flat();
  const throttleMs = reader.int32();
  if (errorCode === undefined || others.length > 0) {
    throw malformed(what);
  }
  return { throttleMs, answer: { errorCode } };
}

export function findCoordinatorRequest(
  clientId: string,
  type: CoordinatorType,
  key: string,
): WireRequest {
  return new RequestWriter(FIND_COORDINATOR, clientId)
    .string(key)
    .int8(COORDINATOR_TYPE[type])
    .finish();
}

export function readFindCoordinatorAnswer(
  payload: Buffer,
): Throttled<{ errorCode: number; nodeId: number }> {
  const reader = new ByteReader(payload, "a FindCoordinator answer");
  const throttleMs = reader.int32();
  const errorCode = reader.int16();
  reader.nullableString();
  return { throttleMs, answer: { errorCode, nodeId: reader.int32() } };
}

export function initProducerIdRequest(
  clientId: string,
  transactionalId: string | null,
  transactionTimeoutMs: number,
): WireRequest {
  return new RequestWriter(INIT_PRODUCER_ID, clientId)
    .string(transactionalId)
    .int32(transactionTimeoutMs)
    .finish();
}

export function readInitProducerIdAnswer(
  payload: Buffer,
): Throttled<{ errorCode: number } & ProducerIdentity> {
  const reader = new ByteReader(payload, "an InitProducerId answer");
  const throttleMs = reader.int32();
  const errorCode = reader.int16();
  return {
    throttleMs,
    answer: { errorCode, producerId: reader.int64(), producerEpoch: reader.int16() },
  };
}

interface TransactionRequest extends ProducerIdentity {
  readonly transactionalId: string;
}

function transactionWriter(api: Api, clientId: string, request: TransactionRequest): RequestWriter {
  return new RequestWriter(api, clientId)
    .string(request.transactionalId)
    .int64(request.producerId)
    .int16(request.producerEpoch);
}

export function addPartitionRequest(
  clientId: string,
  request: TransactionRequest & { readonly topic: string; readonly partition: number },
): WireRequest {
  const writer = transactionWriter(ADD_PARTITIONS, clientId, request);
  return writer
    .array([request.topic], (topic) => {
      writer.string(topic).array([request.partition], (partition) => writer.int32(partition));
    })
    .finish();
}

export function addOffsetsRequest(
  clientId: string,
  request: TransactionRequest & { readonly group: string },
): WireRequest {
  return transactionWriter(ADD_OFFSETS, clientId, request).string(request.group).finish();
}

export function endTransactionRequest(
  clientId: string,
  request: TransactionRequest & { readonly isCommit: boolean },
): WireRequest {
  return transactionWriter(END_TXN, clientId, request)
    .int8(request.isCommit ? 1 : 0)
    .finish();
}

export function txnOffsetCommitRequest(
  clientId: string,
  request: TransactionRequest & {
    readonly group: string;
    readonly topic: string;
    readonly partition: number;
    readonly offset: number;
  },
): WireRequest {
  const writer = new RequestWriter(TXN_OFFSET_COMMIT, clientId);
  return writer
    .string(request.transactionalId)
    .string(request.group)
    .int64(request.producerId)
    .int16(request.producerEpoch)
    .array([request.topic], (topic) => {
      writer.string(topic).array([request.partition], (partition) => {
        writer.int32(partition).int64(BigInt(request.offset)).string(null);
      });
    })
    .finish();
}

/** Answer of AddOffsetsToTxn and EndTxn. */
export function readCodeAnswer(payload: Buffer): Throttled<{ errorCode: number }> {
  const reader = new ByteReader(payload, "a transaction answer");
  const throttleMs = reader.int32();
  return { throttleMs, answer: { errorCode: reader.int16() } };
}

/** Answer of AddPartitionsToTxn and TxnOffsetCommit about one partition. */
export function readPartitionCodeAnswer(payload: Buffer): Throttled<{ errorCode: number }> {
  const what = "a transaction answer";
  const reader = new ByteReader(payload, what);
  const throttleMs = reader.int32();
  const codes = reader.array(() => {
    reader.string();
    return reader.array(() => {
      reader.int32();
      return reader.int16();
    });
  });
  const [errorCode, ...others] = codes.flat();
  if (errorCode === undefined || others.length > 0) {
    throw malformed(what);
  }
  return { throttleMs, answer: { errorCode } };
}
