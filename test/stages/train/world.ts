/**
 * A training zone without Kafka: real keys, real envelopes, and a lane that commits or throws away like the true one.
 */
import { randomBytes } from "node:crypto";
import { encodeCbor } from "../../../pipeline/crypto/cbor.ts";
import { createDataKey, type DataKey } from "../../../pipeline/crypto/data-key.ts";
import { createKeyDirectory, type KeyDirectory } from "../../../pipeline/crypto/directory.ts";
import { openEnvelope, sealEnvelope } from "../../../pipeline/crypto/envelope.ts";
import { type KeyEntry, signEntry } from "../../../pipeline/crypto/key-entries.ts";
import { createSigningKey } from "../../../pipeline/crypto/key-handles.ts";
import {
  PURPOSES,
  type StageSigningPurpose,
  type UnwrapPurpose,
  type ZoneName,
} from "../../../pipeline/crypto/key-purposes.ts";
import { createUnwrapKey } from "../../../pipeline/crypto/wrap/key-wrap.ts";
import { parameterCount } from "../../../pipeline/network/definition.ts";
import { initialWeights } from "../../../pipeline/network/initial-weights.ts";
import { type Contribution, decodeContribution } from "../../../pipeline/privacy/contribution.ts";
import { runConfigHash } from "../../../pipeline/privacy/run-config.ts";
import { PRIVACY_DEFAULTS, TRAIN_DEFAULTS } from "../../../pipeline/spec/training.ts";
import type {
  ContributionProgress,
  CurrentModel,
  TrainStageOptions,
  ValidationProgress,
} from "../../../pipeline/stages/train/options.ts";
import { createTrainStage } from "../../../pipeline/stages/train/stage.ts";
import type { TrainState } from "../../../pipeline/stages/train/state.ts";
import { createTrainBackend } from "../../../pipeline/stages/train/tfjs-backend.ts";
import type {
  LaneProcessor,
  OutputRecord,
  Stage,
  StepResult,
  StreamRecord,
} from "../../../pipeline/stream/contract.ts";
import { pinsOf } from "../../crypto/fixtures.ts";

export const PIPELINE = "digits";
export const NETWORK = {
  inputs: 4,
  layers: [
    { outputs: 3, activation: "square" as const },
    { outputs: 2, activation: "none" as const },
  ],
};
export const SPEC = {
  name: PIPELINE,
  features: {
    inputs: [{ field: "pixels", length: 4, range: [0, 1] as const }],
    maps: [],
    outputs: { length: 4, range: [0, 1] as const, norm: 2 },
    label: { field: "digit", classes: 2 },
    split: { train: 0.8, validate: 0.1, test: 0.1 },
  },
  train: {
    ...TRAIN_DEFAULTS,
    network: [
      { dense: 3, activation: "square" as const },
      { dense: 2, activation: "none" as const },
    ],
    microBatchRecords: 4,
    updateBatchRecords: 8,
    l2ClipNorm: 1,
    learningRate: 0.5,
    backend: "cpu" as const,
    protect: "sealed" as const,
    maxStalenessUpdates: 1000,
    tailAfterMs: null as number | null,
  },
  privacy: { ...PRIVACY_DEFAULTS, epsilon: 3, delta: 1e-5 },
};

export const RUN_ID = "0123456789abcdef0123456789abcdef";
export const configHashOf = (train: Partial<(typeof SPEC)["train"]> = {}) =>
  runConfigHash({ spec: { ...SPEC, train: { ...SPEC.train, ...train } }, network: NETWORK });

export function makeModel(modelVersion = 0, changes: Partial<CurrentModel> = {}): CurrentModel {
  const weights = initialWeights(NETWORK, randomBytes);
  return {
    runId: RUN_ID,
    modelVersion,
    configHash: configHashOf(),
    laneNext: {},
    network: NETWORK,
    weights,
    iterate: weights,
    ...changes,
  };
}

