/**
 * One lane of predict: finds the next complete pack, judges it, has it evaluated, and writes the signed result.
 *
 * One pack per call, so that a transaction holds one result bundle and memory one pack. Everything it decides depends on
 * committed records, published keys and the newest model; time only ends the wait for a key that does not come.
 */
import { MAX_VALUE_BYTES } from "../../../schemas/topics.ts";
import { inputCiphertextBytes, parseParameters, slotCount } from "../../ckks/parameters.ts";
import {
  BUNDLE_ID_BYTES,
  BUNDLE_TYPE_HEADER,
  type Bundle,
  createBundle,
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
import type { PackLimits } from "./limits.ts";
import { type Pack, readPack } from "./pack.ts";
import type { PredictModel, PredictStageOptions, Turns } from "./stage.ts";
import { encodeState, type PredictState, restoreState } from "./state.ts";

/** Key of a chunk: bundle id and index (`crypto/bundle.ts`). */
const CHUNK_KEY_BYTES: number = BUNDLE_ID_BYTES + 4;
/** How soon a lane that waits for a model or a key looks again; a change of those views wakes it earlier. */
const WAIT_MS = 100;
/** How long after its manifest was written a pack may wait for keys: they travel by another topic. */
const KEY_PATIENCE_MS = 30_000;

export interface PredictLaneOptions {
  readonly options: PredictStageOptions;
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
  return {
    restore: (changelog) => restoreState(changelog),
    encode: encodeState,
    process: (records, state, nowMs) => {
      const model = given.options.model();
      if (records.length === 0) return result(state, { wakeAtMs: null });
      if (model === null || !hasKeys(given)) return result(state, { wakeAtMs: nowMs + WAIT_MS });
      if (!isWorthReading(given, records)) return result(state, { wakeAtMs: null });
      return given.turns.run(() => processPack(given, { records, state, nowMs, model }));
    },
  };
}

interface Step {
  readonly records: readonly StreamRecord[];
  readonly state: PredictState;
  readonly nowMs: number;
  readonly model: PredictModel;
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

/** Counted as the lane counts its window. */
function heldBytes(records: readonly StreamRecord[]): number {
  let bytes = 0;
  for (const { key, value, headers } of records) {
    bytes += (key?.length ?? 0) + (value?.length ?? 0);
    for (const header of Object.values(headers)) bytes += header.length;
  }
  return bytes;
}

function isFull({ limits }: PredictLaneOptions, records: readonly StreamRecord[]): boolean {
  return records.length >= limits.windowRecords || heldBytes(records) >= limits.windowBytes;
}

/** Chunks alone say nothing yet: they are not hashed again with every fetch. */
function isWorthReading(given: PredictLaneOptions, records: readonly StreamRecord[]): boolean {
  return (
    !records.every(isChunk) || heldBytes(records) > given.limits.packBytes || isFull(given, records)
  );
}

async function processPack(
  given: PredictLaneOptions,
  step: Step,
): Promise<StepResult<PredictState>> {
  const { state, nowMs } = step;
  const read = readNextBundle(given, step);
  const { bundle, refused } = read;
  if (bundle === null) return withoutBundle(given, step, read);
  const judged = judge(given, bundle, state);
  if (typeof judged !== "string") return evaluatePack(given, step, { ...judged, refused });
  if (judged === "key-unknown" && isPatient(step)) {
    return result(state, { wakeAtMs: nowMs + WAIT_MS });
  }
  const outcomes = [...refused, ...letters({ step, bundle, refused }, judged)];
  return result(state, { outcomes, consumedTo: bundle.toOffset, wakeAtMs: null });
}

/** Whether the newest record is young enough for its keys to be still on their way. */
function isPatient({ records, nowMs }: Step): boolean {
  return nowMs - (records.at(-1)?.timestampMs ?? 0) < KEY_PATIENCE_MS;
}

interface NextBundle {
  readonly bundle: Bundle | null;
  /** Records that belong to no bundle, all before the end of `bundle` or before `consumedTo`. */
  readonly refused: readonly Outcome[];
  readonly consumedTo: number | null;
  readonly waitsForSigner: boolean;
}

/**
 * The first complete bundle. Looks up to the first record that may be its manifest, so that one pack is put together in
 * a call; looks at everything when that settles nothing (a foreign record stands between the chunks).
 */
function readNextBundle({ options, lane, limits }: PredictLaneOptions, step: Step): NextBundle {
  const read = (records: readonly StreamRecord[]): NextBundle => {
    const found = readBundles(records, {
      context: packContext(options.spec.name, lane),
      findSigner: (kid) => options.directory.findSigner(kid, ["owner-signing"]),
      maxBundleBytes: limits.packBytes,
      waitForSigner: isPatient(step),
    });
    const bundle = found.bundles[0] ?? null;
    const end = bundle?.toOffset ?? Number.POSITIVE_INFINITY;
    const refused = found.refused
      .filter(({ offset }) => offset < end)
      .map(({ offset, reason }) => deadLetter(offset, reason));
    return { ...found, bundle, refused };
  };
  const { records } = step;
  const end = records.findIndex((record) => !isChunk(record)) + 1;
  if (end === 0 || end === records.length) return read(records);
  const first = read(records.slice(0, end));
  const settled = first.bundle !== null || first.consumedTo !== null || first.waitsForSigner;
  return settled ? first : read(records);
}

function withoutBundle(
  given: PredictLaneOptions,
  { records, state, nowMs }: Step,
  { consumedTo, waitsForSigner, refused }: NextBundle,
): StepResult<PredictState> {
  const wakeAtMs = waitsForSigner ? nowMs + WAIT_MS : null;
  const last = records.at(-1);
  if (consumedTo === null && wakeAtMs === null && last !== undefined && isFull(given, records)) {
    // A bundle that does not end within the lane's bounds never will: no pack of these parameters is that large.
    const outcomes = records.map(({ offset }) => deadLetter(offset, "pack-incomplete"));
    return result(state, { outcomes, consumedTo: last.offset + 1, wakeAtMs: null });
  }
  return result(state, { outcomes: refused, consumedTo, wakeAtMs });
}

interface JudgedPack {
  readonly bundle: Bundle;
  readonly pack: Pack;
}

/** Whether an authentic bundle is a pack that may be evaluated now. */
function judge(
  { options: { directory }, features }: PredictLaneOptions,
  bundle: Bundle,
  state: PredictState,
): JudgedPack | Reason {
  const pack = readPack(bundle);
  if (pack === null || pack.features !== features) return "pack-refused";
  const parameters = parseParameters(pack.parameters);
  if (parameters === null || pack.rows > slotCount(parameters)) return "pack-refused";
  if (state.lastSequence !== null && pack.sequence <= state.lastSequence) {
    return "sequence-not-rising";
  }
  const published =
    directory.blob("ckks-public")?.id === pack.consumerKeyId &&
    directory.blob("ckks-public")?.parameters === pack.parameters &&
    directory.blob("ckks-evaluation")?.parameters === pack.parameters;
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
  const { state, model } = step;
  const answer = await options.evaluator.evaluate(evaluationRequest(given, pack, model));
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

function evaluationRequest(
  { options, features }: PredictLaneOptions,
  pack: Pack,
  model: PredictModel,
) {
  const publicKey = options.directory.blob("ckks-public");
  const evaluation = options.directory.blob("ckks-evaluation");
  const parameters = parseParameters(pack.parameters);
  if (publicKey === null || evaluation === null || parameters === null) {
    throw new SealstreamError("internal", "A pack was accepted without its keys.");
  }
  if (model.network.inputs !== features) {
    throw new SealstreamError(
      "state-mismatch",
      `The newest model takes ${model.network.inputs} features, the pipeline file says ${features}; use the file the model was trained with.`,
    );
  }
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
