/**
 * The detectors of redact rules, as the desensitize plugin reads them: each distinct set once.
 *
 * Compiling takes some hundred milliseconds, so the last sets are remembered for the next stage of this process. Must
 * not know how detectors are made: detect/ does.
 */
import type { DetectionReplacement, DetectorSpec } from "../../spec/pipeline-spec.ts";
import { createWriter } from "./config-bytes.ts";
import { compileDetectors } from "./detect/compile.ts";
import { encodeDetectors } from "./detect/encode.ts";

/** Sets that are remembered: more than a pipeline has, so that nothing piles up where many are tried. */
const REMEMBERED_MAX = 16;
const remembered = new Map<string, Uint8Array>();

function encodedSet(
  key: string,
  detectors: readonly DetectorSpec[],
  replacement: DetectionReplacement,
): Uint8Array {
  const known = remembered.get(key);
  if (known !== undefined) return known;
  const bytes = encodeDetectors(compileDetectors(detectors), replacement);
  for (const oldest of remembered.keys()) {
    if (remembered.size < REMEMBERED_MAX) break;
    remembered.delete(oldest);
  }
  remembered.set(key, bytes);
  return bytes;
}

export interface DetectorSets {
  /** The parameters of a redact rule: the number of its set, and the set where it is the first with it. */
  blockOf(detectors: readonly DetectorSpec[], replacement: DetectionReplacement): Uint8Array;
}

/** Numbers the sets of one configuration, in the order in which it is written. */
export function listDetectorSets(): DetectorSets {
  const numbers = new Map<string, number>();
  return {
    blockOf(detectors, replacement) {
      const key = JSON.stringify([detectors, replacement]);
      const known = numbers.get(key);
      const writer = createWriter();
      writer.words(known ?? numbers.size);
      if (known === undefined) {
        writer.bytes(encodedSet(key, detectors, replacement));
        numbers.set(key, numbers.size);
      }
      return writer.finish();
    },
  };
}
