/** What a step writes: its outputs by target partition, then its dead letters. */
import { TOPICS, topicName } from "../../schemas/topics.ts";
import { SealstreamError } from "../errors.ts";
import type { Outcome, OutputRecord, StreamRecord } from "./contract.ts";
import type { Write } from "./lane-events.ts";
import type { ProducerRecord } from "./port.ts";

/** Records by target, in the order in which targets first appear. */
export function outputWrites(
  pipeline: string,
  lane: number,
  outputs: readonly OutputRecord[],
): Write[] {
  const byRole = new Map<OutputRecord["role"], ProducerRecord[]>();
  let lastRole: OutputRecord["role"] | null = null;
  let last: ProducerRecord[] = [];
  for (const output of outputs) {
    if (output.role !== lastRole) {
      lastRole = output.role;
      last = byRole.get(output.role) ?? [];
      byRole.set(output.role, last);
    }
    // As it is: an output record is a producer record with a role beside it.
    last.push(output);
  }
  return [...byRole].map(([role, records]) => ({
    topic: topicName(pipeline, role),
    partition: TOPICS[role].partitions === "lanes" ? lane : 0,
    records,
  }));
}

/** One dead letter for each refused record. @throws SealstreamError `internal` when a record was not given */
export function deadLetterWrites(options: {
  readonly topic: string;
  readonly lane: number;
  readonly stage: string;
  readonly records: readonly StreamRecord[];
  readonly refused: readonly Outcome[];
  readonly letter: (record: StreamRecord, reason: Outcome["reason"]) => ProducerRecord;
}): Write[] {
  if (options.refused.length === 0) {
    return [];
  }
  const byOffset = new Map(options.records.map((record) => [record.offset, record]));
  const letters = options.refused.map(({ offset, reason }) => {
    const record = byOffset.get(offset);
    if (record === undefined) {
      throw new SealstreamError(
        "internal",
        `Stage ${options.stage} refused a record that it was not given.`,
      );
    }
    return options.letter(record, reason);
  });
  return [{ topic: options.topic, partition: options.lane, records: letters }];
}
