/**
 * One ownership of a lane: the loop between a fenced start and the first failure.
 *
 * Hands the stage what is there whenever something has changed (records arrived, its time has come, it was woken), and
 * commits outputs, dead letters, changelog and offset of a step in one transaction. While the stage works, the next
 * fetch is under way. Must not retry anything: after any error the owner throws this session away.
 */
import {
  changelogTopicName,
  deadTopicName,
  STAGE_INPUT,
  stageGroup,
  TOPICS,
  topicName,
} from "../../schemas/topics.ts";
import { SealstreamError } from "../errors.ts";
import { CHANGELOG_KEY, type ChangelogValue, encodeChangelog } from "./changelog.ts";
import type { LaneProcessor, OutputRecord, StepResult, StreamRecord } from "./contract.ts";
import { deadLetterRecord } from "./dead-letter.ts";
import type { LaneOptions } from "./lane.ts";
import type { LaneProducer, PartitionReader, ProducerRecord } from "./port.ts";
import { RecordWindow } from "./record-window.ts";

/** Longest a fetch waits for data; a lane that is told to stop waits no longer than this. */
const FETCH_WAIT_MS = 500;
/** Bytes asked for in one fetch, as they lie compressed in the log: a fetch may inflate to ten times that. */
const FETCH_BYTES = 1024 * 1024;

const EMPTY = new Uint8Array();

/** Per-target record lists of a step, in the order in which targets first appear. */
function groupOutputs(pipeline: string, lane: number, outputs: readonly OutputRecord[]) {
  const groups = new Map<string, { topic: string; partition: number; records: ProducerRecord[] }>();
  for (const output of outputs) {
    const topic = topicName(pipeline, output.role);
    let group = groups.get(topic);
    if (group === undefined) {
      const partition = TOPICS[output.role].partitions === "lanes" ? lane : 0;
      group = { topic, partition, records: [] };
      groups.set(topic, group);
    }
    group.records.push({ key: output.key, value: output.value, headers: output.headers });
  }
  return [...groups.values()];
}

/** Whether two states are the same; none is the same as an empty one. */
function sameBytes(a: Uint8Array | null, b: Uint8Array | null): boolean {
  return Buffer.compare(a ?? EMPTY, b ?? EMPTY) === 0;
}

/** What a session owns and its owner closes. */
export interface SessionParts {
  readonly producer: LaneProducer;
  readonly reader: PartitionReader;
  readonly processor: LaneProcessor<unknown>;
  /** As the processor restored it. */
  readonly state: unknown;
  /** Offset of the first record that is not final. */
  readonly position: number;
  readonly remembered: ChangelogValue | null;
}

/** Names of a lane's topics and group. */
export function laneNames({ pipeline, stage }: Pick<LaneOptions, "pipeline" | "stage">) {
  const role = STAGE_INPUT[stage.name];
  return {
    input: topicName(pipeline, role),
    dead: deadTopicName(pipeline, role),
    changelog: changelogTopicName(pipeline, stage.name),
    group: stageGroup(pipeline, stage.name),
  };
}

export class LaneSession {
  readonly #options: LaneOptions;
  readonly #parts: SessionParts;
  readonly #names: ReturnType<typeof laneNames>;
  readonly #window: RecordWindow;
  #state: unknown;
  #position: number;
  /** State bytes as they were last committed. */
  #remembered: Uint8Array | null;
  /** The first call comes without records, so that a stage can open its output (a genesis model) or a pending cut. */
  #wakeAtMs: number | null;
  #isDue = true;
  #isFetching = false;
  #fetchFailure: { readonly error: unknown } | null = null;
  #lastStableOffset = 0;
  #signal: () => void = () => undefined;

  constructor(options: LaneOptions, parts: SessionParts) {
    this.#options = options;
    this.#parts = parts;
    this.#names = laneNames(options);
    this.#window = new RecordWindow(options.stage.bounds);
    this.#state = parts.state;
    this.#position = parts.position;
    this.#remembered = parts.remembered?.state ?? null;
    this.#wakeAtMs = options.clock();
  }

  /** Calls the stage soon even if nothing arrived; also ends a wait early so that its owner can stop it. */
  wake(): void {
    this.#isDue = true;
    this.#signal();
  }

  /** Runs until `isStopping`, or throws what went wrong. @param onCommit called after each committed transaction */
  async run(isStopping: () => boolean, onCommit: () => void): Promise<void> {
    while (!isStopping()) {
      if (this.#fetchFailure !== null) {
        throw this.#fetchFailure.error;
      }
      this.#fetchAhead();
      const waitMs = this.#waitMs();
      if (waitMs > 0) {
        await this.#sleep(waitMs);
      } else if (await this.#step()) {
        onCommit();
      }
    }
  }

  /** Milliseconds until the stage is to be called; 0 is now. */
  #waitMs(): number {
    if (this.#isDue) {
      return 0;
    }
    return this.#wakeAtMs === null
      ? FETCH_WAIT_MS
      : Math.max(0, this.#wakeAtMs - this.#options.clock());
  }

