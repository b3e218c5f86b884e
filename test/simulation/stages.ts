/**
 * Models of stages: each makes the same outputs of the same input however it is cut into steps, so that what must come
 * out is known from the input alone.
 *
 * pass      one output a record, numbered by a count in the changelog
 * window    one output for every four records; leaves a rest, and asks to be called again
 * refuse    every third record becomes a dead letter
 * fan-out   two outputs, even and odd numbers apart
 * cut       decides by time what belongs together: the cut is committed first and its output in a step of its own, so
 *           that every attempt, aborted ones too, writes the same (invariant 9 of the design)
 * count     counts records by subject in entries beside the state: those above a limit go to the second output
 * genesis   begins with an output before any record, without an offset; then as `pass`
 */
import type { StreamRecord } from "../../pipeline/stream/contract.ts";
import type { Step, Write } from "../../pipeline/stream/lane-events.ts";
import type { ProducerRecord } from "../../pipeline/stream/port.ts";

export const STAGES = ["pass", "window", "refuse", "fan-out", "cut", "genesis", "count"] as const;
export type StageKind = (typeof STAGES)[number];

/** A record of the model; `body` stands for key and value. */
export interface SimRecord extends StreamRecord {
  readonly body: string;
}
export interface SimOutput extends ProducerRecord {
  readonly body: string;
}

export interface StageState {
  readonly count: number;
  /** Offset before which the next output ends, once that is decided. */
  readonly cut: number | null;
  /** Of `count`: records of each subject that were not above the limit; from entries, no part of the state's bytes. */
  readonly counts?: ReadonlyMap<string, number>;
  /** The sum of `counts`, in the state's bytes: entries that do not add up to it are not all there. */
  readonly passed?: number;
}

export interface StageCall {
  readonly step: Step;
  readonly state: StageState;
}

export const OUTPUT = "output";
export const SECOND_OUTPUT = "second-output";
export const DEAD = "dead";
/** Records in a window; a lane must be allowed to hold as many. */
export const WINDOW_RECORDS = 4;
const LINGER_MS = 40;
/** Records of one subject that `count` lets pass, and subjects that there are. */
export const SUBJECT_LIMIT = 2;
const SUBJECTS = 5;

/** Nothing for a state of nothing, so that a stage without one has nothing to commit before its first record. */
export function encodeState({ count, cut, passed }: StageState): Uint8Array {
  const parts = passed === undefined ? [count, cut] : [count, cut ?? "", passed];
  const text = parts.filter((part) => part !== null).join(":");
  return Buffer.from(text === "0" ? "" : text);
}

export function decodeState(bytes: Uint8Array | null): StageState {
  if (bytes === null || bytes.byteLength === 0) {
    return { count: 0, cut: null };
  }
  const [count, cut = "", passed] = Buffer.from(bytes).toString().split(":");
  return {
    count: Number(count),
    cut: cut === "" ? null : Number(cut),
    ...(passed === undefined ? {} : { passed: Number(passed) }),
  };
}

export const isRefused = (body: string): boolean => Number(body.slice(1)) % 3 === 0;
export const isSecond = (body: string): boolean => Number(body.slice(1)) % 2 === 1;

/** Whom a record is about, in the model. */
export const subjectOf = (body: string): string => `s${Number(body.slice(1)) % SUBJECTS}`;

interface Given {
  readonly records: readonly SimRecord[];
  readonly state: StageState;
  readonly lane: number;
  readonly nowMs: number;
}

function write(topic: string, lane: number, bodies: readonly string[]): Write[] {
  const records = bodies.map((body): SimOutput => ({ key: null, value: null, body }));
  return records.length === 0 ? [] : [{ topic, partition: lane, records }];
}

function result(state: StageState, parts: Partial<Omit<Step, "state">>): StageCall {
  const none = { writes: [], entries: [], consumedTo: null, refused: [], wakeAtMs: null };
  return { state, step: { ...none, ...parts, state: encodeState(state) } };
}

function pass({ records, state, lane }: Given): StageCall {
  const last = records.at(-1);
  if (last === undefined) {
    return result(state, {});
  }
  const bodies = records.map(({ body }, index) => `${body}#${state.count + index}`);
  const next = { count: state.count + records.length, cut: null };
  return result(next, { writes: write(OUTPUT, lane, bodies), consumedTo: last.offset + 1 });
}

