/**
 * A lane as a pure state machine: events in, actions out; no Kafka, no clock, no promises.
 *
 * Why: exactly once is decided here, so this file must be small enough to believe and runnable ten thousand times under
 * every order of faults. `lane.ts` performs the actions on a Kafka client; `test/simulation/` performs them on a model of
 * Kafka, from a seed.
 *
 * An ownership, in this order and never another:
 *   fence     make the lane's transactional producer: fences the previous owner and settles its open transaction
 *   locate    read the committed offset; only now, since the previous owner could still have moved it before
 *   recall    read the changelog, whose position must be that offset
 *   open      restore the processor (entries, then state), open a reader at that offset
 *   process -> begin -> send, one target partition each -> remember (changelog) -> sendOffset -> commit, again and again
 *   discard   throw away producer, reader and processor; whatever was left open is settled by the next fence
 *
 * Failures covered: a crash before or after any action, a zombie that wakes up, an unknown commit outcome, answers that
 * come twice, late or not at all in their ownership. Not failures: a rebalance (the lane ends between two transactions or
 * is fenced), a stage that waits, an idle input. Left to the driver: an action of an ownership that was discarded may
 * still take effect in Kafka, until the next fence; that is what fencing is for.
 * Answers are matched by id: one that is not awaited is ignored. Must not know what is in a record.
 */
import { type ErrorCode, SealstreamError } from "../errors.ts";
import type { ChangelogValue } from "./changelog.ts";
import type { StreamRecord } from "./contract.ts";
import type {
  CommitReport,
  Failure,
  LaneAction,
  LaneAnswer,
  LaneEvent,
  LaneMachineOptions,
  Step,
} from "./lane-events.ts";
import { RecordWindow } from "./record-window.ts";
import { checkLocation, checkMemory } from "./start-check.ts";
import { isPossible, sameBytes } from "./step-check.ts";

const RESTART_FIRST_MS = 100;
const RESTART_MOST_MS = 5_000;

type Phase = "idle" | "starting" | "running" | "discarding" | "waiting" | "ended";
type Ending = { readonly kind: "stop" } | { readonly kind: "error"; readonly failure: Failure };

/** One lane, from `start` to `ended`. Deterministic in its events. */
export class LaneMachine {
  readonly #options: LaneMachineOptions;
  #phase: Phase = "idle";
  #ending: Ending | null = null;
  #failures = 0;
  #nextId = 0;
  /** Ids of the actions that are awaited: at most one of the start or step, and one fetch. */
  #awaited: number | null = null;
  #fetching: number | null = null;
  #window: RecordWindow;
  #position = 0;
  #located: number | null = null;
  #openAt = 0;
  /** What did not fit at the last start. */
  #doubted: string | null = null;
  #restoredState: Uint8Array | null = null;
  /** State bytes as they were last committed. */
  #remembered: Uint8Array | null = null;
  #view: readonly StreamRecord[] = [];
  /** What is left to do of the open transaction. */
  #queue: ((id: number) => LaneAction)[] = [];
  #step: Step | null = null;
  #isDue = false;
  #hasNews = false;
  #wakeAtMs: number | null = null;
  #stepBeganMs = Number.NEGATIVE_INFINITY;

  constructor(options: LaneMachineOptions) {
    this.#options = options;
    this.#window = new RecordWindow(options.bounds);
  }

  /** What to do after `event`. @param nowMs any clock that does not run backwards by much */
  handle(event: LaneEvent, nowMs: number): LaneAction[] {
    if (this.#phase === "ended") {
      return [];
    }
    switch (event.type) {
      case "start":
        return this.#phase === "idle" ? this.#begin() : [];
      case "stop":
        this.#ending = this.#isFatal ? this.#ending : { kind: "stop" };
        return this.#go(nowMs);
      case "wake":
        this.#isDue = true;
        return this.#go(nowMs);
      case "halt":
        this.#ending = { kind: "error", failure: { error: event.error, isExpired: false } };
        return this.#go(nowMs);
      case "time":
        return this.#phase === "waiting" && this.#ending === null ? this.#begin() : this.#go(nowMs);
      default:
        return this.#answer(event, nowMs);
    }
  }

