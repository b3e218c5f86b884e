/**
 * One lane: performs the actions of the lane's state machine on a Kafka client and a stage.
 *
 * All decisions are in `lane-machine.ts`; here are the promises, the clock and the resources of one ownership
 * (producer, reader, processor), which are thrown away together. Must not decide what is committed, must not know the
 * client library, nor look into records.
 */
import { isSealstreamError, SealstreamError } from "../errors.ts";
import { changelogRecords, readChangelog, readEntries } from "./changelog.ts";
import type { LaneProcessor, Outcome, StepResult, StreamRecord } from "./contract.ts";
import { deadLetterRecord } from "./dead-letter.ts";
import { errorName } from "./error-name.ts";
import { FetchSize } from "./fetch-size.ts";
import type { CommitReport, LaneAction, LaneAnswer, LaneEvent, Write } from "./lane-events.ts";
import { LaneMachine } from "./lane-machine.ts";
import { type Lane, type LaneOptions, type LaneProgress, laneNames } from "./lane-options.ts";
import type { LaneProducer, PartitionReader } from "./port.ts";
import { sizeOf } from "./record-window.ts";
import { deadLetterWrites, outputWrites } from "./step-writes.ts";

/** Longest a fetch waits for data at the broker; it holds nobody up, since a reader has its own connection. */
const FETCH_WAIT_MS = 500;
/** `setTimeout` fires at once beyond this. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** What one ownership holds. */
interface Holdings {
  producer: LaneProducer | null;
  reader: PartitionReader | null;
  processor: LaneProcessor<unknown> | null;
}

/** What was measured of the step under way, for its report. */
interface StepNotes {
  readonly outputs: number;
  readonly reasons: readonly Outcome["reason"][];
  readonly drops: readonly Outcome["reason"][];
  readonly processMs: number;
  readonly processedAt: number;
}

