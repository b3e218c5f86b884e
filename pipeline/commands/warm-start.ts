/**
 * The file of `train.warmStart`: read, compared with its pinned hash, and taken apart.
 *
 * Only aggregate begins runs, so only it and `check` read the file; the other zones need not have it.
 */
import { readFileSync, statSync } from "node:fs";
import { sha256 } from "../crypto/chunks.ts";
import { hex } from "../crypto/key-handles.ts";
import { SealstreamError } from "../errors.ts";
import { networkFromSpec } from "../network/from-spec.ts";
import { readWarmStart, type WarmStart } from "../network/warm-start.ts";
import type { PipelineSpec } from "../spec/pipeline-spec.ts";

/** Far more than the parameters of a network whose sums fit a message (1 MB); a device file has no end at all. */
const MAX_BYTES = 67_108_864;

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
  const tooLarge = `The file of train.warmStart is no file of at most ${MAX_BYTES} bytes: it must be a safetensors file.`;
  let found: Uint8Array | null;
  try {
    const status = statSync(file);
    found = status.isFile() && status.size <= MAX_BYTES ? readFileSync(file) : null;
  } catch {
    // Because every reason not to read it has the same remedy.
    throw new SealstreamError(
      "checkpoint-invalid",
      "The file of train.warmStart cannot be read: its path is relative to the pipeline file.",
    );
  }
  if (found === null) throw new SealstreamError("checkpoint-invalid", tooLarge);
  return found;
}
