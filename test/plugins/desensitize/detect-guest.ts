/**
 * The detectors in this thread, for tests: from names and patterns to what is found in texts.
 */

import { createDetectKernel, type DetectKernel } from "../../../bench/lib/wasm-detect.ts";
import type { DetectionReplacement } from "../../../pipeline/spec/pipeline-spec.ts";
import { BUILTIN_TYPES } from "../../../pipeline/stages/desensitize/detect/builtin.ts";
import {
  compileDetectors,
  type Detector,
} from "../../../pipeline/stages/desensitize/detect/compile.ts";
import { encodeDetectors } from "../../../pipeline/stages/desensitize/detect/encode.ts";

export const BUILDS = ["desensitize", "desensitize.debug"] as const;
export type Build = (typeof BUILDS)[number];
export const ALL: readonly Detector[] = BUILTIN_TYPES;

export function createDetectors(
  build: Build,
  detectors: readonly Detector[],
  replacement?: DetectionReplacement,
): DetectKernel {
  const kernel = createDetectKernel(
    build,
    encodeDetectors(compileDetectors(detectors), replacement),
  );
  if (kernel === null) throw new Error("the guest refused its detectors");
  return kernel;
}

/** A text with every detection between « and », and what it looked like without. */
export function markDetections(kernel: DetectKernel, texts: readonly string[]): string[] {
  const found = kernel.detect(texts);
  return texts.map((text, row) => {
    const bytes = Buffer.from(text);
    let marked = "";
    let at = 0;
    for (const { start, end } of found.filter((one) => one.row === row)) {
      marked += `${bytes.toString("utf8", at, start)}«${bytes.toString("utf8", start, end)}»`;
      at = end;
    }
    return marked + bytes.toString("utf8", at);
  });
}