class RunningLane implements Lane {
  readonly lane: number;
  readonly #options: LaneOptions;
  readonly #names: ReturnType<typeof laneNames>;
  readonly #machine: LaneMachine;
  readonly #ended = Promise.withResolvers<void>();
  readonly #fetchSize: FetchSize;
  #held: Holdings = { producer: null, reader: null, processor: null };
  #state: unknown = null;
  #notes: StepNotes = { outputs: 0, reasons: [], drops: [], processMs: 0, processedAt: 0 };
  #lastStableOffset = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: LaneOptions) {
    const { stage, lane, transactionIntervalMs, skipsExpired } = options;
    this.#options = options;
    this.lane = lane;
    this.#names = laneNames(options);
    this.#fetchSize = new FetchSize(stage.bounds.maxBytes);
    this.#machine = new LaneMachine({
      stage: stage.name,
      input: `${this.#names.input}/${lane}`,
      group: this.#names.group,
      bounds: stage.bounds,
      transactionIntervalMs,
      skipsExpired,
    });
    this.#feed({ type: "start" });
  }

  wake(): void {
    this.#feed({ type: "wake" });
  }

  async stop(): Promise<void> {
    this.#feed({ type: "stop" });
    await this.#ended.promise;
  }

  #feed(event: LaneEvent): void {
    for (const action of this.#machine.handle(event, performance.now())) {
      this.#take(action);
    }
  }

  #take(action: LaneAction): void {
    switch (action.type) {
      case "report":
        this.#report(action.report);
        return;
      case "wait":
        this.#wait(action.untilMs);
        return;
      case "restart":
        this.#restart(action);
        return;
      case "ended":
        clearTimeout(this.#timer);
        if (action.error !== null) {
          this.#options.onFatal(action.error);
        }
        this.#ended.resolve();
        return;
      default: {
        const { id } = action;
        this.#perform(action).then(
          (answer) => this.#feed(answer),
          (error: unknown) => {
            const isExpired = action.type === "fetch" && isSealstreamError(error, "state-mismatch");
            const isStageWork = action.type === "process" || action.type === "open";
            const failure = { error: asSealstreamError(error, isStageWork), isExpired };
            this.#feed({ type: "failed", id, failure });
          },
        );
      }
    }
  }

  /** Does what the machine asked for and answers. */
  async #perform(action: Extract<LaneAction, { readonly id: number }>): Promise<LaneAnswer> {
    const { client } = this.#options;
    const { group, input, changelog } = this.#names;
    const { id } = action;
    switch (action.type) {
      case "fence":
        this.#held.producer = await client.createLaneProducer(`${group}.${input}.${this.lane}`);
        return { type: "fenced", id };
      case "locate": {
        const committed = await client.committedOffset(group, input, this.lane);
        const log = await client.offsets(input, this.lane);
        return { type: "located", id, committed, ...log };
      }
      case "recall": {
        const guard = this.#options.changelog;
        const remembered = await readChangelog({
          client,
          topic: changelog,
          lane: this.lane,
          guard,
        });
        return { type: "recalled", id, remembered };
      }
      case "open":
        await this.#open(action.state, action.position);
        return { type: "opened", id };
      case "fetch":
        return { type: "fetched", id, records: await this.#fetch() };
      case "process":
        return { type: "processed", id, step: await this.#process(action.records) };
      case "discard":
        await this.#discard();
        return { type: "discarded", id };
      default:
        await this.#transact(action);
        return { type: "done", id };
    }
  }

  async #open(state: Uint8Array | null, position: number): Promise<void> {
    const processor = await this.#options.stage.openLane(this.lane);
    this.#held.processor = processor;
    if (processor.restoreEntry !== undefined) {
      const { client, changelog: guard } = this.#options;
      const apply = processor.restoreEntry.bind(processor);
      await readEntries({ client, topic: this.#names.changelog, lane: this.lane, guard, apply });
    }
    this.#state = await processor.restore(state, position);
    this.#held.reader = await this.#options.client.createReader(
      this.#names.input,
      this.lane,
      position,
    );
  }

  async #fetch(): Promise<readonly StreamRecord[]> {
    const { processor } = this.#held;
    const { records, lastStableOffset } = await present(this.#held.reader).fetch({
      maxBytes: this.#fetchSize.bytes,
      maxWaitMs: FETCH_WAIT_MS,
    });
    this.#lastStableOffset = lastStableOffset;
    this.#fetchSize.learn(records.reduce((sum, record) => sum + sizeOf(record), 0));
    processor?.prepare?.(records);
    return records;
  }

  async #process(records: readonly StreamRecord[]) {
    const { clock, pipeline } = this.#options;
    const processor = present(this.#held.processor);
    const startedAt = performance.now();
    const nowMs = clock();
    const result = await processor.process(records, this.#state, nowMs);
    const processedAt = performance.now();
    this.#state = result.state;
    const refused = result.outcomes.filter(({ kind }) => kind === "dead-letter");
    const dropped = result.outcomes.filter(({ kind }) => kind === "drop");
    this.#notes = {
      outputs: result.outputs.length,
      reasons: refused.map(({ reason }) => reason),
      drops: dropped.map(({ reason }) => reason),
      processMs: processedAt - startedAt,
      processedAt,
    };
    return {
      consumedTo: result.consumedTo,
      refused: result.outcomes.map(({ offset }) => offset),
      writes: [
        ...outputWrites(pipeline, this.lane, result.outputs),
        ...this.#deadLetters(records, refused, result),
      ],
      state: processor.encode?.(result.state) ?? null,
      entries: result.entries ?? [],
      // The machine lives on a clock that nobody sets. The stage reckons from the time of day that it was told, which may
      // have been set since: what counts is how long after that.
      wakeAtMs: result.wakeAtMs === null ? null : startedAt + (result.wakeAtMs - nowMs),
    };
  }

  #deadLetters(
    records: readonly StreamRecord[],
    refused: readonly Outcome[],
    { consumedTo }: StepResult<unknown>,
  ): Write[] {
    const { pipeline, stage, lane, sealDeadLetter } = this.#options;
    const { input, dead } = this.#names;
    return deadLetterWrites({
      topic: dead,
      lane,
      stage: stage.name,
      records,
      // The machine refuses a step that refuses records beyond what it made final; they need no letter first.
      refused: refused.filter(({ offset }) => consumedTo !== null && offset < consumedTo),
      letter: (record, reason) =>
        deadLetterRecord({
          pipeline,
          stage: stage.name,
          topic: input,
          partition: lane,
          record,
          reason,
          seal: sealDeadLetter,
        }),
    });
  }

  /** One request of the open transaction. */
  async #transact(
    action: Extract<
      LaneAction,
      { readonly type: "begin" | "send" | "remember" | "sendOffset" | "commit" }
    >,
  ): Promise<void> {
    const producer = present(this.#held.producer);
    switch (action.type) {
      case "begin":
        return producer.begin();
      case "send": {
        const { topic, partition, records } = action.write;
        return producer.send(topic, partition, records);
      }
      case "remember": {
        const by = { guard: this.#options.changelog, lane: this.lane };
        const records = changelogRecords(action.value, action.entries, by);
        return producer.send(this.#names.changelog, this.lane, records);
      }
      case "sendOffset":
        return producer.sendOffset(this.#names.group, this.#names.input, this.lane, action.offset);
      case "commit":
        return producer.commit();
    }
  }

  /** Closes what this ownership held, in the order in which one depends on the other. */
  async #discard(): Promise<void> {
    const { processor, reader, producer } = this.#held;
    this.#held = { producer: null, reader: null, processor: null };
    this.#state = null;
    for (const part of [processor, reader, producer]) {
      try {
        await part?.close?.();
      } catch (error) {
        // Because it is being thrown away: what it left open is settled by the next fence.
        this.#options.logger.debug({ lane: this.lane, error: errorName(error) }, "closed badly");
      }
    }
  }

  #report({ records, refused, nextHeld, oldestMs }: CommitReport): void {
    const position = nextHeld ?? this.#held.reader?.position() ?? 0;
    const { outputs, reasons, drops, processMs, processedAt } = this.#notes;
    const progress: LaneProgress = {
      lane: this.lane,
      records,
      outputs,
      deadLetters: reasons.length,
      reasons: refused === 0 ? [] : reasons,
      drops: refused === 0 ? [] : drops,
      position,
      lag: Math.max(0, this.#lastStableOffset - position),
      processMs,
      commitMs: performance.now() - processedAt,
      latencyMs: oldestMs === null ? null : Math.max(0, this.#options.clock() - oldestMs),
    };
    this.#options.onProgress(progress);
    const halt = this.#options.judge(progress);
    if (halt !== null) {
      // Not from within the machine's answer to this very report.
      queueMicrotask(() => this.#feed({ type: "halt", error: halt }));
    }
  }

  #restart({ error, waitMs }: Extract<LaneAction, { readonly type: "restart" }>): void {
    const code = errorName(error.cause ?? error);
    this.#options.logger.warn(
      // The sentence is ours, and none of ours quotes a record.
      { lane: this.lane, error: code, reason: error.message },
      `lane starts again in ${waitMs} ms`,
    );
    this.#options.onFailure(code);
  }

  #wait(untilMs: number): void {
    clearTimeout(this.#timer);
    const ms = Math.min(Math.max(0, untilMs - performance.now()), MAX_TIMER_MS);
    this.#timer = setTimeout(() => this.#feed({ type: "time" }), ms);
  }
}

/** The machine asks for nothing of an ownership before it was answered. */
function present<T>(part: T | null): T {
  if (part === null) {
    throw new SealstreamError("internal", "A lane used what its ownership does not hold.");
  }
  return part;
}

/** A stage that meets one of JavaScript's own errors has a bug, which trying again does not mend. */
function asSealstreamError(error: unknown, isStageWork: boolean): SealstreamError {
  if (isSealstreamError(error)) {
    return error;
  }
  const isBug = isStageWork && (error instanceof TypeError || error instanceof ReferenceError);
  return new SealstreamError(
    isBug ? "internal" : "kafka-failed",
    `The lane failed (${errorName(error)}).`,
    { cause: error },
  );
}

/** Starts a lane. */
export function startLane(options: LaneOptions): Lane {
  return new RunningLane(options);
}
