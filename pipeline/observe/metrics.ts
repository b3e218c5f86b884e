/**
 * Metrics of one stage instance, in Prometheus's exposition format.
 *
 * Names follow the OpenTelemetry messaging conventions and `kafka_consumergroup_lag`. Labels are stage, lane and
 * reason codes from a closed list; never anything out of a record.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { LaneProgress } from "../stream/lane-options.ts";
import { createTrainMetrics, setBackendInfo, type ValidationObservation } from "./train-metrics.ts";
import { createWindowMetrics, type WindowObservation } from "./window-metrics.ts";

/** Milliseconds; from a kernel call to a large encrypted pack. */
const PROCESS_BUCKETS_MS = [1, 5, 20, 100, 500, 2_000, 10_000, 60_000];

/** Milliseconds from a record's timestamp to the commit of what became of it: one stage, or a backlog of hours. */
const LATENCY_BUCKETS_MS = [5, 10, 20, 50, 100, 200, 500, 1_000, 5_000, 30_000, 300_000, 3_600_000];
/** Milliseconds of a transaction's requests. */
const COMMIT_BUCKETS_MS = [2, 5, 10, 20, 50, 100, 500, 2_000, 10_000];

export interface StageMetrics {
  record(progress: LaneProgress): void;
  /** A window of records was grouped. */
  window(window: WindowObservation): void;
  /** Validation records were judged. */
  validation(observation: ValidationObservation): void;
  /** Train has chosen what it computes on; called once. */
  backend(name: string): void;
  /** Text of `/metrics`. */
  text(): Promise<string>;
}

export function createStageMetrics(stage: string): StageMetrics {
  const registers = [new Registry()];
  const [registry] = registers;
  registry?.setDefaultLabels({ stage });
  if (registry !== undefined) {
    collectDefaultMetrics({ register: registry });
  }
  const labelNames = ["lane"] as const;
  const consumed = new Counter({
    name: "messaging_client_consumed_messages",
    help: "Records made final.",
    labelNames,
    registers,
  });
  const sent = new Counter({
    name: "messaging_client_sent_messages",
    help: "Records written.",
    labelNames,
    registers,
  });
  const dead = new Counter({
    name: "sealstream_dead_letters",
    help: "Records refused, by reason.",
    labelNames: ["lane", "reason"] as const,
    registers,
  });
  const dropped = new Counter({
    name: "sealstream_dropped_records",
    help: "Records left out on purpose, without a dead letter, by reason.",
    labelNames: ["lane", "reason"] as const,
    registers,
  });
  const lag = new Gauge({
    name: "kafka_consumergroup_lag",
    help: "Committed records not yet final.",
    labelNames,
    registers,
  });
  const duration = new Histogram({
    name: "messaging_process_duration_milliseconds",
    help: "Time in the stage per transaction.",
    labelNames,
    buckets: PROCESS_BUCKETS_MS,
    registers,
  });
  const latency = new Histogram({
    name: "sealstream_record_latency_milliseconds",
    help: "Age of each transaction's oldest record when it was committed.",
    labelNames,
    buckets: LATENCY_BUCKETS_MS,
    registers,
  });
  const commit = new Histogram({
    name: "sealstream_commit_duration_milliseconds",
    help: "Time from the end of a step to its committed transaction.",
    labelNames,
    buckets: COMMIT_BUCKETS_MS,
    registers,
  });
  let windows: ReturnType<typeof createWindowMetrics> | null = null;
  let training: ReturnType<typeof createTrainMetrics> | null = null;
  return {
    validation(observation) {
      training ??= createTrainMetrics(registers);
      training(observation);
    },
    backend: (name) => setBackendInfo(registers, name),
    window(window) {
      // Made when they are needed: a stage that groups nothing shows no zeros about it.
      windows ??= createWindowMetrics(registers);
      windows(window);
    },
    record(progress) {
      const labels = { lane: String(progress.lane) };
      consumed.inc(labels, progress.records);
      sent.inc(labels, progress.outputs);
      lag.set(labels, progress.lag);
      duration.observe(labels, progress.processMs);
      commit.observe(labels, progress.commitMs);
      if (progress.latencyMs !== null) {
        latency.observe(labels, progress.latencyMs);
      }
      for (const reason of progress.reasons) {
        dead.inc({ ...labels, reason });
      }
      for (const reason of progress.drops) {
        dropped.inc({ ...labels, reason });
      }
    },
    text: () => registry?.metrics() ?? Promise.resolve(""),
  };
}