  #answer(event: LaneAnswer, nowMs: number): LaneAction[] {
    if (event.id === this.#fetching) {
      this.#fetching = null;
      if (event.type === "fetched") {
        this.#window.push(event.records);
        this.#hasNews ||= event.records.length > 0;
      } else if (event.type === "failed") {
        this.#ending ??= { kind: "error", failure: event.failure };
      }
      return this.#go(nowMs);
    }
    if (event.id !== this.#awaited) {
      return [];
    }
    this.#awaited = null;
    switch (event.type) {
      case "fenced":
        return this.#ask((id) => ({ type: "locate", id }), nowMs);
      case "located":
        return this.#locate(event, nowMs);
      case "recalled":
        return this.#recall(event.remembered, nowMs);
      case "opened":
        return this.#open(nowMs);
      case "processed":
        return this.#plan(event.step, nowMs);
      case "done":
        return this.#queue.length > 0 ? this.#next() : this.#committed(nowMs);
      case "discarded":
        return this.#afterDiscard(nowMs);
      case "failed":
        this.#queue = [];
        this.#step = null;
        if (this.#phase === "starting" && event.failure.error.code === "state-mismatch") {
          return this.#disagree(event.failure.error.message, event.failure.error.message, nowMs);
        }
        // A stop that came first does not hide an error after which going on would be wrong.
        if (this.#ending === null || !event.failure.error.retriable) {
          this.#ending = { kind: "error", failure: event.failure };
        }
        return this.#go(nowMs);
      case "fetched":
        return [];
    }
  }

  #begin(): LaneAction[] {
    this.#phase = "starting";
    this.#awaited = this.#newId();
    return [{ type: "fence", id: this.#awaited }];
  }

  /** The next question of the start, unless the lane is to end. */
  #ask(make: (id: number) => LaneAction, nowMs: number): LaneAction[] {
    if (this.#ending !== null) {
      return this.#go(nowMs);
    }
    this.#awaited = this.#newId();
    return [make(this.#awaited)];
  }

  #locate(log: Parameters<typeof checkLocation>[1], nowMs: number): LaneAction[] {
    this.#position = log.committed ?? log.earliest;
    this.#located = log.committed;
    // The group stays where it is until something behind what expired is final; so does the changelog.
    this.#openAt = Math.max(this.#position, log.earliest);
    const problem = checkLocation(this.#options, log, this.#options.skipsExpired);
    return problem === null
      ? this.#ask((id) => ({ type: "recall", id }), nowMs)
      : this.#disagree(`${log.committed}`, problem, nowMs);
  }

  #recall(remembered: ChangelogValue | null, nowMs: number): LaneAction[] {
    const problem = checkMemory(this.#options, this.#located, remembered);
    if (problem !== null) {
      return this.#disagree(`${this.#located}, ${remembered?.position}`, problem, nowMs);
    }
    const state = remembered?.state ?? null;
    this.#restoredState = state;
    return this.#ask((id) => ({ type: "open", id, position: this.#openAt, state }), nowMs);
  }

  /**
   * What does not fit, here or in what a stage restores from, is believed when a second ownership finds it again: between
   * two answers another owner may have come and committed, and then the next fence waits until all of that is seen.
   */
  #disagree(finding: string, problem: string, nowMs: number): LaneAction[] {
    if (this.#doubted === finding) {
      return this.#fail("state-mismatch", problem, nowMs);
    }
    this.#doubted = finding;
    return this.#ending === null
      ? this.#fail("fenced", "What is stored disagrees: looks again.", nowMs)
      : this.#go(nowMs);
  }

  #open(nowMs: number): LaneAction[] {
    this.#phase = "running";
    this.#doubted = null;
    this.#window = new RecordWindow(this.#options.bounds);
    this.#remembered = this.#restoredState;
    this.#queue = [];
    this.#step = null;
    this.#fetching = null;
    this.#wakeAtMs = null;
    this.#stepBeganMs = Number.NEGATIVE_INFINITY;
    // The first call comes without records, so that a stage can open its output (a genesis model) or a pending cut.
    this.#isDue = true;
    this.#hasNews = false;
    return this.#go(nowMs);
  }

  /** What to do now that nothing or something has changed. */
  #go(nowMs: number): LaneAction[] {
    if (this.#awaited !== null) {
      // A step or a question is under way: it is finished first, but the next fetch need not wait for it.
      return this.#phase === "running" ? this.#fetchAhead() : [];
    }
    if (this.#ending !== null) {
      return this.#end();
    }
    if (this.#phase !== "running") {
      return [];
    }
    const actions = this.#fetchAhead();
    const dueMs = this.#dueMs();
    if (dueMs > nowMs) {
      if (dueMs < Number.POSITIVE_INFINITY) {
        actions.push({ type: "wait", untilMs: dueMs });
      }
      return actions;
    }
    this.#isDue = false;
    this.#hasNews = false;
    this.#wakeAtMs = null;
    this.#stepBeganMs = nowMs;
    this.#view = this.#window.view();
    this.#awaited = this.#newId();
    actions.push({ type: "process", id: this.#awaited, records: this.#view });
    return actions;
  }

  #dueMs(): number {
    if (this.#isDue || (this.#hasNews && !this.#window.hasRoom)) {
      return Number.NEGATIVE_INFINITY;
    }
    const newsMs = this.#hasNews
      ? this.#stepBeganMs + this.#options.transactionIntervalMs
      : Number.POSITIVE_INFINITY;
    return Math.min(newsMs, this.#wakeAtMs ?? Number.POSITIVE_INFINITY);
  }

  #fetchAhead(): LaneAction[] {
    if (this.#fetching !== null || this.#ending !== null || !this.#window.hasRoom) {
      return [];
    }
    this.#fetching = this.#newId();
    return [{ type: "fetch", id: this.#fetching }];
  }

  /** Plans the transaction of a step that made something final. */
  #plan(step: Step, nowMs: number): LaneAction[] {
    if (!isPossible(step, this.#view)) {
      return this.#fail(
        "internal",
        `Stage ${this.#options.stage} finished records that it was not given.`,
        nowMs,
      );
    }
    this.#wakeAtMs = step.wakeAtMs;
    const isFinal =
      step.writes.length > 0 ||
      step.consumedTo !== null ||
      !sameBytes(step.state, this.#remembered);
    if (!isFinal) {
      // What came while the stage was at work may be all that it waits for.
      if (!(this.#window.hasRoom || this.#hasNews) && step.wakeAtMs === null) {
        return this.#fail(
          "limit-exceeded",
          `Stage ${this.#options.stage} waits for more records than its lane may hold: raise the stage's bounds.`,
          nowMs,
        );
      }
      return this.#go(nowMs);
    }
    if (this.#ending !== null) {
      // Nothing of this step has left the process yet.
      return this.#go(nowMs);
    }
    const position = step.consumedTo ?? this.#position;
    const { state, entries } = step;
    this.#step = step;
    this.#queue = [
      (id) => ({ type: "begin", id }),
      ...step.writes.map(
        (write) =>
          (id: number): LaneAction => ({ type: "send", id, write }),
      ),
      (id) => ({ type: "remember", id, value: { position, state }, entries }),
      // Also where it stays: a group that has a changelog has an offset, so that the loss of either is noticed.
      (id) => ({ type: "sendOffset", id, offset: position }),
      (id) => ({ type: "commit", id }),
    ];
    return this.#next();
  }

  #next(): LaneAction[] {
    const make = this.#queue.shift();
    if (make === undefined) {
      return [];
    }
    this.#awaited = this.#newId();
    return [make(this.#awaited), ...this.#fetchAhead()];
  }

  #committed(nowMs: number): LaneAction[] {
    const step = this.#step;
    this.#step = null;
    if (step === null) {
      return this.#go(nowMs);
    }
    this.#failures = 0;
    this.#remembered = step.state;
    const { consumedTo } = step;
    let records = 0;
    let oldestMs: number | null = null;
    if (consumedTo !== null) {
      this.#position = consumedTo;
      oldestMs = this.#view.at(0)?.timestampMs ?? null;
      records = this.#window.drop(consumedTo);
    }
    // A stage that left some of what it was given may do more with it at once; a step without records may be followed
    // by another. What lies behind its view is news.
    this.#isDue ||= consumedTo === null || consumedTo <= (this.#view.at(-1)?.offset ?? -1);
    this.#hasNews ||= this.#window.length > 0;
    this.#view = [];
    const report: CommitReport = {
      records,
      refused: step.refused.length,
      nextHeld: this.#window.position,
      oldestMs,
    };
    return [{ type: "report", report }, ...this.#go(nowMs)];
  }

  #fail(code: ErrorCode, message: string, nowMs: number): LaneAction[] {
    const failure = { error: new SealstreamError(code, message), isExpired: false };
    this.#ending = { kind: "error", failure };
    return this.#go(nowMs);
  }

  /** Throws the ownership away, or ends where there is none. */
  #end(): LaneAction[] {
    if (this.#phase === "idle" || this.#phase === "waiting") {
      return this.#finish();
    }
    this.#phase = "discarding";
    this.#fetching = null;
    this.#queue = [];
    this.#view = [];
    this.#window = new RecordWindow(this.#options.bounds);
    this.#awaited = this.#newId();
    return [{ type: "discard", id: this.#awaited }];
  }

  #afterDiscard(nowMs: number): LaneAction[] {
    const ending = this.#ending;
    if (ending === null || ending.kind === "stop" || this.#isFatal) {
      return this.#finish();
    }
    const { error } = ending.failure;
    this.#ending = null;
    this.#phase = "waiting";
    this.#failures += 1;
    const waitMs = Math.min(RESTART_FIRST_MS * 2 ** (this.#failures - 1), RESTART_MOST_MS);
    return [
      { type: "restart", error, waitMs },
      { type: "wait", untilMs: nowMs + waitMs },
    ];
  }

  /** Whether going on would be wrong. What a fetch finds expired may be another owner's by now: the next start tells. */
  get #isFatal(): boolean {
    const ending = this.#ending;
    return (
      ending?.kind === "error" && !(ending.failure.error.retriable || ending.failure.isExpired)
    );
  }

  #finish(): LaneAction[] {
    this.#phase = "ended";
    const error = this.#ending?.kind === "error" ? this.#ending.failure.error : null;
    return [{ type: "ended", error }];
  }

  #newId(): number {
    this.#nextId += 1;
    return this.#nextId;
  }
}
