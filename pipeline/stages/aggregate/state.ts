/**
 * What aggregate knows at any time, and how it is rebuilt from the ledger when a lane starts.
 *
 * Ledger, checkpoint and group offset must agree before the first record is read: each of them commits in the same
 * transaction, so a difference means that a topic or an offset was changed by hand, and going on would lose or double
 * records. The offset is the newest entry's, or the one that the changelog recorded for refused records behind it. The state is a pure value; only the nonce counter inside a data key moves on its own, and never back.
 */
import canonicalize from "canonicalize";
import type { DataKey } from "../../crypto/data-key.ts";
import { isSealstreamError, SealstreamError } from "../../errors.ts";
import { sameNetwork } from "../../network/definition.ts";
import { type Checkpoint, decodeCheckpoint } from "../../network/safetensors.ts";
import { flatten } from "../../network/weights.ts";
import { emptyLedger, type LedgerSummary, withEntry } from "../../privacy/ledger-accounting.ts";
import {
  chunksOf,
  entryHash,
  type HashedEntry,
  type LedgerEntry,
  methodOf,
} from "../../privacy/ledger-entry.ts";
import { blockStart } from "../../privacy/ledger-noise.ts";
import { entryFault } from "../../privacy/ledger-rules.ts";
import { NOISE_ROWS } from "../../privacy/noise.ts";
import { type Decisions, NO_DECISIONS } from "./decisions.ts";
import { emptyInbox, type Inbox } from "./inbox.ts";
import type { NoiseSource } from "./noise-source.ts";
import type { AggregateStageOptions, RestoredLedger } from "./options.ts";
import { newRunNoiseOf, type RunNoise, type RunSettings } from "./run-settings.ts";
import type { TrainerState } from "./update-rule.ts";

export interface AggregateState {
  readonly ledger: LedgerSummary;
  readonly run: { readonly runId: string } & RunNoise;
  /** Hex hashes of the contributions of the run's updates in the block of noise that the next one is in, oldest first. */
  readonly released: readonly string[];
  /** Where the run's training stands; null until its genesis is written. */
  readonly trainer: TrainerState | null;
  /** Why nothing is taken in any more, or null. */
  readonly ended: string | null;
  /** Hex chunk hashes of the newest models, oldest first: what `models` still holds. */
  readonly kept: readonly (readonly string[])[];
  /** Everything before this offset of `contributions` is final: `contributionsNext` of the newest entry or of the
   * genesis to come, or ahead of it by what was refused since. */
  readonly position: number;
  readonly inbox: Inbox;
  /** The data key that models are sealed under; null until one is needed. */
  readonly sealing: ModelSealing | null;
  /** The one for models of ciphertexts. */
  readonly encryptedSealing: ModelSealing | null;
  readonly decisions: Decisions;
}

export interface ModelSealing {
  readonly dataKey: DataKey;
  /** Models sealed under it. */
  readonly uses: number;
  /** Who announced it, and whom it was wrapped for (partiesOf). */
  readonly parties: string;
}

/** Models whose chunks stay: readers that are behind by less than this find theirs. */
export const KEPT_MODELS = 8;

const RUN_ID_BYTES = 16;

/** Where the records of the ranges are. */
export interface StateContext {
  readonly options: AggregateStageOptions;
  readonly settings: RunSettings;
  readonly sourceTopic: string;
  readonly noise: NoiseSource;
}

/**
 * State at the lane's start.
 * @param restored `ledger` and `models`, read to their ends
 * @param decisions of the changelog
 * @param position offset of the first contribution that will be handed in
 * @returns a state that takes nothing in (`ended`) when new settings ask for a run that the budget has no room for, or the
 * run was begun under noise rows that this version does not make
 * @throws state-mismatch, ledger-invalid, checkpoint-invalid when they disagree; budget-spent when not even the first run
 * of a ledger has room
 */
export function restoreState(
  context: StateContext,
  restored: RestoredLedger,
  decisions: Decisions,
  position: number,
): AggregateState {
  const ledger = replay(context.options.spec.name, restored.entries);
  if (ledger.last === null) {
    if (restored.newest !== null) throw mismatch("there is a model but no ledger");
    return newRun(context, ledger, [], position);
  }
  const { entry } = ledger.last;
  const checkpoint = checkpointOf(ledger.last, restored);
  const { refusedTo } = decisions;
  const isRecorded = refusedTo !== null && refusedTo.sequence === entry.sequence;
  const expected = isRecorded ? refusedTo.position : entry.contributionsNext;
  if (expected !== position) {
    throw mismatch(
      `its newest entry and what was refused behind it end at ${expected} of contributions, the group stands at ${position}`,
    );
  }
  const kept = restored.entries.slice(-KEPT_MODELS).map((hashed) => chunksOf(hashed.entry));
  if (entry.configHash !== context.settings.configHash) {
    // Without an update the run costs no budget, unless one was begun and what it wrote was thrown away.
    if (entry.kind === "genesis" && decisions.spendingRun === entry.runId) {
      throw mismatch(
        "the first update of its newest run may have been released: let that run make it with its own settings first",
      );
    }
    try {
      return newRun(context, ledger, kept, position);
    } catch (error) {
      if (!isSealstreamError(error, "budget-spent")) throw error;
      // Starting again would end in the same way: the stage stays, and says why nothing happens.
      const run = runOf(entry);
      const state = { ...idle(ledger, kept, position), run, released: [], trainer: null };
      return { ...state, decisions, ended: error.message };
    }
  }
  const { rule } = context.settings;
  if (isOfOtherRows(entry, decisions)) {
    const stopped = { run: runOf(entry), released: [], trainer: null, decisions };
    return { ...idle(ledger, kept, position), ...stopped, ended: OTHER_ROWS };
  }
  return {
    ...idle(ledger, kept, position),
    run: runOf(entry),
    released: releasedIn(restored.entries, entry),
    trainer: rule.restore(flatten(checkpoint.weights), checkpoint.trainer),
    decisions: { ...decisions, refusedForKey: from(decisions.refusedForKey, position) },
  };
}

