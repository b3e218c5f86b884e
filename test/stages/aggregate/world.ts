/**
 * A training zone around aggregate without Kafka: real keys and envelopes, topics as arrays, and a lane that commits or
 * throws away whole transactions like the true one.
 */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createDataKey, type DataKey } from "../../../pipeline/crypto/data-key.ts";
import { createKeyDirectory, type KeyDirectory } from "../../../pipeline/crypto/directory.ts";
import { sealEnvelope } from "../../../pipeline/crypto/envelope.ts";
import { createZoneKeys, publicEntries } from "../../../pipeline/crypto/key-ceremony.ts";
import type { KeyEntry } from "../../../pipeline/crypto/key-entries.ts";
import { openKeyStore, writeKeyFiles } from "../../../pipeline/crypto/key-store.ts";
import { networkFromSpec } from "../../../pipeline/network/from-spec.ts";
import {
  type Contribution,
  contributionFractionBits,
  encodeContribution,
} from "../../../pipeline/privacy/contribution.ts";
import type { ModelForm } from "../../../pipeline/privacy/model-blob.ts";
import { createModelReader } from "../../../pipeline/privacy/model-reader.ts";
import { runConfigHash } from "../../../pipeline/privacy/run-config.ts";
import { PRIVACY_DEFAULTS, TRAIN_DEFAULTS } from "../../../pipeline/spec/training.ts";
import type { NoiseMaker } from "../../../pipeline/stages/aggregate/noise-rows.ts";
import type {
  AggregateStageOptions,
  ModelEncryption,
  RestoredLedger,
} from "../../../pipeline/stages/aggregate/options.ts";
import { createAggregateStage } from "../../../pipeline/stages/aggregate/stage.ts";
import type { AggregateState } from "../../../pipeline/stages/aggregate/state.ts";
import type {
  LaneProcessor,
  Outcome,
  StepResult,
  StreamRecord,
} from "../../../pipeline/stream/contract.ts";
import { pinsOf } from "../../crypto/fixtures.ts";

export const PIPELINE = "digits";
export const PLACES = 4;
export const BATCH = 8;
/** (3 + 1) * 2. */
export const PARAMETERS = 8;
export const SPEC: AggregateStageOptions["spec"] = {
  name: PIPELINE,
  features: {
    inputs: [{ field: "pixels", length: 3, range: [0, 1] }],
    maps: [],
    outputs: { length: 3, range: [0, 1], norm: Math.sqrt(3) },
    label: { field: "digit", classes: 2 },
    split: { train: 0.8, validate: 0.1, test: 0.1 },
  },
  train: {
    ...TRAIN_DEFAULTS,
    network: [{ dense: 2, activation: "none" }],
    microBatchRecords: PLACES,
    updateBatchRecords: BATCH,
    l2ClipNorm: 1,
    learningRate: 0.5,
    backend: "cpu",
    protect: "sealed",
    maxStalenessUpdates: 4,
    tailAfterMs: null,
  },
  privacy: { ...PRIVACY_DEFAULTS, epsilon: 3, delta: 1e-5 },
};
export const configHashOf = (spec: AggregateStageOptions["spec"], noiseMultiplier?: number) =>
  runConfigHash({ spec, network: networkFromSpec(spec.features, spec.train), noiseMultiplier });
export const CONFIG_HASH = configHashOf(SPEC);
export const FRACTION_BITS = contributionFractionBits({ places: PLACES, l2ClipNorm: 1 });

/** Keys of all zones, made once a test file. */
export async function createZones() {
  const root = mkdtempSync(join(tmpdir(), "sealstream-aggregate-"));
  const { files, identities } = createZoneKeys();
  await writeKeyFiles(root, files);
  const train = await openKeyStore({ folder: join(root, "train"), holder: "train" });
  const aggregate = await openKeyStore({ folder: join(root, "aggregate"), holder: "aggregate" });
  const predict = await openKeyStore({ folder: join(root, "predict"), holder: "predict" });
  rmSync(root, { recursive: true });
  // Because createZoneKeys without an argument makes every zone.
  const zones = pinsOf(identities);
  return {
    train,
    aggregate,
    predict,
    zones,
    entries: publicEntries({ pipeline: PIPELINE, files }),
  };
}

export type Zones = Awaited<ReturnType<typeof createZones>>;

