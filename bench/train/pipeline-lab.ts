/**
 * A pipeline for the benchmark of training: made with the product's own commands on the benchmark's broker, its
 * `examples` filled as `encrypt` would, `train` and `aggregate` started as the product starts them.
 *
 * Without the supervisor, so that each process can be pinned to a core and held, and without Node's permissions, which
 * cost nothing while records flow.
 */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { stringify } from "yaml";
import { readKeys } from "../../pipeline/client/keys.ts";
import { MEMORY_ENVIRONMENT, memoryArguments } from "../../pipeline/commands/child-memory.ts";
import { createKeyDirectory } from "../../pipeline/crypto/directory.ts";
import { openKeyStore } from "../../pipeline/crypto/key-store.ts";
import type { TrustRoot } from "../../pipeline/crypto/trust.ts";
import { loadPipelineSpec } from "../../pipeline/spec/load.ts";
import type { PipelineSpec } from "../../pipeline/spec/pipeline-spec.ts";
import type { ExampleRow } from "../../pipeline/stages/encrypt/example-sealer.ts";
import { sealExamples } from "../../pipeline/stages/encrypt/example-sealer.ts";
import type { EncryptState } from "../../pipeline/stages/encrypt/state.ts";
import { topicName } from "../../schemas/topics.ts";
import { type Child, startChild } from "../lib/child.ts";
import type { KafkaLab } from "../lib/kafka-lab.ts";
import { requestOf, type TrainCase } from "./cases.ts";

const PROGRAM = join(import.meta.dirname, "../../bin/sealstream.js");
const run = promisify(execFile);
/** Records sealed and produced at a time. */
const FILL = 500;
/** Updates that train may be ahead: less and it waits for transactions, which is what B = 1024 is short for. */
const MOST_STALE = 16;
/** Of a lane that never sealed anything. */
const FIRST: EncryptState = {
  ...{ exampleSequence: 0, packSequence: 0, recordSequence: 0 },
  ...{ key: null, recordKeys: new Map(), subjects: null, counted: new Map() },
};

export interface PipelineLab {
  readonly spec: PipelineSpec;
  /** Seals made-up examples into each lane. */
  fill(recordsPerLane: number): Promise<void>;
  /** Starts a stage process. @param prefix begins its command line */
  start(stage: "train" | "aggregate", prefix: readonly string[]): Child;
}

export interface PipelinePlan {
  readonly name: string;
  readonly lanes: number;
  readonly batch: number;
  readonly backend: string;
}

function fileOf(
  one: TrainCase,
  { name, lanes, batch, backend }: PipelinePlan,
  brokers: readonly string[],
): string {
  return stringify({
    name,
    kafka: { brokers: brokers.join(","), partitions: lanes },
    record: { schema: "record.schema.json", id: "id", subject: "id" },
    desensitize: [{ fields: ["id", "x", "y"], action: "keep" }],
    features: {
      inputs: [{ field: "x", length: one.inputs, range: [0, 1] }],
      label: { field: "y", classes: one.classes },
      split: { train: 1, validate: 0, test: 0 },
    },
    train: {
      network: one.layers,
      microBatchRecords: batch,
      updateBatchRecords: batch,
      l2ClipNorm: 1,
      learningRate: 0.01,
      maxStalenessUpdates: MOST_STALE,
      backend,
    },
    privacy: { epsilon: 3, delta: 1e-5 },
    // ReLU is no polynomial: such a network is not evaluated on ciphertexts.
    predict: { encrypted: false },
  });
}

const SCHEMA = {
  type: "object",
  properties: {
    id: { type: "string", maxLength: 64 },
    x: { type: "array", items: { type: "number" } },
    y: { type: "integer" },
  },
  required: ["id", "x"],
  additionalProperties: false,
};

