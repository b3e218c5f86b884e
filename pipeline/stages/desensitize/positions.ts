/**
 * Positions of records as the desensitize plugin takes them: noise is keyed by them, so that a retry repeats it.
 */
import type { DesensitizeRule } from "../../spec/pipeline-spec.ts";

/** Lane as u32 and offset as u64, big-endian. */
const POSITION_BYTES = 12;

/** Whether the plugin wants a column of positions beside the records. */
export function needsPositions(rules: readonly DesensitizeRule[]): boolean {
  return rules.some(({ action }) => action === "perturb");
}

export function encodePosition(lane: number, offset: number): Uint8Array {
  const bytes = new Uint8Array(POSITION_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, lane);
  view.setBigUint64(4, BigInt(offset));
  return bytes;
}
