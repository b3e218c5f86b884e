/**
 * The file of `train.warmStart`: read, compared with its pinned hash, and taken apart.
 *
 * Only aggregate begins runs, so only it and `check` read the file; the other zones need not have it.
 */
import { readFileSync } from "node:fs";
import { sha256 } from "../crypto/chunks.ts";
import { hex } from "../crypto/key-handles.ts";
import { SealstreamError } from "../errors.ts";
import { networkFromSpec } from "../network/from-spec.ts";
import { readWarmStart, type WarmStart } from "../network/warm-start.ts";
import type { PipelineSpec } from "../spec/pipeline-spec.ts";

/**
 * What a pipeline's runs begin with, or null.
 * @throws checkpoint-invalid when the file is not there, not the pinned one, or of another network
 */
export function loadWarmStart(spec: Pick<PipelineSpec, "features" | "train">): WarmStart | null {
  const { warmStart } = spec.train;
  if (warmStart === null) return null;
  const bytes = readBytes(warmStart.file);
  const found = hex(sha256(bytes));
  if (found !== warmStart.sha256) {
    throw new SealstreamError(
      "checkpoint-invalid",
      `The file of train.warmStart has sha256 ${found}, not the pinned one; pin it only if you know why.`,
    );
  }
  return readWarmStart(bytes, networkFromSpec(spec.features, spec.train));
}

function readBytes(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch {
    // Because every reason not to read it has the same remedy.
    throw new SealstreamError(
      "checkpoint-invalid",
      "The file of train.warmStart cannot be read: its path is relative to the pipeline file.",
    );
  }
}
