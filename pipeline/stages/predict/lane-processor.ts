/**
 * One lane of predict: finds the next complete pack, judges it, has it evaluated, and writes the signed result.
 *
 * One pack per call, so that a transaction holds one result bundle and memory one pack. Everything it decides depends on
 * committed records, published keys and the newest model. It waits for a key no longer than until `keys` has been read up
 * to the moment at which this lane first saw the manifest: who writes a pack publishes its keys before.
 */
import { MAX_VALUE_BYTES } from "../../../schemas/topics.ts";
import { inputCiphertextBytes, parseParameters, slotCount } from "../../ckks/parameters.ts";
import type { PoolOutcome, PoolRequest } from "../../ckks/pool.ts";
import {
  BUNDLE_ID_BYTES,
  BUNDLE_TYPE_HEADER,
  type Bundle,
  createBundle,
  laneRecordBytes,
  readBundles,
} from "../../crypto/bundle.ts";
import { SealstreamError } from "../../errors.ts";
import type {
  LaneProcessor,
  Outcome,
  OutputRecord,
  Reason,
  StepResult,
  StreamRecord,
} from "../../stream/contract.ts";
import { createFirstSeen, type FirstSeen } from "./first-seen.ts";
import type { PackLimits } from "./limits.ts";
import type { ModelChoice } from "./model-choice.ts";
import { type Pack, readPack } from "./pack.ts";
import type { PredictModel, PredictStageOptions, Turns } from "./stage.ts";
import { encodeState, type PredictState, restoreState } from "./state.ts";

/** Key of a chunk: bundle id and index (`crypto/bundle.ts`). */
const CHUNK_KEY_BYTES: number = BUNDLE_ID_BYTES + 4;
/** How soon a lane that waits for a model or a key looks again; a change of those views wakes it earlier. */
const WAIT_MS = 100;

export interface PredictLaneOptions {
  readonly options: PredictStageOptions;
  /** Shared by the stage's lanes. */
  readonly models: ModelChoice;
  readonly lane: number;
  readonly limits: PackLimits;
  /** Inputs of the pipeline's network. */
  readonly features: number;
  readonly turns: Turns;
}

/** Bundle contexts: what a signature binds a bundle to. */
export function packContext(pipeline: string, lane: number): string {
  return `sealstream/packs/v1|${pipeline}|${lane}`;
}
export function predictionContext(pipeline: string, lane: number): string {
  return `sealstream/predictions/v1|${pipeline}|${lane}`;
}

/** The processor of one lane. */
export function createPredictLane(given: PredictLaneOptions): LaneProcessor<PredictState> {
  const seen = createFirstSeen();
  return {
    restore: (changelog) => restoreState(changelog),
    encode: encodeState,
    process: (records, state, nowMs) => {
      // Asked without records too, so that a new model is opened and shown before a pack needs it.
      const model = given.models.current();
      const first = records[0];
      const last = records.at(-1);
      if (first === undefined || last === undefined) return result(state, { wakeAtMs: null });
      seen.mark({ from: first.offset, to: last.offset }, nowMs);
      const ready = model !== null && hasKeys(given);
      if (!ready) return result(state, { wakeAtMs: nowMs + WAIT_MS });
      if (!isWorthReading(given, records)) return result(state, { wakeAtMs: null });
      return given.turns.run(() => processPack(given, { records, state, nowMs, seen }));
    },
  };
}

interface Step {
  readonly records: readonly StreamRecord[];
  readonly state: PredictState;
  readonly nowMs: number;
  readonly seen: FirstSeen;
}

function result(
  state: PredictState,
  parts: Partial<StepResult<PredictState>> & { readonly wakeAtMs: number | null },
): StepResult<PredictState> {
  return { outputs: [], outcomes: [], consumedTo: null, state, ...parts };
}

/**
 * Whether the consumer's keys are here.
 * @throws state-mismatch when they came with other parameters than the lane's bounds were made for
 */
function hasKeys({ options: { directory }, limits }: PredictLaneOptions): boolean {
  const evaluation = directory.blob("ckks-evaluation");
  if (evaluation !== null && evaluation.parameters !== limits.parameters) {
    throw new SealstreamError(
      "state-mismatch",
      `The consumer's CKKS parameters are now ${evaluation.parameters}; start predict again to use them.`,
    );
  }
  return evaluation !== null && directory.blob("ckks-public") !== null;
}

