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
 * genesis   begins with an output before any record, without an offset; then as `pass`
 */
import type { StreamRecord } from "../../pipeline/stream/contract.ts";
import type { Step, Write } from "../../pipeline/stream/lane-events.ts";
import type { ProducerRecord } from "../../pipeline/stream/port.ts";

export const STAGES = ["pass", "window", "refuse", "fan-out", "cut", "genesis"] as const;
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

/** Nothing for a state of nothing, so that a stage without one has nothing to commit before its first record. */
export function encodeState({ count, cut }: StageState): Uint8Array {
  const text = cut === null ? String(count) : `${count}:${cut}`;
  return Buffer.from(text === "0" ? "" : text);
}

export function decodeState(bytes: Uint8Array | null): StageState {
  if (bytes === null || bytes.byteLength === 0) {
    return { count: 0, cut: null };
  }
  const [count, cut] = Buffer.from(bytes).toString().split(":");
  return { count: Number(count), cut: cut === undefined ? null : Number(cut) };
}

export const isRefused = (body: string): boolean => Number(body.slice(1)) % 3 === 0;
export const isSecond = (body: string): boolean => Number(body.slice(1)) % 2 === 1;

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

function result(
  state: StageState,
  parts: Partial<Pick<Step, "writes" | "consumedTo" | "refused" | "wakeAtMs">>,
): StageCall {
  const none = { writes: [], consumedTo: null, refused: [], wakeAtMs: null };
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
};

export function callStage(kind: StageKind, given: Given): StageCall {
  return CALLS[kind](given);
}
