/**
 * Feeds `raw`: the lines of an NDJSON stream become records, in order within a subject.
 *
 * Lines are written as they are; what is not valid is for `desensitize` to refuse, so that nothing is lost unseen.
 * The record key is the subject (else the id) when a line has one, so that a person's records share a lane. Where the
 * file says `record.partitioner: subject`, the key is the subject or nothing, and its partition is computed here: no
 * setting of a client library may put it elsewhere.
 */
import type { Readable } from "node:stream";
import { topicName } from "../../schemas/topics.ts";
import { SealstreamError } from "../errors.ts";
import type { PipelineSpec } from "../spec/pipeline-spec.ts";
import type { KafkaClient, ProducerRecord } from "../stream/port.ts";
import { partitionOf } from "../stream/subject-partition.ts";

const BATCH_RECORDS = 1_000;
const BATCH_BYTES = 1024 * 1024;
const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/** The raw record key of a line: its subject, else its id (where raw is not partitioned by the subject), else null. */
function lineKey(line: Uint8Array, spec: PipelineSpec): Uint8Array | null {
  try {
    const value: unknown = JSON.parse(
      Buffer.from(line.buffer, line.byteOffset, line.byteLength).toString("utf8"),
    );
    if (typeof value !== "object" || value === null) {
      return null;
    }
    const fields = new Map<string, unknown>(Object.entries(value));
    const { id, subject, partitioner } = spec.record;
    if (partitioner === "subject") {
      const name = subject === null ? null : fields.get(subject);
      return typeof name === "string" && name !== "" ? Buffer.from(name) : null;
    }
    const key = fields.get(subject ?? id) ?? fields.get(id);
    return typeof key === "string" || typeof key === "number" ? Buffer.from(String(key)) : null;
  } catch {
    // Because a line that is no JSON is still produced, and refused downstream with a dead letter.
    return null;
  }
}

/** Lines of a byte stream without their ends; empty lines are skipped. @throws SealstreamError `limit-exceeded` */
export async function* splitLines(
  input: Readable,
  maxLineBytes: number,
): AsyncGenerator<Uint8Array> {
  let rest = Buffer.alloc(0);
  for await (const chunk of input) {
    // Because a byte stream without an encoding yields Buffers.
    rest = Buffer.concat([rest, chunk as Buffer]);
    let start = 0;
    for (let end = rest.indexOf(NEWLINE); end !== -1; end = rest.indexOf(NEWLINE, start)) {
      const stop = end > start && rest[end - 1] === CARRIAGE_RETURN ? end - 1 : end;
      if (stop > start) {
        yield rest.subarray(start, stop);
      }
      start = end + 1;
    }
    rest = rest.subarray(start);
    if (rest.length > maxLineBytes) {
      throw new SealstreamError(
        "limit-exceeded",
        `A line is longer than ${maxLineBytes} bytes, more than a Kafka record may hold.`,
      );
    }
  }
  if (rest.length > 0) {
    yield rest;
  }
}

export interface ProduceOptions {
  readonly client: KafkaClient;
  readonly spec: PipelineSpec;
  readonly input: Readable;
  readonly signal: AbortSignal;
  readonly onProgress: (records: number) => void;
}

/** Largest line: Kafka's default message limit less the record's own overhead. */
export const MAX_LINE_BYTES = 1_000_000;

/**
 * Writes every line to `raw`; resolves with how many were acknowledged by all in-sync replicas.
 * @example
 * ```ts
 * const input = createReadStream("forms.ndjson");
 * const records = await produceLines({ client, spec, input, signal, onProgress: () => undefined });
 * ```
 */
export async function produceLines(options: ProduceOptions): Promise<number> {
  const { client, spec, input, signal } = options;
  const topic = topicName(spec.name, "raw");
  const producer = await client.createPlainProducer();
  let batch: (ProducerRecord & { readonly partition: number | null })[] = [];
  let bytes = 0;
  let total = 0;
  let turn = 0;
  const flush = async (): Promise<void> => {
    await producer.send(topic, batch);
    total += batch.length;
    batch = [];
    bytes = 0;
    options.onProgress(total);
  };
  try {
    for await (const line of splitLines(input, MAX_LINE_BYTES)) {
      const key = lineKey(line, spec);
      const { partitions } = spec.kafka;
      const isPlaced = key !== null && spec.record.partitioner === "subject";
      // Lines without a key take turns.
      const partition =
        key === null ? turn++ % partitions : isPlaced ? partitionOf(key, partitions) : null;
      batch.push({ key, value: Uint8Array.from(line), partition });
      bytes += line.byteLength;
      if (batch.length >= BATCH_RECORDS || bytes >= BATCH_BYTES) {
        await flush();
      }
      if (signal.aborted) {
        break;
      }
    }
    if (batch.length > 0) {
      await flush();
    }
  } finally {
    await producer.close();
  }
  return total;
}