/** Whether a record may be a chunk of a bundle that is still to come; what is not is looked at at once. */
function isChunk({ key, value, headers }: StreamRecord): boolean {
  const type = headers[BUNDLE_TYPE_HEADER];
  return (
    key?.length === CHUNK_KEY_BYTES &&
    value !== null &&
    value.length > 0 &&
    type !== undefined &&
    Buffer.from(type).toString("latin1") === "chunk"
  );
}

/** Chunks alone say nothing before they are too many; records behind an open pack are not looked at with every fetch. */
function isWorthReading({ limits }: PredictLaneOptions, records: readonly StreamRecord[]): boolean {
  const isTooLong = (): boolean =>
    records.length > limits.span.records ||
    records.reduce((bytes, record) => bytes + laneRecordBytes(record), 0) > limits.span.bytes;
  return !records.every(isChunk) || isTooLong();
}

async function processPack(
  given: PredictLaneOptions,
  step: Step,
): Promise<StepResult<PredictState>> {
  const { state, nowMs } = step;
  const { bundle, refused, consumedTo, waitsForSigner } = readNextBundle(given, step);
  if (bundle === null) {
    const wakeAtMs = waitsForSigner ? nowMs + WAIT_MS : null;
    return result(state, { outcomes: refused, consumedTo, wakeAtMs });
  }
  const judged = judge(given, bundle);
  if (typeof judged !== "string") return evaluatePack(given, step, { ...judged, refused });
  if (judged === "key-unknown" && mayKeysCome(given, step, bundle.toOffset - 1)) {
    return result(state, { wakeAtMs: nowMs + WAIT_MS });
  }
  const outcomes = [...refused, ...letters({ step, bundle, refused }, judged)];
  return result(state, { outcomes, consumedTo: bundle.toOffset, wakeAtMs: null });
}

/** Whether keys published before the record may still be on their way to the directory. */
function mayKeysCome({ options }: PredictLaneOptions, { seen }: Step, offset: number): boolean {
  return options.keysFreshAsOf() <= seen.at(offset);
}

interface NextBundle {
  readonly bundle: Bundle | null;
  /** Records that belong to no bundle, all before `consumedTo`. */
  readonly refused: readonly Outcome[];
  readonly consumedTo: number | null;
  readonly waitsForSigner: boolean;
}

/** The first complete bundle that is no replay. */
function readNextBundle(given: PredictLaneOptions, step: Step): NextBundle {
  const { options, lane, limits } = given;
  const found = readBundles(step.records, {
    context: packContext(options.spec.name, lane),
    findSigner: (kid) => options.directory.findSigner(kid, ["owner-signing"]),
    maxBundleBytes: limits.packBytes,
    maxSpan: limits.span,
    atMost: 1,
    isReplay: ({ fields }) => isReplay(fields["sequence"], step.state),
    waitForSigner: (offset) => mayKeysCome(given, step, offset),
  });
  const refused = found.refused.map(({ offset, reason }) =>
    deadLetter(offset, reason === "replayed" ? "sequence-not-rising" : reason),
  );
  return { ...found, bundle: found.bundles[0] ?? null, refused };
}

/** Whether the lane is past a sequence. What is no sequence is for `judge` to refuse. */
function isReplay(sequence: unknown, { lastSequence }: PredictState): boolean {
  return lastSequence !== null && typeof sequence === "number" && sequence <= lastSequence;
}

interface JudgedPack {
  readonly bundle: Bundle;
  readonly pack: Pack;
}

/** Whether an authentic bundle is a pack that may be evaluated now. */
function judge(
  { options: { directory }, features }: PredictLaneOptions,
  bundle: Bundle,
): JudgedPack | Reason {
  const pack = readPack(bundle);
  if (pack === null || pack.features !== features) return "pack-refused";
  const parameters = parseParameters(pack.parameters);
  if (parameters === null || pack.rows > slotCount(parameters)) return "pack-refused";
  const keys = directory.consumerKeys(pack.consumerKeyId);
  const published =
    keys?.publicKey.parameters === pack.parameters &&
    keys.evaluation.parameters === pack.parameters;
  if (!published) return "key-unknown";
  const bytes = inputCiphertextBytes(parameters);
  return pack.ciphertexts.every(({ length }) => length === bytes)
    ? { bundle, pack }
    : "ciphertext-refused";
}

