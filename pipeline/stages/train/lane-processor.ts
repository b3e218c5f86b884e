/**
 * One train lane: from the records that wait to the contributions that are final.
 *
 * A pure function of (records, state, time, newest model), but for the nonce and the data key, which are fresh per
 * attempt. See stage.ts for what may depend on time. Must not know Kafka or TensorFlow.js.
 */

import { SealstreamError } from "../../errors.ts";
import { type Network, sameNetwork } from "../../network/definition.ts";
import { argmax, forward } from "../../network/forward.ts";
import { contributionLength } from "../../network/linear-statistics.ts";
import {
  type Contribution,
  contributionFractionBits,
  quantizeSum,
} from "../../privacy/contribution.ts";
import type { LaneBounds, LaneProcessor, Outcome, OutputRecord } from "../../stream/contract.ts";
import { fillsLane } from "../../stream/record-window.ts";
import { type ClippedSum, EMPTY_PLACE } from "./backend.ts";
import type { ContributionSealer } from "./contribution-sealer.ts";
import type { ExampleWindow, WindowItem, WindowView } from "./example-window.ts";
import { batchOfCut, nextBatch } from "./micro-batch.ts";
import type { CurrentModel, TrainStageOptions } from "./options.ts";
import type { StalenessGate } from "./staleness.ts";
import { encodeState, restoreState, type TrainState } from "./state.ts";

export interface LaneProcessorOptions extends TrainStageOptions {
  readonly lane: number;
  readonly network: Network;
  /** Of this process's own settings. */
  readonly configHash: string;
  readonly bounds: LaneBounds;
  readonly gate: StalenessGate;
  readonly window: ExampleWindow;
  readonly sealer: ContributionSealer;
}

/** Between looks for a newer model while train is paused. */
const PAUSE_MS = 50;
/** Between looks for a key that has not arrived. */
const KEY_RETRY_MS = 50;
/** Keeps a transaction, and the work a failure repeats, small. */
const MAX_CONTRIBUTIONS_PER_STEP = 8;
const NONCE_BYTES = 16;

/** A step in the making. */
interface Step {
  readonly view: WindowView;
  readonly nowMs: number;
  /** Whether the lane can hold no more records than these. */
  readonly full: boolean;
  readonly outputs: OutputRecord[];
  readonly outcomes: Outcome[];
  state: TrainState;
  /** Items before this index are final. */
  next: number;
  contributions: number;
}

export function createLaneProcessor(options: LaneProcessorOptions): LaneProcessor<TrainState> {
  const { lane, gate, window, bounds } = options;
  return {
    restore: restoreState,
    encode: encodeState,
    process: async (records, state, nowMs) => {
      // Before anything is opened: while train is paused, waiting costs nothing.
      const pauseMs = pause(options, state);
      if (pauseMs !== null) return { ...NOTHING_DONE, state, wakeAtMs: nowMs + pauseMs };
      const step: Step = {
        view: window.read(records, state, nowMs),
        nowMs,
        full: fillsLane(records, bounds),
        outputs: [],
        outcomes: [],
        state,
        next: 0,
        contributions: 0,
      };
      const wakeAtMs = await advance(options, step);
      const last = step.view.items[step.next - 1];
      return {
        outputs: step.outputs,
        outcomes: step.outcomes,
        state: step.state,
        consumedTo: last === undefined ? null : last.offset + 1,
        wakeAtMs,
      };
    },
    close: () => gate.forget(lane),
  };
}

const NOTHING_DONE = { outputs: [], outcomes: [], consumedTo: null } as const;

/** How long to wait before looking again, in ms; null when a contribution may be made. */
function pause(options: LaneProcessorOptions, state: TrainState): number | null {
  if (readyModel(options, state) === null) return PAUSE_MS;
  return options.sealer.ready() ? null : KEY_RETRY_MS;
}

/** The newest model if a contribution may be made with it now, else null. */
function readyModel(options: LaneProcessorOptions, state: TrainState): CurrentModel | null {
  const model = options.model();
  // Of other settings: a run that is ending and whose successor's genesis is on its way, or a pipeline file that is not
  // aggregate's. Clipped by another norm, a contribution would not be covered by the run's noise.
  if (model === null || model.configHash !== options.configHash) return null;
  if (!sameNetwork(model.network, options.network)) return null;
  return options.gate.mayContribute(options.lane, model, state.nextFrom) ? model : null;
}

/** Makes what can be made; returns when to be called again. */
async function advance(options: LaneProcessorOptions, step: Step): Promise<number | null> {
  options.sealer.begin(step.state.nextFrom);
  const { items, blocked } = step.view;
  const size = options.spec.train.microBatchRecords;
  while (step.contributions < MAX_CONTRIBUTIONS_PER_STEP) {
    // Anew for each contribution: the newest model is used, and what this step made counts as waiting.
    const model = readyModel(options, step.state);
    if (model === null) return step.nowMs + PAUSE_MS;
    const waitMs = blocked ? step.nowMs + KEY_RETRY_MS : null;
    const { cut } = step.state;
    if (cut !== null) {
      const end = batchOfCut(items, step.next, cut);
      if (end === null) return waitMs;
      await contribute(options, step, model, end);
      continue;
    }
    const batch = nextBatch(items, step.next, size);
    if (batch.kind === "whole") {
      await contribute(options, step, model, batch.end);
      continue;
    }
    // Records before the first place only validate: they are final as soon as they are read.
    finish(options, step, model, batch.firstPlace === -1 ? items.length : batch.firstPlace);
    if (blocked || batch.places === 0) return waitMs;
    return cutTail(options, step, batch);
  }
  return step.nowMs;
}

