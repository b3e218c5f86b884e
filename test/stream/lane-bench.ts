/** A lane's machine whose actions are answered by hand, one by one. */
import { type ErrorCode, SealstreamError } from "../../pipeline/errors.ts";
import type { StreamRecord } from "../../pipeline/stream/contract.ts";
import type {
  LaneAction,
  LaneEvent,
  LaneMachineOptions,
  Step,
} from "../../pipeline/stream/lane-events.ts";
import { LaneMachine } from "../../pipeline/stream/lane-machine.ts";

export type Asking = Extract<LaneAction, { readonly id: number }>;
type Ended = Extract<LaneAction, { readonly type: "ended" }>;

const NOTHING: Step = {
  ...{ consumedTo: null, refused: [], writes: [], state: null },
  ...{ entries: [], wakeAtMs: null },
};
export const WRITE = { topic: "out", partition: 0, records: [{ key: null, value: null }] };

export const record = (offset: number): StreamRecord => ({
  offset,
  timestampMs: offset,
  key: null,
  value: null,
  headers: {},
  sizeBytes: 1,
});

/** A machine whose actions are answered by hand. */
export class Bench {
  nowMs = 0;
  readonly machine: LaneMachine;
  /** Actions since they were last taken. */
  actions: LaneAction[] = [];
  #last = new Map<string, Asking>();

  constructor(options: Partial<LaneMachineOptions> = {}) {
    this.machine = new LaneMachine({
      stage: "encrypt",
      input: "input/0",
      group: "group",
      bounds: { maxRecords: 4, maxBytes: 1_000 },
      transactionIntervalMs: 0,
      skipsExpired: false,
      ...options,
    });
  }

  feed(event: LaneEvent): this {
    for (const action of this.machine.handle(event, this.nowMs)) {
      this.actions.push(action);
      if ("id" in action) {
        this.#last.set(action.type, action);
      }
    }
    return this;
  }

  /** Types of what was asked for since the last call. */
  take(): string[] {
    const types = this.actions.map(({ type }) => type);
    this.actions = [];
    return types;
  }

  last<T extends Asking["type"]>(type: T): Extract<Asking, { readonly type: T }> {
    // Because the map is keyed by the type.
    return this.#last.get(type) as Extract<Asking, { readonly type: T }>;
  }

  fail(type: Asking["type"], code: ErrorCode = "kafka-failed", isExpired = false): this {
    const error = new SealstreamError(code, "Failed.");
    return this.feed({ type: "failed", id: this.last(type).id, failure: { error, isExpired } });
  }

  fenced = () => this.feed({ type: "fenced", id: this.last("fence").id });
  located = (committed: number | null = null, earliest = 0, latest = 100) =>
    this.feed({ type: "located", id: this.last("locate").id, committed, earliest, latest });
  recalled = (position: number | null = null) => {
    const remembered = position === null ? null : { position, state: null };
    return this.feed({ type: "recalled", id: this.last("recall").id, remembered });
  };
  opened = () => this.feed({ type: "opened", id: this.last("open").id });
  processed = (step: Partial<Step> = {}) =>
    this.feed({ type: "processed", id: this.last("process").id, step: { ...NOTHING, ...step } });
  fetched = (...offsets: number[]) =>
    this.feed({ type: "fetched", id: this.last("fetch").id, records: offsets.map(record) });
  done = (type: "begin" | "send" | "remember" | "sendOffset" | "commit") =>
    this.feed({ type: "done", id: this.last(type).id });
  discarded = () => this.feed({ type: "discarded", id: this.last("discard").id });

  /** Up to the first step's answer. */
  running(): this {
    this.feed({ type: "start" }).fenced().located().recalled().opened().processed();
    this.take();
    return this;
  }

  /** Commits a transaction that was begun. */
  commit(): this {
    return this.done("begin").done("remember").done("sendOffset").done("commit");
  }

  ended(): Ended | undefined {
    return this.actions.find((action): action is Ended => action.type === "ended");
  }
}
