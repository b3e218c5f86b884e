/**
 * A small pipeline for the tests of the desensitize stage, and records for its lane.
 */
import type { PipelineSpec } from "../../../pipeline/spec/pipeline-spec.ts";
import {
  type DesensitizeState,
  NO_CUT,
} from "../../../pipeline/stages/desensitize/cluster-state.ts";
import type { LaneProcessor, StepResult, StreamRecord } from "../../../pipeline/stream/contract.ts";

export const KEY = Buffer.alloc(32, 0x5a);

export const SCHEMA = {
  type: "object",
  properties: {
    formId: { type: "string" },
    name: { type: "string" },
    email: { type: ["string", "null"] },
    note: { type: "string" },
    age: { type: "integer" },
    pixels: { type: "array" },
  },
  required: ["formId", "age"],
} as const;

export const RULES: PipelineSpec["desensitize"] = [
  { field: "formId", action: "keep" },
  { field: "age", action: "keep" },
  { field: "pixels", action: "keep" },
  { field: "name", action: "mask", keepFirst: 1, keepLast: 0, with: "*" },
  { field: "email", action: "pseudonymize", key: { env: "PSEUDONYM_KEY" } },
];

export interface SpecParts {
  readonly schema?: PipelineSpec["record"]["schema"];
  readonly rules?: PipelineSpec["desensitize"];
  readonly id?: string;
  readonly maxBytes?: number;
  readonly subject?: string | null;
  /** Partitions of `raw` where it is partitioned by the subject; 0: it is not. */
  readonly partitions?: number;
}

/** A pipeline with what this stage reads. */
export function specWith({
  schema = SCHEMA,
  rules = RULES,
  id = "formId",
  maxBytes = 1000,
  subject = null,
  partitions = 0,
}: SpecParts = {}): PipelineSpec {
  const partitioner = partitions === 0 ? "none" : "subject";
  const parts = {
    kafka: { partitions },
    record: { schema, id, subject, partitioner, maxBytes },
    desensitize: rules,
  };
  // Because the stage reads no other part of the spec.
  return parts as unknown as PipelineSpec;
}

/** Finds the only secret there is. */
export function secrets(env: string): Uint8Array {
  if (env !== "PSEUDONYM_KEY") throw new Error(`no secret ${env}`);
  return KEY;
}

/** Records at offsets 100, 101, ...; each with a raw key and header that must not leave. */
export function recordsOf(...values: (string | Uint8Array | object | null)[]): StreamRecord[] {
  return values.map((value, i) => ({
    offset: 100 + i,
    timestampMs: 1_700_000_000_000 + i,
    key: Buffer.from("raw key of Leonard"),
    value: bytesOf(value),
    headers: { "raw-header": Buffer.from("of Leonard") },
  }));
}

function bytesOf(value: string | Uint8Array | object | null): Uint8Array | null {
  if (value === null || value instanceof Uint8Array) return value;
  return Buffer.from(typeof value === "string" ? value : JSON.stringify(value));
}

/** What a lane makes of records that it has all of: a window's end is committed first, alone, then it is grouped. */
export async function processAll(
  lane: LaneProcessor<DesensitizeState>,
  records: readonly StreamRecord[],
  nowMs = 0,
): Promise<StepResult<DesensitizeState>> {
  const step = await lane.process(records, NO_CUT, nowMs);
  if (step.state.cut === null) return step;
  if (step.outputs.length > 0 || step.outcomes.length > 0 || step.consumedTo !== null) {
    throw new Error("a cut is not alone in its transaction");
  }
  return lane.process(records, step.state, nowMs);
}
