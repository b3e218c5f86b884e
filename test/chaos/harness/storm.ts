/** Carries out a plan of faults. What cannot be done to its target (it is down or frozen already) is skipped and counted. */
import { setTimeout as sleep } from "node:timers/promises";
import type { StageName } from "../../../schemas/topics.ts";
import type { Brokers } from "./brokers.ts";
import { FAULT_KINDS, type Fault, type FaultKind } from "./fault-plan.ts";
import type { Instance } from "./instances.ts";

export interface StormOptions {
  readonly plan: readonly Fault[];
  readonly instances: readonly Instance[];
  /** An instance beyond the usual ones. */
  readonly createExtra: (stage: StageName) => Instance;
  readonly brokers: Brokers;
  readonly durationMs: number;
  readonly signal: AbortSignal;
  readonly onFault: (text: string) => void;
  readonly onFinding: (finding: string) => void;
}

export type FaultCounts = Record<FaultKind | "skipped", number>;

export interface Storm {
  readonly counts: FaultCounts;
  /** Resolves when every fault was undone. */
  readonly done: Promise<void>;
}

export function startStorm(options: StormOptions): Storm {
  const { plan, instances, brokers, durationMs, signal, onFault } = options;
  // Because every kind is given its zero here.
  const counts = Object.fromEntries(
    [...FAULT_KINDS, "skipped"].map((kind) => [kind, 0]),
  ) as FaultCounts;
  const busy = new Set<Instance>();
  const pending: Promise<void>[] = [];
  let brokerFaults: Promise<void> = Promise.resolve();
  const beganMs = performance.now();
  const isOver = (): boolean => signal.aborted || performance.now() - beganMs > durationMs;
  const hold = (ms: number): Promise<unknown> =>
    sleep(ms, undefined, { signal }).catch(() => undefined);

  async function harm(fault: Fault, target: Instance): Promise<void> {
    switch (fault.kind) {
      case "kill":
        target.signal("SIGKILL");
        return;
      case "freeze":
        target.signal("SIGSTOP");
        await hold(fault.holdMs);
        target.signal("SIGCONT");
        return;
      case "leave":
        await target.leave();
        await hold(fault.holdMs);
        target.start();
    }
  }

  async function join(stage: StageName, holdMs: number): Promise<void> {
    const extra = options.createExtra(stage);
    extra.start();
    await hold(holdMs);
    await extra.leave();
    await extra.destroy();
  }

  function stageFault(fault: Extract<Fault, { readonly stage: StageName }>): void {
    if (fault.kind === "join") {
      counts.join += 1;
      onFault(`join ${fault.stage}`);
      pending.push(join(fault.stage, fault.holdMs));
      return;
    }
    const able = instances.filter(
      (instance) =>
        instance.stage === fault.stage && !busy.has(instance) && instance.pid() !== null,
    );
    const target = able.find(({ number }) => number === fault.instance) ?? able[0];
    if (target === undefined) {
      counts.skipped += 1;
      return;
    }
    counts[fault.kind] += 1;
    onFault(`${fault.kind} ${target.name}`);
    busy.add(target);
    pending.push(harm(fault, target).finally(() => busy.delete(target)));
  }

  function brokerFault(fault: Extract<Fault, { readonly node: number }>): void {
    const { kind, node, holdMs } = fault;
    brokerFaults = brokerFaults.then(async () => {
      if (isOver()) {
        counts.skipped += 1;
        return;
      }
      counts[kind] += 1;
      onFault(`${kind} ${node}`);
      await brokers.fault(kind, node, holdMs);
    });
    pending.push(brokerFaults);
  }

  async function run(): Promise<void> {
    for (const fault of plan) {
      await hold(Math.max(0, beganMs + fault.atMs - performance.now()));
      if (signal.aborted) {
        break;
      }
      if ("node" in fault) brokerFault(fault);
      else stageFault(fault);
    }
    for (const result of await Promise.allSettled(pending)) {
      if (result.status === "rejected") {
        options.onFinding(`a fault could not be undone: ${String(result.reason)}`);
      }
    }
  }
  return { counts, done: run() };
}