/** A directory that has applied `entries`. */
export function directoryOf(
  zones: Zones,
  entries: readonly KeyEntry[],
  holder: "train" | "aggregate" | "predict" = "aggregate",
): KeyDirectory {
  const unwrapKeys = {
    train: () => zones.train.unwrap("training-unwrap"),
    aggregate: () => zones.aggregate.unwrap("contribution-unwrap"),
    predict: () => zones.predict.unwrap("model-unwrap"),
  };
  const directory = createKeyDirectory({
    pipeline: PIPELINE,
    zones: zones.zones,
    unwrapKeys: () => [unwrapKeys[holder]()],
  });
  for (const { key, value } of entries) directory.apply(key, value);
  return directory;
}

/** The topics that aggregate reads and writes, and the group offset. */
export function createTopics(zones: Zones) {
  return {
    contributions: [] as StreamRecord[],
    keys: [...zones.entries],
    models: [] as { key: Uint8Array; value: Uint8Array | null }[],
    ledger: [] as Uint8Array[],
    dead: [] as Outcome[],
    changelog: null as Uint8Array | null,
    committed: null as number | null,
    nextOffset: 0,
    /** Of the lane that was started last: what trainers take their own to be. */
    configHash: CONFIG_HASH,
  };
}

export type Topics = ReturnType<typeof createTopics>;

/** Ledger and models of the topics as any reader sees them. */
export function readerOf(
  zones: Zones,
  topics: Topics,
  holder: "train" | "aggregate" | "predict" = "aggregate",
  form: ModelForm = "plain",
) {
  const directory = directoryOf(zones, topics.keys, holder);
  const reader = createModelReader({ pipeline: PIPELINE, directory, form });
  for (const { key, value } of topics.models) reader.applyModel(key, value);
  for (const [offset, value] of topics.ledger.entries()) reader.applyLedger(value, offset);
  return reader;
}

/** What train does for one lane: ranges in a row, sealed under a key that is announced first. */
export async function createTrainer(zones: Zones, topics: Topics, lane = 0, start = 0) {
  const directory = directoryOf(zones, zones.entries, "train");
  const recipient = directory.recipient("contribution-unwrap");
  if (recipient === null) throw new Error("no recipient");
  const { dataKey, entry } = await createDataKey({
    pipeline: PIPELINE,
    topic: "contributions",
    lane,
    recipients: [recipient],
    signer: zones.train.signing("train-signing"),
  });
  topics.keys.push(entry);
  let from = start;
  return {
    dataKey,
    entry,
    /** A contribution that continues the lane, of a sum that follows from its range. */
    next(runId: string, changes: Partial<Contribution> = {}): Contribution {
      const made: Contribution = {
        runId,
        configHash: topics.configHash,
        modelVersion: 0,
        lane,
        from,
        to: from + 5,
        places: PLACES,
        used: 3,
        nonce: new Uint8Array(16).fill(from % 251),
        fractionBits: FRACTION_BITS,
        sum: Int32Array.from(
          { length: PARAMETERS },
          (_, i) => ((from * 7919 + lane * 104_729 + i * 1_299_709) % 2_000_003) * 13 - 13_000_000,
        ),
        ...changes,
      };
      from = made.to;
      return made;
    },
    /** Seals and appends. */
    send(contribution: Contribution): StreamRecord {
      return append(topics, sealContribution(contribution, dataKey));
    },
  };
}

/** Key, value and headers of a sealed contribution. */
export function sealContribution(contribution: Contribution, dataKey: DataKey) {
  const { runId, lane, from, to } = contribution;
  const key = Buffer.from(`${runId}/${lane}/${from}-${to}`);
  const value = sealEnvelope({
    dataKey,
    plaintext: encodeContribution(contribution),
    context: { pipeline: PIPELINE, topic: "contributions", lane, recordId: key, schemaVersion: 1 },
    sequence: to,
  });
  return { key, value, headers: { "sealstream-lane": Buffer.from(String(lane)) } };
}

/** Appends a record; every third offset is a transaction marker's. */
export function append(
  topics: Topics,
  record: Pick<StreamRecord, "key" | "value" | "headers">,
): StreamRecord {
  if (topics.nextOffset % 3 === 2) topics.nextOffset += 1;
  const stored = { ...record, offset: topics.nextOffset, timestampMs: 0 };
  topics.nextOffset += 1;
  topics.contributions.push(stored);
  return stored;
}

