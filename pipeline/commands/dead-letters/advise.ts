/**
 * Letters of train, aggregate and predict cannot go back: what they hold is sealed and bound to its place and sequence.
 *
 * The way to have such a record again is to produce it again at the owner. Which one that is, is told as far as it is
 * public: the record id that is the key of the record in `examples`. Nothing is opened here, and no key is needed.
 */
import { STAGE_INPUT, type StageName, TOPICS } from "../../../schemas/topics.ts";
import { readLetterHeaders } from "../../stream/dead-letter.ts";
import { deadNames, isReceipt, readThrough } from "../../stream/dead-letter-replay.ts";
import type { KafkaClient } from "../../stream/port.ts";
import type { Selection } from "./replay-stage.ts";
import { SourceReader } from "./source-reader.ts";
import { type Shown, shown } from "./text.ts";

export interface Advice {
  readonly stage: StageName;
  readonly partition: number;
  /** Of the letter. */
  readonly offset: number;
  /** The record to produce again; null when it is not public or no longer there. */
  readonly recordId: Shown;
}

/** Partitions of a stage's `.dead` topic. */
export function deadPartitions(stage: StageName, partitions: number): number {
  return TOPICS[STAGE_INPUT[stage]].partitions === "lanes" ? partitions : 1;
}

/** Says for each chosen letter of a stage which record to produce again. */
export async function adviseStage(options: {
  readonly client: KafkaClient;
  readonly pipeline: string;
  readonly partitions: number;
  readonly patienceMs: number;
  readonly stage: StageName;
  readonly selection: Selection;
  readonly signal: AbortSignal;
  readonly onAdvice: (advice: Advice) => void;
}): Promise<void> {
  const { client, pipeline, patienceMs, stage, selection, signal, onAdvice } = options;
  const { input, dead } = deadNames({ pipeline, stage });
  for (let partition = 0; partition < deadPartitions(stage, options.partitions); partition += 1) {
    if ((selection.partition ?? partition) !== partition) continue;
    const sources = new SourceReader(client, input, partition);
    try {
      await readThrough({
        client,
        topic: dead,
        partition,
        patienceMs,
        apply: async (letter) => {
          if (signal.aborted) return false;
          const headers = readLetterHeaders(letter.headers, { stage, topic: input, partition });
          const isChosen =
            (selection.offset ?? letter.offset) === letter.offset &&
            (selection.reason ?? headers?.reason) === headers?.reason;
          if (isReceipt(letter) || !isChosen) return undefined;
          // Only examples have a record id in the clear; packs name theirs to the consumer alone.
          const source =
            stage === "train" && headers !== null ? await sources.find(headers.offset) : null;
          const recordId = source?.status === "found" ? shown(source.record.key) : null;
          onAdvice({ stage, partition, offset: letter.offset, recordId });
          return undefined;
        },
      });
    } finally {
      await sources.close();
    }
  }
}
