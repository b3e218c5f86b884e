/** What the conformance suite does to a cluster that no client of the port can: cut off the front of a log. */
import kafkajs from "kafkajs";

/** Deletes the records of a partition before an offset, as retention would. */
export async function deleteRecordsBefore(
  brokers: readonly string[],
  topic: string,
  partition: number,
  offset: number,
): Promise<void> {
  const { Kafka, logLevel } = kafkajs;
  const admin = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  // Because kafkajs finds the leader only of topics whose metadata it has already asked for.
  await admin.fetchTopicOffsets(topic);
  await admin.deleteTopicRecords({ topic, partitions: [{ partition, offset: String(offset) }] });
  await admin.disconnect();
}
