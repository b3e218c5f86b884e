/**
 * From a desensitized record to the numbers a model sees: parse, clean, scale.
 *
 * Scaling is by the public, fixed range of the pipeline file and nothing else: statistics of the data would be a
 * release of their own. Cleaning refuses instead of guessing: a number that is missing, not finite or outside its
 * range makes the record a dead letter; nothing is clamped or filled in. Must not know Kafka or keys.
 */
import type { PipelineSpec } from "../spec/pipeline-spec.ts";

/** Why a record has no features; each is a reason of the stream's closed list. */
export type FeatureRefusal =
  | "tombstone"
  | "not-utf8"
  | "not-json"
  | "wrong-type"
  | "feature-invalid"
  | "label-invalid";

export type Extracted =
  | {
      readonly status: "example";
      /** One number in 0..1 per input, in the pipeline file's order. */
      readonly x: Float32Array;
      /** 0 .. classes - 1 */
      readonly label: number;
      readonly record: Readonly<Record<string, unknown>>;
    }
  | {
      readonly status: "predict";
      readonly x: Float32Array;
      readonly record: Readonly<Record<string, unknown>>;
    }
  | { readonly status: "refused"; readonly reason: FeatureRefusal };

export interface FeatureExtractor {
  /** Numbers of one record. */
  readonly length: number;
  /** @param value a desensitized record: JSON in UTF-8; null is a tombstone */
  extract(value: Uint8Array | null): Extracted;
}

/** The part of a spec that features depend on. */
export type FeatureSpec = Pick<PipelineSpec["features"], "inputs" | "label">;

/** Makes an extractor for the features of a pipeline. It has no state: the same bytes give the same numbers. */
export function createFeatureExtractor(features: FeatureSpec): FeatureExtractor {
  const length = features.inputs.reduce((sum, input) => sum + input.length, 0);
  // Not fatal on a byte order mark: JSON.parse refuses what is left of it.
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  return {
    length,
    extract(value) {
      if (value === null) return refused("tombstone");
      const record = parseRecord(decoder, value);
      if (typeof record === "string") return refused(record);
      const x = readInputs(features, length, record);
      if (x === null) return refused("feature-invalid");
      const label = own(record, features.label.field);
      if (label === undefined || label === null) return { status: "predict", x, record };
      if (!isLabel(label, features.label.classes)) return refused("label-invalid");
      return { status: "example", x, label, record };
    },
  };
}

function refused(reason: FeatureRefusal): Extracted {
  return { status: "refused", reason };
}

function parseRecord(
  decoder: { decode(bytes: Uint8Array): string },
  value: Uint8Array,
): Readonly<Record<string, unknown>> | FeatureRefusal {
  let text: string;
  try {
    text = decoder.decode(value);
  } catch {
    // Because a fatal decoder throws for nothing but bytes that are not UTF-8.
    return "not-utf8";
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    // Because bad input is an outcome, and JSON.parse's message would quote the record.
    return "not-json";
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) return "wrong-type";
  // Because what JSON.parse returns as an object has string keys and is neither null nor an array here.
  return parsed as Record<string, unknown>;
}

/** A field of the record itself, never one of Object.prototype. */
function own(record: Readonly<Record<string, unknown>>, field: string): unknown {
  return Object.hasOwn(record, field) ? record[field] : undefined;
}

function readInputs(
  features: FeatureSpec,
  length: number,
  record: Readonly<Record<string, unknown>>,
): Float32Array | null {
  const x = new Float32Array(length);
  let at = 0;
  for (const input of features.inputs) {
    const value = own(record, input.field);
    const numbers = input.length === 1 && !Array.isArray(value) ? [value] : value;
    if (!Array.isArray(numbers) || numbers.length !== input.length) return null;
    const [lowest, highest] = input.range;
    for (const number of numbers) {
      // JSON has no NaN or infinity, but 1e999 parses to one: every comparison here is false for NaN.
      if (typeof number !== "number" || !(number >= lowest && number <= highest)) return null;
      x[at] = (number - lowest) / (highest - lowest);
      at += 1;
    }
  }
  return x;
}

function isLabel(value: unknown, classes: number): value is number {
  return Number.isInteger(value) && typeof value === "number" && value >= 0 && value < classes;
}
