/**
 * The aggregate stage: sums contributions to the public update batch, adds noise, updates, publishes model and ledger.
 *
 * One lane, one writer. Model, ledger entry, key entry and group offset are one transaction (invariant 4). The group's
 * position is `contributionsNext` of the newest entry, or ahead of it where only refused records lie between, which the
 * changelog then says: they become final at once, or junk would fill the window. Updates are cut by count in the order of the log, never by time; the noise of each is
 * keyed to its contributions, so a repeated attempt releases the same thing again (invariants 6 and 9).
 * Holds the noise secret and the contributions' unwrap key, which no other stage has. Must not see an example, average
 * by what arrived, or go on when the budget is spent, ranges do not fit, or ledger, checkpoint and offset disagree.
 */
import { isSealstreamError, SealstreamError } from "../../errors.ts";
import { contributionBytes } from "../../privacy/contribution.ts";
import { NOISE_ROWS } from "../../privacy/noise.ts";
import type {
  LaneBounds,
  LaneProcessor,
  OutputRecord,
  Stage,
  StepResult,
  StreamRecord,
} from "../../stream/contract.ts";
import { decodeDecisions, encodeDecisions } from "./decisions.ts";
import {
  consumeTo,
  examine,
  type InboxRules,
  type PendingContribution,
  refusedPrefix,
} from "./inbox.ts";
import { createInlineMaker } from "./noise-rows.ts";
import { createNoiseSource } from "./noise-source.ts";
import type { AggregateStageOptions } from "./options.ts";
import { modelRecipients, type Published, publish, sourceTopicOf } from "./publish.ts";
import { type RunSettings, runSettings } from "./run-settings.ts";
import { type AggregateState, from, restoreState, type StateContext } from "./state.ts";
import { applyUpdate, hashOf, noiseRequest, type UpdateResult } from "./update.ts";
import type { TrainerState } from "./update-rule.ts";

/** A state whose run has begun. */
type TrainingState = AggregateState & { readonly trainer: TrainerState };

/** Between looks for a key that has not arrived. */
const KEY_RETRY_MS = 50;
/** Keeps a transaction, and the work a failure repeats, small. */
const MAX_UPDATES_PER_STEP = 8;
const MAX_REFUSED_PER_STEP = 1_024;
/** Room for refused contributions among those of an update. */
const MIN_WINDOW_RECORDS = 65_536;
const MIN_WINDOW_BYTES = 32 * 1024 * 1024;
/** Envelope, record id and header of one contribution. */
const ENVELOPE_OVERHEAD_BYTES = 1024;

/**
 * The aggregate stage on topic `contributions`.
 * @throws limit-exceeded, spec-invalid when the settings fit no run (run-settings.ts)
 */
export function createAggregateStage(options: AggregateStageOptions): Stage<AggregateState> {
  const settings = runSettings(options);
  const sourceTopic = sourceTopicOf(options.spec.name);
  const noise = createNoiseSource({
    secret: () => options.keys.secret("noise"),
    maker: options.noiseMaker ?? createInlineMaker(),
    fallback: createInlineMaker,
  });
  const context: StateContext = { options, settings, sourceTopic, noise };
  return {
    name: "aggregate",
    bounds: windowBounds(settings),
    openLane(lane) {
      if (lane !== 0) throw new SealstreamError("internal", "There is one lane of contributions.");
      return createProcessor(context);
    },
  };
}

function createProcessor(context: StateContext): LaneProcessor<AggregateState> {
  return {
    async restore(changelog, position) {
      const restored = await context.options.restore();
      const state = restoreState(context, restored, decodeDecisions(changelog), position);
      if (state.ended !== null) context.options.onEnded?.(state.ended);
      return state;
    },
    encode: ({ decisions }) => encodeDecisions(decisions),
    async process(records, state, nowMs) {
      // Nothing that comes will change it: a new start with other settings does.
      if (state.ended !== null) return waiting(state, null);
      const { trainer } = state;
      return trainer === null
        ? await beginRun(context, state, nowMs)
        : await aggregate(context, { ...state, trainer }, records, nowMs);
    },
  };
}

