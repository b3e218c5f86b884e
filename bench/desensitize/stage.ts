/**
 * The whole desensitize stage, Kafka to Kafka and exactly once, against a stage that passes the same records on.
 *
 * One partition, a backlog that is there from the start, so lag is at its highest; rounds in turn, medians. Seen from
 * outside: the output's committed end is polled (bench/lane/throughput.ts). Afterwards as many records must be
 * committed as went in.
 */
import { join } from "node:path";
import { MEMORY_ENVIRONMENT, memoryArguments } from "../../pipeline/commands/child-memory.ts";
import { changelogTopicName, deadTopicName, stageGroup, topicName } from "../../schemas/topics.ts";
import { watch } from "../lane/throughput.ts";
import { type KafkaLab, tell, withKafkaLab } from "../lib/kafka-lab.ts";
import { encodeValues, Tally } from "../lib/record-batch.ts";
import { type BenchRow, rowOf } from "../lib/report.ts";
import { median } from "../lib/rounds.ts";
import { makeRecords } from "./records.ts";
import type { StageSettings } from "./stage-worker.ts";

const WORKER = join(import.meta.dirname, "stage-worker.ts");
const COMMIT_MS = 100;
const DIFFERENT_RECORDS = 3_000;
const FETCH_BYTES = 8 * 2 ** 20;
const MIB = 2 ** 20;

interface Measured {
  /** Records a second. */
  readonly speed: number;
  /** Most resident memory of the stage's process, in bytes. */
  readonly rss: number;
}

async function fillRaw(lab: KafkaLab, topic: string, records: number): Promise<void> {
  const batch = encodeValues(makeRecords(DIFFERENT_RECORDS), Date.now());
  for (let sent = 0; sent < records; sent += DIFFERENT_RECORDS) {
    await lab.wire.produce(topic, 0, Buffer.from(batch));
  }
}

/** Committed records of a topic with one partition. */
async function countCommitted(lab: KafkaLab, topic: string): Promise<number> {
  // No record has the length that this tally expects, so it counts each as foreign.
  const all = new Tally([0], -1);
  const [end = 0] = await lab.wire.committedEnds(topic);
  for (let offset = 0; offset < end; ) {
    const fetched = await lab.wire.fetch(topic, 0, offset, FETCH_BYTES);
    const next = all.add(0, offset, fetched.bytes, fetched.aborted);
    if (next === offset) throw new Error(`${topic} cannot be read beyond ${offset}`);
    offset = next;
  }
  return all.result().foreign;
}

async function runStageOnce(
  lab: KafkaLab,
  settings: StageSettings,
  records: number,
): Promise<Measured> {
  const { pipeline } = settings;
  const output = topicName(pipeline, "desensitized");
  const others = [deadTopicName(pipeline, "raw"), changelogTopicName(pipeline, "desensitize")];
  await lab.createTopics([output, ...others], 1);
  const child = lab.start(
    process.execPath,
    [...memoryArguments("desensitize", 1), WORKER, JSON.stringify(settings)],
    true,
  );
  let rss = 0;
  child.onMessage((message) => {
    // Because the worker sends nothing else.
    rss = Math.max(rss, (message as { rss: number }).rss);
  });
  try {
    const { from, to } = await watch(lab, { child, output }, records);
    await child.stop();
    const committed = await countCommitted(lab, output);
    if (committed !== records) throw new Error(`${committed} of ${records} records came out`);
    const seen = (to.end - from.end) * (records / to.end);
    const speed = (seen * 1000) / (to.atMs - from.atMs);
    const who = settings.identity ? "identity" : "desensitize";
    tell(`  ${who}: ${Math.round(speed)} records/s, ${Math.round(rss / MIB)} MiB`);
    return { speed, rss };
  } finally {
    await child.stop();
    await lab.remove([output, ...others], [stageGroup(pipeline, "desensitize")]);
  }
}

/** @param wanted records of the backlog, rounded up to whole batches */
export function measureStage(rounds: number, wanted: number): Promise<BenchRow[]> {
  const records = Math.ceil(wanted / DIFFERENT_RECORDS) * DIFFERENT_RECORDS;
  // Processes here get our environment: both stages start as `run` starts them.
  Object.assign(process.env, MEMORY_ENVIRONMENT);
  return withKafkaLab(async (lab) => {
    const pipeline = `${lab.prefix}-stage`;
    const raw = topicName(pipeline, "raw");
    await lab.createTopics([raw], 1);
    tell(`filling 1 partition with ${records} records`);
    await fillRaw(lab, raw, records);
    const { brokers } = lab;
    const about = { brokers, pipeline, partitions: 1, transactionIntervalMs: COMMIT_MS };
    const ours: Measured[] = [];
    const identity: Measured[] = [];
    for (let round = 0; round < rounds; round++) {
      tell(`round ${round + 1} of ${rounds}`);
      for (const isIdentity of round % 2 === 0 ? [true, false] : [false, true]) {
        const measured = await runStageOnce(lab, { ...about, identity: isIdentity }, records);
        (isIdentity ? identity : ours).push(measured);
      }
    }
    const speeds = (all: readonly Measured[]) => median(all.map(({ speed }) => speed));
    const memory = (all: readonly Measured[]) => Math.max(...all.map(({ rss }) => rss)) / MIB;
    const who = "the identity stage";
    return [
      rowOf(
        { case: "whole stage, Kafka to Kafka, exactly once", unit: "records/s", rounds },
        speeds(ours),
        { [who]: speeds(identity) },
      ),
      rowOf(
        {
          case: `most memory of the stage, ${records} records behind`,
          unit: "MiB",
          rounds,
          better: "less",
        },
        memory(ours),
        { [who]: memory(identity) },
      ),
    ];
  });
}