  /** Starts the next fetch when there is room for it. Its result is looked at in `run`. */
  #fetchAhead(): void {
    if (this.#isFetching || !this.#window.hasRoom) {
      return;
    }
    this.#isFetching = true;
    this.#parts.reader.fetch({ maxBytes: FETCH_BYTES, maxWaitMs: FETCH_WAIT_MS }).then(
      ({ records, lastStableOffset }) => {
        this.#isFetching = false;
        this.#lastStableOffset = lastStableOffset;
        this.#window.push(records);
        this.#isDue ||= records.length > 0;
        this.#signal();
      },
      (error: unknown) => {
        this.#fetchFailure = { error };
        this.#signal();
      },
    );
  }

  /** Calls the stage once and commits what it made final. @returns whether there was something to commit */
  async #step(): Promise<boolean> {
    const { stage, clock } = this.#options;
    const { processor } = this.#parts;
    this.#isDue = false;
    const startedMs = performance.now();
    const records = this.#window.view();
    const result = await processor.process(records, this.#state, clock());
    const processMs = performance.now() - startedMs;
    checkResult(stage.name, records, result);
    const state = processor.encode?.(result.state) ?? null;
    const isFinal =
      result.outputs.length > 0 ||
      result.consumedTo !== null ||
      !sameBytes(state, this.#remembered);
    if (isFinal) {
      const position = result.consumedTo ?? this.#position;
      await this.#commit(records, result, { position, state });
      this.#position = position;
      this.#remembered = state;
      this.#afterCommit(result, processMs);
    } else if (!this.#window.hasRoom && result.wakeAtMs === null) {
      throw new SealstreamError(
        "limit-exceeded",
        `Stage ${stage.name} waits for more records than its lane may hold: raise the stage's bounds.`,
      );
    }
    this.#state = result.state;
    this.#wakeAtMs = result.wakeAtMs;
    return isFinal;
  }

  async #commit(
    records: readonly StreamRecord[],
    result: StepResult<unknown>,
    remember: ChangelogValue,
  ): Promise<void> {
    const { pipeline, lane } = this.#options;
    const { producer } = this.#parts;
    const { input, dead, group } = this.#names;
    await producer.begin();
    for (const target of groupOutputs(pipeline, lane, result.outputs)) {
      await producer.send(target.topic, target.partition, target.records);
    }
    const letters = this.#deadLetters(records, result);
    if (letters.length > 0) {
      await producer.send(dead, lane, letters);
    }
    const value = this.#options.changelog.protect(encodeChangelog(remember), lane);
    await producer.send(this.#names.changelog, lane, [{ key: CHANGELOG_KEY, value }]);
    if (result.consumedTo !== null) {
      await producer.sendOffset(group, input, lane, result.consumedTo);
    }
    await producer.commit();
  }

  #deadLetters(
    records: readonly StreamRecord[],
    { outcomes }: StepResult<unknown>,
  ): ProducerRecord[] {
    const { pipeline, stage, lane, sealDeadLetter, clock } = this.#options;
    const dead = outcomes.filter(({ kind }) => kind === "dead-letter");
    if (dead.length === 0) {
      return [];
    }
    const byOffset = new Map(records.map((record) => [record.offset, record]));
    return dead.map(({ offset, reason }) => {
      const record = byOffset.get(offset);
      if (record === undefined) {
        throw new SealstreamError(
          "internal",
          `Stage ${stage.name} refused a record that it was not given.`,
        );
      }
      return deadLetterRecord({
        pipeline,
        stage: stage.name,
        topic: this.#names.input,
        partition: lane,
        record,
        reason,
        nowMs: clock(),
        seal: sealDeadLetter,
      });
    });
  }

  #afterCommit(result: StepResult<unknown>, processMs: number): void {
    const { consumedTo, outputs, outcomes } = result;
    const records = consumedTo === null ? 0 : this.#window.drop(consumedTo);
    const position = this.#window.position ?? this.#parts.reader.position();
    const dead = outcomes.filter(({ kind }) => kind === "dead-letter");
    this.#options.onProgress({
      lane: this.#options.lane,
      records,
      outputs: outputs.length,
      deadLetters: dead.length,
      reasons: dead.map(({ reason }) => reason),
      position,
      lag: Math.max(0, this.#lastStableOffset - position),
      processMs,
    });
    // There may be another step's worth in what is held already; a step without records may be followed by another.
    this.#isDue ||= this.#window.length > 0 || consumedTo === null;
  }

  /** Sleeps until the time is up, something arrived, or the lane is woken. */
  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const finish = (): void => {
        clearTimeout(timer);
        this.#signal = () => undefined;
        resolve();
      };
      const timer = setTimeout(finish, ms);
      this.#signal = finish;
    });
  }
}

/** A bug of a stage must not become a wrong commit. */
function checkResult(
  stage: string,
  records: readonly StreamRecord[],
  result: StepResult<unknown>,
): void {
  const first = records.at(0);
  const last = records.at(-1);
  const { consumedTo, outcomes } = result;
  const possible =
    consumedTo === null ||
    (first !== undefined &&
      last !== undefined &&
      consumedTo > first.offset &&
      consumedTo <= last.offset + 1);
  if (!(possible && outcomes.every(({ offset }) => consumedTo !== null && offset < consumedTo))) {
    throw new SealstreamError("internal", `Stage ${stage} finished records that it was not given.`);
  }
}