/** Publishes the model that a run begins with; takes nothing in. */
async function beginRun(
  context: StateContext,
  state: AggregateState,
  nowMs: number,
): Promise<StepResult<AggregateState>> {
  const recipients = modelRecipients(context);
  if (recipients === null) return waiting(state, nowMs + KEY_RETRY_MS);
  const { options, settings } = context;
  const draft = {
    trainer: settings.rule.initial(options.random),
    ranges: [],
    contributionsHash: null,
    contributionsNext: state.position,
  };
  const published = await publish(context, state, draft, { recipients, nowMs });
  report(context, published, 0);
  return {
    outputs: published.outputs,
    outcomes: [],
    state: published.state,
    consumedTo: null,
    wakeAtMs: nowMs,
  };
}

/** Looks at what is new and makes the updates that are full. */
async function aggregate(
  context: StateContext,
  state: TrainingState,
  records: readonly StreamRecord[],
  nowMs: number,
): Promise<StepResult<AggregateState>> {
  const { settings } = context;
  const { inbox, givenUp } = examine(state.inbox, records, inboxRules(context, state), nowMs);
  const looked: TrainingState = { ...state, inbox };
  if (givenUp.length > 0) return decided(looked, { givenUp }, nowMs);
  const full = Math.floor(inbox.pending.length / settings.contributionsPerUpdate);
  const idle = inbox.isBlocked ? nowMs + KEY_RETRY_MS : null;
  if (full === 0) return finishRefused(looked, idle);
  if (looked.decisions.spendingRun !== looked.run.runId) {
    return decided(looked, { spending: looked.run.runId }, nowMs);
  }
  const recipients = modelRecipients(context);
  if (recipients === null) return waiting(looked, nowMs + KEY_RETRY_MS);
  const updates = Math.min(full, MAX_UPDATES_PER_STEP);
  const outputs: OutputRecord[] = [];
  let next = looked;
  for (let update = 0; update < updates; update += 1) {
    const draft = await nextUpdate(context, next);
    // What was made before it is committed first; it is tried again then.
    if ("ended" in draft) {
      if (update === 0) return ended(context, next, draft.ended);
      break;
    }
    const published = await publish(context, next, draft, { recipients, nowMs });
    report(context, published, draft.records);
    outputs.push(...published.outputs);
    next = { ...finish(published.state), trainer: draft.trainer };
  }
  const consumedTo = next.position;
  const outcomes = inbox.refused.filter(({ offset }) => offset < consumedTo);
  const made = (next.ledger.last?.entry.step ?? 0) - (looked.ledger.last?.entry.step ?? 0);
  const wakeAtMs = full > made ? nowMs : idle;
  return { outputs, outcomes, state: next, consumedTo, wakeAtMs };
}

/** The next update of a state whose inbox has enough for one, or why there can be none. */
async function nextUpdate(context: StateContext, state: TrainingState) {
  const { settings } = context;
  const contributions = state.inbox.pending.slice(0, settings.contributionsPerUpdate);
  const newest = contributions.at(-1);
  if (state.ledger.last === null || newest === undefined) {
    throw new SealstreamError("internal", "There is no run to update.");
  }
  const updated = await orEnded(applyUpdate(context, state, contributions));
  if ("ended" in updated) return updated;
  return {
    ...updated,
    ranges: contributions.map(({ contribution }) => ({
      lane: contribution.lane,
      from: contribution.from,
      to: contribution.to,
      places: contribution.places,
      modelVersion: contribution.modelVersion,
    })),
    contributionsNext: newest.offset + 1,
    records: contributions.reduce((sum, { contribution }) => sum + contribution.used, 0),
  };
}

/** A model that has diverged comes out the same on every attempt: starting again would not help. */
async function orEnded(made: Promise<UpdateResult>): Promise<UpdateResult | { ended: string }> {
  try {
    return await made;
  } catch (error) {
    if (!isSealstreamError(error, "limit-exceeded")) throw error;
    return { ended: error.message };
  }
}

