/** A process with one pass-through stage instance, for the chaos test to stop, wake and kill. Arguments: pipeline, brokers. */
import type { Stage } from "../../pipeline/stream/contract.ts";
import { runStage } from "../../pipeline/stream/stage-runner.ts";
import { connect, openChangelog, silentLogger } from "../lib/kafka.ts";

const [pipeline = "", brokers = ""] = process.argv.slice(2);
/** Small transactions, so that faults fall between and inside many of them. */
const RECORDS_PER_STEP = 20;

const stage: Stage<number> = {
  name: "encrypt",
  bounds: { maxRecords: RECORDS_PER_STEP, maxBytes: 1 << 20 },
  openLane: () => ({
    restore: (changelog) => (changelog === null ? 0 : Number(new TextDecoder().decode(changelog))),
    encode: (count) => new TextEncoder().encode(String(count)),
    process: (records, count) => ({
      outputs: records.map(({ key, value }) => ({ role: "examples" as const, key, value })),
      outcomes: [],
      state: count + records.length,
      consumedTo: (records.at(-1)?.offset ?? -1) + 1 || null,
      wakeAtMs: null,
    }),
  }),
};

const client = await connect(brokers.split(","), { sessionTimeoutMs: 3_000 });
await runStage({
  client,
  pipeline,
  partitions: 4,
  transactionIntervalMs: 0,
  stage: stage as Stage,
  changelog: openChangelog,
  sealDeadLetter: () => new Uint8Array(1),
  clock: Date.now,
  logger: silentLogger,
  onProgress: ({ records }) => process.stdout.write(`${records}\n`),
});
