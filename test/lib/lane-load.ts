/**
 * A pass-through stage under a steady load on a real broker: how tests of scaling and faults are fed, watched, judged.
 *
 * What is expected is never assumed: it is what lies in `raw` once the load has ended, which holds every value whose
 * send was acknowledged. A value says its lane and its number, so that loss, doubling and order show.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import type {
  LaneBounds,
  OutputRecord,
  Stage,
  StreamRecord,
} from "../../pipeline/stream/contract.ts";
import type { KafkaClient, PlainProducer } from "../../pipeline/stream/port.ts";
import { runStage, type StageRunner } from "../../pipeline/stream/stage-runner.ts";
import { topicName } from "../../schemas/topics.ts";
import { connect, openChangelog, readAll, silentLogger } from "./kafka.ts";

const TICK_MS = 40;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** `desensitize` that changes nothing; its state counts records, so that the changelog is in every transaction. */
export function passThrough(
  bounds: LaneBounds = { maxRecords: 500, maxBytes: 1 << 20 },
  before: (records: readonly StreamRecord[]) => void | Promise<void> = () => undefined,
): Stage {
  const stage: Stage<number> = {
    name: "desensitize",
    bounds,
    openLane: () => ({
      restore: (changelog) => (changelog === null ? 0 : Number(decoder.decode(changelog))),
      encode: (count) => encoder.encode(String(count)),
      async process(records, count) {
        await before(records);
        return {
          outputs: records.map(
            ({ key, value }): OutputRecord => ({ role: "desensitized", key, value }),
          ),
          outcomes: [],
          state: count + records.length,
          consumedTo: (records.at(-1)?.offset ?? -1) + 1 || null,
          wakeAtMs: null,
        };
      },
    }),
  };
  // Because the runner hands a stage only states that this stage made.
  return stage as Stage;
}

export interface Commit {
  readonly lane: number;
  readonly atMs: number;
  readonly records: number;
}

/** One instance of a stage in this process, with a client of its own. */
export interface Instance {
  readonly name: string;
  readonly runner: StageRunner;
  /** Lanes of each assignment so far. */
  readonly assignments: number[][];
  readonly commits: Commit[];
  /** Codes of lanes that started again. */
  readonly failures: string[];
  lanes(): readonly number[];
  stop(): Promise<void>;
}

export interface InstanceOptions {
  readonly name: string;
  readonly brokers: readonly string[];
  readonly pipeline: string;
  readonly partitions: number;
  readonly sessionTimeoutMs: number;
  readonly stage?: Stage;
  readonly skipsExpired?: boolean;
}

export async function startInstance(options: InstanceOptions): Promise<Instance> {
  const { name, brokers, pipeline, partitions, sessionTimeoutMs } = options;
  const client = await connect(brokers, { sessionTimeoutMs });
  const [assignments, commits, failures]: [number[][], Commit[], string[]] = [[], [], []];
  const runner = await runStage({
    client,
    pipeline,
    partitions,
    transactionIntervalMs: 25,
    skipsExpired: options.skipsExpired ?? false,
    stage: options.stage ?? passThrough(),
    changelog: openChangelog,
    sealDeadLetter: ({ record }) => encoder.encode(`sealed ${record.offset}`),
    clock: Date.now,
    logger: silentLogger,
    onProgress: ({ lane, records }) => {
      if (records > 0) {
        commits.push({ lane, records, atMs: performance.now() });
      }
    },
    onFailure: (code) => failures.push(code),
    onAssignment: (lanes) => assignments.push([...lanes]),
  });
  return {
    name,
    runner,
    assignments,
    commits,
    failures,
    lanes: () => assignments.at(-1) ?? [],
    async stop() {
      await runner.stop();
      await client.close();
    },
  };
}

export interface Load {
  /** Records acknowledged in each lane. */
  readonly acknowledged: readonly number[];
  /** When each acknowledgement came, by lane. */
  readonly times: readonly number[][];
  /** Ends the load; everything it sent is acknowledged. */
  stop(): Promise<void>;
}

