/**
 * One lane of predict: finds the next complete pack, judges it, has it evaluated, and writes the signed result.
 *
 * One pack per call, so that a transaction holds one result bundle and memory one pack. Everything it decides depends on
 * committed records, published keys and the newest model. It waits for a key no longer than until `keys` has been read up
 * to the moment at which this lane first saw the manifest: who writes a pack publishes its keys before.
 */

import { featureBounds } from "../../ckks/feature-bounds.ts";
import { parseParameters, slotCount } from "../../ckks/parameters.ts";
import type { PoolOutcome, PoolRequest } from "../../ckks/pool.ts";
import {
  BUNDLE_TYPE_HEADER,
  type Bundle,
  laneRecordBytes,
  readBundles,
} from "../../crypto/bundle.ts";
import { BUNDLE_ID_BYTES } from "../../crypto/bundle-manifest.ts";
import { SealstreamError } from "../../errors.ts";
import { classCount } from "../../network/definition.ts";
import type {
  LaneProcessor,
  Outcome,
  Reason,
  StepResult,
  StreamRecord,
} from "../../stream/contract.ts";
import { evaluationKeysOf } from "./consumer-keys.ts";
import { createFirstSeen, type FirstSeen } from "./first-seen.ts";
import { isPartLength, type PackLimits } from "./limits.ts";
import type { ModelChoice } from "./model-choice.ts";
import { type Pack, readPack } from "./pack.ts";
import { judgeOpenPack, PACK_DEADLINE_MS } from "./pack-deadline.ts";
import { predictionRecords } from "./prediction-bundle.ts";
import type { PredictModel, PredictStageOptions, Turns } from "./stage.ts";
import { encodeState, type PredictState, restoreState } from "./state.ts";

/** Key of a chunk: bundle id and index (`crypto/bundle.ts`). */
const CHUNK_KEY_BYTES: number = BUNDLE_ID_BYTES + 4;
/** How soon a lane that waits for a model or a key looks again; a change of those views wakes it earlier. */
const WAIT_MS = 100;
/** The same for a pack that no model serves yet: looking again means reading all of it. */
const MODEL_WAIT_MS = 1_000;

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

/** What the owner's signature binds a pack to. */
function packContext(pipeline: string, lane: number): string {
  return `sealstream/packs/v1|${pipeline}|${lane}`;
}

