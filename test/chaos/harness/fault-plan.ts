/**
 * Which faults happen when, decided before the run from the seed alone.
 *
 * Kinds come from a bag that is emptied before it is filled again, so that a minute holds all of them. When a fault takes
 * effect depends on the machine; that it is tried, on whom and for how long, does not.
 */
import { STAGES, type StageName } from "../../../schemas/topics.ts";
import type { Random } from "./random.ts";

export type StageFaultKind = "kill" | "freeze" | "leave" | "join";
export type BrokerFaultKind = "broker-kill" | "broker-freeze" | "broker-restart";
export type FaultKind = StageFaultKind | BrokerFaultKind;

export type Fault = { readonly atMs: number; readonly holdMs: number } & (
  | { readonly kind: StageFaultKind; readonly stage: StageName; readonly instance: number }
  | { readonly kind: BrokerFaultKind; readonly node: number }
);

/** How often each kind is in the bag. */
const BAG: Readonly<Record<FaultKind, number>> = {
  kill: 4,
  freeze: 2,
  leave: 1,
  join: 1,
  "broker-kill": 1,
  "broker-freeze": 1,
  "broker-restart": 1,
};
export const FAULT_KINDS = Object.keys(BAG) as readonly FaultKind[];

/** How long it lasts, in ms: a frozen instance outlives the session timeout of 6 s. */
const HOLD_MS: Readonly<Record<FaultKind, readonly [number, number]>> = {
  kill: [0, 0],
  freeze: [7_500, 10_000],
  leave: [500, 4_000],
  join: [5_000, 10_000],
  "broker-kill": [1_000, 6_000],
  "broker-freeze": [2_000, 8_000],
  "broker-restart": [0, 2_000],
};

export interface PlanOptions {
  readonly random: Random;
  readonly durationMs: number;
  /** Between two faults. */
  readonly everyMs: readonly [number, number];
  readonly instances: number;
  readonly nodes: number;
}

function isBrokerFault(kind: FaultKind): kind is BrokerFaultKind {
  return kind.startsWith("broker-");
}

/** The run's faults by rising time. */
export function planFaults(options: PlanOptions): Fault[] {
  const { random, durationMs, everyMs, instances, nodes } = options;
  const full = FAULT_KINDS.flatMap((kind) => new Array<FaultKind>(BAG[kind]).fill(kind));
  const faults: Fault[] = [];
  let bag: FaultKind[] = [];
  let stages: StageName[] = [];
  for (
    let atMs = random.between(...everyMs);
    atMs < durationMs;
    atMs += random.between(...everyMs)
  ) {
    bag = bag.length > 0 ? bag : random.shuffle(full);
    // Because the bag was just filled when it was empty.
    const kind = bag.shift() as FaultKind;
    const holdMs = random.between(...HOLD_MS[kind]);
    if (isBrokerFault(kind)) {
      faults.push({ kind, atMs, holdMs, node: random.between(1, nodes) });
      continue;
    }
    stages = stages.length > 0 ? stages : random.shuffle(STAGES);
    const stage = stages.shift() as StageName;
    faults.push({ kind, atMs, holdMs, stage, instance: random.between(0, instances - 1) });
  }
  return faults;
}