const OTHER_ROWS =
  "The run was begun by a version of Sealstream whose noise this one does not make: an update that was cut off could be released again under other noise. Its models stay in use. To train on, change a setting of train, which begins a new run with what is left of the budget, or start a new generation of the pipeline.";

/** Whether an update of the run may have been released under noise rows that cannot be made again here. */
function isOfOtherRows(entry: LedgerEntry, { spendingRun, noiseRows }: Decisions): boolean {
  const isSpending = spendingRun === entry.runId;
  // What was committed of a run was decided first; if the decision is gone, nothing says which rows it had.
  const isBegun = entry.kind === "update" || isSpending;
  return isBegun && !(isSpending && noiseRows === NOISE_ROWS);
}

function runOf(entry: LedgerEntry): AggregateState["run"] {
  const { runId, noiseMultiplier } = entry;
  return { runId, noiseMultiplier, noise: methodOf(entry).noise };
}

/** Hashes of the updates of the newest run that the noise of its next update hangs together with. */
function releasedIn(entries: readonly HashedEntry[], newest: LedgerEntry): readonly string[] {
  const first = blockStart(methodOf(newest).noise, newest.step + 1);
  return entries
    .filter(({ entry }) => entry.runId === newest.runId && entry.step >= first)
    .flatMap(({ entry }) => entry.contributionsHash ?? []);
}

/** A state that has looked at nothing. */
function idle(
  ledger: LedgerSummary,
  kept: AggregateState["kept"],
  position: number,
): Omit<AggregateState, "run" | "released" | "trainer" | "decisions"> {
  return {
    ...{ ledger, kept, position, ended: null },
    inbox: emptyInbox(position),
    sealing: null,
    encryptedSealing: null,
  };
}

/** Metadata of a model's checkpoint: what must agree with its ledger entry. */
export function checkpointMetadata(
  entry: Pick<
    LedgerEntry,
    "runId" | "modelVersion" | "step" | "laneNext" | "contributionsNext" | "configHash"
  >,
): Record<string, string> {
  return {
    runId: entry.runId,
    modelVersion: String(entry.modelVersion),
    step: String(entry.step),
    laneNext: canonicalize(entry.laneNext) ?? "",
    contributionsNext: String(entry.contributionsNext),
    configHash: entry.configHash,
  };
}

/** Offsets that are not final yet. */
export function from(offsets: readonly number[], position: number): number[] {
  return offsets.filter((offset) => offset >= position);
}

function newRun(
  context: StateContext,
  ledger: LedgerSummary,
  kept: AggregateState["kept"],
  position: number,
): AggregateState {
  const { options, settings, sourceTopic } = context;
  const noise = newRunNoiseOf(options, settings, ledger, sourceTopic);
  const runId = Buffer.from(options.random(RUN_ID_BYTES)).toString("hex");
  return {
    ...idle(ledger, kept, position),
    run: { runId, ...noise },
    ...{ released: [], trainer: null, decisions: NO_DECISIONS },
  };
}

function replay(pipeline: string, entries: readonly HashedEntry[]): LedgerSummary {
  let ledger = emptyLedger(pipeline);
  for (const hashed of entries) {
    const fault = entryFault(ledger, hashed.entry);
    if (fault !== null || entryHash(hashed.entry) !== hashed.entryHash) {
      throw new SealstreamError(
        "ledger-invalid",
        fault?.message ?? "A ledger entry does not have its hash.",
      );
    }
    ledger = withEntry(ledger, hashed);
  }
  return ledger;
}

/** The newest entry's checkpoint, if it says what the entry says. */
function checkpointOf(last: HashedEntry, { newest }: RestoredLedger): Checkpoint {
  if (newest === null || newest.entryHash !== last.entryHash) {
    throw mismatch("the model of its newest entry is not in models, or does not open");
  }
  const checkpoint = decodeCheckpoint(newest.checkpoint);
  const wanted = checkpointMetadata(last.entry);
  const agrees =
    sameNetwork(checkpoint.network, last.entry.network) &&
    Object.entries(wanted).every(([key, value]) => checkpoint.metadata[key] === value);
  if (!agrees) throw mismatch("the checkpoint of its newest entry says something else");
  return checkpoint;
}

function mismatch(what: string): SealstreamError {
  return new SealstreamError(
    "state-mismatch",
    `The ledger does not agree with what else is there: ${what}. If topics or offsets were changed, put them back; else start a new generation of the pipeline.`,
  );
}
