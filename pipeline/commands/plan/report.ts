/**
 * What `sealstream plan FILE --json` prints: one object on one line.
 *
 * Grammar: the interfaces below. Keys are only ever added within one `version`; a program must ignore those that it does
 * not know. Every figure is a prediction: bytes of ciphertexts, milliseconds of one core.
 */

import {
  type ModelMode,
  modulusBits,
  type Packing,
  publicKeyBytes,
  SECURITY_BITS,
} from "../../ckks/parameters.ts";
import type {
  PackingFigures,
  PlanOutcome,
  PredictPlan,
  Refusal,
  RefusedKey,
} from "../../ckks/predict-plan.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";

export interface PackingReport extends PackingFigures {
  readonly packing: Packing;
  /** Most records of one pack. */
  readonly packRecords: number;
  readonly ciphertextsIn: number;
  readonly ciphertextsOut: number;
  readonly packBytesIn: number;
  readonly packBytesOut: number;
  readonly packMs: number;
  readonly precisionBits: number;
  /** Primes left and log2 of the scale behind each affine step. */
  readonly levels: readonly { readonly limbs: number; readonly scaleBits: number }[];
}

export interface GoodPlanReport {
  readonly version: 1;
  readonly status: "ok";
  readonly predicted: true;
  readonly pipeline: string;
  readonly parameters: {
    readonly name: string;
    readonly id: string;
    readonly polyModulusDegree: number;
    readonly coeffModulusBits: readonly number[];
    readonly modulusBits: number;
    readonly securityBits: number;
  };
  readonly model: ModelMode;
  /** The packing at the expected fill; the others that the keys allow are in `packings`. */
  readonly packing: Packing;
  readonly packings: readonly PackingReport[];
  /** Null: encrypt.packs.rate is not in the file. */
  readonly expectedRecords: number | null;
  readonly latencyMs: number;
  readonly precisionBits: number;
  readonly precisionGoal: number;
  readonly keys: {
    readonly relin: boolean;
    readonly rotationSteps: readonly number[];
    readonly evaluationKeyBytes: number;
    readonly publicKeyBytes: number;
  };
  readonly memoryMiB: number;
  readonly assumption: string;
  readonly reasons: readonly string[];
  readonly refusals: readonly Refusal[];
}

export interface RefusedPlanReport {
  readonly version: 1;
  readonly status: "refused";
  readonly pipeline: string;
  /** The part of the file to change. */
  readonly key: RefusedKey;
  readonly message: string;
  readonly refusals: readonly Refusal[];
}

/** Of a file with `predict: { encrypted: false }`. */
export interface UnpredictedReport {
  readonly version: 1;
  readonly status: "none";
  readonly pipeline: string;
}

export function unpredictedReport({ name }: Pick<PipelineSpec, "name">): UnpredictedReport {
  return { version: 1, status: "none", pipeline: name };
}

export type PlanReport = GoodPlanReport | RefusedPlanReport;

export function planReport(spec: PipelineSpec, outcome: PlanOutcome): PlanReport {
  if (outcome.status === "ok") return goodReport(spec, outcome.plan);
  const { key, message, refusals } = outcome;
  return { version: 1, status: "refused", pipeline: spec.name, key, message, refusals };
}

function goodReport(spec: PipelineSpec, plan: PredictPlan): GoodPlanReport {
  const { parameters } = plan;
  return {
    version: 1,
    status: "ok",
    predicted: true,
    pipeline: spec.name,
    parameters: {
      name: plan.name,
      id: parameters.id,
      polyModulusDegree: parameters.polyModulusDegree,
      coeffModulusBits: parameters.coeffModulusBits,
      modulusBits: modulusBits(parameters),
      securityBits: SECURITY_BITS,
    },
    model: plan.mode,
    packing: plan.packing,
    packings: (["batch", "slots"] as const).flatMap(
      (packing) => packingReport(plan, packing) ?? [],
    ),
    expectedRecords: plan.expectedRecords,
    latencyMs: plan.latencyMs,
    precisionBits: plan.precisionBits,
    precisionGoal: plan.precisionGoal,
    keys: {
      relin: plan.needsRelin,
      rotationSteps: plan.rotationSteps,
      evaluationKeyBytes: plan.evaluationKeyBytes,
      publicKeyBytes: publicKeyBytes(parameters),
    },
    memoryMiB: plan.memoryMiB,
    assumption: plan.assumption,
    reasons: plan.reasons,
    refusals: plan.refusals,
  };
}

function packingReport(plan: PredictPlan, packing: Packing): PackingReport | null {
  const outlook = plan.packings[packing];
  const figures = plan.figures[packing];
  if (outlook === null || figures === null) return null;
  return {
    ...figures,
    packing,
    packRecords: outlook.packRecords,
    ciphertextsIn: outlook.ciphertextsIn,
    ciphertextsOut: outlook.ciphertextsOut,
    packBytesIn: outlook.bytesIn,
    packBytesOut: outlook.bytesOut,
    packMs: outlook.ms,
    precisionBits: outlook.precisionBits,
    levels: outlook.levels,
  };
}