/** Commits the end of a tail that has waited long enough, or that fills the lane; returns when to be called again. */
function cutTail(
  options: LaneProcessorOptions,
  step: Step,
  batch: { readonly places: number; readonly firstPlace: number; readonly lastPlace: number },
): number | null {
  const { tailAfterMs } = options.spec.train;
  const first = step.view.items[batch.firstPlace];
  const last = step.view.items[batch.lastPlace];
  if (first === undefined || last === undefined) {
    throw new SealstreamError("internal", "A place is not in the window.");
  }
  const dueAtMs = tailAfterMs === null ? null : first.firstSeenMs + tailAfterMs;
  const due = dueAtMs !== null && step.nowMs >= dueAtMs;
  if (!due && !step.full) return dueAtMs;
  // Alone in its transaction: no output may be written before the cut is committed (invariant 9).
  if (step.outputs.length === 0) {
    step.state = { ...step.state, cut: { to: last.offset + 1, places: batch.places } };
  }
  return step.nowMs;
}

/** One micro-batch: items from `step.next` up to `end`, the last of which is a place. */
async function contribute(
  options: LaneProcessorOptions,
  step: Step,
  model: CurrentModel,
  end: number,
): Promise<void> {
  const { lane, spec } = options;
  const items = step.view.items.slice(step.next, end);
  const to = (items.at(-1)?.offset ?? 0) + 1;
  const { microBatchRecords: places, l2ClipNorm } = spec.train;
  options.gate.note(lane, model.runId, to);
  const { sum, examples } = await gradientSum(options, model, items);
  const fractionBits = contributionFractionBits({ places, l2ClipNorm });
  const contribution: Contribution = {
    runId: model.runId,
    configHash: options.configHash,
    modelVersion: model.modelVersion,
    lane,
    from: step.state.nextFrom,
    to,
    places,
    used: examples - sum.unusableRows,
    nonce: options.random(NONCE_BYTES),
    fractionBits,
    sum: quantizeSum(sum.sum, fractionBits),
  };
  step.outputs.push(...(await options.sealer.seal(contribution)));
  finish(options, step, model, end);
  step.state = { ...step.state, nextFrom: to, cut: null };
  step.contributions += 1;
  const { clippedRows, unusableRows, lossSum } = sum;
  const { modelVersion, from, used } = contribution;
  options.onContribution?.({
    ...{ lane, modelVersion, from, to, places, used },
    ...{ clippedRows, unusableRows, lossSum },
  });
}

/** The clipped gradient sum of the places among `items`; a place without an example is an empty row. */
async function gradientSum(
  options: LaneProcessorOptions,
  model: CurrentModel,
  items: readonly WindowItem[],
): Promise<{ readonly sum: ClippedSum; readonly examples: number }> {
  const { microBatchRecords: rows, l2ClipNorm, clipping } = options.spec.train;
  const { network, iterate: weights } = model;
  const inputs = new Float32Array(rows * network.inputs);
  const labels = new Int32Array(rows).fill(EMPTY_PLACE);
  const places = items.filter((item) => item.place);
  let examples = 0;
  for (const [row, { example }] of places.entries()) {
    if (example === null) continue;
    inputs.set(example.features, row * network.inputs);
    labels[row] = example.label;
    examples += 1;
  }
  if (examples === 0) {
    const sum = new Float32Array(contributionLength(network, options.spec.train.method));
    return { sum: { sum, clippedRows: 0, unusableRows: 0, lossSum: 0 }, examples };
  }
  const request = { network, weights, inputs, labels, rows, l2ClipNorm, clipping };
  return { sum: await options.backend.clippedGradientSum(request), examples };
}

/** Makes items before `end` final: dead letters for what was refused, accuracy for what validates. */
function finish(options: LaneProcessorOptions, step: Step, model: CurrentModel, end: number): void {
  const items = step.view.items.slice(step.next, end);
  const last = items.at(-1);
  if (last === undefined) return;
  let correct = 0;
  let validated = 0;
  for (const { offset, reason, place, example } of items) {
    if (reason !== null) step.outcomes.push({ offset, kind: "dead-letter", reason });
    if (place || example === null) continue;
    validated += 1;
    const logits = forward(model.network, model.weights, example.features);
    if (argmax(logits) === example.label) correct += 1;
  }
  step.next = end;
  step.state = { ...step.state, lastSequence: last.sequenceAfter };
  if (validated > 0) {
    const { modelVersion } = model;
    options.onValidation?.({ lane: options.lane, modelVersion, correct, records: validated });
  }
}

/** Whether the lane can hold no more than these records; the measure is the one of stream/record-window.ts. */
