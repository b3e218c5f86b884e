/**
 * Metrics of one stage instance, in Prometheus's exposition format.
 *
 * Names follow the OpenTelemetry messaging conventions and `kafka_consumergroup_lag`. Labels are stage, lane and
 * reason codes from a closed list; never anything out of a record.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { LaneProgress } from "../stream/lane.ts";

/** Milliseconds; from a kernel call to a large encrypted pack. */
const PROCESS_BUCKETS_MS = [1, 5, 20, 100, 500, 2_000, 10_000, 60_000];

export interface StageMetrics {
  record(progress: LaneProgress): void;
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
  return {
    record(progress) {
      const labels = { lane: String(progress.lane) };
      consumed.inc(labels, progress.records);
      sent.inc(labels, progress.outputs);
      lag.set(labels, progress.lag);
      duration.observe(labels, progress.processMs);
      for (const reason of progress.reasons) {
        dead.inc({ ...labels, reason });
      }
    },
    text: () => registry?.metrics() ?? Promise.resolve(""),
  };
}
