/**
 * What must be true once a simulation has come to rest, derived from its input alone.
 */

import type { Entry } from "./kafka-log.ts";
import { CHANGELOG, isEntry } from "./requests.ts";
import {
  DEAD,
  decodeState,
  isRefused,
  isSecond,
  OUTPUT,
  SECOND_OUTPUT,
  type StageKind,
  SUBJECT_LIMIT,
  subjectOf,
  WINDOW_RECORDS,
} from "./stages.ts";
import type { World } from "./world.ts";

/** The group's offset of a lane whose work is done; 0 when there was none. */
export function expectedEnd(world: World, lane: number): number {
  const log = world.input(lane);
  const committed = log.committed();
  const usable =
    world.scenario.stage === "window"
      ? committed.length - (committed.length % WINDOW_RECORDS)
      : committed.length;
  const last = committed[usable - 1];
  return last === undefined ? 0 : last.offset + 1;
}

/** Reports to `world.violate` what is not as it must be. */
export function check(world: World): void {
  for (let lane = 0; lane < world.scenario.lanes; lane += 1) {
    checkLane(world, lane);
  }
}

function checkLane(world: World, lane: number): void {
  const violate = (text: string) => world.violate(`lane ${lane}: ${text}`);
  const { stage } = world.scenario;
  const bodies = (topic: string) =>
    world.broker
      .log(topic, lane)
      .committed()
      .map(({ body }) => body);
  const outputs = bodies(OUTPUT);
  const second = bodies(SECOND_OUTPUT);
  const dead = bodies(DEAD);
  const parts = [outputs.flatMap((body) => recordsOf(stage, body)), second, dead];
  for (const [index, part] of parts.entries()) {
    if (!part.every((body, at) => at === 0 || serial(body) > serial(part[at - 1]!))) {
      violate(`twice or out of order in output ${index}: ${part.join(" ")}`);
    }
  }
  if (stage === "fan-out" && !(second.every(isSecond) && !parts[0]!.some(isSecond))) {
    violate("an output in the wrong topic");
  }
  if (stage === "refuse" && !(dead.every(isRefused) && !parts[0]!.some(isRefused))) {
    violate("a dead letter in the wrong topic");
  }
  const consumed = parts.flat().sort((a, b) => serial(a) - serial(b));
  if (stage === "count") {
    checkCounts(world, lane, { passed: outputs, all: consumed }, violate);
  }
  checkNumbers(stage, outputs, violate);
  checkInput(world, lane, consumed, violate);
  checkChangelog(world, lane, { consumed: consumed.length, outputs: outputs.length }, violate);
  // What expires between an attempt and the next is passed over where the lane is told to.
  if (stage === "cut" && !(world.hasStateFault && world.scenario.skipsExpired)) {
    checkAttempts(world, lane, violate);
  }
}

const serial = (body: string): number => Number(body.slice(1));

/** The input records that an output was made of. */
function recordsOf(stage: StageKind, output: string): string[] {
  return stage === "genesis" && output === "genesis" ? [] : output.split("#")[0]!.split("+");
}

function checkNumbers(
  stage: StageKind,
  outputs: readonly string[],
  violate: (text: string) => void,
): void {
  const isNumbered = stage !== "refuse" && stage !== "fan-out" && stage !== "count";
  for (const [index, output] of outputs.entries()) {
    const isFirst = stage === "genesis" && index === 0;
    if (isFirst ? output !== "genesis" : isNumbered && !output.endsWith(`#${index}`)) {
      violate(`output ${index} is ${output}`);
    }
    if (stage === "window" && recordsOf(stage, output).length !== WINDOW_RECORDS) {
      violate(`a window of the wrong size: ${output}`);
    }
  }
}

