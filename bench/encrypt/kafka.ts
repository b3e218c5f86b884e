/**
 * Rows of writing sealed records to Kafka and reading them open, beside the same records in the clear: one broker, one
 * run, rounds in turn. All work is done by one process (kafka-worker.ts), so that nobody has a warmer one.
 */
import { join } from "node:path";
import type { Child } from "../lib/child.ts";
import { type KafkaLab, withKafkaLab } from "../lib/kafka-lab.ts";
import { type BenchRow, rowOf } from "../lib/report.ts";
import { measure, median } from "../lib/rounds.ts";
import type { KafkaJob, KafkaResult, KafkaWorkerSettings } from "./kafka-worker.ts";

const WORKER = join(import.meta.dirname, "kafka-worker.ts");
/** As in bench/lane/contenders.ts. */
const NODE_FLAGS = ["--max-semi-space-size=64"];
const JOB_TIMEOUT_MS = 120_000;
/** Lanes of one process: while one waits for the broker, another seals. */
const LANES = 4;
const PLAIN = "the same in the clear";

export interface KafkaPlan {
  readonly rounds: number;
  /** Records of one turn. */
  readonly records: number;
}

type Ask = (job: KafkaJob) => Promise<KafkaResult>;

/** Starts the worker; a job at a time. */
async function startWorker(lab: KafkaLab, settings: KafkaWorkerSettings): Promise<Ask> {
  const args = [...NODE_FLAGS, WORKER, JSON.stringify(settings)];
  const child: Child = lab.start(process.execPath, args, true);
  let waiting = Promise.withResolvers<KafkaResult>();
  child.onMessage((message) => {
    // Because the worker sends nothing else.
    const answered = message as KafkaResult | { readonly fault: string };
    if ("fault" in answered) waiting.reject(new Error(`the worker says: ${answered.fault}`));
    else waiting.resolve(answered);
  });
  const answer = async (): Promise<KafkaResult> => {
    const late = setTimeout(
      () => waiting.reject(new Error(`no answer: ${child.failure() ?? "still running"}`)),
      JOB_TIMEOUT_MS,
    );
    try {
      return await waiting.promise;
    } finally {
      clearTimeout(late);
    }
  };
  await answer();
  return (job) => {
    waiting = Promise.withResolvers<KafkaResult>();
    child.send(job);
    return answer();
  };
}

async function rowsFor(
  ask: Ask,
  { what, lanes }: Pick<KafkaJob, "what" | "lanes">,
  plan: KafkaPlan,
): Promise<BenchRow[]> {
  const { rounds } = plan;
  // As many records whatever the lanes, so that a turn lasts as long.
  const records = plan.records / lanes;
  const cpu = { ours: [] as number[], plain: [] as number[] };
  const turnOf = (sealed: boolean) => async () => {
    const result = await ask({ what, sealed, lanes, records });
    cpu[sealed ? "ours" : "plain"].push(result.cpu);
    return result.rate;
  };
  const speeds = await measure(
    [
      { name: "ours", turn: turnOf(true) },
      { name: PLAIN, turn: turnOf(false) },
    ],
    { unitsPerRun: plan.records, rounds, turnMs: 0 },
  );
  const verb = what === "produce" ? "seal and produce" : "consume and open";
  const title = `${verb} 1 KiB, ${lanes} partition${lanes === 1 ? "" : "s"}`;
  const about = { case: title, unit: "records/s", rounds };
  const spent = { case: `${title}: CPU of our process`, unit: "us/record", rounds };
  // The first turn of each is not measured.
  const [ours, plain] = [median(cpu.ours.slice(1)), median(cpu.plain.slice(1))];
  return [
    rowOf(about, speeds.get("ours")!, { [PLAIN]: speeds.get(PLAIN)! }),
    rowOf({ ...spent, better: "less" }, ours, { [PLAIN]: plain }),
  ];
}

export function kafkaRows(plan: KafkaPlan): Promise<BenchRow[]> {
  return withKafkaLab(async (lab) => {
    const plainTopic = `${lab.prefix}-plain`;
    const sealedTopic = `${lab.prefix}-sealed`;
    await lab.createTopics([plainTopic, sealedTopic], LANES);
    const { brokers, prefix } = lab;
    const ask = await startWorker(lab, {
      brokers,
      prefix,
      plainTopic,
      sealedTopic,
      lanes: LANES,
    });
    const rows: BenchRow[] = [];
    // Produced first: it is what is consumed.
    for (const what of ["produce", "consume"] as const) {
      for (const lanes of [1, LANES]) rows.push(...(await rowsFor(ask, { what, lanes }, plan)));
    }
    return rows;
  });
}
