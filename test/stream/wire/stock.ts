/** kafkajs 2.2.4's own encoder and decoder, which ours are compared with; and the batches of tests. */
import { createRequire } from "node:module";
import { installCodecs } from "../../../pipeline/stream/kafkajs-internals.ts";
import type { Compression } from "../../../pipeline/stream/port.ts";
import {
  type BatchFields,
  type EncodableRecord,
  nextChunk,
  writeRecordBatch,
} from "../../../pipeline/stream/wire/record-batch-encoder.ts";
import { randomBytes } from "./random.ts";

const requireStock = createRequire(import.meta.url);
installCodecs();

interface StockMessage {
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  readonly headers?: object;
  readonly timestamp?: string;
}

interface StockRecord {
  readonly offset: string;
  readonly timestamp: string;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: Record<string, Buffer | Buffer[] | null>;
}

// Because kafkajs 2.2.4 has these modules with these exports, and no types for them.
const { RecordBatch } = requireStock("kafkajs/src/protocol/recordBatch/v0") as {
  RecordBatch(options: object): Promise<{ buffer: Buffer }>;
};
const Record = requireStock("kafkajs/src/protocol/recordBatch/record/v0") as (o: object) => object;
const Decoder = requireStock("kafkajs/src/protocol/decoder") as new (bytes: Buffer) => object;
const decodeStockBatch = requireStock("kafkajs/src/protocol/recordBatch/v0/decoder") as (
  decoder: object,
) => Promise<{ records: StockRecord[] }>;

const COMPRESSION = { none: 0, gzip: 1, zstd: 4 } as const;

export async function stockBatch(
  records: readonly EncodableRecord[],
  fields: BatchFields & { readonly firstOffset?: number },
  timestamps: readonly number[] = records.map(() => fields.timestampMs),
): Promise<Buffer> {
  const firstTimestamp = timestamps[0] ?? 0;
  const batch = await RecordBatch({
    compression: COMPRESSION[fields.compression],
    records: records.map((record: StockMessage | EncodableRecord, index) =>
      Record({
        ...record,
        offsetDelta: index,
        timestampDelta: (timestamps[index] ?? 0) - firstTimestamp,
      }),
    ),
    firstOffset: String(fields.firstOffset ?? 0),
    firstTimestamp: String(firstTimestamp),
    maxTimestamp: String(Math.max(...timestamps)),
    producerId: String(fields.producerId),
    producerEpoch: fields.producerEpoch,
    firstSequence: fields.baseSequence,
    transactional: fields.isTransactional,
    lastOffsetDelta: records.length - 1,
  });
  return Buffer.from(batch.buffer);
}

export async function stockDecode(batch: Buffer): Promise<StockRecord[]> {
  return (await decodeStockBatch(new Decoder(batch))).records;
}

/** Our batch of all the records. */
export function ourBatch(records: readonly EncodableRecord[], fields: BatchFields): Buffer {
  const chunk = nextChunk(records, 0, Number.POSITIVE_INFINITY);
  const target = Buffer.alloc(chunk.mostBytes);
  return target.subarray(0, writeRecordBatch(target, 0, chunk, fields));
}

type Random = (bound: number) => number;

const NAMES = ["a", "__proto__", "constructor", "größe", "x".repeat(70), ""];

function randomHeaders(random: Random): EncodableRecord["headers"] {
  const count = random(4) === 0 ? random(4) : 0;
  if (count === 0) return random(2) === 0 ? undefined : {};
  return Object.fromEntries(
    Array.from({ length: count }, () => {
      const one = () => randomBytes(random, random(3) === 0 ? 0 : random(200));
      return [NAMES[random(NAMES.length)] ?? "", random(3) === 0 ? [one(), one()] : one()];
    }),
  );
}

export function randomRecord(random: Random): EncodableRecord {
  const part = (most: number) => {
    const kind = random(8);
    return kind === 0 ? null : randomBytes(random, kind === 1 ? 0 : random(most));
  };
  return {
    key: random(20) === 0 ? Buffer.alloc(4) : part(40),
    value: part(random(50) === 0 ? 20_000 : 300),
    headers: randomHeaders(random),
  };
}

export function randomFields(random: Random, compression: Compression = "none"): BatchFields {
  return {
    producerId: BigInt(random(2 ** 31)) * 65_537n - 1n,
    producerEpoch: random(2 ** 15),
    baseSequence: random(2 ** 31),
    isTransactional: random(2) === 0,
    timestampMs: random(2 ** 31) * 1_000,
    compression,
  };
}
