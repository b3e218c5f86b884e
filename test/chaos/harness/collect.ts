/** Gathers a run's evidence: the console consumer's view of every topic, and what two commands of the program say. */

import { runProgram } from "../../../examples/digits/demo/program.ts";
import type { LedgerRange } from "../../../pipeline/privacy/ledger-entry.ts";
import type { KafkaClient } from "../../../pipeline/stream/port.ts";
import type { TestPipeline } from "../../lib/pipeline.ts";
import { type PrintedRecord, printedBytes, readWithConsole } from "./console-reader.ts";
import { type Evidence, READ_TOPICS, type ReadTopic } from "./hops.ts";

/**
 * What one console consumer reads together, since each is a Java process: topics whose records can be told apart by their
 * headers, for it does not print the topic. Nothing in `raw` has headers: the feeder writes none.
 */
const GROUPS: readonly (readonly ReadTopic[])[] = [
  ["raw", "examples", "packs"],
  ["desensitized", "predictions", "contributions"],
  [
    ...(["raw.dead", "desensitized.dead", "examples.dead", "packs.dead"] as const),
    ...(["contributions.dead", "ledger"] as const),
  ],
];
/** A reader ends when nothing has come for this long; one that ended early, on a busy machine, is given longer. */
const QUIET_MS = [5_000, 15_000, 45_000] as const;
/** What may stand behind the last record: markers of transactions, and a little that was aborted. */
const TRAILING = 3;

export interface CollectOptions {
  readonly libs: string;
  readonly brokers: readonly string[];
  readonly pipeline: TestPipeline;
  readonly client: KafkaClient;
  readonly signal: AbortSignal;
}

export interface Collected {
  readonly evidence: Omit<Evidence, "acknowledged" | "doubtful">;
  readonly findings: readonly string[];
}

/** The topic of the group that a record is of, by the headers that its writer gives it. */
export function topicOf(group: readonly ReadTopic[], { headers }: PrintedRecord): ReadTopic {
  const failed = headers["__connect.errors.topic"];
  const ends = (name: ReadTopic): boolean =>
    failed?.endsWith(`.${name.replace(/\.dead$/, "")}`) === true;
  const byHeader = group.find((name) => {
    if (name.endsWith(".dead")) return ends(name);
    if (name === "examples") return headers["sealstream-split"] !== undefined;
    if (name === "contributions") return headers["sealstream-lane"] !== undefined;
    return (name === "packs" || name === "predictions") && headers["sealstream-type"] !== undefined;
  });
  const plain = group.find((name) => ["raw", "desensitized", "ledger"].includes(name));
  const topic = byHeader ?? plain;
  if (topic === undefined) {
    throw new Error("a group of topics without a plain one");
  }
  return topic;
}

type Read = Map<ReadTopic, PrintedRecord[][]>;

/** Sorts what was printed into topics and partitions; a consumer that began again repeats offsets, which are one record. */
function sortOut(group: readonly ReadTopic[], printed: readonly PrintedRecord[]): Read {
  const read: Read = new Map(
    group.map((name) => [name, Array.from({ length: READ_TOPICS[name] }, () => [])]),
  );
  for (const record of printed) {
    const lane = read.get(topicOf(group, record))?.[record.partition];
    if (lane !== undefined && record.offset > (lane.at(-1)?.offset ?? -1)) {
      lane.push(record);
    }
  }
  return read;
}

/** Whether every partition was read up to its end, as far as one can tell from outside. */
async function seemsWhole({ client, pipeline }: CollectOptions, read: Read): Promise<boolean> {
  for (const [name, lanes] of read) {
    for (const [partition, lane] of lanes.entries()) {
      const { latest } = await client.offsets(`${pipeline.name}.${name}`, partition);
      if ((lane.at(-1)?.offset ?? -1) + 1 + TRAILING < latest) return false;
    }
  }
  return true;
}

/**
 * Reads a group of topics, again and longer while it seems that the reader ended before the log did. What the last
 * attempt has read counts: whatever it lacks is missing.
 */
async function readGroup(options: CollectOptions, group: readonly ReadTopic[]): Promise<Read> {
  const { pipeline, libs, brokers, signal } = options;
  const topics = group.map((name) => `${pipeline.name}.${name}`);
  let read: Read = new Map();
  let count = 0;
  for (const quietMs of QUIET_MS) {
    const printed = await readWithConsole({
      libs,
      brokers,
      topics,
      values: false,
      quietMs,
      signal,
    });
    read = sortOut(group, printed);
    // Longer did not show more: what stands behind the last records was aborted.
    if ((count > 0 && printed.length === count) || (await seemsWhole(options, read))) break;
    count = printed.length;
  }
  return read;
}

async function readTopics(options: CollectOptions): Promise<Evidence["topics"]> {
  const read = await Promise.all(GROUPS.map((group) => readGroup(options, group)));
  // Because the groups hold every topic of the table.
  return Object.fromEntries(read.flatMap((group) => [...group])) as unknown as Evidence["topics"];
}

function jsonLines(text: string): unknown[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
}

/** Reads everything there is. @throws Error when a reader or command cannot do its work */
export async function collect(options: CollectOptions): Promise<Collected> {
  const { pipeline } = options;
  const topics = await readTopics(options);
  const predicted = await runProgram(pipeline.program, "predictions", [
    "predictions",
    pipeline.file,
  ]);
  const ledger = await runProgram(pipeline.program, "ledger", [
    ...["ledger", pipeline.file, "--verify", "--json"],
  ]);
  const findings: string[] = [];
  if (predicted.code !== 0 || predicted.err.includes("are missing")) {
    findings.push(`sealstream predictions: ${predicted.err.trim()}`);
  }
  if (ledger.code !== 0) {
    findings.push(`sealstream ledger --verify: ${ledger.err.trim()}`);
  }
  // Because these are the program's own lines: predictions, and entries of the ledger.
  const predictions = jsonLines(predicted.out) as { recordId: string; lane: number }[];
  const entries = jsonLines(ledger.out) as { ranges: LedgerRange[] }[];
  const ledgerRanges = entries.flatMap(({ ranges }) =>
    ranges.map(({ lane, from, to }) => `${lane}/${from}-${to}`),
  );
  const evidence = { topics, predictions, ledgerRanges, ledgerEntries: entries.length };
  return { evidence, findings };
}

/** Writes a record again, with an ordinary producer: what the check must find. */
export async function writeAgain(
  client: KafkaClient,
  topic: string,
  record: PrintedRecord,
): Promise<void> {
  const producer = await client.createPlainProducer();
  const key = record.key === null ? null : printedBytes(record.key);
  const headers = Object.fromEntries(
    Object.entries(record.headers).map(([name, value]) => [name, printedBytes(value)]),
  );
  const value = Buffer.from("again");
  await producer.send(topic, [{ key, value, headers, partition: record.partition }]);
  await producer.close();
}