/** Keys of all zones; what the owner, train and aggregate each hold. */
export function createZones() {
  const identity = (zone: ZoneName) => createSigningKey(`${zone}-identity`, randomBytes(32));
  const identities = {
    owner: identity("owner"),
    training: identity("training"),
    prediction: identity("prediction"),
    consumer: identity("consumer"),
  };
  const zones = pinsOf({
    owner: identities.owner.publicKey,
    training: identities.training.publicKey,
    prediction: identities.prediction.publicKey,
    consumer: identities.consumer.publicKey,
  });
  const unwrap = (purpose: UnwrapPurpose) => createUnwrapKey(purpose, randomBytes(32));
  const trainingUnwrap = unwrap("training-unwrap");
  const contributionUnwrap = unwrap("contribution-unwrap");
  const signing = (purpose: StageSigningPurpose) => createSigningKey(purpose, randomBytes(32));
  const ownerSigning = signing("owner-signing");
  const trainSigning = signing("train-signing");
  const certify = (type: "signer" | "recipient", key: { purpose: string; publicKey: Uint8Array }) =>
    signEntry({
      pipeline: PIPELINE,
      // Because the purposes of our own handles are all in the table.
      payload: { type, generation: 1, algorithm: "x25519", ...key } as Parameters<
        typeof signEntry
      >[0]["payload"],
      signer: identities[PURPOSES[key.purpose as StageSigningPurpose].zone],
    });
  const published = [
    certify("signer", ownerSigning),
    certify("signer", trainSigning),
    certify("recipient", trainingUnwrap),
  ];
  const aggregatorKey = certify("recipient", contributionUnwrap);
  const openDirectory = (unwrapKeys: (typeof trainingUnwrap)[], entries: KeyEntry[]) => {
    const directory = createKeyDirectory({
      pipeline: PIPELINE,
      zones,
      unwrapKeys: () => unwrapKeys,
    });
    for (const { key, value } of entries) directory.apply(key, value);
    return directory;
  };
  return {
    ownerSigning,
    trainSigning,
    aggregatorKey,
    trainingRecipient: trainingUnwrap,
    /** What train holds; without the aggregator's public key when asked. */
    trainDirectory: (withAggregator = true) =>
      openDirectory([trainingUnwrap], withAggregator ? [...published, aggregatorKey] : published),
    aggregateDirectory: () => openDirectory([contributionUnwrap], [...published, aggregatorKey]),
  };
}
export type Zones = ReturnType<typeof createZones>;

export interface ExampleFields {
  readonly split?: string | undefined;
  readonly x?: ArrayLike<number>;
  readonly y?: number;
  readonly sequence?: number;
  /** Sealed for the next lane. */
  readonly foreign?: boolean;
  readonly plaintext?: Uint8Array;
  /** Split in the AAD when it differs from the header. */
  readonly sealedSplit?: string;
  /** Bound per subject in the AAD, and in the header unless that says otherwise. */
  readonly sealedBound?: string;
  readonly bound?: string | undefined;
}

/** The owner's side of one lane: seals examples, gives them rising offsets and sequences. */
export async function createOwner(zones: Zones, lane: number) {
  let sequence = 0;
  let offset = 0;
  const newKey = (ofLane: number) =>
    createDataKey({
      pipeline: PIPELINE,
      topic: "examples",
      lane: ofLane,
      recipients: [zones.trainingRecipient],
      signer: zones.ownerSigning,
    });
  let current: { dataKey: DataKey; entry: KeyEntry } = await newKey(lane);
  const foreign = await newKey(lane + 1);
  return {
    /** Entries of the current data key and of one of the next lane. */
    get entries() {
      return [current.entry, foreign.entry];
    },
    rotate: async () => {
      current = await newKey(lane);
    },
    skipOffsets: (count: number) => {
      offset += count;
    },
    seal: (fields: ExampleFields = {}): StreamRecord => {
      const split = "split" in fields ? fields.split : "train";
      const features = Float32Array.from(fields.x ?? [0.1, 0.9, 0.4, (sequence % 7) / 7]);
      const key = Buffer.from(`record-${offset}`);
      const value = sealEnvelope({
        dataKey: fields.foreign === true ? foreign.dataKey : current.dataKey,
        plaintext:
          fields.plaintext ??
          encodeCbor({
            v: 1,
            x: new Uint8Array(features.buffer),
            y: fields.y ?? sequence % 2,
          }),
        context: {
          pipeline: PIPELINE,
          topic: "examples",
          lane: fields.foreign === true ? lane + 1 : lane,
          recordId: key,
          schemaVersion: 1,
          attributes: {
            split: fields.sealedSplit ?? split ?? "train",
            ...(fields.sealedBound === undefined ? {} : { recordsPerSubject: fields.sealedBound }),
          },
        },
        sequence: fields.sequence ?? sequence,
      });
      sequence += 1;
      offset += 1;
      const bound = "bound" in fields ? fields.bound : fields.sealedBound;
      const headers: Record<string, Uint8Array> = {
        ...(split === undefined ? {} : { "sealstream-split": Buffer.from(split) }),
        ...(bound === undefined ? {} : { "sealstream-records-per-subject": Buffer.from(bound) }),
      };
      return { offset: offset - 1, timestampMs: 0, key, value, headers };
    },
  };
}

