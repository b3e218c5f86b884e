/**
 * Publishing a model: checkpoint, seal, chunks and ledger entry, as the records of one transaction.
 *
 * Order within it: the data key if it is new, the chunks, tombstones of chunks that no kept entry names any more, and
 * last the entry that names them. The entry is checked by the rules of every reader before it is handed out, so that a
 * bug here stops the stage instead of breaking the chain. Must not decide what is in a model.
 */
import { MAX_VALUE_BYTES, topicName } from "../../../schemas/topics.ts";
import { createDataKey } from "../../crypto/data-key.ts";
import type { KeyEntry } from "../../crypto/key-entries.ts";
import { SEALED_TOPICS } from "../../crypto/key-purposes.ts";
import { partiesOf } from "../../crypto/wrap/key-wrap.ts";
import type { Recipient } from "../../crypto/wrap/types.ts";
import { SealstreamError } from "../../errors.ts";
import { encodeCheckpoint } from "../../network/safetensors.ts";
import { unflatten, type Weights } from "../../network/weights.ts";
import { columnNorm } from "../../privacy/correlation/coefficients.ts";
import { withEntry } from "../../privacy/ledger-accounting.ts";
import {
  chunksOf,
  encodeLedgerEntry,
  entryHash,
  type LedgerEntry,
  type LedgerRange,
  versionFields,
} from "../../privacy/ledger-entry.ts";
import { blockStart } from "../../privacy/ledger-noise.ts";
import { entryFault } from "../../privacy/ledger-rules.ts";
import { type ModelName, sealModel } from "../../privacy/model-blob.ts";
import type { OutputRecord } from "../../stream/contract.ts";
import { runMethod } from "./run-settings.ts";
import {
  type AggregateState,
  checkpointMetadata,
  KEPT_MODELS,
  type ModelSealing,
  type StateContext,
} from "./state.ts";
import type { TrainerState } from "./update-rule.ts";

/** What a new model is, and what it was made of. */
export interface ModelDraft {
  readonly trainer: TrainerState;
  /** Empty and null: the genesis of the state's run. */
  readonly ranges: readonly LedgerRange[];
  readonly contributionsHash: string | null;
  readonly contributionsNext: number;
}

export interface Published {
  readonly outputs: readonly OutputRecord[];
  readonly state: AggregateState;
  readonly entry: LedgerEntry;
}

/** What differs between two attempts at the same model. */
export interface Attempt {
  /** Of `modelRecipients`. */
  readonly recipients: readonly Recipient[];
  readonly nowMs: number;
}

/** A key of 2^32 uses could stay for ever; a new one now and then keeps what one leaked key opens small. */
const MODELS_PER_DATA_KEY = 1_000;

/**
 * The public keys that a model is sealed to; null until `keys` has all of them, and the consumer's where models are
 * encrypted for the prediction zone.
 */
export function modelRecipients({ options }: StateContext): readonly Recipient[] | null {
  if (options.modelEncryption?.ready() === false) return null;
  return options.directory.recipientsFor("models");
}

/**
 * A model of the state's run, and the state after it.
 * @throws checkpoint-invalid when a weight is not finite; internal when the entry breaks a rule of the ledger
 */
export async function publish(
  context: StateContext,
  state: AggregateState,
  draft: ModelDraft,
  attempt: Attempt,
): Promise<Published> {
  const { recipients, nowMs } = attempt;
  const { options, settings } = context;
  const { name: pipeline } = options.spec;
  const signer = options.keys.signing("model-signing");
  const readers = readersOf(context, recipients);
  const { sealing, entry: keyEntry } = await sealingFor(context, state.sealing, readers.plain);
  const facts = entryFacts(context, state, draft);
  const { sequence, runId, modelVersion } = facts;
  const name = { pipeline, runId, modelVersion };
  const weights = unflatten(settings.network, draft.trainer.published);
  const stored = settings.rule.stored(draft.trainer);
  const { model, chunks } = sealModel({
    name,
    checkpoint: encodeCheckpoint({
      network: settings.network,
      weights,
      metadata: checkpointMetadata(facts),
      ...(stored === undefined ? {} : { trainer: stored }),
    }),
    signer,
    dataKey: sealing.dataKey,
    sequence,
    maxChunkBytes: MAX_VALUE_BYTES,
  });
  const twin = await sealEncrypted(context, state, {
    name,
    weights,
    sequence,
    to: readers.encrypted,
  });
  const { encryptedModel } = twin;
  const claim = {
    ...facts,
    ...versionFields({ ...facts, ...runMethod(options.spec, state.run.noise), encryptedModel }),
    epsilon: 0,
    model,
    ...(encryptedModel === undefined ? {} : { encryptedModel }),
    at: new Date(nowMs).toISOString(),
  };
  // The rules recompute epsilon from the entry's other fields; what they find is what is claimed.
  const { epsilon } = withEntry(state.ledger, { entry: claim, entryHash: "" });
  const entry: LedgerEntry = { ...claim, epsilon };
  const fault = entryFault(state.ledger, entry);
  if (fault !== null) throw new SealstreamError("internal", fault.message);
  const kept = [...state.kept, chunksOf(entry)];
  const dropped = kept.slice(0, -KEPT_MODELS).flat();
  const outputs: OutputRecord[] = [
    ...[keyEntry, twin.keyEntry].flatMap((one) =>
      one === null ? [] : [{ role: "keys" as const, ...one }],
    ),
    ...[...chunks, ...twin.chunks].map(({ hash, bytes }) => ({
      role: "models" as const,
      key: hash,
      value: bytes,
    })),
    ...dropped.map((chunk) => ({
      role: "models" as const,
      key: Buffer.from(chunk, "hex"),
      value: null,
    })),
    { role: "ledger", key: null, value: encodeLedgerEntry(entry, signer) },
  ];
  return {
    outputs,
    entry,
    state: {
      ...state,
      ledger: withEntry(state.ledger, { entry, entryHash: entryHash(entry) }),
      trainer: draft.trainer,
      released: releasedAfter(state, entry),
      kept: kept.slice(-KEPT_MODELS),
      position: draft.contributionsNext,
      decisions: { ...state.decisions, refusedTo: null },
      sealing: { ...sealing, uses: sealing.uses + 1 },
      encryptedSealing: twin.sealing,
    },
  };
}