function window({ records, state, lane, nowMs }: Given): StageCall {
  const windows = Math.floor(records.length / WINDOW_RECORDS);
  const wakeAtMs = records.length % WINDOW_RECORDS === 0 ? null : nowMs + LINGER_MS;
  if (windows === 0) {
    return result(state, { wakeAtMs });
  }
  const bodies = Array.from({ length: windows }, (_, index) => {
    const part = records.slice(index * WINDOW_RECORDS, (index + 1) * WINDOW_RECORDS);
    return windowBody(
      part.map(({ body }) => body),
      state.count + index,
    );
  });
  return result(
    { count: state.count + windows, cut: null },
    {
      writes: write(OUTPUT, lane, bodies),
      // Because there are as many records as windows hold.
      consumedTo: records[windows * WINDOW_RECORDS - 1]!.offset + 1,
      wakeAtMs,
    },
  );
}

export const windowBody = (bodies: readonly string[], count: number): string =>
  `${bodies.join("+")}#${count}`;

function refuse({ records, state, lane }: Given): StageCall {
  const last = records.at(-1);
  if (last === undefined) {
    return result(state, {});
  }
  const refused = records.filter(({ body }) => isRefused(body));
  const fine = records.filter(({ body }) => !isRefused(body));
  return result(
    { count: state.count + records.length, cut: null },
    {
      writes: [
        ...write(
          OUTPUT,
          lane,
          fine.map(({ body }) => body),
        ),
        ...write(
          DEAD,
          lane,
          refused.map(({ body }) => body),
        ),
      ],
      refused: refused.map(({ offset }) => offset),
      consumedTo: last.offset + 1,
    },
  );
}

function fanOut({ records, state, lane }: Given): StageCall {
  const last = records.at(-1);
  if (last === undefined) {
    return result(state, {});
  }
  const bodies = records.map(({ body }) => body);
  return result(
    { count: state.count + records.length, cut: null },
    {
      writes: [
        ...write(
          OUTPUT,
          lane,
          bodies.filter((body) => !isSecond(body)),
        ),
        ...write(SECOND_OUTPUT, lane, bodies.filter(isSecond)),
      ],
      consumedTo: last.offset + 1,
    },
  );
}

function cut({ records, state, lane, nowMs }: Given): StageCall {
  const last = records.at(-1);
  if (last === undefined) {
    return result(state, {});
  }
  if (state.cut === null) {
    return result({ count: state.count, cut: last.offset + 1 }, {});
  }
  const end = state.cut;
  if (last.offset < end - 1) {
    // After a restart the records come back in pieces.
    return result(state, { wakeAtMs: nowMs + LINGER_MS });
  }
  const part = records.filter(({ offset }) => offset < end);
  if (part.length === 0) {
    // All of it expired, and the lane went on without.
    return result({ count: state.count, cut: null }, {});
  }
  return result(
    { count: state.count + 1, cut: null },
    {
      writes: write(OUTPUT, lane, [
        windowBody(
          part.map(({ body }) => body),
          state.count,
        ),
      ]),
      consumedTo: end,
    },
  );
}

function count({ records, state, lane }: Given): StageCall {
  const last = records.at(-1);
  if (last === undefined) {
    return result(state, {});
  }
  const counts = new Map(state.counts);
  const changed = new Set<string>();
  const passed: string[] = [];
  const above: string[] = [];
  for (const { body } of records) {
    const subject = subjectOf(body);
    const before = counts.get(subject) ?? 0;
    if (before >= SUBJECT_LIMIT) {
      above.push(body);
    } else {
      passed.push(body);
      counts.set(subject, before + 1);
      changed.add(subject);
    }
  }
  return result(
    {
      ...{ count: state.count + records.length, cut: null, counts },
      passed: (state.passed ?? 0) + passed.length,
    },
    {
      writes: [...write(OUTPUT, lane, passed), ...write(SECOND_OUTPUT, lane, above)],
      entries: [...changed].map((subject) => ({
        key: Buffer.from(subject),
        value: Buffer.from(String(counts.get(subject))),
      })),
      consumedTo: last.offset + 1,
    },
  );
}

function genesis(given: Given): StageCall {
  const { state, lane } = given;
  return state.count === 0
    ? result({ count: 1, cut: null }, { writes: write(OUTPUT, lane, ["genesis"]) })
    : pass(given);
}

const CALLS: Readonly<Record<StageKind, (given: Given) => StageCall>> = {
  pass,
  window,
  refuse,
  "fan-out": fanOut,
  cut,
  genesis,
  count,
};

export function callStage(kind: StageKind, given: Given): StageCall {
  return CALLS[kind](given);
}
