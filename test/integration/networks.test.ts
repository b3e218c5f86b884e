/**
 * Kinds of networks and models on the real broker, from raw records to decrypted predictions: a convolution in slots, a
 * recurrent network in batches that the consumer may know, and a model that predict has as ciphertexts alone. What the consumer decrypts is the plain network's, for the model version that the result names.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterAll, beforeAll, expect, inject, it } from "vitest";
import { type RunningStages, runProgram } from "../../examples/digits/demo/program.ts";
import type { DigitRecord } from "../../examples/digits/records.ts";
import type { Prediction } from "../../pipeline/client/predictions.ts";
import { produceLines } from "../../pipeline/client/produce.ts";
import { trustRoot } from "../../pipeline/commands/context.ts";
import { createKeyDirectory } from "../../pipeline/crypto/directory.ts";
import { openKeyStore } from "../../pipeline/crypto/key-store.ts";
import { forward } from "../../pipeline/network/forward.ts";
import { decodeCheckpoint } from "../../pipeline/network/safetensors.ts";
import type { ModelForm } from "../../pipeline/privacy/model-blob.ts";
import { createModelReader, type ReadModel } from "../../pipeline/privacy/model-reader.ts";
import type { KafkaClient } from "../../pipeline/stream/port.ts";
import { readTopic } from "../../pipeline/stream/tail.ts";
import { type TopicRole, topicName } from "../../schemas/topics.ts";
import { connect, readAll } from "../lib/kafka.ts";
import { digits, makePipeline, type TestPipeline, untilStages } from "../lib/pipeline.ts";

/** An update takes 64 records, of which nine in ten train. */
const FOR_ONE_UPDATE = 80;
const UNLABELLED = 12;
const MOST_GREY = 16;
/** Three pipelines share the machine. */
const TIMEOUT_MS = 300_000;

const all = digits();
const labelled = all.filter(({ form }) => form.digit !== undefined);
const unlabelled = all.filter(({ form }) => form.digit === undefined);

let client: KafkaClient;
const made: TestPipeline[] = [];
const running: RunningStages[] = [];

beforeAll(async () => {
  client = await connect(inject("brokers"));
});

afterAll(async () => {
  await Promise.all(running.map((stages) => stages.stop()));
  for (const pipeline of made) pipeline.remove();
  await client?.close();
});

interface Setup {
  /** Lines of `train.network`. */
  readonly network: readonly string[];
  readonly predict: string;
  /** The record keeps the mean of each row of its image instead of the image. */
  readonly rowMeans?: boolean;
}

interface Run {
  readonly pipeline: TestPipeline;
  readonly stages: RunningStages;
}

const networkLines = (layers: readonly string[]) =>
  layers.map((layer) => `    - { ${layer} }\n`).join("");

function withNetwork(file: string, layers: readonly string[]): string {
  return file.replace(/^ {2}network:\n(?: {4}- .*\n)+/m, `  network:\n${networkLines(layers)}`);
}

/** Records as a pipeline of these settings takes them. */
function shaped({ rowMeans = false }: Setup, records: readonly DigitRecord[]): DigitRecord[] {
  if (!rowMeans) return [...records];
  return records.map(({ form, truth }) => {
    const rows = Array.from({ length: 8 }, (_, row) => form.pixels.slice(8 * row, 8 * row + 8));
    const mean = (row: readonly number[]) => Math.round(row.reduce((a, b) => a + b, 0) / 8);
    return { truth, form: { ...form, pixels: rows.map(mean) } };
  });
}

/** Ceremonies follow each other; pipelines run side by side. */
let lastMade: Promise<unknown> = Promise.resolve();

async function start(setup: Setup): Promise<Run> {
  const making = lastMade.then(() => make(setup));
  lastMade = making.catch(() => undefined);
  const pipeline = await making;
  made.push(pipeline);
  const stages = pipeline.start();
  running.push(stages);
  return { pipeline, stages };
}

function make(setup: Setup): Promise<TestPipeline> {
  return makePipeline(
    inject("brokers"),
    (file) =>
      withNetwork(file, setup.network)
        .replace("partitions: 4", "partitions: 1")
        .replace(
          "lingerMs: 500, maxBytesPerRecord: 200000",
          "lingerMs: 300, maxBytesPerRecord: 400000",
        )
        .replace("predict: { packing: auto }", `predict: { workers: 1, ${setup.predict} }`)
        .replace("length: 64", `length: ${setup.rowMeans === true ? 8 : 64}`),
    {
      async before({ folder }) {
        if (setup.rowMeans !== true) return;
        const schema = join(folder, "form.schema.json");
        const text = readFileSync(schema, "utf8").replaceAll(/("m..Items": )64/g, "$18");
        writeFileSync(schema, text);
      },
    },
  );
}

