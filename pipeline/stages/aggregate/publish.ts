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
import { partiesOf } from "../../crypto/wrap/key-wrap.ts";
import type { Recipient } from "../../crypto/wrap/types.ts";
import { SealstreamError } from "../../errors.ts";
import { encodeCheckpoint } from "../../network/safetensors.ts";
import { unflatten } from "../../network/weights.ts";
import { entryFault, withEntry } from "../../privacy/ledger.ts";
import {
  encodeLedgerEntry,
  entryHash,
  type LedgerEntry,
  type LedgerRange,
} from "../../privacy/ledger-entry.ts";
import { ledgerVersion } from "../../privacy/ledger-network.ts";
import { sealModel } from "../../privacy/model-blob.ts";
import type { OutputRecord } from "../../stream/contract.ts";
import {
  type AggregateState,
  checkpointMetadata,
  KEPT_MODELS,
  type ModelSealing,
  type StateContext,
} from "./state.ts";

/** What a new model is, and what it was made of. */
export interface ModelDraft {
  /** Flat. */
  readonly weights: Float32Array;
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
/** A record takes part in one release of a run: one pass, each range once. */
const PARTICIPATIONS = 1;

/** The public keys that a model is sealed to; null until `keys` has all of them. */
export function modelRecipients({ options }: StateContext): readonly Recipient[] | null {
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
  const { sealing, entry: keyEntry } = await sealingFor(context, state.sealing, recipients);
  const facts = entryFacts(context, state, draft);
  const { sequence, runId, modelVersion } = facts;
  const { model, chunks } = sealModel({
    name: { pipeline, runId, modelVersion },
    checkpoint: encodeCheckpoint({
      network: settings.network,
      weights: unflatten(settings.network, draft.weights),
      metadata: checkpointMetadata(facts),
    }),
    signer,
    dataKey: sealing.dataKey,
    sequence,
    maxChunkBytes: MAX_VALUE_BYTES,
  });
  const claim = { ...facts, epsilon: 0, model, at: new Date(nowMs).toISOString() };
  // The rules recompute epsilon from the entry's other fields; what they find is what is claimed.
  const { epsilon } = withEntry(state.ledger, { entry: claim, entryHash: "" });
  const entry: LedgerEntry = { ...claim, epsilon };
  const fault = entryFault(state.ledger, entry);
  if (fault !== null) throw new SealstreamError("internal", fault.message);
  const kept = [...state.kept, model.chunks];
  const dropped = kept.slice(0, -KEPT_MODELS).flat();
  const outputs: OutputRecord[] = [
    ...(keyEntry === null ? [] : [{ role: "keys" as const, ...keyEntry }]),
    ...chunks.map(({ hash, bytes }) => ({ role: "models" as const, key: hash, value: bytes })),
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
      weights: draft.weights,
      kept: kept.slice(-KEPT_MODELS),
      position: draft.contributionsNext,
      decisions: { ...state.decisions, refusedTo: null },
      sealing: { ...sealing, uses: sealing.uses + 1 },
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
    version: ledgerVersion(settings.network),
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
    sensitivity: settings.sensitivity,
    updateBatchRecords: train.updateBatchRecords,
    microBatchRecords: train.microBatchRecords,
    learningRate: train.learningRate,
    adjacency: "zero-out" as const,
    sourceTopic,
    ranges: draft.ranges,
    laneNext,
    contributionsNext: draft.contributionsNext,
    contributionsHash: draft.contributionsHash,
    participations: PARTICIPATIONS,
    delta: privacy.delta,
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
