/**
 * A deterministic simulation of lanes: from a scenario to what was found wrong with it.
 *
 * Real: `LaneMachine` with its window and checks, and the read_committed filter. Modelled: Kafka (`kafka-model.ts`), the
 * consumer group (`group.ts`), the processes of a stage (`process.ts`), the lane's driver (`driver.ts`), the stages
 * (`stages.ts`), the input's producers, one of which may be in a transaction while the other begins and ends some.
 *
 * Failures: a process dies before, during or after any action and its requests still arrive; stands still past its
 * session and goes on; a request is lost, takes effect unheard, takes effect after its caller gave up; answers are slow,
 * come twice or in another order; transactions time out; offsets are changed, records expire, the changelog is lost, the
 * input is made anew (from a time on, when what is there says so: see non-failures).
 * Not failures: rebalances, two owners for a while, no owner for a while, a graceful stop, an idle input, a stage that
 * waits, holes in the offsets, aborted input. Neither is a topic that was made anew and has grown past the committed
 * offset again: no lane can tell, which is why sealed records carry a sequence.
 * Known nondeterminism: none. The same scenario gives the same run; latencies come from its own seed.
 */
import type { SealstreamError } from "../../pipeline/errors.ts";
import { check, expectedEnd } from "./check.ts";
import { Group } from "./group.ts";
import type { PartitionLog } from "./kafka-log.ts";
import { BrokerModel, GroupOffset } from "./kafka-model.ts";
import { Process } from "./process.ts";
import { createRandom, type Random, Scheduler } from "./random.ts";
import { CHANGELOG, INPUT } from "./requests.ts";
import type { Sabotage } from "./sabotage.ts";
import {
  type ActionFault,
  type ActionType,
  FAULTS_END_MS,
  isActionFault,
  type Scenario,
  type WorldEvent,
} from "./scenario.ts";

const STATE_FAULTS: ReadonlySet<string> = new Set([
  "expire",
  "set-offset",
  "lose-changelog",
  "recreate-input",
]);
const TRANSACTION_TIMEOUT_MS = 350;
const RESTART_MS = 120;
const POLL_MS = 50;
/** A healthy owner must have finished this long after the last fault: two of the longest back-offs and some work. */
const RECOVERY_MS = 20_000;
/** With a state fault there may be nothing to wait for: an owner that opened its lane gets this long. */
const REST_MS = 2_500;
const MOST_TASKS = 100_000;
const MOST_PROCESSES = 4;
/** Producer ids of the input's own producers, out of the way of the lanes'. */
const INPUT_PRODUCERS = 1_000n;

export interface Outcome {
  readonly violations: readonly string[];
  readonly fatal: readonly SealstreamError[];
  /** How often each fault struck: `action/fault` and the names of world events. */
  readonly struck: ReadonlyMap<string, number>;
  readonly tasks: number;
}

export class World {
  readonly scenario: Scenario;
  readonly sabotage: Sabotage | null;
  readonly scheduler = new Scheduler();
  readonly broker: BrokerModel;
  readonly violations: string[] = [];
  readonly fatal: SealstreamError[] = [];
  readonly fatalLanes = new Set<number>();
  readonly hasStateFault: boolean;
  /** Where a lane's log began while its group had no offset: what lay before is no loss, the group begins there. */
  readonly freshFrom: number[] = [];
  readonly #faults = new Map<string, ActionFault>();
  readonly #asked = new Map<ActionType, number>();
  readonly #struck = new Map<string, number>();
  readonly #random: Random | null;
  readonly #members: Group;
  readonly #processes: Process[] = [];
  readonly #groups: GroupOffset[];
  readonly #reached: number[];
  readonly #sequences = new Map<string, number>();
  #serial = 0;

