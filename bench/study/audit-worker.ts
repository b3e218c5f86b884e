/**
 * A process that audits one mechanism; argument: AuditJob as JSON, answers with one AuditAnswer and ends.
 *
 * Sabotage is what an audit must notice: the mechanism then differs from what the claim is made of. `noise`: aggregate adds
 * two thirds of it. `clip`: train lets gradients be twice as long.
 */

import { strategyCoefficients } from "../../pipeline/privacy/correlation/coefficients.ts";
import { INDEPENDENT } from "../../pipeline/privacy/ledger-noise.ts";
import type { TrainBackend } from "../../pipeline/stages/train/backend.ts";
import { createTrainBackend } from "../../pipeline/stages/train/tfjs-backend.ts";
import { type CanaryResult, runCanaries } from "./canary.ts";
import { openTrainingZone } from "./training-zone.ts";

export type Sabotage = "none" | "noise" | "clip";

export interface AuditJob {
  readonly epsilon: number;
  readonly delta: number;
  readonly sabotage: Sabotage;
  readonly trials: number;
  /** `privacy.noise` of the pipeline file. */
  readonly noise: "independent" | Readonly<Record<string, object>>;
  /** Noise multiplier that the claim is made of; null: what the budget asks for. */
  readonly noiseMultiplier: number | null;
}

export interface AuditAnswer {
  /** As the ledger's last entry says. */
  readonly ledgerEpsilon: number;
  readonly noiseMultiplier: number;
  readonly result: CanaryResult;
}

const INPUTS = 15;
const CLASSES = 4;
const PLACES = 8;
const SCHEMA = JSON.stringify({
  type: "object",
  properties: {
    id: { type: "string", maxLength: 64 },
    x: { type: "array", items: { type: "number" } },
    y: { type: "integer" },
  },
  required: ["id", "x"],
  additionalProperties: false,
});

function fileOf({ epsilon, delta, sabotage, noise }: AuditJob): string {
  return JSON.stringify({
    name: "study",
    kafka: { brokers: "", partitions: 1 },
    record: { schema: "record.schema.json", id: "id", subject: "id" },
    desensitize: [{ fields: ["id", "x", "y"], action: "keep" }],
    features: {
      inputs: [{ field: "x", length: INPUTS, range: [0, 1] }],
      label: { field: "y", classes: CLASSES },
      split: { train: 1, validate: 0, test: 0 },
    },
    train: {
      network: [{ dense: CLASSES }],
      microBatchRecords: PLACES,
      updateBatchRecords: PLACES,
      l2ClipNorm: 1,
      // Small, so that thousands of updates of noise leave the model where gradients are longer than the clip.
      learningRate: 0.01,
      backend: "cpu",
    },
    // Aggregate refuses less noise than the budget asks for: the sabotage is of the claim, so it is given room.
    privacy: { epsilon: sabotage === "noise" ? 100 : epsilon, delta, noise },
    predict: { encrypted: false },
  });
}

/** Gradients twice as long as the run's clip. */
function withLongGradients(backend: TrainBackend): TrainBackend {
  return {
    ...backend,
    clippedGradientSum: (request) =>
      backend.clippedGradientSum({ ...request, l2ClipNorm: 2 * request.l2ClipNorm }),
  };
}

async function audit(job: AuditJob): Promise<AuditAnswer> {
  const plain = createTrainBackend("cpu");
  const backend = job.sabotage === "clip" ? withLongGradients(plain) : plain;
  const { noiseMultiplier } = job;
  const zone = await openTrainingZone({
    ...{ file: fileOf(job), schema: SCHEMA, backend },
    ...(noiseMultiplier === null ? {} : { noiseMultiplier }),
  });
  try {
    const { entry } = zone.model();
    const { noise = INDEPENDENT, noiseMultiplier: sigma } = entry;
    const column = noise.kind === "independent" ? [1] : [...strategyCoefficients(noise)];
    const plan = { trials: job.trials, column, noiseMultiplier: sigma };
    // The coins are told to nobody but this process: they decide what is fed and are compared with the guesses.
    const result = await runCanaries(zone, backend, plan, job.trials);
    const { epsilon, noiseMultiplier: used } = zone.model().entry;
    return { ledgerEpsilon: epsilon, noiseMultiplier: used, result };
  } finally {
    await zone.close();
  }
}

// Because the parent is ours and hands in exactly this.
const answer = await audit(JSON.parse(process.argv[2] ?? "") as AuditJob);
process.send?.(answer, () => process.exit(0));
