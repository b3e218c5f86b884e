/**
 * The product's own train and aggregate in one process without Kafka: real keys, real envelopes, real ledger; topics are
 * arrays and every step commits.
 *
 * For studies that need thousands of updates and want to see what an outsider sees: the published models. One update at
 * a time: its records are sealed, trained on, aggregated, and the model read back through its ledger entry.
 */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createKeyDirectory, type KeyDirectory } from "../../pipeline/crypto/directory.ts";
import { createZoneKeys, publicEntries } from "../../pipeline/crypto/key-ceremony.ts";
import { openKeyStore, writeKeyFiles } from "../../pipeline/crypto/key-store.ts";
import type { Network } from "../../pipeline/network/definition.ts";
import { decodeCheckpoint, iterateOf } from "../../pipeline/network/safetensors.ts";
import type { Weights } from "../../pipeline/network/weights.ts";
import type { LedgerEntry } from "../../pipeline/privacy/ledger-entry.ts";
import { createModelReader, type ModelReader } from "../../pipeline/privacy/model-reader.ts";
import { loadPipelineSpec } from "../../pipeline/spec/load.ts";
import type { PipelineSpec } from "../../pipeline/spec/pipeline-spec.ts";
import { createAggregateStage } from "../../pipeline/stages/aggregate/stage.ts";
import { sealExamples } from "../../pipeline/stages/encrypt/example-sealer.ts";
import type { EncryptState } from "../../pipeline/stages/encrypt/state.ts";
import type { TrainBackend } from "../../pipeline/stages/train/backend.ts";
import { createTrainStage } from "../../pipeline/stages/train/stage.ts";
import { createStatisticsBackend } from "../../pipeline/stages/train/statistics-backend.ts";
import { createTrainBackend } from "../../pipeline/stages/train/tfjs-backend.ts";
import type { OutputRecord, Stage, StreamRecord } from "../../pipeline/stream/contract.ts";

export interface ZoneOptions {
  /** The pipeline file, as YAML or JSON. */
  readonly file: string;
  /** The record schema it names, as JSON. */
  readonly schema: string;
  /** The product's choice unless said. */
  readonly backend?: TrainBackend;
  /** Noise instead of what the budget asks for. */
  readonly noiseMultiplier?: number;
}

/** What an outsider sees of an update. */
export interface PublishedModel {
  readonly entry: LedgerEntry;
  readonly network: Network;
  readonly weights: Weights;
}

export interface LabelledRow {
  readonly x: Float32Array;
  readonly label: number;
}

export interface TrainingZone {
  readonly spec: PipelineSpec;
  /** The newest model; the one that the run begins with before the first update. */
  model(): PublishedModel;
  /** Trains on exactly one update batch. */
  update(rows: readonly LabelledRow[]): Promise<PublishedModel>;
  close(): Promise<void>;
}

const NAME = "study";
/** Steps of a stage after which an update should long be there. */
const MOST_STEPS = 1_000;

/** Offsets as in a topic, positions as of a group. */
class MemoryLane {
  readonly #stage: Stage;
  #records: StreamRecord[] = [];
  #offset = 0;
  #step: ((nowMs: number) => Promise<readonly OutputRecord[]>) | null = null;

  constructor(stage: Stage) {
    this.#stage = stage;
  }

  async start(): Promise<void> {
    await this.#stage.warmUp?.();
    const processor = await this.#stage.openLane(0);
    let state = await processor.restore(null, 0);
    this.#step = async (nowMs) => {
      const result = await processor.process(this.#records, state, nowMs);
      state = result.state;
      const { consumedTo } = result;
      if (consumedTo !== null) {
        this.#records = this.#records.filter(({ offset }) => offset >= consumedTo);
      }
      if (result.outcomes.length > 0)
        throw new Error(`a record was refused: ${result.outcomes[0]?.reason}`);
      return result.outputs;
    };
  }

  append(records: readonly OutputRecord[]): void {
    for (const { key, value, headers } of records) {
      this.#records.push({
        offset: this.#offset,
        timestampMs: 0,
        key,
        value,
        headers: headers ?? {},
      });
      this.#offset += 1;
    }
  }

  step(nowMs: number): Promise<readonly OutputRecord[]> {
    if (this.#step === null) throw new Error("the lane has not started");
    return this.#step(nowMs);
  }

  async close(): Promise<void> {
    await this.#stage.close?.();
  }
}

async function openKeys() {
  const root = mkdtempSync(join(tmpdir(), "sealstream-study-"));
  try {
    const { files, identities } = createZoneKeys();
    await writeKeyFiles(root, files);
    const open = (holder: "encrypt" | "train" | "aggregate") =>
      openKeyStore({ folder: join(root, holder), holder });
    const { owner, training, prediction, consumer } = identities;
    if (!(owner && training && prediction && consumer))
      throw new Error("keys of a zone are missing");
    return {
      ...{ encrypt: await open("encrypt"), train: await open("train") },
      aggregate: await open("aggregate"),
      zones: {
        owner: [owner],
        training: [training],
        prediction: [prediction],
        consumer: [consumer],
      },
      entries: publicEntries({ pipeline: NAME, files }),
    } as const;
  } finally {
    rmSync(root, { recursive: true });
  }
}

function specOf({ file, schema }: ZoneOptions): PipelineSpec {
  const loaded = loadPipelineSpec({
    path: "pipeline.yaml",
    readFile: (path) => new TextEncoder().encode(path.endsWith(".json") ? schema : file),
    env: {},
  });
  if (loaded.status === "ok") return loaded.spec;
  throw new Error(loaded.complaints.map(({ message }) => message).join("; "));
}

