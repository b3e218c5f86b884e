/**
 * Which partition of `raw` a subject's records belong to, and the words in which records say so.
 *
 * Guarantee: `partitionOf` is what Kafka's own default partitioner makes of a record key, for any client of any language
 * that keys records by the subject's UTF-8 bytes: toPositive(murmur2(key)) mod partitions. The tests hold it against
 * Kafka's own vectors and kafkajs. Must not look into records.
 * Source: org.apache.kafka.common.utils.Utils.murmur2, org.apache.kafka.clients.producer.internals.BuiltInPartitioner.
 */

/**
 * Header of a desensitized record where `raw` is partitioned by the subject: the record lies in its subject's lane, and
 * its subject is named as these 16 bytes say (stages/desensitize/subject-lanes.ts).
 */
export const SUBJECT_HEADER = "sealstream-subject";

/**
 * Header and authenticated attribute of an example that may train: decimal k. When it was sealed, its subject had no
 * more than k such examples, itself counted, of all that were ever sealed in the pipeline.
 */
export const BOUND_HEADER = "sealstream-records-per-subject";

const SEED = 0x9747b28c;
const FACTOR = 0x5bd1e995;

/** MurmurHash2 as Kafka has it, a signed 32-bit integer. */
export function murmur2(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const whole = bytes.length & ~3;
  let hash = SEED ^ bytes.length;
  for (let at = 0; at < whole; at += 4) {
    const mixed = Math.imul(view.getInt32(at, true), FACTOR);
    hash = Math.imul(hash, FACTOR) ^ Math.imul(mixed ^ (mixed >>> 24), FACTOR);
  }
  let rest = 0;
  for (let at = bytes.length - 1; at >= whole; at -= 1) rest = (rest << 8) | view.getUint8(at);
  // Only a rest is mixed in: zero bytes at the end count too.
  if (whole < bytes.length) hash = Math.imul(hash ^ rest, FACTOR);
  hash = Math.imul(hash ^ (hash >>> 13), FACTOR);
  return hash ^ (hash >>> 15);
}

/** Partition of a record key, 0..partitions-1. */
export function partitionOf(key: Uint8Array, partitions: number): number {
  return (murmur2(key) & 0x7fffffff) % partitions;
}
