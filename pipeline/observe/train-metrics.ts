/**
 * Metrics of training: what it computes on, accuracy on validation records, and alarms that it has fallen for good.
 *
 * The last two come from validation records, which no epsilon covers: they stay in the training zone. Counts only.
 */
import { Counter, Gauge, type Registry } from "prom-client";

/** Validation records of one step. */
export interface ValidationObservation {
  readonly lane: number;
  readonly records: number;
  readonly correct: number;
  /** Alarms of stages/train/drift.ts. */
  readonly drifts: number;
}

/** Says by a label which backend train has chosen, as Prometheus's info metrics do. @param backend a name of `train.backend` */
export function setBackendInfo(registers: Registry[], backend: string): void {
  new Gauge({
    name: "sealstream_train_backend_info",
    help: "The backend that gradients are computed on.",
    labelNames: ["backend"] as const,
    registers,
  }).set({ backend }, 1);
}

/** Makes the metrics in the registries of a stage. */
export function createTrainMetrics(
  registers: Registry[],
): (observation: ValidationObservation) => void {
  const labelNames = ["lane"] as const;
  const counter = (name: string, help: string) =>
    new Counter({ name, help, labelNames, registers });
  const records = counter(
    "sealstream_train_validation_records",
    "Validation records judged by the newest model; not covered by the privacy bound.",
  );
  const correct = counter(
    "sealstream_train_validation_correct",
    "Of those, the ones whose label the model found; not covered by the privacy bound.",
  );
  const drifts = counter(
    "sealstream_train_drift_alarms",
    "Alarms of a Page-Hinkley test that the validation error has risen; not covered by the privacy bound.",
  );
  return (observation) => {
    const labels = { lane: String(observation.lane) };
    records.inc(labels, observation.records);
    correct.inc(labels, observation.correct);
    drifts.inc(labels, observation.drifts);
  };
}
