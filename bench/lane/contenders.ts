/**
 * Who runs in the lane benchmark: our identity stage and its Java peers, each in a process of its own.
 */
import { join } from "node:path";
import { changelogTopicName, deadTopicName, stageGroup, topicName } from "../../schemas/topics.ts";
import type { Child } from "../lib/child.ts";
import type { JavaPeers } from "../lib/java-peers.ts";
import type { KafkaLab } from "../lib/kafka-lab.ts";
import type { WorkerSettings } from "./worker.ts";

const WORKER = join(import.meta.dirname, "worker.ts");
/** The young generation is sized for batches, as the product's own start does. */
const NODE_FLAGS = ["--max-semi-space-size=64"];

export const OURS = "sealstream";

/** Where a contender reads and writes. */
export interface Place {
  /** Input topic `<pipeline>.desensitized`; the same for everybody. */
  readonly pipeline: string;
  readonly partitions: number;
  /** Tells runs apart, in groups and output topics. */
  readonly run: string;
}

export interface Started {
  readonly child: Child;
  readonly output: string;
  /** Ends it; what it committed can be read until `remove`. */
  readonly stop: () => Promise<void>;
  /** Removes its topics, and a group that the next run would meet. */
  readonly remove: () => Promise<void>;
}

export interface Contender {
  readonly name: string;
  readonly start: (lab: KafkaLab, place: Place) => Promise<Started>;
}

export function inputTopic(pipeline: string): string {
  return topicName(pipeline, "desensitized");
}

/** Default of `kafka.transactionIntervalMs`. */
export const DEFAULT_INTERVAL_MS = 25;

/** Sealstream's identity stage. */
export function createOurs(transactionIntervalMs: number): Contender {
  return {
    name: OURS,
    async start(lab, { pipeline, partitions }) {
      const output = topicName(pipeline, "examples");
      const topics = [
        output,
        deadTopicName(pipeline, "desensitized"),
        changelogTopicName(pipeline, "encrypt"),
      ];
      await lab.createTopics(topics, partitions);
      const settings: WorkerSettings = {
        brokers: lab.brokers,
        pipeline,
        partitions,
        transactionIntervalMs,
      };
      const args = [...NODE_FLAGS, WORKER, JSON.stringify(settings)];
      const child = lab.start(process.execPath, args, true);
      return {
        child,
        output,
        stop: child.stop,
        remove: () => lab.remove(topics, [stageGroup(pipeline, "encrypt")]),
      };
    },
  };
}

function createPeer(
  name: string,
  peers: JavaPeers,
  argsOf: (lab: KafkaLab, group: string, input: string, output: string) => string[],
): Contender {
  return {
    name,
    async start(lab, { pipeline, partitions, run }) {
      const group = `${pipeline}.${run}`;
      const output = `${group}.out`;
      await lab.createTopics([output], partitions);
      const args = argsOf(lab, group, inputTopic(pipeline), output);
      const child = lab.start("java", [...peers.javaArgs, ...args], false);
      return {
        child,
        output,
        stop: child.stop,
        // Its group bears the run's name and is in nobody's way.
        remove: () => lab.remove([output], []),
      };
    },
  };
}

/** Kafka Streams with exactly_once_v2; settings beyond that as `name=value`. */
export function createStreams(
  name: string,
  peers: JavaPeers,
  settings: readonly string[],
): Contender {
  return createPeer(name, peers, (lab, group, input, output) => [
    "StreamsPeer",
    lab.brokers.join(","),
    group,
    input,
    output,
    join(lab.scratch, group),
    ...settings,
  ]);
}

/** The consume-transform-produce loop with Java's plain clients, as they come. */
export function createLoop(name: string, peers: JavaPeers, commitMs: number): Contender {
  return createPeer(name, peers, (lab, group, input, output) => [
    "LoopPeer",
    lab.brokers.join(","),
    group,
    input,
    output,
    String(commitMs),
  ]);
}