/** Sends numbered records to every lane, evenly over time; a failed send is tried again until it is acknowledged. */
export function startLoad(options: {
  readonly client: KafkaClient;
  readonly pipeline: string;
  readonly partitions: number;
  readonly perSecond: number;
}): Load {
  const { client, pipeline, partitions, perSecond } = options;
  const topic = topicName(pipeline, "raw");
  const acknowledged = Array.from({ length: partitions }, () => 0);
  const times = Array.from({ length: partitions }, (): number[] => []);
  let stopping = false;

  async function feed(lane: number): Promise<void> {
    let producer: PlainProducer | null = null;
    const startedAt = performance.now();
    let sent = 0;
    while (!stopping) {
      const due = Math.floor(((performance.now() - startedAt) * perSecond) / partitions / 1000);
      const values = Array.from({ length: due - sent }, (_, index) => `${lane}:${sent + index}`);
      try {
        producer ??= await client.createPlainProducer();
        if (values.length > 0) {
          await producer.send(
            topic,
            values.map((value) => ({
              key: null,
              value: encoder.encode(value),
              partition: lane,
            })),
          );
          sent = due;
          acknowledged[lane] = due;
          times[lane]?.push(performance.now());
        }
      } catch {
        // Because a broker is meant to fail here; what was not acknowledged is sent again by a new producer.
        await producer?.close();
        producer = null;
      }
      await sleep(TICK_MS);
    }
    await producer?.close();
  }

  const feeds = Array.from({ length: partitions }, (_, lane) => feed(lane));
  return {
    acknowledged,
    times,
    async stop() {
      stopping = true;
      await Promise.all(feeds);
    },
  };
}

/** Values of a topic, lane by lane. */
export async function valuesOf(
  client: KafkaClient,
  topic: string,
  partitions: number,
): Promise<string[][]> {
  return (await readAll(client, topic, partitions)).map((records) =>
    records.map(({ value }) => decoder.decode(value ?? undefined)),
  );
}

/** Compares what came out with what lies in `raw`. @returns records in all */
export async function expectExactlyOnce(
  client: KafkaClient,
  pipeline: string,
  load: Load,
): Promise<number> {
  const partitions = load.acknowledged.length;
  const raw = await valuesOf(client, topicName(pipeline, "raw"), partitions);
  const out = await valuesOf(client, topicName(pipeline, "desensitized"), partitions);
  for (const [lane, values] of raw.entries()) {
    const wanted = Array.from(
      { length: load.acknowledged[lane] ?? 0 },
      (_, index) => `${lane}:${index}`,
    );
    const unique = [...new Set(values)];
    expect(unique.slice(0, wanted.length), `raw of lane ${lane}`).toEqual(wanted);
    expect(out[lane], `output of lane ${lane}`).toEqual(values);
  }
  return raw.flat().length;
}

/** Records in `raw` now. */
export async function rawCount(
  client: KafkaClient,
  pipeline: string,
  partitions: number,
): Promise<number> {
  let count = 0;
  for (let lane = 0; lane < partitions; lane += 1) {
    count += (await client.offsets(topicName(pipeline, "raw"), lane)).latest;
  }
  return count;
}

/** Records committed by all instances. */
export function committed(instances: readonly Instance[]): number {
  return instances.flatMap(({ commits }) => commits).reduce((sum, { records }) => sum + records, 0);
}

/** Longest time without an event, of those that touch from..to. */
export function longestGapMs(times: readonly number[], fromMs: number, toMs: number): number {
  const sorted = [...times].sort((a, b) => a - b);
  return sorted.reduce((longest, time, index) => {
    const before = sorted[index - 1];
    const touches = before !== undefined && time > fromMs && before < toMs;
    return touches ? Math.max(longest, time - before) : longest;
  }, 0);
}
