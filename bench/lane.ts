/**
 * Our exactly-once lane against Kafka Streams and the plain Java loop, on one broker, in one run.
 *
 * Speed: 200-byte records without keys and without compression, at 1 and at 4 partitions, transactions of 100 ms for
 * everybody, rounds interleaved in rotating order, medians. What counts is when an outside observer sees the output
 * committed, from a fifth of it to all of it (bench/lane/throughput.ts); each output is read back and must hold every
 * record once. Latency: one record at a time through one stage (bench/lane/latency.ts), ours at the default interval.
 * The peers keep their defaults except for what their name says; they have 1 GiB of heap and get the same broker.
 */

import {
  type Contender,
  createLoop,
  createOurs,
  createStreams,
  DEFAULT_INTERVAL_MS,
  OURS,
} from "./lane/contenders.ts";
import { measureLatency } from "./lane/latency.ts";
import { measureThroughput, type ThroughputPlan } from "./lane/throughput.ts";
import { KAFKA_STREAMS_VERSION, openJavaPeers } from "./lib/java-peers.ts";
import { type KafkaLab, tell, withKafkaLab } from "./lib/kafka-lab.ts";
import { type BenchOptions, type BenchOutcome, type BenchRow, rowOf } from "./lib/report.ts";
import { percentile } from "./lib/stats.ts";

const COMMIT_MS = 100;
/** What people set first when Kafka Streams is too slow: larger batches, larger polls, a longer linger. */
const TUNED = [
  "producer.batch.size=900000",
  "consumer.max.poll.records=5000",
  "producer.linger.ms=20",
];

/** Enough that the measured part of the fastest lasts 3 s or more, little enough for 12 minutes in all. */
const PLANS: readonly ThroughputPlan[] = [
  { partitions: 1, records: 1_800_000, rounds: 5 },
  { partitions: 4, records: 2_400_000, rounds: 5 },
];
const QUICK_PLANS: readonly ThroughputPlan[] = [
  { partitions: 1, records: 600_000, rounds: 2 },
  { partitions: 4, records: 600_000, rounds: 2 },
];
const SAMPLES = 300;
const QUICK_SAMPLES = 50;

interface Peers {
  readonly speed: readonly Contender[];
  readonly latency: readonly Contender[];
  readonly missing: readonly string[];
  readonly versions: Readonly<Record<string, string>>;
}

async function openPeers(lab: KafkaLab): Promise<Peers> {
  const java = await openJavaPeers(lab.cacheDir, tell);
  if (typeof java === "string") {
    const missing = ["Kafka Streams", "plain Java loop"].map((name) => `${name}: ${java}`);
    return { speed: [], latency: [], missing, versions: {} };
  }
  const commit = (ms: number) => `commit.interval.ms=${ms}`;
  return {
    speed: [
      createStreams("Kafka Streams", java, [commit(COMMIT_MS)]),
      createStreams("Kafka Streams, tuned", java, [commit(COMMIT_MS), ...TUNED]),
      createLoop("plain Java loop", java, COMMIT_MS),
    ],
    latency: [
      createStreams("Kafka Streams, commits every 100 ms", java, [commit(100)]),
      createStreams("Kafka Streams, commits every 10 ms", java, [commit(10)]),
    ],
    missing: [],
    versions: { java: java.javaVersion, "kafka-streams": KAFKA_STREAMS_VERSION },
  };
}

function withoutOurs(figures: ReadonlyMap<string, number>): Record<string, number> {
  return Object.fromEntries([...figures].filter(([name]) => name !== OURS));
}

async function latencyRows(lab: KafkaLab, peers: Peers, samples: number): Promise<BenchRow[]> {
  const all = await measureLatency(
    lab,
    [createOurs(DEFAULT_INTERVAL_MS), ...peers.latency],
    samples,
  );
  return [0.5, 0.99].map((share) => {
    const figures = new Map([...all].map(([name, values]) => [name, percentile(values, share)]));
    const about = {
      case: `latency of one record through one stage, p${share * 100}, ${samples} records`,
      unit: "ms",
      rounds: 1,
      better: "less" as const,
    };
    return rowOf(about, figures.get(OURS)!, withoutOurs(figures));
  });
}

export function bench({ quick }: BenchOptions): Promise<BenchOutcome> {
  return withKafkaLab(async (lab) => {
    const peers = await openPeers(lab);
    const missing = [...peers.missing];
    const rows = await latencyRows(lab, peers, quick ? QUICK_SAMPLES : SAMPLES);
    for (const plan of quick ? QUICK_PLANS : PLANS) {
      const contenders = [createOurs(COMMIT_MS), ...peers.speed];
      const { speeds, faults } = await measureThroughput(lab, contenders, plan);
      missing.push(...faults);
      const about = {
        case: `identity stage, exactly once, 200-byte records, ${plan.partitions} partition${plan.partitions === 1 ? "" : "s"}`,
        unit: "records/s",
        rounds: plan.rounds,
      };
      rows.push(rowOf(about, speeds.get(OURS)!, withoutOurs(speeds)));
    }
    return { packages: ["kafkajs"], versions: peers.versions, rows, missing };
  });
}