async function evaluatePack(
  given: PredictLaneOptions,
  step: Step,
  { bundle, pack, refused }: JudgedPack & { readonly refused: readonly Outcome[] },
): Promise<StepResult<PredictState>> {
  const { options, lane } = given;
  const { state } = step;
  const evaluated = await evaluateWithNewest(given, pack);
  // The pack is as it was: the next model wakes the lane.
  if (evaluated === null) return result(state, { wakeAtMs: step.nowMs + WAIT_MS });
  const { model, answer } = evaluated;
  const seen: PredictState = { ...state, lastSequence: pack.sequence };
  if (answer.status === "refused") {
    const outcomes = [...refused, ...letters({ step, bundle, refused }, "ciphertext-refused")];
    return result(seen, { outcomes, consumedTo: bundle.toOffset, wakeAtMs: null });
  }
  options.onPack?.({
    lane,
    rows: pack.rows,
    classes: answer.blobs.length,
    modelVersion: model.entry.modelVersion,
    evaluationMs: answer.evaluationMs,
  });
  return result(
    { ...seen, nextSequence: state.nextSequence + 1 },
    {
      outputs: predictionBundle(given, {
        pack,
        model,
        parts: answer.blobs,
        sequence: state.nextSequence,
      }),
      outcomes: refused,
      consumedTo: bundle.toOffset,
      wakeAtMs: null,
    },
  );
}

/** What the newest model that can be evaluated says to a pack, or null when there is none. */
async function evaluateWithNewest(given: PredictLaneOptions, pack: Pack) {
  const { options, models, features } = given;
  for (let model = models.current(); model !== null; model = models.current()) {
    const { inputs } = model.network;
    const answer: PoolOutcome =
      inputs === features
        ? await options.evaluator.evaluate(evaluationRequest(given, pack, model))
        : { status: "model-refused", reason: otherInputs(inputs, features) };
    if (answer.status !== "model-refused") {
      models.proved(model);
      return { model, answer };
    }
    models.refuse(model, answer.reason);
  }
  return null;
}

function otherInputs(inputs: number, features: number): string {
  return `The model takes ${inputs} features, the pipeline file says ${features}; use the file the model was trained with.`;
}

function evaluationRequest(
  { options }: PredictLaneOptions,
  pack: Pack,
  model: PredictModel,
): PoolRequest {
  const keys = options.directory.consumerKeys(pack.consumerKeyId);
  const parameters = parseParameters(pack.parameters);
  if (keys === null || parameters === null) {
    throw new SealstreamError("internal", "A pack was accepted without its keys.");
  }
  const { publicKey, evaluation } = keys;
  return {
    parameters,
    keyId: `${publicKey.id}/${evaluation.id}`,
    keys: { publicKey: publicKey.bytes, evaluationKeys: evaluation.bytes },
    network: model.network,
    weights: model.weights,
    ciphertexts: pack.ciphertexts,
  };
}

/**
 * The signed result. Fields: {sequence, rows, classes, parameters, consumerKeyId, recordIds, runId, modelVersion,
 * modelSha256: hex, ledgerEntryHash: hex}; the bundle id is the pack's, to which the record ids are bound.
 */
function predictionBundle(
  { options, lane }: PredictLaneOptions,
  made: {
    readonly pack: Pack;
    readonly model: PredictModel;
    readonly parts: readonly Uint8Array[];
    readonly sequence: number;
  },
): OutputRecord[] {
  const { pack, model, parts, sequence } = made;
  const { runId, modelVersion } = model.entry;
  return createBundle({
    context: predictionContext(options.spec.name, lane),
    bundleId: pack.bundleId,
    parts,
    fields: {
      sequence,
      rows: pack.rows,
      classes: parts.length,
      parameters: pack.parameters,
      consumerKeyId: pack.consumerKeyId,
      recordIds: pack.recordIds,
      runId,
      modelVersion,
      modelSha256: model.entry.model.sha256,
      ledgerEntryHash: model.entryHash,
    },
    signer: options.signer,
    maxChunkBytes: MAX_VALUE_BYTES,
  }).map((record) => ({ role: "predictions", ...record }));
}

function deadLetter(offset: number, reason: Reason): Outcome {
  return { offset, kind: "dead-letter", reason };
}

/** One dead letter for each record of a bundle that has none yet. */
function letters(
  read: { readonly step: Step; readonly bundle: Bundle; readonly refused: readonly Outcome[] },
  reason: Reason,
): Outcome[] {
  const { fromOffset, toOffset } = read.bundle;
  const done = new Set(read.refused.map(({ offset }) => offset));
  return read.step.records
    .filter(({ offset }) => offset >= fromOffset && offset < toOffset && !done.has(offset))
    .map(({ offset }) => deadLetter(offset, reason));
}
