/** What the tests of dead letters need: the commands as processes, and counts of what lies in the topics. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import kafkajs from "kafkajs";
import { type Finished, runProgram } from "../../examples/digits/demo/program.ts";
import type { ListedLetter } from "../../pipeline/commands/dead-letters/list.ts";
import type { KafkaClient, ProducerRecord } from "../../pipeline/stream/port.ts";
import { topicName } from "../../schemas/topics.ts";
import { readAll } from "./kafka.ts";
import type { TestPipeline } from "./pipeline.ts";

const PROGRAM = join(import.meta.dirname, "../../bin/sealstream.js");
const text = new TextDecoder();

/** One line of `replay --json`. */
export interface Verdict {
  readonly letter: string;
  readonly verdict: string;
  readonly reason: string | null;
}

export interface Replay {
  readonly code: number | null;
  /** How often each came. */
  readonly verdicts: ReadonlyMap<string, number>;
  readonly all: readonly Verdict[];
  /** Everything that was printed. */
  readonly printed: string;
}

export interface DeadLetterWorld {
  deadLetters(...args: string[]): Promise<Finished>;
  list(...args: string[]): Promise<ListedLetter[]>;
  replay(...args: string[]): Promise<Replay>;
  /** Starts a replay and kills it after its first transaction. @returns whether it was killed before it ended */
  replayAndKill(delayMs: number, ...args: string[]): Promise<boolean>;
  send(topic: string, records: readonly ProducerRecord[], partition: number): Promise<void>;
  count(topic: string): Promise<number>;
  /** Removes what lies in a partition, as retention does. */
  expire(topic: string, partition: number): Promise<void>;
  /** How often each id stands as a record key. */
  keysOf(role: "desensitized" | "examples"): Promise<Map<string, number>>;
  /** How often a record of each form id was put back by a replay. */
  putBack(role: "raw" | "desensitized"): Promise<Map<string, number>>;
}

function lines<T>(out: string): T[] {
  return out
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as T);
}

function countOf(ids: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const id of ids) counts.set(id, (counts.get(id) ?? 0) + 1);
  return counts;
}

export function createWorld(
  client: KafkaClient,
  pipeline: TestPipeline,
  { lanes, brokers }: { lanes: number; brokers: readonly string[] },
): DeadLetterWorld {
  let runs = 0;
  const deadLetters = (...[action = "", ...rest]: string[]): Promise<Finished> => {
    runs += 1;
    const args = ["dead-letters", action, pipeline.file, ...rest];
    return runProgram(pipeline.program, `dead-letters-${runs}`, args);
  };
  const read = async (topic: string) => (await readAll(client, topic, lanes)).flat();
  return {
    deadLetters,
    async list(...args) {
      const { code, out, err } = await deadLetters("list", "--json", ...args);
      if (code !== 0) throw new Error(err);
      return lines<ListedLetter>(out);
    },
    async replay(...args) {
      const { code, out, err } = await deadLetters("replay", "--json", ...args);
      const all = lines<Verdict>(out);
      return { code, all, printed: out + err, verdicts: countOf(all.map((one) => one.verdict)) };
    },
    async replayAndKill(delayMs, ...args) {
      const child = spawn(
        process.execPath,
        [PROGRAM, "dead-letters", "replay", pipeline.file, ...args],
        { env: pipeline.program.environment, stdio: ["ignore", "pipe", "ignore"] },
      );
      let replayed = false;
      child.stdout.on("data", (chunk: Buffer) => {
        if (replayed || !chunk.includes("  replayed")) return;
        replayed = true;
        setTimeout(() => child.kill("SIGKILL"), delayMs);
      });
      const by = await new Promise((resolve) =>
        child.once("close", (_code, signal) => resolve(signal)),
      );
      return by === "SIGKILL";
    },
    async send(topic, records, partition) {
      const producer = await client.createPlainProducer();
      await producer.send(
        topic,
        records.map((record) => ({ ...record, partition })),
      );
      await producer.close();
    },
    async expire(topic, partition) {
      const { NOTHING: logLevel } = kafkajs.logLevel;
      const admin = new kafkajs.Kafka({ brokers: [...brokers], logLevel }).admin();
      await admin.connect();
      // Because deleting looks into metadata that it does not load itself.
      await admin.fetchTopicOffsets(topic);
      await admin.deleteTopicRecords({ topic, partitions: [{ partition, offset: "-1" }] });
      await admin.disconnect();
    },
    count: async (topic) => (await read(topic)).length,
    async keysOf(role) {
      const records = await read(topicName(pipeline.name, role));
      return countOf(records.map(({ key }) => text.decode(key ?? undefined)));
    },
    async putBack(role) {
      const records = await read(topicName(pipeline.name, role));
      const back = records.filter(({ headers }) => headers["sealstream-replays"] !== undefined);
      return countOf(
        back.map(
          ({ value }) => (JSON.parse(text.decode(value ?? undefined)) as { formId: string }).formId,
        ),
      );
    },
  };
}