/** Takes nothing in any more, and says why. */
function ended(
  { options }: StateContext,
  state: AggregateState,
  reason: string,
): StepResult<AggregateState> {
  options.onEnded?.(reason);
  return waiting({ ...state, ended: reason }, null);
}

/** Asks for the noise of every update that has become full, while what is behind it is still unsealed. */
function noiseAhead(context: StateContext, state: AggregateState) {
  const each = context.settings.contributionsPerUpdate;
  const ahead: string[] = [];
  return (pending: readonly PendingContribution[]): void => {
    while (ahead.length < MAX_UPDATES_PER_STEP && pending.length >= (ahead.length + 1) * each) {
      const own = pending.slice(ahead.length * each, (ahead.length + 1) * each);
      const contributionsHash = hashOf(own);
      context.noise.prefetch(noiseRequest(context, state, { ahead, contributionsHash }));
      ahead.push(contributionsHash);
    }
  };
}

/** Makes the refused records final that no contribution is before: they are part of no update. */
function finishRefused(state: AggregateState, wakeAtMs: number | null): StepResult<AggregateState> {
  const outcomes = refusedPrefix(state.inbox, MAX_REFUSED_PER_STEP);
  const newest = outcomes.at(-1);
  const { last } = state.ledger;
  if (newest === undefined || last === null) return waiting(state, wakeAtMs);
  const position = newest.offset + 1;
  const refusedTo = { sequence: last.entry.sequence, position };
  const decisions = { ...state.decisions, refusedTo };
  return {
    outputs: [],
    outcomes,
    state: finish({ ...state, position, decisions }),
    consumedTo: position,
    wakeAtMs,
  };
}

/** The state once everything before its `position` is final. */
function finish(state: AggregateState): AggregateState {
  const refusedForKey = from(state.decisions.refusedForKey, state.position);
  return {
    ...state,
    inbox: consumeTo(state.inbox, state.position),
    decisions: { ...state.decisions, refusedForKey },
  };
}

/** A decision, alone in its transaction: nothing may be written that depends on it before it is committed. */
function decided(
  state: AggregateState,
  decision: { readonly givenUp?: readonly number[]; readonly spending?: string },
  nowMs: number,
): StepResult<AggregateState> {
  const before = state.decisions;
  const { givenUp, spending } = decision;
  const decisions = {
    ...before,
    refusedForKey: [...before.refusedForKey, ...(givenUp ?? [])],
    ...(spending === undefined ? {} : { spendingRun: spending, noiseRows: NOISE_ROWS }),
  };
  return waiting({ ...state, decisions }, nowMs);
}

function waiting(state: AggregateState, wakeAtMs: number | null): StepResult<AggregateState> {
  return { outputs: [], outcomes: [], state, consumedTo: null, wakeAtMs };
}

function inboxRules(context: StateContext, state: AggregateState): InboxRules {
  const { options, settings } = context;
  const entry = state.ledger.last?.entry;
  return {
    pipeline: options.spec.name,
    directory: options.directory,
    runId: state.run.runId,
    configHash: settings.configHash,
    modelVersion: entry?.modelVersion ?? 0,
    coordinates: settings.coordinates,
    places: options.spec.train.microBatchRecords,
    fractionBits: settings.fractionBits,
    laneNext: entry?.laneNext ?? {},
    refusedForKey: state.decisions.refusedForKey,
    keysFreshAsOf: options.keysFreshAsOf,
    onPending: noiseAhead(context, state),
  };
}

function report({ options }: StateContext, { entry }: Published, records: number): void {
  const { modelVersion, step, epsilon } = entry;
  options.onUpdate?.({ modelVersion, step, epsilon, records });
}

function windowBounds({ coordinates, contributionsPerUpdate }: RunSettings): LaneBounds {
  const bytes = contributionBytes(coordinates) + ENVELOPE_OVERHEAD_BYTES;
  return {
    maxRecords: Math.max(MIN_WINDOW_RECORDS, 2 * contributionsPerUpdate),
    maxBytes: Math.max(MIN_WINDOW_BYTES, 2 * contributionsPerUpdate * bytes),
  };
}
