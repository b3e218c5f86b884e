/**
 * What happens in one simulation: a literal that can be printed, shrunk and kept as a regression, and how a seed
 * becomes one.
 */
import type { LaneAction } from "../../pipeline/stream/lane-events.ts";
import { createRandom, type Random } from "./random.ts";
import { STAGES, type StageKind, WINDOW_RECORDS } from "./stages.ts";

export type ActionType = LaneAction["type"];

export const ACTIONS = [
  "fence",
  "locate",
  "recall",
  "open",
  "fetch",
  "process",
  "begin",
  "send",
  "remember",
  "sendOffset",
  "commit",
  "report",
  "wait",
  "discard",
  "restart",
  "ended",
] as const satisfies readonly ActionType[];

/** Where a fault matters most. */
const TRANSACTION = ["send", "sendOffset", "commit", "commit"] as const;

/** Actions that are a request to a broker, so that what its caller hears need not be what came of it. */
export const REQUESTS: ReadonlySet<ActionType> = new Set([
  "fence",
  "locate",
  "recall",
  "fetch",
  "send",
  "remember",
  "sendOffset",
  "commit",
]);

/**
 * What goes wrong with one action.
 *
 * crash-before   the process dies before it asks
 * crash-sent     the process dies with the request on its way, which arrives after `ms`
 * crash-after    it took effect and was answered; the process dies before it hears
 * pause-before, pause-after   the same two places, but the process stands still for `ms` (a zombie, if that is long)
 * lost           never arrives; the caller hears of an error
 * unknown        takes effect; the caller hears of an error
 * late           the caller hears of an error first, and after `ms` it takes effect after all
 * slow           arrives after `ms`
 * slow-answer    takes effect at once, is answered after `ms`
 * twice          is answered twice, the second time after `ms`
 * reordered      takes effect; an error is heard first and the answer after `ms`
 * repeat         arrives twice
 */
export const FAULTS = [
  "crash-before",
  "crash-sent",
  "crash-after",
  "pause-before",
  "pause-after",
  "lost",
  "unknown",
  "late",
  "slow",
  "slow-answer",
  "twice",
  "reordered",
  "repeat",
] as const;
export type FaultKind = (typeof FAULTS)[number];

export interface ActionFault {
  /** The action that it hits: the `nth` of its type over all lanes and processes, from 1. */
  readonly on: ActionType;
  readonly nth: number;
  readonly fault: FaultKind;
  readonly ms: number;
  /** Which request of the action, where it takes two (a transaction is told of a partition before the records). */
  readonly part: 0 | 1;
}

export type WorldEvent =
  /** Input: `by` null is outside a transaction, else one of two transactional producers. */
  | {
      readonly do: "write";
      readonly at: number;
      readonly lane: number;
      readonly by: 0 | 1 | null;
      readonly records: number;
    }
  | {
      readonly do: "settle";
      readonly at: number;
      readonly lane: number;
      readonly by: 0 | 1;
      readonly isCommit: boolean;
    }
  /** Compaction leaves a hole in the input's offsets. */
  | { readonly do: "gap"; readonly at: number; readonly lane: number; readonly offsets: number }
  | { readonly do: "join"; readonly at: number }
  /** `instance` counts modulo those there are. */
  | {
      readonly do: "leave" | "kill" | "wake" | "tick";
      readonly at: number;
      readonly instance: number;
    }
  | { readonly do: "pause"; readonly at: number; readonly instance: number; readonly ms: number }
  /** Lanes change their owners although nobody came or went. */
  | { readonly do: "rebalance"; readonly at: number }
  /** Retention removes the input up to the group's position, as it does in ordinary life. */
  | { readonly do: "retention"; readonly at: number; readonly lane: number }
  /** Retention removes the input up to `beyond` records after the group's position. */
  | { readonly do: "expire"; readonly at: number; readonly lane: number; readonly beyond: number }
  /** Somebody sets the group's offset: `by` from where it stands; null removes it. */
  | {
      readonly do: "set-offset";
      readonly at: number;
      readonly lane: number;
      readonly by: number | null;
    }
  | {
      readonly do: "lose-changelog" | "recreate-input";
      readonly at: number;
      readonly lane: number;
    };

export type Operation = ActionFault | WorldEvent;

export interface Scenario {
  readonly stage: StageKind;
  readonly lanes: number;
  readonly instances: number;
  readonly maxRecords: number;
  /** Most batches that one fetch brings. */
  readonly fetchRecords: number;
  readonly transactionIntervalMs: number;
  readonly skipsExpired: boolean;
  /** Seed of the latencies; null: every one is a millisecond. */
  readonly latency: number | null;
  /** Who has to finish once faults are over: a new process, or those that went through them. */
  readonly finish: "fresh" | "same";
  readonly operations: readonly Operation[];
}