/** Whom a checked pipeline file with keys trusts. */
export function trustOf({ zones, revoked }: PipelineSpec): TrustRoot {
  if (zones === null) throw new Error("the pipeline file pins no zones");
  return { zones, revoked };
}

/** Makes topics and keys. */
export async function makePipeline(
  lab: KafkaLab,
  one: TrainCase,
  plan: PipelinePlan,
): Promise<PipelineLab> {
  const folder = join(lab.scratch, plan.name);
  await mkdir(folder, { recursive: true });
  const file = join(folder, "pipeline.yaml");
  await writeFile(file, fileOf(one, plan, lab.brokers));
  await writeFile(join(folder, "record.schema.json"), JSON.stringify(SCHEMA));
  const environment = {
    PATH: process.env["PATH"] ?? "",
    HOME: homedir(),
    ...MEMORY_ENVIRONMENT,
  };
  for (const args of [
    ["topics", file],
    ["keys", "create", file],
  ]) {
    await run(process.execPath, [PROGRAM, ...args], { env: environment, cwd: folder });
  }
  const loaded = loadPipelineSpec({ path: file, readFile: readFileSync, env: environment });
  if (loaded.status === "invalid") throw new Error(JSON.stringify(loaded.complaints));
  const { spec } = loaded;
  return {
    spec,
    fill: (records) => fill(lab, spec, join(folder, "keys", "encrypt"), { one, records }),
    start(stage, prefix) {
      const [command = process.execPath, ...args] = [
        ...prefix,
        process.execPath,
        ...memoryArguments(stage, plan.lanes),
        ...[PROGRAM, "run", file, "--stage", stage, "--in-process"],
      ];
      const child = startChild(command, args, {
        ...{ channel: false, cwd: folder, env: environment },
        endsOn: "signal",
      });
      lab.defer("a stage", () => (child.failure() === null ? child.stop() : undefined));
      return child;
    },
  };
}

/** What `encrypt` does with labelled rows, as fast as it goes. */
async function fill(
  lab: KafkaLab,
  spec: PipelineSpec,
  keys: string,
  { one, records }: { readonly one: TrainCase; readonly records: number },
): Promise<void> {
  const pipeline = spec.name;
  const store = await openKeyStore({ folder: keys, holder: "encrypt" });
  const directory = createKeyDirectory({ pipeline, ...trustOf(spec), blobPurposes: [] });
  await readKeys({ client: lab.client, pipeline, directory });
  const recipient = directory.recipient("training-unwrap");
  if (recipient === null) throw new Error("the training zone has published no key");
  const { inputs, labels } = requestOf(one, FILL);
  for (let lane = 0; lane < spec.kafka.partitions; lane += 1) {
    const producer = await lab.client.createLaneProducer(`${pipeline}-fill-${lane}`);
    let state = FIRST;
    for (let first = 0; first < records; first += FILL) {
      const rows = Array.from(
        { length: Math.min(FILL, records - first) },
        (_, at): ExampleRow => ({
          kind: "example",
          offset: first + at,
          recordId: Buffer.from(`${lane}-${first + at}`),
          split: "train",
          subject: null,
          x: inputs.subarray(at * one.inputs, (at + 1) * one.inputs),
          label: labels[at]!,
        }),
      );
      const sealed = await sealExamples(rows, state, {
        ...{ pipeline, lane, signer: store.signing("owner-signing"), recipients: [recipient] },
        ...{ rotateAfterRecords: 1e9, rotateAfterMs: 1e12, cipher: "aes-256-gcm" },
        recordsPerSubject: null,
        nowMs: Date.now(),
      });
      state = sealed.state;
      await producer.begin();
      for (const role of ["keys", "examples"] as const) {
        const outputs = sealed.outputs.filter((output) => output.role === role);
        if (outputs.length === 0) continue;
        const partition = role === "keys" ? 0 : lane;
        await producer.send(topicName(pipeline, role), partition, outputs);
      }
      await producer.commit();
    }
    await producer.close();
  }
}
