/**
 * The main job, end to end, on a real Kafka: `npm run demo`.
 *
 * Plays every zone with the same commands that users have: makes topics and keys, runs the five stages as processes,
 * feeds labelled forms, waits until they have trained the model, feeds the others, decrypts their predictions, and
 * searches everything but `raw` for personal data. Writes `build/demo.json`.
 */
import { randomBytes } from "node:crypto";
import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import type { Prediction } from "../../pipeline/client/predictions.ts";
import { loadPipelineSpec } from "../../pipeline/spec/load.ts";
import type { PipelineSpec } from "../../pipeline/spec/pipeline-spec.ts";
import { openBroker } from "../../pipeline/stream/broker.ts";
import { createKafkajsClient } from "../../pipeline/stream/kafkajs-client.ts";
import type { KafkaClient, Logger } from "../../pipeline/stream/port.ts";
import { readTopic } from "../../pipeline/stream/tail.ts";
import { STAGES, topicName } from "../../schemas/topics.ts";
import { accuracyWithoutNoise, readFinalModel, score } from "./demo/evaluate.ts";
import {
  freePorts,
  type ProgramOptions,
  type RunningStages,
  runCommand,
  startStages,
} from "./demo/program.ts";
import { type Figures, printLedger, printSummary } from "./demo/report.ts";
import { scanForMarkers } from "./demo/scan.ts";
import { watchFolders } from "./demo/watch.ts";
import { type DigitRecord, digitRecords } from "./records.ts";

const SEED = 20_261_121;
const WAIT_MS = 300_000;
const POLL_MS = 200;

const HERE = import.meta.dirname;
const BUILD = join(HERE, "../../build");
const ROOT = join(BUILD, "demo");
/** Where the stages might leave what they should not: their TMPDIR and their working directory. */
const TEMPORARY = join(ROOT, "tmp");
const WORK = join(ROOT, "work");
const silent: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

const started = performance.now();
function tell(line: string): void {
  process.stderr.write(
    `${((performance.now() - started) / 1000).toFixed(1).padStart(6)} s  ${line}\n`,
  );
}

interface World {
  readonly client: KafkaClient;
  readonly spec: PipelineSpec;
  readonly program: ProgramOptions;
  readonly stages: RunningStages;
}

