/** Where every lane stands: what it has committed and what its topic holds. Through our own client: it only waits. */
import type { KafkaClient } from "../../../pipeline/stream/port.ts";
import {
  STAGE_INPUT,
  STAGES,
  type StageName,
  stageGroup,
  topicName,
} from "../../../schemas/topics.ts";
import { LANES } from "./pipeline-file.ts";

export interface LaneStand {
  readonly stage: StageName;
  readonly lane: number;
  readonly committed: number;
  /** End of the log, control records included. */
  readonly end: number;
}

export async function standOfLanes(client: KafkaClient, pipeline: string): Promise<LaneStand[]> {
  const stands: LaneStand[] = [];
  for (const stage of STAGES) {
    const topic = topicName(pipeline, STAGE_INPUT[stage]);
    for (let lane = 0; lane < (stage === "aggregate" ? 1 : LANES); lane += 1) {
      const committed = await client.committedOffset(stageGroup(pipeline, stage), topic, lane);
      const { latest } = await client.offsets(topic, lane);
      stands.push({ stage, lane, committed: committed ?? 0, end: latest });
    }
  }
  return stands;
}

/** Records and markers not yet committed by a stage, over its lanes. */
export function lagOf(stands: readonly LaneStand[], stage: StageName): number {
  return stands
    .filter((stand) => stand.stage === stage)
    .reduce((sum, { committed, end }) => sum + end - committed, 0);
}

/** Stages that keep nothing waiting for more than a moment: what they leave is the marker of the last transaction. */
const LEAVES_NOTHING: readonly StageName[] = ["desensitize", "encrypt", "predict"];

/** Whether those stages have read everything but a trailing marker. */
export function looksDrained(stands: readonly LaneStand[]): boolean {
  return stands
    .filter(({ stage }) => LEAVES_NOTHING.includes(stage))
    .every(({ committed, end }) => end - committed <= 1);
}

export function sameStand(a: readonly LaneStand[], b: readonly LaneStand[]): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

export function standText(stands: readonly LaneStand[]): string {
  return stands
    .filter(({ committed, end }) => end - committed > 1)
    .map(({ stage, lane, committed, end }) => `${stage}/${lane} at ${committed} of ${end}`)
    .join(", ");
}
