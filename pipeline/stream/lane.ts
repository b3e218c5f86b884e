/**
 * One lane: the exactly-once consume-process-produce loop over one input partition.
 *
 * Start of a lane, in this order and never another: make the lane's producer (which fences the previous owner and
 * settles its open transaction), only then read the committed offset, then the changelog, then the first record.
 * Each step: hand the stage what is there, and commit outputs, dead letters, changelog and offset in one transaction.
 * After any error, an unknown commit outcome included, everything of the lane is thrown away and it starts again.
 *
 * Safety does not rest on group membership: a mistaken second owner and the true one only fence each other.
 *
 * Failures covered: crash at any point, a zombie that wakes up, a broker that restarts, an unknown commit outcome.
 * Not failures: a rebalance (the lane is stopped between two transactions), a stage that waits.
 * Must not know the client library, nor look into records.
 */
import {
  changelogTopicName,
  deadTopicName,
  STAGE_INPUT,
  stageGroup,
  TOPICS,
  topicName,
} from "../../schemas/topics.ts";
import { isSealstreamError, SealstreamError } from "../errors.ts";
import { CHANGELOG_KEY, readChangelog } from "./changelog.ts";
import type { LaneProcessor, OutputRecord, Stage, StepResult, StreamRecord } from "./contract.ts";
import { type DeadLetterSealer, deadLetterRecord } from "./dead-letter.ts";
import type {
  Clock,
  KafkaClient,
  LaneProducer,
  Logger,
  PartitionReader,
  ProducerRecord,
} from "./port.ts";
import { RecordWindow } from "./record-window.ts";

/** Longest a fetch waits for data; a lane that is told to stop waits no longer than this. */
const FETCH_WAIT_MS = 500;
/** Bytes asked for in one fetch. */
const FETCH_BYTES = 4 * 1024 * 1024;
const RESTART_FIRST_MS = 100;
const RESTART_MOST_MS = 5_000;

/** What a lane reports about each committed transaction. */
export interface LaneProgress {
  readonly lane: number;
  /** Records that became final. */
  readonly records: number;
  readonly outputs: number;
  readonly deadLetters: number;
  readonly reasons: readonly string[];
  /** Position after this transaction. */
  readonly position: number;
  /** Records known to wait: last stable offset minus position. */
  readonly lag: number;
  /** Milliseconds spent in the stage's `process` for this transaction. */
  readonly processMs: number;
}

export interface LaneOptions {
  readonly client: KafkaClient;
  readonly pipeline: string;
  readonly stage: Stage;
  readonly lane: number;
  readonly hasChangelog: boolean;
  readonly sealDeadLetter: DeadLetterSealer;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onProgress: (progress: LaneProgress) => void;
  /** Called once when the lane ends because going on would be wrong; retriable failures restart it instead. */
  readonly onFatal: (error: SealstreamError) => void;
}

/** A running lane. */
export interface Lane {
  readonly lane: number;
  /** Calls `process` soon even if nothing arrived. */
  wake(): void;
  /** Finishes or abandons the current step, then ends. Never throws. */
  stop(): Promise<void>;
}

interface Owned {
  readonly producer: LaneProducer;
  readonly reader: PartitionReader;
  readonly processor: LaneProcessor<unknown>;
}

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

function sameBytes(a: Uint8Array | null, b: Uint8Array | null): boolean {
  return a === b || (a !== null && b !== null && Buffer.compare(a, b) === 0);
}

class RunningLane implements Lane {
  readonly lane: number;
  readonly #options: LaneOptions;
  readonly #inputTopic: string;
  readonly #deadTopic: string;
  readonly #changelogTopic: string;
  readonly #group: string;
  readonly #done: Promise<void>;
  #stopping = false;
  #signal: () => void = () => undefined;
  #woken = false;
  #lastStableOffset = 0;