/** Waits, and shows what the stages do meanwhile. */
async function until(
  world: World,
  what: string,
  condition: () => boolean | Promise<boolean>,
): Promise<void> {
  tell(what);
  const deadline = performance.now() + WAIT_MS;
  let toldAt = performance.now();
  while (!(await Promise.race([condition(), world.stages.failed]))) {
    if (performance.now() > deadline) {
      throw new Error(`waited too long: ${what}`);
    }
    if (performance.now() - toldAt > 3_000) {
      toldAt = performance.now();
      const counts = [...world.stages.reports().values()].map(({ stage, records, notes }) =>
        [
          stage,
          records,
          ...Object.entries(notes).map(([name, value]) => `(${name} ${value})`),
        ].join(" "),
      );
      tell(`  ${counts.join(", ")}`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

async function produce(world: World, name: string, records: readonly DigitRecord[]): Promise<void> {
  const file = join(ROOT, "input", `${name}.ndjson`);
  await writeFile(file, `${records.map(({ form }) => JSON.stringify(form)).join("\n")}\n`);
  await runCommand(world.program, `produce-${name}`, ["produce", world.spec.file, file]);
  tell(`${records.length} ${name} forms produced to ${topicName(world.spec.name, "raw")}`);
}

/** Ids of the records of the training split, lane by lane in log order, out of the clear headers of `examples`. */
async function trainingIds({ client, spec }: World): Promise<string[][]> {
  const lanes: string[][] = [];
  for (let partition = 0; partition < spec.kafka.partitions; partition += 1) {
    const ids: string[] = [];
    await readTopic({
      client,
      topic: topicName(spec.name, "examples"),
      partition,
      apply: ({ key, headers }) => {
        if (Buffer.from(headers["sealstream-split"] ?? []).toString() === "train") {
          ids.push(Buffer.from(key ?? []).toString());
        }
      },
    });
    lanes.push(ids);
  }
  return lanes;
}

/** How many updates these records make: full micro-batches of each lane, then full update batches. */
function expectedUpdates(spec: PipelineSpec, lanes: readonly (readonly string[])[]): number {
  const { microBatchRecords, updateBatchRecords } = spec.train;
  const contributions = lanes.reduce(
    (sum, ids) => sum + Math.floor(ids.length / microBatchRecords),
    0,
  );
  return Math.floor(contributions / (updateBatchRecords / microBatchRecords));
}

function recordsOf({ stages }: World, stage: string): number {
  return stages.reports().get(stage)?.records ?? 0;
}

async function trainModel(world: World, labelled: readonly DigitRecord[]): Promise<string[][]> {
  await produce(world, "labelled", labelled);
  await until(
    world,
    "desensitizing and sealing",
    () => recordsOf(world, "encrypt") >= labelled.length,
  );
  const lanes = await trainingIds(world);
  const updates = expectedUpdates(world.spec, lanes);
  const model = () => Number(world.stages.reports().get("aggregate")?.notes["model"] ?? 0);
  await until(world, `training: ${updates} private updates`, () => model() >= updates);
  // Predictions are to be made with the last model.
  await until(
    world,
    "handing the last model to predict",
    () => Number(world.stages.reports().get("predict")?.notes["model"] ?? updates) >= updates,
  );
  return lanes;
}

async function predict(world: World, unlabelled: readonly DigitRecord[]): Promise<Prediction[]> {
  await produce(world, "unlabelled", unlabelled);
  const predicted = () => Number(world.stages.reports().get("predict")?.notes["predicted"] ?? 0);
  await until(world, "predicting on ciphertexts", () => predicted() >= unlabelled.length);
  const lines = await runCommand(world.program, "predictions", ["predictions", world.spec.file]);
  // Because the command prints one Prediction a line.
  return lines
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Prediction);
}

function stageFigures({ stages }: World): Figures["stages"] {
  return Object.fromEntries(
    STAGES.map((stage) => {
      const report = stages.reports().get(stage);
      return [
        stage,
        {
          records: report?.records ?? 0,
          seconds: report?.busySeconds ?? 0,
          rssMaxBytes: report?.rssMaxBytes ?? 0,
        },
      ];
    }),
  );
}

async function readMetrics(port: number): Promise<string[]> {
  return Promise.all(
    STAGES.map(async (_, index) =>
      (await fetch(`http://127.0.0.1:${port + index}/metrics`)).text(),
    ),
  );
}

/** A pipeline file of its own, under a name that no earlier run on the same brokers has used. */
async function writePipelineFile(): Promise<string> {
  await rm(ROOT, { recursive: true, force: true });
  await mkdir(join(ROOT, "input"), { recursive: true });
  for (const folder of [join(ROOT, "logs"), TEMPORARY, WORK]) {
    await mkdir(folder, { recursive: true });
  }
  const text = await readFile(join(HERE, "pipeline.yaml"), "utf8");
  const file = join(ROOT, "pipeline.yaml");
  await writeFile(
    file,
    text.replace(/^name: digits$/m, `name: digits-${randomBytes(3).toString("hex")}`),
  );
  await copyFile(join(HERE, "form.schema.json"), join(ROOT, "form.schema.json"));
  return file;
}

function load(
  file: string,
  env: Readonly<Record<string, string>>,
  bytes: (path: string) => Uint8Array,
): PipelineSpec {
  const loaded = loadPipelineSpec({ path: file, readFile: bytes, env });
  if (loaded.status === "invalid") {
    throw new Error(
      loaded.complaints.map(({ line, message }) => `${file}:${line}: ${message}`).join("\n"),
    );
  }
  return loaded.spec;
}

async function main(): Promise<void> {
  const { readFileSync } = await import("node:fs");
  const records = digitRecords({
    csvGz: await readFile(join(HERE, "digits_8x8.csv.gz")),
    seed: SEED,
  });
  const labelled = records.filter(({ form }) => form.digit !== undefined);
  const unlabelled = records.filter(({ form }) => form.digit === undefined);
  const named = process.env["KAFKA_BROKERS"] ?? "";
  const broker = await openBroker({
    brokers: named === "" ? [] : named.split(","),
    cacheDir: join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "sealstream"),
    dataDir: null,
    port: null,
    environment: process.env,
    onProgress: tell,
  });
  tell(`Kafka (${broker.kind}) at ${broker.brokers.join(",")}`);
  const file = await writePipelineFile();
  const environment = {
    PATH: process.env["PATH"] ?? "",
    HOME: homedir(),
    TMPDIR: TEMPORARY,
    KAFKA_BROKERS: broker.brokers.join(","),
    PSEUDONYM_KEY: randomBytes(32).toString("hex"),
  };
  const program: ProgramOptions = { environment, logs: join(ROOT, "logs"), cwd: WORK };
  let stages: RunningStages | null = null;
  let client: KafkaClient | null = null;
  try {
    await runCommand(program, "topics", ["topics", file]);
    await runCommand(program, "keys", ["keys", "create", file]);
    tell("topics and keys made, identities pinned");
    const watched = watchFolders([TEMPORARY, WORK, join(ROOT, "keys")]);
    const metricsPort = await freePorts(STAGES.length);
    stages = startStages(program, [file, "--metrics-port", String(metricsPort)]);
    const spec = load(file, environment, readFileSync);
    client = await createKafkajsClient({
      brokers: broker.brokers,
      clientId: "demo",
      compression: "none",
      sessionTimeoutMs: 10_000,
      transactionTimeoutMs: 30_000,
      logger: silent,
    });
    const world: World = { client, spec, program, stages };
    const lanes = await trainModel(world, labelled);
    const predictions = await predict(world, unlabelled);
    const metrics = await readMetrics(metricsPort);
    await stages.stop();
    const seen = await watched.stop();
    await finish(world, { labelled, unlabelled, records, lanes, predictions, metrics, seen });
  } finally {
    await stages?.stop();
    await client?.close();
    await broker.stop();
  }
}

interface Outcome {
  readonly records: readonly DigitRecord[];
  readonly labelled: readonly DigitRecord[];
  readonly unlabelled: readonly DigitRecord[];
  readonly lanes: readonly (readonly string[])[];
  readonly predictions: readonly Prediction[];
  readonly metrics: readonly string[];
  readonly seen: ReadonlyMap<string, Uint8Array | null>;
}

async function finish(world: World, outcome: Outcome): Promise<void> {
  const { client, spec } = world;
  tell("comparing with the truth and with a network without noise");
  const model = await readFinalModel(client, spec, join(ROOT, "keys"));
  const scores = score(spec, outcome.unlabelled, outcome.predictions, model);
  const byId = new Map(outcome.labelled.map((record) => [record.form.formId, record]));
  const train = interleave(outcome.lanes).flatMap((id) => byId.get(id) ?? []);
  const accuracyNotPrivate = await accuracyWithoutNoise({
    spec,
    network: model.network,
    train,
    test: outcome.unlabelled,
  });
  tell("searching everything but raw for personal data");
  const scan = await scanForMarkers({
    client,
    pipeline: spec.name,
    partitions: spec.kafka.partitions,
    records: outcome.records,
    folders: [join(ROOT, "logs"), join(ROOT, "keys"), TEMPORARY, WORK],
    seen: outcome.seen,
    metrics: outcome.metrics,
  });
  for (const { where, encoding, count } of scan.hits) {
    tell(`  personal data in ${where}: ${count} times as ${encoding}`);
  }
  const last = model.entries.at(-1);
  const figures: Figures = {
    records: outcome.records.length,
    predicted: outcome.predictions.length,
    accuracyEncrypted: scores.accuracyEncrypted,
    accuracyPlain: scores.accuracyPlain,
    accuracyNotPrivate,
    agreement: scores.agreement,
    epsilon: last?.epsilon ?? 0,
    delta: last?.delta ?? 0,
    unit: spec.privacy.recordsPerSubject === null ? "record" : "person",
    markerHits: scan.markerHits,
    secondsTotal: (performance.now() - started) / 1000,
    stages: stageFigures(world),
  };
  await writeFile(join(BUILD, "demo.json"), `${JSON.stringify(figures, null, 2)}\n`);
  printSummary(figures, {
    updates: model.entries.length - 1,
    markers: scan.markers,
    bytesScanned: scan.bytesScanned,
  });
  const ledger = await runCommand(world.program, "ledger", ["ledger", spec.file, "--verify"]);
  printLedger(ledger);
  const failures = [
    scores.wrongCount > 0 ? `${scores.wrongCount} records were not predicted exactly once` : null,
    scores.agreement < 0.99 ? "encrypted and plain predictions disagree" : null,
    scan.markerHits > 0 ? "personal data was found outside raw" : null,
    // They may write none: neither temporary ones nor keys.
    outcome.seen.size > 0 ? `stages wrote files: ${[...outcome.seen.keys()].join(", ")}` : null,
  ].filter((failure) => failure !== null);
  if (failures.length > 0) {
    throw new Error(failures.join("; "));
  }
}

/** One of each lane in turn: about the order in which the lanes were trained on. */
function interleave(lanes: readonly (readonly string[])[]): string[] {
  const longest = Math.max(...lanes.map((lane) => lane.length));
  return Array.from({ length: longest }, (_, index) =>
    lanes.flatMap((lane) => lane[index] ?? []),
  ).flat();
}

try {
  await main();
} catch (error) {
  process.stderr.write(
    `\nThe demo failed: ${error instanceof Error ? error.message : "unknown"}\nLogs: ${join(ROOT, "logs")}\n`,
  );
  process.exitCode = 1;
}
