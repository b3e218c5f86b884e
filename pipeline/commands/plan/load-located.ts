/** A checked pipeline file together with the way back to its lines. */
import { readFileSync } from "node:fs";
import { SealstreamError } from "../../errors.ts";
import { type Locate, loadPipelineSpec } from "../../spec/load.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import { type CommandContext, complaintLine } from "../context.ts";

/** @throws SealstreamError `spec-invalid` whose message has one line per complaint */
export function loadLocated(
  { environment }: CommandContext,
  file: string,
): { readonly spec: PipelineSpec; readonly locate: Locate } {
  const result = loadPipelineSpec({ path: file, readFile: readFileSync, env: environment });
  if (result.status === "ok") return result;
  throw new SealstreamError("spec-invalid", result.complaints.map(complaintLine).join("\n"));
}