/** Everything of the entry but epsilon, model and time. */
function entryFacts(context: StateContext, state: AggregateState, draft: ModelDraft) {
  const { options, settings, sourceTopic } = context;
  const { name: pipeline, train, privacy } = options.spec;
  const { last } = state.ledger;
  const isUpdate = draft.contributionsHash !== null;
  const before = isUpdate ? last?.entry : undefined;
  const laneNext: Record<string, number> = { ...before?.laneNext };
  for (const { lane, to } of draft.ranges) laneNext[lane] = to;
  return {
    pipeline,
    sequence: (last?.entry.sequence ?? -1) + 1,
    previous: last?.entryHash ?? null,
    kind: isUpdate ? ("update" as const) : ("genesis" as const),
    runId: state.run.runId,
    modelVersion: (before?.modelVersion ?? -1) + 1,
    step: (before?.step ?? -1) + 1,
    configHash: settings.configHash,
    network: settings.network,
    mechanism: "gaussian" as const,
    noiseMultiplier: state.run.noiseMultiplier,
    l2ClipNorm: train.l2ClipNorm,
    sensitivity: settings.sensitivity * columnNorm(state.run.noise),
    updateBatchRecords: train.updateBatchRecords,
    microBatchRecords: train.microBatchRecords,
    learningRate: train.learningRate,
    adjacency: "zero-out" as const,
    sourceTopic,
    ranges: draft.ranges,
    laneNext,
    contributionsNext: draft.contributionsNext,
    contributionsHash: draft.contributionsHash,
    participations: privacy.participations,
    delta: privacy.delta,
  };
}

/** The hashes of the block that the update after this entry is in. */
function releasedAfter(
  { released, run }: AggregateState,
  { contributionsHash, step }: LedgerEntry,
): readonly string[] {
  if (contributionsHash === null || run.noise.kind === "independent") return [];
  const all = [...released, contributionsHash];
  return blockStart(run.noise, step + 1) > step ? [] : all;
}

/** Who gets the model itself, and who gets it as ciphertexts only: the prediction zone, where models are encrypted. */
function readersOf({ options }: StateContext, recipients: readonly Recipient[]) {
  if (options.modelEncryption === undefined) return { plain: recipients, encrypted: [] };
  const isPrediction = ({ purpose }: Recipient) => purpose === "model-unwrap";
  const isRecovery = ({ purpose }: Recipient) => purpose === SEALED_TOPICS.models.recovery;
  return {
    plain: recipients.filter((one) => !isPrediction(one)),
    encrypted: recipients.filter((one) => isPrediction(one) || isRecovery(one)),
  };
}

/** The model once more, as ciphertexts, sealed for the prediction zone; nothing where it gets the model itself. */
async function sealEncrypted(
  context: StateContext,
  state: AggregateState,
  model: {
    readonly name: ModelName;
    readonly weights: Weights;
    readonly sequence: number;
    readonly to: readonly Recipient[];
  },
) {
  const { options, settings } = context;
  const made = await options.modelEncryption?.encrypt(settings.network, model.weights);
  if (made === undefined || made === null) {
    return { chunks: [], keyEntry: null, sealing: state.encryptedSealing };
  }
  const { sealing, entry } = await sealingFor(context, state.encryptedSealing, model.to);
  const { model: stored, chunks } = sealModel({
    name: { ...model.name, form: "encrypted" },
    checkpoint: made.file,
    signer: options.keys.signing("model-signing"),
    dataKey: sealing.dataKey,
    sequence: model.sequence,
    maxChunkBytes: MAX_VALUE_BYTES,
  });
  const { parameters, consumerKeyId } = made;
  return {
    chunks,
    keyEntry: entry,
    sealing: { ...sealing, uses: sealing.uses + 1 },
    encryptedModel: { ...stored, parameters, consumerKeyId },
  };
}

/** The data key in use, or a new one and the record that gives it to its recipients. */
async function sealingFor(
  { options }: StateContext,
  current: ModelSealing | null,
  recipients: readonly Recipient[],
): Promise<{ readonly sealing: ModelSealing; readonly entry: KeyEntry | null }> {
  const signer = options.keys.signing("model-signing");
  const parties = partiesOf(signer, recipients);
  if (current !== null && current.parties === parties && current.uses < MODELS_PER_DATA_KEY) {
    return { sealing: current, entry: null };
  }
  const { dataKey, entry } = await createDataKey({
    pipeline: options.spec.name,
    topic: "models",
    lane: 0,
    recipients,
    signer,
    kms: options.kms,
  });
  return { sealing: { dataKey, uses: 0, parties }, entry };
}

/** Name of the topic whose offsets the ranges are. */
export function sourceTopicOf(pipeline: string): string {
  return topicName(pipeline, "examples");
}
