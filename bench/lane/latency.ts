/**
 * From producing one record to reading it committed at the other end of one stage, at light load.
 *
 * One record every 200 ms goes to each contender through a plain idempotent producer, and a read_committed reader
 * waits on its output; clock, producer and reader are in this process, the stages are not. All contenders stand side
 * by side, and their records are staggered within the 200 ms, so that a slow minute of the machine hits everybody.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { KafkaClient } from "../../pipeline/stream/port.ts";
import { type KafkaLab, tell, VALUE_BYTES } from "../lib/kafka-lab.ts";
import { type Contender, inputTopic, type Started } from "./contenders.ts";

const PACE_MS = 200;
/** Records before the first that counts: the join, the connections and the compilers. */
const WARM_RECORDS = 25;
const FIRST_TIMEOUT_MS = 60_000;
const ARRIVE_TIMEOUT_MS = 30_000;
const FETCH = { maxBytes: 1 << 20, maxWaitMs: 500 };

/** Where records of one contender are sent and awaited. */
interface Line {
  readonly started: Started;
  /** Sends the next record. */
  send(): Promise<void>;
  /** Latencies in milliseconds by number; undefined: not there yet. */
  readonly latencies: readonly (number | undefined)[];
  readonly sent: () => number;
  close(): Promise<void>;
}

async function openLine(client: KafkaClient, started: Started, input: string): Promise<Line> {
  const producer = await client.createPlainProducer();
  const reader = await client.createReader(started.output, 0, 0);
  const sentAt: number[] = [];
  const latencies: (number | undefined)[] = [];
  let closing = false;
  const reading = (async () => {
    while (!closing) {
      const { records } = await reader.fetch(FETCH);
      const nowMs = performance.now();
      for (const { value } of records) {
        const number = value === null ? -1 : Buffer.from(value).readUInt32BE(4);
        const from = sentAt[number];
        if (from === undefined || latencies[number] !== undefined) {
          throw new Error(`${started.output} holds a record that was not sent, or twice`);
        }
        latencies[number] = nowMs - from;
      }
    }
  })();
  let broken: unknown = null;
  reading.catch((error: unknown) => {
    // Because closing a reader ends its fetch with an error.
    if (!closing) broken = error;
  });
  return {
    started,
    latencies,
    sent: () => sentAt.length,
    async send() {
      if (broken !== null) throw broken;
      const value = Buffer.alloc(VALUE_BYTES, "sealstream ");
      value.writeUInt32BE(0, 0);
      value.writeUInt32BE(sentAt.length, 4);
      sentAt.push(performance.now());
      await producer.send(input, [{ key: null, value, partition: 0 }]);
    },
    async close() {
      closing = true;
      await reader.close();
      await producer.close();
    },
  };
}

/** Waits until all that was sent has arrived. */
async function arrive({ started, latencies, sent }: Line, timeoutMs: number): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  // Because `latencies` is filled in order of arrival, holes are counted too.
  while (latencies.filter((one) => one !== undefined).length < sent()) {
    const failure = started.child.failure();
    if (failure !== null) throw new Error(failure);
    if (performance.now() > deadline) throw new Error("a record did not arrive");
    await sleep(5);
  }
}

/** Sends `count` records at the pace, the first after `offsetMs`. */
async function pace(line: Line, count: number, offsetMs: number): Promise<void> {
  const startMs = performance.now() + offsetMs;
  for (let i = 0; i < count; i++) {
    await sleep(Math.max(0, startMs + i * PACE_MS - performance.now()));
    await line.send();
  }
  await arrive(line, ARRIVE_TIMEOUT_MS);
}

/** Latencies in milliseconds of `samples` records, by contender. @throws Error when any record is lost or doubled */
export async function measureLatency(
  lab: KafkaLab,
  contenders: readonly Contender[],
  samples: number,
): Promise<ReadonlyMap<string, readonly number[]>> {
  tell(`latency: ${samples} records, one every ${PACE_MS} ms`);
  const lines: Line[] = [];
  try {
    for (const [index, contender] of contenders.entries()) {
      const pipeline = `${lab.prefix}-l${index}`;
      await lab.createTopics([inputTopic(pipeline)], 1);
      const started = await contender.start(lab, { pipeline, partitions: 1, run: "latency" });
      const line = await openLine(lab.client, started, inputTopic(pipeline));
      lines.push(line);
      await line.send();
      await arrive(line, FIRST_TIMEOUT_MS);
    }
    const stagger = PACE_MS / lines.length;
    await Promise.all(lines.map((line, i) => pace(line, WARM_RECORDS, i * stagger)));
    await Promise.all(lines.map((line, i) => pace(line, samples, i * stagger)));
    return new Map(
      contenders.map(({ name }, i) => [
        name,
        // Because `arrive` saw that none is missing.
        lines[i]!.latencies.slice(-samples).map((one) => one!),
      ]),
    );
  } finally {
    for (const line of lines) {
      await line.close();
      await line.started.stop();
      await line.started.remove();
    }
  }
}