  constructor(scenario: Scenario, sabotage: Sabotage | null = null) {
    this.scenario = scenario;
    this.sabotage = sabotage;
    const { latency, lanes, operations } = scenario;
    this.#random = latency === null ? null : createRandom(latency ^ 0x5eed);
    this.broker = new BrokerModel({
      scheduler: this.scheduler,
      random: this.#random,
      guards: { fences: sabotage !== "fence-keeps-epoch" },
      transactionTimeoutMs: TRANSACTION_TIMEOUT_MS,
    });
    this.#members = new Group(this.scheduler, this.#random, lanes);
    this.#reached = Array.from({ length: lanes }, () => 0);
    this.#groups = Array.from(
      { length: lanes },
      (_, lane) => new GroupOffset((from, to) => this.#advance(lane, from, to)),
    );
    for (const operation of operations) {
      if (isActionFault(operation)) {
        this.#faults.set(`${operation.on}/${operation.nth}`, operation);
      } else {
        this.scheduler.after(operation.at, () => this.#do(operation));
      }
    }
    this.hasStateFault = operations.some(
      (operation) => !isActionFault(operation) && STATE_FAULTS.has(operation.do),
    );
  }

  run(): Outcome {
    for (let count = 0; count < this.scenario.instances; count += 1) {
      this.#start();
    }
    this.#runUntil(FAULTS_END_MS);
    this.#endFaults();
    const limitMs = FAULTS_END_MS + RECOVERY_MS;
    while (this.scheduler.nowMs < limitMs && !this.#isFinished()) {
      this.#runUntil(this.scheduler.nowMs + POLL_MS);
    }
    if (!this.#isFinished()) {
      this.violate("a healthy owner did not finish");
    }
    for (const process of this.#processes) {
      process.leave();
    }
    this.#runUntil(Number.POSITIVE_INFINITY);
    for (const { isAlive, name } of this.#processes) {
      if (isAlive) {
        this.violate(`process ${name} did not stop`);
      }
    }
    check(this);
    return {
      violations: this.violations,
      fatal: this.fatal,
      struck: this.#struck,
      tasks: this.scheduler.executed,
    };
  }

  violate(text: string): void {
    this.violations.push(`${this.scheduler.nowMs} ms: ${text}`);
  }

  input(lane: number): PartitionLog {
    return this.broker.log(INPUT, lane);
  }

  group(lane: number): GroupOffset {
    // Because lanes are numbered below their count.
    return this.#groups[lane]!;
  }

  coordinator(lane: number) {
    return this.broker.coordinator(`lane-${lane}`);
  }

  /** Everything that a reader of a partition is given. */
  read(topic: string, partition: number) {
    const log = this.broker.log(topic, partition);
    const isFiltered = this.sabotage !== "unfiltered";
    return log.fetch(log.earliest, Number.POSITIVE_INFINITY, { isFiltered })?.records ?? [];
  }

  /** What is to go wrong with this action, now that it is asked for. */
  faultOf(action: ActionType): ActionFault | null {
    const nth = (this.#asked.get(action) ?? 0) + 1;
    this.#asked.set(action, nth);
    if (this.scheduler.nowMs >= FAULTS_END_MS) {
      return null;
    }
    const fault = this.#faults.get(`${action}/${nth}`);
    if (fault === undefined) {
      return null;
    }
    this.#note(`${action}/${fault.fault}`);
    return fault;
  }

  noteFatal(lane: number, error: SealstreamError): void {
    this.fatal.push(error);
    this.fatalLanes.add(lane);
    if (!this.hasStateFault || error.code !== "state-mismatch") {
      this.violate(`lane ${lane} ended with ${error.code}: ${error.message}`);
    }
  }

  noteDeath(process: Process): void {
    this.#members.lose(process, () => true);
    this.scheduler.after(RESTART_MS, () => {
      if (this.scheduler.nowMs < FAULTS_END_MS) {
        this.#start();
      }
    });
  }

  notePause(process: Process, isStill: () => boolean): void {
    this.#members.lose(process, isStill);
  }

  noteResume(process: Process): void {
    this.#members.hearAgain(process);
  }

  noteLeave(process: Process): void {
    this.#members.leave(process);
  }

  #note(what: string): void {
    this.#struck.set(what, (this.#struck.get(what) ?? 0) + 1);
  }

  #start(): void {
    if (this.#processes.filter(({ isAlive }) => isAlive).length < MOST_PROCESSES) {
      const process = new Process(this, this.#processes.length);
      this.#processes.push(process);
      this.#members.join(process);
    }
  }

  #runUntil(untilMs: number): void {
    while (this.scheduler.step(untilMs)) {
      if (this.scheduler.executed > MOST_TASKS) {
        this.violate("never comes to rest");
        return;
      }
    }
    if (untilMs !== Number.POSITIVE_INFINITY) {
      this.scheduler.nowMs = untilMs;
    }
  }

  #endFaults(): void {
    for (let lane = 0; lane < this.scenario.lanes; lane += 1) {
      for (const by of [0, 1] as const) {
        this.#settle(lane, by, true);
      }
    }
    for (const process of this.#processes) {
      process.resume();
    }
    const alive = this.#processes.filter(({ isAlive, isLeaving }) => isAlive && !isLeaving);
    // What somebody did to the offsets or the log is noticed by an owner that starts, at the latest.
    const isFresh = this.scenario.finish === "fresh" || this.hasStateFault;
    if (isFresh) {
      for (const process of alive) {
        process.leave();
      }
    }
    this.fatalLanes.clear();
    if (isFresh || alive.length === 0) {
      const process = new Process(this, this.#processes.length);
      this.#processes.push(process);
      this.#members.join(process);
    }
  }

