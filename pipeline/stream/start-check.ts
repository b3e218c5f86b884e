/**
 * What a lane makes sure of before it opens: that the group's offset, the log and the changelog tell the same story.
 * Each check returns the sentence that says what is wrong, or null.
 */
import type { ChangelogValue } from "./changelog.ts";

/** How sentences name the lane. */
export interface LaneWords {
  readonly group: string;
  /** The input partition. */
  readonly input: string;
}

/** Whether the committed offset is in the log; records that expired may be passed over where `skipsExpired`. */
export function checkLocation(
  { group, input }: LaneWords,
  {
    committed,
    earliest,
    latest,
  }: { readonly committed: number | null; readonly earliest: number; readonly latest: number },
  skipsExpired: boolean,
): string | null {
  if (committed === null || (committed <= latest && (committed >= earliest || skipsExpired))) {
    return null;
  }
  const advice =
    committed > latest
      ? ""
      : ", or go on without them with kafka.whenRecordsExpired: continue where the stage allows it";
  return `Group ${group} stands at ${committed} of ${input}, whose log holds ${earliest} to ${latest}: its records expired or the topic was made anew. Check retention, then start a new generation of the pipeline${advice}.`;
}

/** Whether the changelog stands where the group does: every transaction writes both, so that neither is there alone. */
export function checkMemory(
  { group, input }: LaneWords,
  committed: number | null,
  remembered: ChangelogValue | null,
): string | null {
  const position = remembered?.position ?? null;
  if (position === committed) {
    return null;
  }
  if (position === null) {
    return `Group ${group} stands at ${committed} of ${input}, and the stage's changelog is empty or cannot be read: its state is lost. Restore the changelog topic, or start a new generation of the pipeline.`;
  }
  return `Group ${group} stands at ${committed ?? "no offset"} of ${input}, and the stage's changelog at ${position}: the group's offsets were lost or changed. Set the group back to ${position}, or start a new generation of the pipeline.`;
}