  constructor(options: LaneOptions) {
    this.#options = options;
    this.lane = options.lane;
    const role = STAGE_INPUT[options.stage.name];
    this.#inputTopic = topicName(options.pipeline, role);
    this.#deadTopic = deadTopicName(options.pipeline, role);
    this.#changelogTopic = changelogTopicName(options.pipeline, options.stage.name);
    this.#group = stageGroup(options.pipeline, options.stage.name);
    this.#done = this.#run();
  }

  wake(): void {
    this.#woken = true;
    this.#signal();
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#signal();
    await this.#done;
  }

  async #run(): Promise<void> {
    let failures = 0;
    while (!this.#stopping) {
      try {
        await this.#own(() => {
          failures = 0;
        });
      } catch (error) {
        if (this.#stopping) {
          return;
        }
        if (isSealstreamError(error) && !error.retriable) {
          this.#options.onFatal(error);
          return;
        }
        failures += 1;
        const waitMs = Math.min(RESTART_FIRST_MS * 2 ** (failures - 1), RESTART_MOST_MS);
        this.#options.logger.warn(
          { lane: this.lane, failures, error: errorName(error) },
          `lane starts again in ${waitMs} ms`,
        );
        await this.#sleep(waitMs);
      }
    }
  }

  /** Owns the lane until it is stopped or something fails. */
  async #own(onCommit: () => void): Promise<void> {
    const { client, stage } = this.#options;
    const producer = await client.createLaneProducer(
      `${this.#group}.${this.#inputTopic}.${this.lane}`,
    );
    let reader: PartitionReader | null = null;
    let processor: LaneProcessor<unknown> | null = null;
    try {
      const position = await this.#startPosition();
      const changelog = this.#options.hasChangelog
        ? await readChangelog(client, this.#changelogTopic, this.lane)
        : null;
      processor = await stage.openLane(this.lane);
      const state = await processor.restore(changelog, position);
      reader = await client.createReader(this.#inputTopic, this.lane, position);
      await this.#loop({ producer, reader, processor }, state, changelog, onCommit);
    } finally {
      await processor?.close?.();
      await reader?.close();
      await producer.close();
    }
  }

  async #startPosition(): Promise<number> {
    const { client } = this.#options;
    const committed = await client.committedOffset(this.#group, this.#inputTopic, this.lane);
    const { earliest, latest } = await client.offsets(this.#inputTopic, this.lane);
    if (committed === null) {
      return earliest;
    }
    if (committed < earliest || committed > latest) {
      throw new SealstreamError(
        "state-mismatch",
        `Group ${this.#group} stands at ${committed} of ${this.#inputTopic}/${this.lane}, whose log is ${earliest}..${latest}: records expired or the topic was made anew. Start a new generation of the pipeline.`,
      );
    }
    return committed;
  }

  async #loop(
    owned: Owned,
    firstState: unknown,
    firstChangelog: Uint8Array | null,
    onCommit: () => void,
  ): Promise<void> {
    const { stage, clock } = this.#options;
    const window = new RecordWindow(stage.bounds);
    let state = firstState;
    let changelog = firstChangelog;
    let fetching: Promise<void> | null = null;
    let fetchError: unknown = null;
    // The first call comes without records, so that a stage can open its output (a genesis model) or a pending cut.
    let wakeAtMs: number | null = clock();
    let fresh = true;
    while (!this.#stopping) {
      if (fetchError !== null) {
        throw fetchError;
      }
      if (fetching === null && window.hasRoom) {
        fetching = this.#fetch(owned.reader, window).then(
          (arrived) => {
            fetching = null;
            fresh ||= arrived;
            this.#signal();
          },
          (error: unknown) => {
            fetching = null;
            fetchError = error;
            this.#signal();
          },
        );
      }
      const due = wakeAtMs !== null && clock() >= wakeAtMs;
      if (!(fresh || due || this.#woken)) {
        await this.#sleep(wakeAtMs === null ? FETCH_WAIT_MS : Math.max(1, wakeAtMs - clock()));
        continue;
      }
      fresh = false;
      this.#woken = false;
      const startedMs = performance.now();
      const records = window.view();
      const result = await owned.processor.process(records, state, clock());
      const processMs = performance.now() - startedMs;
      checkResult(stage.name, records, result);
      const encoded =
        this.#options.hasChangelog && owned.processor.encode !== undefined
          ? owned.processor.encode(result.state)
          : changelog;
      const changed = !sameBytes(encoded, changelog);
      if (result.outputs.length > 0 || result.consumedTo !== null || changed) {
        await this.#commit(owned.producer, records, result, changed ? encoded : null);
        const consumed = result.consumedTo === null ? 0 : window.drop(result.consumedTo);
        onCommit();
        this.#report(result, consumed, processMs, window.position ?? owned.reader.position());
        fresh = window.length > 0 || result.consumedTo === null;
      } else if (window.isStuck && result.wakeAtMs === null) {
        throw new SealstreamError(
          "limit-exceeded",
          `Stage ${stage.name} waits for more records than its lane may hold: raise the stage's bounds.`,
        );
      }
      state = result.state;
      changelog = encoded;
      wakeAtMs = result.wakeAtMs;
    }
  }

  async #fetch(reader: PartitionReader, window: RecordWindow): Promise<boolean> {
    const { records, lastStableOffset } = await reader.fetch({
      maxBytes: FETCH_BYTES,
      maxWaitMs: FETCH_WAIT_MS,
    });
    this.#lastStableOffset = lastStableOffset;
    window.push(records);
    return records.length > 0;
  }

  async #commit(
    producer: LaneProducer,
    records: readonly StreamRecord[],
    result: StepResult<unknown>,
    changelog: Uint8Array | null,
  ): Promise<void> {
    const { pipeline, stage, sealDeadLetter, clock } = this.#options;
    await producer.begin();
    for (const { topic, partition, records: batch } of groupOutputs(
      pipeline,
      this.lane,
      result.outputs,
    )) {
      await producer.send(topic, partition, batch);
    }
    const dead = result.outcomes.filter(({ kind }) => kind === "dead-letter");
    if (dead.length > 0) {
      const byOffset = new Map(records.map((record) => [record.offset, record]));
      const letters = dead.flatMap((outcome) => {
        const record = byOffset.get(outcome.offset);
        return record === undefined
          ? []
          : [
              deadLetterRecord({
                pipeline,
                stage: stage.name,
                topic: this.#inputTopic,
                partition: this.lane,
                record,
                reason: outcome.reason,
                nowMs: clock(),
                seal: sealDeadLetter,
              }),
            ];
      });
      await producer.send(this.#deadTopic, this.lane, letters);
    }
    if (changelog !== null) {
      await producer.send(this.#changelogTopic, this.lane, [
        { key: CHANGELOG_KEY, value: changelog },
      ]);
    }
    if (result.consumedTo !== null) {
      await producer.sendOffset(this.#group, this.#inputTopic, this.lane, result.consumedTo);
    }
    await producer.commit();
  }

  #report(result: StepResult<unknown>, records: number, processMs: number, position: number): void {
    const dead = result.outcomes.filter(({ kind }) => kind === "dead-letter");
    this.#options.onProgress({
      lane: this.lane,
      records,
      outputs: result.outputs.length,
      deadLetters: dead.length,
      reasons: dead.map(({ reason }) => reason),
      position,
      lag: Math.max(0, this.#lastStableOffset - position),
      processMs,
    });
  }

  /** Sleeps until the time is up, something arrived, or the lane is woken or stopped. */
  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(finish, ms);
      const self = this;
      function finish(): void {
        clearTimeout(timer);
        self.#signal = () => undefined;
        resolve();
      }
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

/** Name of an error for a log line: its code or class, never its text, which may quote a record. */
export function errorName(error: unknown): string {
  if (isSealstreamError(error)) {
    return error.code;
  }
  // Because kafkajs's protocol errors have a `type` that says more than their class.
  const { name, type } = error as { name?: string; type?: string };
  return type ?? name ?? "unknown";
}

/** Starts a lane. */
export function startLane(options: LaneOptions): Lane {
  return new RunningLane(options);
}