/** The processor of one lane. */
export function createPredictLane(given: PredictLaneOptions): LaneProcessor<PredictState> {
  const seen = createFirstSeen();
  return {
    restore: (changelog) => restoreState(changelog),
    encode: encodeState,
    process: (records, state, nowMs) => {
      // Asked without records too, so that a new model is opened and shown before a pack needs it.
      const model = given.models.current(null);
      const first = records[0];
      const last = records.at(-1);
      if (first === undefined || last === undefined) return result(state, { wakeAtMs: null });
      seen.mark({ from: first.offset, to: last.offset }, nowMs);
      const ready = model !== null && hasKeys(given);
      if (!ready) return result(state, { wakeAtMs: nowMs + WAIT_MS });
      const step = { records, state, nowMs, seen };
      if (!isWorthReading(given, step)) return waitForEnd(given, step, first.offset);
      return given.turns.run(() => processPack(given, step));
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
 * @throws key-invalid when they do not fit the pipeline file
 */
function hasKeys({ options: { directory, keyFit }, limits }: PredictLaneOptions): boolean {
  const evaluation = directory.blob("ckks-evaluation");
  if (evaluation !== null && !limits.parameters.has(evaluation.parameters)) {
    throw new SealstreamError(
      "state-mismatch",
      `The consumer's CKKS parameters are now ${evaluation.parameters}; start predict again to use them.`,
    );
  }
  const isHere = evaluation !== null && directory.blob("ckks-public") !== null;
  return isHere && (keyFit?.isReady() ?? true);
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
function isWorthReading({ limits }: PredictLaneOptions, { records, state }: Step): boolean {
  const isTooLong = (): boolean =>
    records.length > limits.span.records ||
    records.reduce((bytes, record) => bytes + laneRecordBytes(record), 0) > limits.span.bytes;
  const isGivenUp = state.open !== null && state.open.cutTo !== null;
  return isGivenUp || !records.every(isChunk) || isTooLong();
}

/** Nothing can be done before the pack that begins at `pendingFrom` ends, or has had its time. */
function waitForEnd(
  { options }: PredictLaneOptions,
  { records, state, nowMs, seen }: Step,
  pendingFrom: number | null,
  done: Pick<StepResult<PredictState>, "outcomes" | "consumedTo"> = NOTHING_DONE,
): StepResult<PredictState> {
  const { open, wakeAtMs } = judgeOpenPack({
    pendingFrom,
    open: state.open,
    heldTo: (records.at(-1)?.offset ?? -1) + 1,
    seenMs: pendingFrom === null ? nowMs : seen.at(pendingFrom),
    nowMs,
    deadlineMs: options.packDeadlineMs ?? PACK_DEADLINE_MS,
  });
  return result({ ...state, open }, { ...done, wakeAtMs });
}

const NOTHING_DONE = { outcomes: [], consumedTo: null } as const;

async function processPack(
  given: PredictLaneOptions,
  step: Step,
): Promise<StepResult<PredictState>> {
  const { state, nowMs } = step;
  const { bundle, refused, consumedTo, pendingFrom, waitsForSigner } = readNextBundle(given, step);
  if (bundle === null) {
    const done = { outcomes: refused, consumedTo };
    if (waitsForSigner) return result(state, { ...done, wakeAtMs: nowMs + WAIT_MS });
    return waitForEnd(given, step, pendingFrom, done);
  }
  const judged = judge(given, bundle);
  if (typeof judged !== "string") return evaluatePack(given, step, { ...judged, refused });
  if (judged === "key-unknown" && mayKeysCome(given, step, bundle.toOffset - 1)) {
    return result(state, { wakeAtMs: nowMs + WAIT_MS });
  }
  const outcomes = [...refused, ...letters({ step, bundle, refused }, judged)];
  return result(
    { ...state, open: null },
    { outcomes, consumedTo: bundle.toOffset, wakeAtMs: null },
  );
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
  /** Where a pack begins that has not ended. */
  readonly pendingFrom: number | null;
  readonly waitsForSigner: boolean;
}

/** The first complete bundle that is no replay. */
function readNextBundle(given: PredictLaneOptions, step: Step): NextBundle {
  const { options, lane, limits } = given;
  const { open } = step.state;
  const found = readBundles(step.records, {
    context: packContext(options.spec.name, lane),
    findSigner: (kid) => options.directory.findSigner(kid, ["owner-signing"]),
    maxBundleBytes: limits.packBytes,
    maxSpan: limits.span,
    atMost: 1,
    giveUp: open?.cutTo == null ? undefined : { from: open.from, to: open.cutTo },
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
  { options: { directory, keyFit }, features }: PredictLaneOptions,
  bundle: Bundle,
): JudgedPack | Reason {
  const pack = readPack(bundle);
  if (pack === null || pack.features !== features) return "pack-refused";
  const parameters = parseParameters(pack.parameters);
  if (parameters === null || pack.rows > slotCount(parameters)) return "pack-refused";
  const keys = evaluationKeysOf(directory, pack.consumerKeyId);
  if (keys?.parameters.id !== pack.parameters) return "key-unknown";
  // Made for another network than the file's: no model of this one can be evaluated under them.
  if (keyFit?.serves(pack.consumerKeyId) === false) return "key-unknown";
  return pack.ciphertexts.every(({ length }) => isPartLength(parameters, pack, length))
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
  if (evaluated === null && isOutlived(given, pack)) {
    const outcomes = [...refused, ...letters({ step, bundle, refused }, "key-unknown")];
    const passed: PredictState = { ...state, lastSequence: pack.sequence, open: null };
    return result(passed, { outcomes, consumedTo: bundle.toOffset, wakeAtMs: null });
  }
  // The pack is as it was: the next model wakes the lane.
  if (evaluated === null) return result(state, { wakeAtMs: step.nowMs + MODEL_WAIT_MS });
  const { model, answer } = evaluated;
  const seen: PredictState = { ...state, lastSequence: pack.sequence, open: null };
  if (answer.status === "refused") {
    const outcomes = [...refused, ...letters({ step, bundle, refused }, "ciphertext-refused")];
    return result(seen, { outcomes, consumedTo: bundle.toOffset, wakeAtMs: null });
  }
  const classes = classCount(model.network);
  options.onPack?.({
    lane,
    rows: pack.rows,
    classes,
    packing: pack.packing,
    modelVersion: model.entry.modelVersion,
    evaluationMs: answer.evaluationMs,
  });
  const sequence = state.nextSequence;
  const { blobs: parts, layout } = answer;
  const made = { pack, model, parts, layout, classes, sequence };
  const by = { pipeline: options.spec.name, lane, signer: options.signer };
  return result(
    { ...seen, nextSequence: sequence + 1 },
    {
      outputs: predictionRecords(by, made),
      outcomes: refused,
      consumedTo: bundle.toOffset,
      wakeAtMs: null,
    },
  );
}

/**
 * Whether the pack's key is older than the one that models are encrypted under by now: no model will ever fit it again.
 * A pack under a newer key waits for the next model.
 */
function isOutlived({ options: { directory }, models }: PredictLaneOptions, pack: Pack): boolean {
  const weights = models.current(null)?.weights;
  if (weights === undefined || !("consumerKeyId" in weights)) return false;
  const ofPack = directory.consumerKey(pack.consumerKeyId);
  const ofModel = directory.consumerKey(weights.consumerKeyId);
  return ofPack !== null && ofModel !== null && ofPack.generation < ofModel.generation;
}

/** What the newest model that can be evaluated says to a pack, or null when there is none. */
async function evaluateWithNewest(given: PredictLaneOptions, pack: Pack) {
  const { options, models, features } = given;
  const next = () => models.current(pack);
  for (let model = next(); model !== null; model = next()) {
    const { inputs } = model.network;
    const answer: PoolOutcome =
      inputs === features
        ? await options.evaluator.evaluate(evaluationRequest(given, pack, model))
        : { status: "model-refused", reason: otherInputs(inputs, features) };
    if (answer.status !== "model-refused") {
      models.proved(model);
      return { model, answer };
    }
    models.refuse(model, pack, answer.reason);
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
  const keys = evaluationKeysOf(options.directory, pack.consumerKeyId);
  if (keys === null) {
    throw new SealstreamError("internal", "A pack was accepted without its keys.");
  }
  return {
    ...keys,
    modelId: model.entryHash,
    network: model.network,
    weights: model.weights,
    mode: options.spec.predict.model,
    precisionBits: options.spec.predict.precisionBits,
    bounds: featureBounds(options.spec.features.outputs.range),
    packing: pack.packing,
    form: pack.form,
    planned: options.keyFit?.planned(pack.consumerKeyId),
    records: pack.rows,
    ciphertexts: pack.ciphertexts,
  };
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