  #isFinished(): boolean {
    for (let lane = 0; lane < this.scenario.lanes; lane += 1) {
      const isThere = (this.group(lane).committed ?? 0) === expectedEnd(this, lane);
      const hasOwner = this.#processes.some(
        ({ isAlive, isLeaving, lanes }) => isAlive && !isLeaving && lanes.has(lane),
      );
      const isSettled = this.hasStateFault ? this.#isAtRest(lane) : isThere && hasOwner;
      if (!(isSettled || this.fatalLanes.has(lane))) {
        return false;
      }
    }
    return true;
  }

  /** With a state fault: the fresh owner has opened the lane and had time to do what it can. */
  #isAtRest(lane: number): boolean {
    const driver = this.#processes.at(-1)?.lanes.get(lane);
    return driver?.hasOpened === true && this.scheduler.nowMs >= FAULTS_END_MS + REST_MS;
  }

  #advance(lane: number, from: number, to: number): void {
    const reached = this.#reached[lane] ?? 0;
    if (from < reached) {
      this.violate(`lane ${lane}: transactions overlap, ${from} to ${to} after ${reached}`);
    }
    this.#reached[lane] = Math.max(reached, to);
  }

  #do(event: WorldEvent): void {
    if (this.#perform(event)) {
      this.#note(event.do);
    }
  }

  /** @returns whether it changed anything */
  #perform(event: WorldEvent): boolean {
    switch (event.do) {
      case "write":
        return this.#write(event);
      case "settle":
        return this.#settle(event.lane, event.by, event.isCommit);
      case "gap":
        this.input(event.lane).skip(event.offsets);
        return true;
      case "join":
        this.#start();
        return true;
      case "rebalance":
        this.#members.rotate();
        return true;
      case "retention":
        return this.#expire(event.lane, 0);
      case "expire":
        return this.#expire(event.lane, event.beyond);
      case "set-offset":
        return this.#setOffset(event.lane, event.by);
      case "lose-changelog":
        this.broker.log(CHANGELOG, event.lane).recreate();
        return true;
      case "recreate-input":
        this.input(event.lane).recreate();
        return true;
      default:
        return this.#disturb(event);
    }
  }

  #disturb(
    event: Extract<WorldEvent, { readonly do: "leave" | "kill" | "wake" | "tick" | "pause" }>,
  ): boolean {
    const alive = this.#processes.filter(({ isAlive }) => isAlive);
    const process = alive[event.instance % Math.max(1, alive.length)];
    if (process === undefined) {
      return false;
    }
    switch (event.do) {
      case "leave":
        process.leave();
        return true;
      case "kill":
        process.kill();
        return true;
      case "pause":
        process.pause(event.ms);
        return true;
      default:
        for (const driver of process.lanes.values()) {
          driver.feed({ type: event.do === "wake" ? "wake" : "time" });
        }
        return true;
    }
  }

  #write({ lane, by, records }: Extract<WorldEvent, { readonly do: "write" }>): boolean {
    const log = this.input(lane);
    if (log.isRecreated) {
      return false;
    }
    for (let count = 0; count < records; count += 1) {
      const body = `r${this.#serial}`;
      this.#serial += 1;
      if (by === null) {
        log.appendPlain(body);
      } else {
        const sequence = (this.#sequences.get(`${lane}/${by}`) ?? -1) + 1;
        this.#sequences.set(`${lane}/${by}`, sequence);
        log.append({ producerId: INPUT_PRODUCERS + BigInt(by), epoch: 0 }, sequence, [body]);
      }
    }
    return true;
  }

  #settle(lane: number, by: 0 | 1, isCommit: boolean): boolean {
    const log = this.input(lane);
    const writer = { producerId: INPUT_PRODUCERS + BigInt(by), epoch: 0 };
    if (!log.hasOpen(writer)) {
      return false;
    }
    log.mark(writer, isCommit);
    return true;
  }

  #expire(lane: number, beyond: number): boolean {
    const log = this.input(lane);
    const before = log.earliest;
    const { committed } = this.group(lane);
    log.expire((committed ?? 0) + beyond);
    if (committed === null) {
      this.freshFrom[lane] = log.earliest;
    }
    return log.earliest > before;
  }

  #setOffset(lane: number, by: number | null): boolean {
    const group = this.group(lane);
    const before = group.committed;
    group.committed = by === null ? null : Math.max(0, (before ?? 0) + by);
    return group.committed !== before;
  }
}