/** A lane: hands in what is not final, commits a result or throws it away, and starts again from what is committed. */
export class TestLane {
  readonly #stage: Stage<TrainState>;
  readonly #lane: number;
  #processor: LaneProcessor<TrainState> | null = null;
  #state: TrainState | null = null;
  changelog: Uint8Array | null = null;
  position = 0;
  log: StreamRecord[] = [];
  outputs: OutputRecord[] = [];
  outcomes: StepResult<TrainState>["outcomes"][number][] = [];

  constructor(stage: Stage<TrainState>, lane = 0) {
    this.#stage = stage;
    this.#lane = lane;
  }

  async stop(): Promise<void> {
    await this.#processor?.close?.();
    this.#processor = null;
  }

  async start(): Promise<void> {
    await this.stop();
    this.#processor = await this.#stage.openLane(this.#lane);
    this.#state = await this.#processor.restore(this.changelog, this.position);
  }

  /** One call; `commit: false` throws the result away, after which the lane must be started again. */
  async step(nowMs = 0, commit = true): Promise<StepResult<TrainState>> {
    if (this.#processor === null || this.#state === null) await this.start();
    const waiting = this.log
      .filter(({ offset }) => offset >= this.position)
      .slice(0, this.#stage.bounds.maxRecords);
    const result = await this.#processor!.process(waiting, this.#state!, nowMs);
    if (!commit) return result;
    this.#state = result.state;
    this.changelog = this.#processor!.encode!(result.state);
    this.position = result.consumedTo ?? this.position;
    this.outputs.push(...result.outputs);
    this.outcomes.push(...result.outcomes);
    return result;
  }

  /** Calls until nothing more happens at that time. */
  async settle(nowMs = 0): Promise<void> {
    for (;;) {
      const before = this.changelog;
      const result = await this.step(nowMs);
      const idle = result.consumedTo === null && result.outputs.length === 0;
      if (idle && before !== null && Buffer.compare(before, this.changelog!) === 0) return;
    }
  }
}

/** A training zone with one owner of lane 0, a model, and a stage whose every outcome is kept. */
export async function createHarness() {
  const zones = createZones();
  const owner = await createOwner(zones, 0);
  const progress: ContributionProgress[] = [];
  const validation: ValidationProgress[] = [];
  const harness = {
    zones,
    owner,
    progress,
    validation,
    // Tests set these.
    model: makeModel() as CurrentModel | null,
    seal: (count: number, fields: ExampleFields = {}) =>
      Array.from({ length: count }, () => owner.seal(fields)),
    ranges: () => progress.map(({ from, to, places, used }) => [from, to, places, used]),
    /** A directory that knows the owner's current data keys. */
    directory: (withAggregator = true) => {
      const directory = zones.trainDirectory(withAggregator);
      for (const { key, value } of owner.entries) directory.apply(key, value);
      return directory;
    },
    stage: (
      train: Partial<(typeof SPEC)["train"]> = {},
      options: Partial<TrainStageOptions> = {},
    ): Stage<TrainState> => {
      // As if aggregate had the same file.
      if (harness.model !== null) {
        harness.model = { ...harness.model, configHash: configHashOf(train) };
      }
      return createTrainStage({
        spec: { ...SPEC, train: { ...SPEC.train, ...train } },
        directory: harness.directory(),
        keysFreshAsOf: () => Number.NEGATIVE_INFINITY,
        signer: zones.trainSigning,
        model: () => harness.model,
        backend: createTrainBackend("cpu"),
        random: randomBytes,
        onContribution: (item) => progress.push(item),
        onValidation: (item) => validation.push(item),
        ...options,
      });
    },
  };
  return harness;
}

/** Opens what a lane wrote, as aggregate would. */
export function openContributions(
  directory: KeyDirectory,
  outputs: readonly OutputRecord[],
  lane = 0,
): (Contribution & { sequence: number; kid: string })[] {
  const contributions: (Contribution & { sequence: number; kid: string })[] = [];
  for (const { role, key, value } of outputs) {
    if (key === null || value === null) throw new Error("an output without key or value");
    if (role === "keys") {
      if (directory.apply(key, value) === "refused") throw new Error("a refused key entry");
      continue;
    }
    const opened = openEnvelope({
      envelope: value,
      context: {
        pipeline: PIPELINE,
        topic: "contributions",
        lane,
        recordId: key,
        schemaVersion: 1,
      },
      findKey: (kid) => directory.findDataKey(kid, "contributions"),
    });
    if (opened.status !== "ok") throw new Error(`a contribution is ${opened.status}`);
    const contribution = decodeContribution(opened.plaintext, parameterCount(NETWORK));
    if (contribution === null) throw new Error("a contribution that does not decode");
    const kid = Buffer.from(opened.kid).toString("hex");
    contributions.push({ ...contribution, sequence: opened.sequence, kid });
  }
  return contributions;
}