export interface LaneOptions {
  readonly spec?: AggregateStageOptions["spec"];
  readonly noiseMultiplier?: number;
  /** Every key entry written before this time is known; nothing of the kind when absent. */
  readonly keysFreshAsOf?: () => number;
  readonly modelEncryption?: ModelEncryption;
  /** Whether decisions survive a restart. */
  readonly hasChangelog?: boolean;
  readonly noiseMaker?: NoiseMaker;
  /** Changes what is restored. */
  readonly tamper?: (restored: RestoredLedger) => RestoredLedger;
}

/** A lane of aggregate over the topics. */
export async function startLane(zones: Zones, topics: Topics, options: LaneOptions = {}) {
  const directory = directoryOf(zones, topics.keys);
  topics.configHash = configHashOf(options.spec ?? SPEC, options.noiseMultiplier);
  const hasChangelog = options.hasChangelog ?? true;
  const updates: { modelVersion: number; epsilon: number; records: number }[] = [];
  const ended: string[] = [];
  const stage = createAggregateStage({
    spec: options.spec ?? SPEC,
    directory,
    keysFreshAsOf: options.keysFreshAsOf ?? (() => Number.NEGATIVE_INFINITY),
    keys: zones.aggregate,
    restore: async () => {
      const reader = readerOf(zones, topics);
      const restored = { entries: reader.entries(), newest: reader.newest() };
      return options.tamper?.(restored) ?? restored;
    },
    random: randomBytes,
    onUpdate: (progress) => updates.push(progress),
    onEnded: (reason) => ended.push(reason),
    noiseMaker: options.noiseMaker,
    modelEncryption: options.modelEncryption,
    ...(options.noiseMultiplier === undefined ? {} : { noiseMultiplier: options.noiseMultiplier }),
  });
  // Because this stage opens its lane and steps without waiting for anything.
  const processor = (await stage.openLane(0)) as LaneProcessor<AggregateState>;
  const position = topics.committed ?? 0;
  let state = await processor.restore(hasChangelog ? topics.changelog : null, position);
  let seenKeys = topics.keys.length;

  async function step(nowMs: number): Promise<StepResult<AggregateState>> {
    for (const { key, value } of topics.keys.slice(seenKeys)) directory.apply(key, value);
    seenKeys = topics.keys.length;
    const first = topics.committed ?? 0;
    const records = topics.contributions.filter(({ offset }) => offset >= first);
    return await processor.process(records, state, nowMs);
  }

  function commit(result: StepResult<AggregateState>): boolean {
    const changelog = processor.encode?.(result.state) ?? null;
    const decided = hasChangelog && !same(changelog, topics.changelog);
    write(topics, result);
    topics.dead.push(...result.outcomes);
    if (hasChangelog) topics.changelog = changelog;
    if (result.consumedTo !== null) topics.committed = result.consumedTo;
    state = result.state;
    return result.outputs.length > 0 || result.consumedTo !== null || decided;
  }

  return {
    updates,
    ended,
    state: () => state,
    bounds: stage.bounds,
    step,
    commit,
    /** Steps and commits until nothing more happens at this time. */
    async run(nowMs = 0): Promise<void> {
      for (let turn = 0; turn < 1_000; turn += 1) {
        const result = await step(nowMs);
        const moved = commit(result);
        if (!moved && (result.wakeAtMs === null || result.wakeAtMs > nowMs)) return;
      }
      throw new Error("the lane does not come to rest");
    },
  };
}

function write(topics: Topics, { outputs }: StepResult<AggregateState>): void {
  for (const { role, key, value } of outputs) {
    if (role === "keys" && key !== null && value !== null) topics.keys.push({ key, value });
    if (role === "models" && key !== null) topics.models.push({ key, value });
    if (role === "ledger" && value !== null) topics.ledger.push(value);
  }
}

function same(a: Uint8Array | null, b: Uint8Array | null): boolean {
  return a === b || (a !== null && b !== null && Buffer.compare(a, b) === 0);
}

/** Tombstones and later values of the same chunk, as compaction leaves them. */
export function compactModels(topics: Topics): void {
  const latest = new Map(
    topics.models.map((record) => [Buffer.from(record.key).toString("hex"), record]),
  );
  topics.models = [...latest.values()].filter(({ value }) => value !== null);
}