const note = (stages: RunningStages, stage: string, name: string) =>
  Number(stages.reports().get(stage)?.notes[name] ?? -1);

/** As the command does, without a process for it. */
async function produce(pipeline: TestPipeline, records: readonly DigitRecord[]): Promise<void> {
  const lines = records.map(({ form }) => `${JSON.stringify(form)}\n`).join("");
  const input = Readable.from([Buffer.from(lines)]);
  const { signal } = new AbortController();
  const spec = pipeline.spec();
  await produceLines({ client, spec, input, signal, onProgress: () => undefined });
}

/** Produces unlabelled records and waits for what the consumer decrypts. @param from first record to take */
async function predict(
  { pipeline, stages }: Run,
  setup: Setup,
  from = 0,
): Promise<{ predictions: Prediction[]; records: DigitRecord[] }> {
  const records = shaped(setup, unlabelled.slice(from, from + UNLABELLED));
  await produce(pipeline, records);
  await untilStages(
    stages,
    "all are predicted",
    () => note(stages, "predict", "predicted") >= from + UNLABELLED,
  );
  const read = await pipeline.predictions();
  expect(read).toHaveLength(from + UNLABELLED);
  const ids = new Set(records.map(({ form }) => form.formId));
  return { records, predictions: read.filter(({ recordId }) => ids.has(recordId)) };
}

/** Makes so many updates in all, of one batch of records each. */
async function train(
  { pipeline, stages }: Run,
  setup: Setup,
  { from, to }: { readonly from: number; readonly to: number },
): Promise<void> {
  const records = labelled.slice(from * FOR_ONE_UPDATE, to * FOR_ONE_UPDATE);
  await produce(pipeline, shaped(setup, records));
  await untilStages(
    stages,
    `predict has model ${to}`,
    () => note(stages, "predict", "model") >= to,
  );
}

/** The newest model of a form that the keys of a stage open. */
async function modelOf(
  pipeline: TestPipeline,
  reader: { holder: "aggregate" | "predict"; form: ModelForm },
): Promise<ReadModel | null> {
  const { holder, form } = reader;
  const keys = await openKeyStore({ folder: join(pipeline.keys, holder), holder });
  const purpose = holder === "aggregate" ? "contribution-unwrap" : "model-unwrap";
  const directory = createKeyDirectory({
    pipeline: pipeline.name,
    ...trustRoot(pipeline.spec()),
    unwrapKeys: () => keys.unwrapAll(purpose),
  });
  const models = createModelReader({ pipeline: pipeline.name, directory, form });
  const topic = (role: TopicRole) => topicName(pipeline.name, role);
  const follow = (role: TopicRole, apply: Parameters<typeof readTopic>[0]["apply"]) =>
    readTopic({ client, topic: topic(role), apply });
  await readTopic({
    client,
    topic: topic("keys"),
    apply: ({ key, value }) => directory.apply(key, value),
    isolation: "uncommitted",
  });
  await follow("models", ({ key, value }) => models.applyModel(key, value));
  await follow("ledger", ({ value, offset }) => models.applyLedger(value, offset));
  return models.newest();
}

/** Compares every score with the plain network's of the model that the prediction names. */
async function expectPlain(
  pipeline: TestPipeline,
  { predictions, records }: { predictions: readonly Prediction[]; records: readonly DigitRecord[] },
): Promise<ReadModel> {
  const model = (await modelOf(pipeline, { holder: "aggregate", form: "plain" }))!;
  const { network, weights } = decodeCheckpoint(model.checkpoint);
  expect(predictions).toHaveLength(records.length);
  for (const { form } of records) {
    const found = predictions.find(({ recordId }) => recordId === form.formId)!;
    expect(found).toMatchObject({
      modelVersion: model.entry.modelVersion,
      runId: model.entry.runId,
      ledgerEntryHash: model.entryHash,
    });
    const logits = forward(
      network,
      weights,
      form.pixels.map((grey) => grey / MOST_GREY),
    );
    const errors = found.scores.map((score, index) =>
      Math.abs(score - (logits[index] ?? Infinity)),
    );
    expect(Math.max(...errors)).toBeLessThanOrEqual(2 ** -found.precisionBits);
    // Not because they say nothing.
    expect(found.precisionBits).toBeGreaterThanOrEqual(1);
  }
  expect((await readAll(client, `${topicName(pipeline.name, "packs")}.dead`, 1)).flat()).toEqual(
    [],
  );
  return model;
}