/** As commands/stages/train.ts has it. */
function backendOf({ train }: PipelineSpec): TrainBackend {
  if (train.method === "statistics") return createStatisticsBackend();
  return createTrainBackend(train.backend);
}

/** What encrypt writes for labelled rows. */
function createOwner(
  keys: Awaited<ReturnType<typeof openKeys>>,
  directory: KeyDirectory,
): (rows: readonly LabelledRow[]) => Promise<readonly OutputRecord[]> {
  const recipient = directory.recipient("training-unwrap");
  if (recipient === null) throw new Error("the training zone has published no key");
  const options = {
    ...{ pipeline: NAME, lane: 0, signer: keys.encrypt.signing("owner-signing") },
    ...{ recipients: [recipient], rotateAfterRecords: 1e9, rotateAfterMs: 1e12, nowMs: 0 },
    cipher: "aes-256-gcm",
    recordsPerSubject: null,
  } as const;
  let state: EncryptState = {
    ...{ exampleSequence: 0, packSequence: 0, recordSequence: 0 },
    ...{ key: null, recordKeys: new Map(), subjects: null, counted: new Map() },
  };
  let offset = 0;
  return async (rows) => {
    const examples = rows.map(({ x, label }, at) => ({
      ...({ kind: "example", split: "train", offset: offset + at } as const),
      ...{ recordId: Buffer.from(`record-${offset + at}`), x, label },
      subject: null,
    }));
    offset += rows.length;
    const sealed = await sealExamples(examples, state, options);
    ({ state } = sealed);
    return sealed.outputs;
  };
}

/** @throws Error naming the complaints when the file does not check */
export async function openTrainingZone(options: ZoneOptions): Promise<TrainingZone> {
  const { noiseMultiplier } = options;
  const spec = specOf(options);
  const backend = options.backend ?? backendOf(spec);
  const keys = await openKeys();
  const directoryOf = (holder: "train" | "aggregate") => {
    const unwrapKeys = {
      train: () => [keys.train.unwrap("training-unwrap")],
      aggregate: () => [keys.aggregate.unwrap("contribution-unwrap")],
    };
    // Train opens the models as well: they are sealed to the training zone.
    const directory = createKeyDirectory({
      ...{ pipeline: NAME, zones: keys.zones },
      unwrapKeys: unwrapKeys[holder],
    });
    for (const { key, value } of keys.entries) directory.apply(key, value);
    return directory;
  };
  const directories = { train: directoryOf("train"), aggregate: directoryOf("aggregate") };
  const reader: ModelReader = createModelReader({ pipeline: NAME, directory: directories.train });
  const own = noiseMultiplier === undefined ? {} : { noiseMultiplier };
  const common = {
    spec,
    random: randomBytes,
    keysFreshAsOf: () => Number.NEGATIVE_INFINITY,
    ...own,
  };
  const newest = (): PublishedModel & { readonly iterate: Weights } => {
    const read = reader.newest();
    if (read === null) throw new Error("no model was published");
    const checkpoint = decodeCheckpoint(read.checkpoint);
    const { network, weights } = checkpoint;
    return { entry: read.entry, network, weights, iterate: iterateOf(checkpoint) };
  };
  let current: ReturnType<typeof newest> | null = null;
  const train = new MemoryLane(
    createTrainStage({
      ...{ ...common, backend, directory: directories.train },
      signer: keys.train.signing("train-signing"),
      model: () => {
        if (current === null) return null;
        const { runId, modelVersion, configHash, laneNext } = current.entry;
        const { network, weights, iterate } = current;
        return { runId, modelVersion, configHash, laneNext, network, weights, iterate };
      },
    }) as Stage,
  );
  const aggregate = new MemoryLane(
    createAggregateStage({
      ...{ ...common, directory: directories.aggregate, keys: keys.aggregate },
      restore: async () => ({ entries: reader.entries(), newest: reader.newest() }),
    }) as Stage,
  );
  const seal = createOwner(keys, directories.train);
  let ledgerOffset = 0;

  function enter(value: Uint8Array | null): void {
    if (reader.applyLedger(value, ledgerOffset) !== "accepted") {
      throw new Error("an entry of the ledger was refused");
    }
    ledgerOffset += 1;
  }
  /** @returns whether there is a new model */
  function publish(outputs: readonly OutputRecord[]): boolean {
    const before = ledgerOffset;
    for (const { role, key, value } of outputs) {
      if (role === "models") reader.applyModel(key, value);
      if (role === "ledger") enter(value);
      if (role !== "keys" || key === null || value === null) continue;
      for (const directory of Object.values(directories)) directory.apply(key, value);
    }
    if (ledgerOffset === before) return false;
    current = newest();
    return true;
  }
  async function untilPublished(): Promise<PublishedModel> {
    for (let step = 0; step < MOST_STEPS; step += 1) {
      const made = await train.step(step);
      publish(made.filter(({ role }) => role === "keys"));
      aggregate.append(made.filter(({ role }) => role === "contributions"));
      if (publish(await aggregate.step(step)) && current !== null) return current;
    }
    throw new Error("no update was made");
  }
  await aggregate.start();
  await train.start();
  const first = await untilPublished();
  return {
    spec,
    model: () => current ?? first,
    async update(rows) {
      if (rows.length !== spec.train.updateBatchRecords) throw new Error("not one update batch");
      const sealed = await seal(rows);
      publish(sealed);
      train.append(sealed.filter(({ role }) => role === "examples"));
      return untilPublished();
    },
    async close() {
      await train.close();
      await aggregate.close();
    },
  };
}