/** Every committed input record was consumed, in order; only a state fault may leave some. */
function checkInput(
  world: World,
  lane: number,
  consumed: readonly string[],
  violate: (text: string) => void,
): void {
  const log = world.input(lane);
  const all = log.committed();
  const gone = new Set<Entry>(log.gone);
  const freshFrom = world.freshFrom[lane] ?? 0;
  const mayMiss = (entry: Entry) =>
    gone.has(entry) && (world.scenario.skipsExpired || entry.offset < freshFrom);
  let at = 0;
  let left = 0;
  let last: Entry | null = null;
  for (const entry of all) {
    if (consumed[at] === entry.body) {
      at += 1;
      last = entry;
    } else if (at === consumed.length && !gone.has(entry)) {
      left += 1;
    } else if (!mayMiss(entry) && at < consumed.length) {
      violate(`${entry.body} is missing, next is ${consumed[at]}`);
      return;
    }
  }
  if (at !== consumed.length) {
    violate(`${consumed[at]} should not have come out`);
  }
  if (world.fatalLanes.has(lane) || log.isRecreated) {
    return;
  }
  if (left >= stride(world)) {
    violate(`${left} records did not come out`);
  }
  const { committed } = world.group(lane);
  if (last !== null && committed !== last.offset + 1) {
    violate(`stands at ${committed}, not behind ${last.offset}`);
  }
}

const stride = ({ scenario }: World): number => (scenario.stage === "window" ? WINDOW_RECORDS : 1);

function checkChangelog(
  world: World,
  lane: number,
  counts: { readonly consumed: number; readonly outputs: number },
  violate: (text: string) => void,
): void {
  const values = world.broker.log(CHANGELOG, lane).committed();
  const last = values.filter(({ body }) => !isEntry(body)).at(-1);
  const { committed } = world.group(lane);
  const [position, state] = last?.body.split("|") ?? [];
  if (!world.hasStateFault && committed !== null && Number(position) !== committed) {
    violate(`the changelog stands at ${position}, the group at ${committed}`);
  }
  const { stage } = world.scenario;
  const { count } = decodeState(Buffer.from(state ?? ""));
  const isByOutput = stage === "window" || stage === "cut" || stage === "genesis";
  if (!world.fatalLanes.has(lane) && count !== (isByOutput ? counts.outputs : counts.consumed)) {
    violate(`the changelog counts ${count} of ${JSON.stringify(counts)}`);
  }
}

/** Of each subject exactly the first records passed, as many as may, and the entries say how many. */
function checkCounts(
  world: World,
  lane: number,
  { passed, all }: { readonly passed: readonly string[]; readonly all: readonly string[] },
  violate: (text: string) => void,
): void {
  const counts = new Map<string, number>();
  const expected = all.filter((body) => {
    const before = counts.get(subjectOf(body)) ?? 0;
    counts.set(subjectOf(body), Math.min(before + 1, SUBJECT_LIMIT));
    return before < SUBJECT_LIMIT;
  });
  if (passed.join() !== expected.join()) {
    violate(`${passed.join(" ")} passed in place of ${expected.join(" ")}`);
  }
  const log = world.broker.log(CHANGELOG, lane);
  const entries = new Map(
    log
      .committed()
      .filter(({ body }) => isEntry(body))
      .map(({ body }) => {
        const [key = "", value] = body.slice(1).split(":");
        return [key, Number(value)];
      }),
  );
  for (const [subject, count] of counts) {
    if (entries.get(subject) !== count) {
      violate(`the entries count ${entries.get(subject)} of ${subject}, ${count} passed`);
    }
  }
}

/** What an aborted transaction wrote counts as released: every attempt at an output wrote the same. */
function checkAttempts(world: World, lane: number, violate: (text: string) => void): void {
  const released = new Map<string, string>();
  for (const { body, marker } of world.broker.log(OUTPUT, lane).entries) {
    if (marker === null) {
      const [part = "", number = ""] = body.split("#");
      if ((released.get(number) ?? part) !== part) {
        violate(`output ${number} was released as ${released.get(number)} and as ${part}`);
      }
      released.set(number, part);
    }
  }
}