it.concurrent(
  "a convolution in slots; then its file with a deeper network is refused in a sentence",
  async () => {
    const setup: Setup = {
      network: [
        "reshape: [8, 8, 1]",
        "conv2d: 2, kernelSize: 3, activation: square",
        "averagePool2d: 2",
        "dense: 10",
      ],
      predict: "packing: slots",
    };
    const run = await start(setup);
    await train(run, setup, { from: 0, to: 1 });
    const model = await expectPlain(run.pipeline, await predict(run, setup));
    expect(model.entry.modelVersion).toBe(1);
    await run.stages.stop();
    const { pipeline } = run;
    const deeper = ["dense: 16, activation: square", "dense: 16, activation: square", "dense: 10"];
    writeFileSync(pipeline.file, withNetwork(readFileSync(pipeline.file, "utf8"), deeper));
    const sentence = /The consumer's published CKKS keys \(.*\) no longer fit the pipeline file: /;
    const starts = ["encrypt", "predict"].map((stage) =>
      runProgram(pipeline.program, `stale-${stage}`, ["run", pipeline.file, "--stage", stage]),
    );
    for (const { code, err } of await Promise.all(starts)) {
      expect([code, err]).toEqual([1, expect.stringMatching(sentence)]);
    }
  },
  TIMEOUT_MS,
);

it.concurrent(
  "a recurrent network that the consumer may know, in batches",
  async () => {
    const setup: Setup = {
      network: ["reshape: [4, 2]", "rnn: 4, activation: quadratic", "dense: 10"],
      predict: "packing: batch, model: shared",
      rowMeans: true,
    };
    const run = await start(setup);
    await train(run, setup, { from: 0, to: 1 });
    await expectPlain(run.pipeline, await predict(run, setup));
    await run.stages.stop();
  },
  TIMEOUT_MS,
);

it.concurrent(
  "a model of ciphertexts: predict opens no weights, and keys are rotated",
  async () => {
    const setup: Setup = {
      network: ["dense: 6, activation: square", "dense: 10"],
      predict: "model: encrypted",
      rowMeans: true,
    };
    const run = await start(setup);
    await train(run, setup, { from: 0, to: 1 });
    const first = await expectPlain(run.pipeline, await predict(run, setup));
    expect(await modelOf(run.pipeline, { holder: "predict", form: "plain" })).toBeNull();
    const seen = await modelOf(run.pipeline, { holder: "predict", form: "encrypted" });
    expect(seen?.entryHash).toBe(first.entryHash);
    const before = seen?.entry.encryptedModel?.consumerKeyId;

    await run.pipeline.run("rotate", ["keys", "rotate", run.pipeline.file, "ckks"]);
    await train(run, setup, { from: 1, to: 2 });
    const second = await expectPlain(run.pipeline, await predict(run, setup, UNLABELLED));
    expect(second.entry.encryptedModel?.consumerKeyId).not.toBe(before);
    await run.stages.stop();
  },
  TIMEOUT_MS,
);

it.concurrent(
  "a gru, which ciphertexts cannot be put through: trained without prediction or CKKS keys",
  async () => {
    const setup: Setup = {
      network: ["reshape: [8, 8]", "gru: 6", "dense: 10"],
      predict: "encrypted: false",
    };
    const { pipeline, stages } = await start(setup);
    await produce(pipeline, [...unlabelled.slice(0, UNLABELLED), ...labelled.slice(0, 160)]);
    await untilStages(stages, "two updates", () => note(stages, "aggregate", "model") >= 2);
    expect([...stages.reports().keys()]).not.toContain("predict");
    const model = (await modelOf(pipeline, { holder: "aggregate", form: "plain" }))!;
    expect(model.entry).toMatchObject({ version: 3, modelVersion: 2 });
    const { network, weights } = decodeCheckpoint(model.checkpoint);
    expect(network.layers[0]).toMatchObject({ kind: "gru", input: [8, 8], outputs: 6 });
    expect(forward(network, weights, labelled[0]!.form.pixels)).toHaveLength(10);
    // Unlabelled records are gone, without a letter and without a pack.
    for (const topic of ["packs", "desensitized.dead", "predictions"]) {
      expect((await readAll(client, `${pipeline.name}.${topic}`, 1)).flat()).toEqual([]);
    }
    expect(existsSync(join(pipeline.keys, "consumer", "ckks-secret.key"))).toBe(false);
    await stages.stop();
    const { program, file } = pipeline;
    const ran = (...args: string[]) => runProgram(program, args[0]!, args);
    expect(await ran("ledger", file, "--verify")).toMatchObject({ code: 0 });
    const refused = await ran("predictions", file);
    expect(refused.code).not.toBe(0);
    expect(refused.err).toMatch(/There are no predictions: predict.encrypted is false/);
    expect((await ran("plan", file)).out).toMatch(/prediction {2}none/);
  },
  TIMEOUT_MS,
);