export const isActionFault = (operation: Operation): operation is ActionFault => "on" in operation;

/** After this moment no fault begins. */
export const FAULTS_END_MS = 1_500;

/** The scenario of a seed. */
export function scenarioOf(seed: number): Scenario {
  const random = createRandom(seed);
  const stage = random.pick(STAGES);
  const lanes = random.pick([1, 1, 2]);
  const hasStateFault = random.oneIn(6);
  return {
    stage,
    lanes,
    instances: 1 + random.below(3),
    maxRecords: WINDOW_RECORDS + random.below(12),
    fetchRecords: 1 + random.below(8),
    transactionIntervalMs: random.pick([0, 25]),
    skipsExpired: random.oneIn(3),
    latency: seed,
    finish: random.pick(["fresh", "same"]),
    operations: [
      ...inputOf(random, lanes),
      ...membership(random),
      ...Array.from({ length: random.below(9) }, () => actionFault(random)),
      ...(hasStateFault ? [stateFault(random, lanes)] : []),
    ],
  };
}

function inputOf(random: Random, lanes: number): WorldEvent[] {
  const events: WorldEvent[] = [];
  for (let lane = 0; lane < lanes; lane += 1) {
    const writes = 2 + random.below(6);
    for (let index = 0; index < writes; index += 1) {
      const at = random.below(800);
      const by = random.pick([0, 1, null] as const);
      events.push({ do: "write", at, lane, by, records: 1 + random.below(6) });
      if (by !== null) {
        const end = at + 1 + random.below(120);
        events.push({ do: "settle", at: end, lane, by, isCommit: !random.oneIn(3) });
      }
    }
    if (random.oneIn(4)) {
      events.push({ do: "retention", at: random.below(FAULTS_END_MS), lane });
    }
    if (random.oneIn(3)) {
      events.push({ do: "gap", at: random.below(800), lane, offsets: 1 + random.below(5) });
    }
  }
  return events;
}

function membership(random: Random): WorldEvent[] {
  return Array.from({ length: random.below(4) }, (): WorldEvent => {
    const at = random.below(FAULTS_END_MS - 300);
    const instance = random.below(3);
    const kind = random.pick([
      "join",
      "leave",
      "kill",
      "wake",
      "tick",
      "pause",
      "pause",
      "rebalance",
    ] as const);
    switch (kind) {
      case "join":
      case "rebalance":
        return { do: kind, at };
      case "pause":
        return { do: kind, at, instance, ms: random.pick([30, 150, 400, 700]) };
      default:
        return { do: kind, at, instance };
    }
  });
}

function actionFault(random: Random): ActionFault {
  const on = random.oneIn(3) ? random.pick(TRANSACTION) : random.pick(ACTIONS);
  const fault = random.pick(REQUESTS.has(on) ? FAULTS : LOCAL_FAULTS[on === "process" ? 1 : 0]);
  return {
    on,
    nth: 1 + random.below(random.pick([2, 6, 20])),
    fault,
    ms: random.pick([3, 10, 40, 250, 600]),
    part: random.pick([0, 1]),
  };
}

/** An action that is no request can only be cut short; a stage can also throw. */
const LOCAL_FAULTS = [
  ["crash-before", "crash-after", "pause-before", "pause-after"],
  ["crash-before", "crash-after", "pause-before", "pause-after", "lost", "slow-answer", "twice"],
] as const satisfies readonly (readonly FaultKind[])[];

/** One alone: a group that lost its offset and its changelog is a new group, and nobody can tell. */
function stateFault(random: Random, lanes: number): WorldEvent {
  const at = 50 + random.below(FAULTS_END_MS - 100);
  const lane = random.below(lanes);
  const kind = random.pick([
    "expire",
    "expire",
    "set-offset",
    "lose-changelog",
    "recreate-input",
  ] as const);
  switch (kind) {
    case "expire":
      return { do: kind, at, lane, beyond: 1 + random.below(6) };
    case "set-offset":
      return { do: kind, at, lane, by: random.pick([null, -1, -3, 1, 2, 1_000]) };
    default:
      return { do: kind, at, lane };
  }
}

/** The literal to paste into `regressions.test.ts`. */
export function printScenario(scenario: Scenario): string {
  const { operations, ...settings } = scenario;
  const unquoted = (value: object): string =>
    JSON.stringify(value)
      .replace(/"([a-zA-Z]+)":/g, " $1: ")
      .replace(/\}$/, " }");
  const lines = operations.map((operation) => `    ${unquoted(operation)},`);
  const fields = Object.entries(settings).map(
    ([name, value]) => `  ${name}: ${JSON.stringify(value)},`,
  );
  return ["{", ...fields, "  operations: [", ...lines, "  ],", "}"].join("\n");
}
