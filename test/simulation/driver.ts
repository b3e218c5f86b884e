/**
 * Performs the actions of a lane's machine on the modelled Kafka, and lets them go wrong: what `pipeline/stream/lane.ts`
 * does on the real one.
 *
 * Nothing is decided here, except where a test takes a guard away (`Sabotage`) to see that it would be missed.
 */
import { SealstreamError } from "../../pipeline/errors.ts";
import type { LaneAction, LaneAnswer, LaneEvent } from "../../pipeline/stream/lane-events.ts";
import { LaneMachine } from "../../pipeline/stream/lane-machine.ts";
import { OrderCheck } from "./order-check.ts";
import type { Process } from "./process.ts";
import {
  type Asking,
  FAILED,
  FENCED,
  LaneRequests,
  OUT_OF_RANGE,
  type Request,
} from "./requests.ts";
import type { ActionFault } from "./scenario.ts";
import type { World } from "./world.ts";

const FETCH_WAIT_MS = 200;
const CONCURRENT_RETRY_MS = 2;

type Answer = LaneAnswer | SealstreamError;

export class LaneDriver {
  readonly lane: number;
  isEnded = false;
  fatal: SealstreamError | null = null;
  readonly #world: World;
  readonly #process: Process;
  readonly #machine: LaneMachine;
  readonly #order: OrderCheck;
  readonly #requests: LaneRequests;
  #timer = 0;
  #onEnded: () => void = () => undefined;
  /** For tests that take a guard away. */
  #awaited: Asking | null = null;
  #fetching: number | null = null;

  constructor(world: World, process: Process, lane: number) {
    this.#world = world;
    this.#process = process;
    this.lane = lane;
    this.#requests = new LaneRequests(world, lane);
    const { scenario } = world;
    this.#machine = new LaneMachine({
      stage: scenario.stage,
      input: `input/${lane}`,
      group: "group",
      bounds: { maxRecords: scenario.maxRecords, maxBytes: 1_000_000 },
      transactionIntervalMs: scenario.transactionIntervalMs,
      skipsExpired: scenario.skipsExpired,
    });
    this.#order = new OrderCheck((text) => world.violate(`lane ${lane}: ${text}`));
    this.feed({ type: "start" });
  }

  /** Whether an ownership got as far as its first step. */
  get hasOpened(): boolean {
    return this.#requests.hasOpened;
  }

  feed(event: LaneEvent): void {
    this.#process.run(() => {
      this.#order.hear(event);
      for (const action of this.#machine.handle(event, this.#world.scheduler.nowMs)) {
        this.#process.run(() => this.#take(action));
      }
    });
  }

  stop(onEnded: () => void): void {
    if (this.isEnded) {
      onEnded();
      return;
    }
    this.#onEnded = onEnded;
    this.feed({ type: "stop" });
  }

  #take(action: LaneAction): void {
    this.#order.ask(action);
    const fault = this.#world.faultOf(action.type);
    if (fault?.fault === "crash-before") {
      this.#process.kill();
      return;
    }
    if (fault?.fault === "pause-before") {
      this.#process.pause(fault.ms);
      this.#process.run(() => this.#perform(action, null));
      return;
    }
    this.#perform(action, fault);
  }

  #perform(action: LaneAction, fault: ActionFault | null): void {
    switch (action.type) {
      case "report":
      case "restart":
        this.#after(fault, () => undefined);
        break;
      case "wait":
        this.#wait(action.untilMs);
        this.#after(fault, () => undefined);
        break;
      case "ended":
        this.isEnded = true;
        this.fatal = action.error;
        if (action.error !== null) {
          this.#world.noteFatal(this.lane, action.error);
        }
        this.#after(fault, this.#onEnded);
        break;
      default: {
        if (action.type === "fetch") {
          this.#fetching = action.id;
        } else {
          this.#awaited = action;
        }
        this.#ask(this.#requests.of(action), 0, fault, this.#hearing(action));
      }
    }
  }

  /** What is to be done where a crash or a pause may come first. */
  #after(fault: ActionFault | null, then: () => void): void {
    if (fault?.fault === "crash-after") {
      this.#process.kill();
    } else if (fault?.fault === "pause-after") {
      this.#process.pause(fault.ms);
    }
    this.#process.run(then);
  }

  #wait(untilMs: number): void {
    this.#timer += 1;
    const timer = this.#timer;
    const { scheduler } = this.#world;
    scheduler.after(Math.max(0, untilMs - scheduler.nowMs), () => {
      if (timer === this.#timer) {
        this.feed({ type: "time" });
      }
    });
  }

  /** Passes an answer to the machine. */
  #hearing(action: Asking): (answer: Answer) => void {
    const { sabotage } = this.#world;
    return (answer) => {
      const { id } = action;
      if (answer instanceof SealstreamError) {
        if (action.type === "commit" && answer !== FENCED && sabotage === "commit-is-success") {
          this.#heard(action, { type: "done", id });
          return;
        }
        if (action.type === "commit" && answer !== FENCED && sabotage === "commit-is-retried") {
          this.#retry(id);
          return;
        }
        const isExpired = answer === OUT_OF_RANGE;
        this.feed({ type: "failed", id, failure: { error: answer, isExpired } });
        return;
      }
      this.#heard(action, answer);
    };
  }

  #heard(action: Asking, answer: LaneAnswer): void {
    let { id } = answer;
    if (this.#world.sabotage === "ids-ignored") {
      id = (action.type === "fetch" ? this.#fetching : this.#answering(action)) ?? id;
    }
    this.feed({ ...answer, id });
  }

  #answering(action: Asking): number | null {
    return this.#awaited?.type === action.type ? this.#awaited.id : null;
  }

  /** Sabotage: the transaction whose outcome is unknown is made again. */
  #retry(id: number): void {
    const again = this.#requests.transaction;
    const step = (index: number): void => {
      const action = again[index];
      if (action === undefined) {
        this.feed({ type: "done", id });
        return;
      }
      this.#ask(this.#requests.of(action), 0, null, (answer) => {
        if (answer instanceof SealstreamError) {
          this.feed({ type: "failed", id, failure: { error: answer, isExpired: false } });
        } else {
          step(index + 1);
        }
      });
    };
    step(0);
  }

  /** Sends one request of an action, and then the next. */
  #ask(
    requests: readonly Request[],
    index: number,
    fault: ActionFault | null,
    hear: (answer: Answer) => void,
  ): void {
    const { broker } = this.#world;
    const request = requests[index]!;
    const isLast = index === requests.length - 1;
    const hit = fault !== null && (isLast ? fault.part >= index : fault.part === index);
    const kind = hit ? fault.fault : null;
    const ms = fault?.ms ?? 0;
    const fail = () => this.#later(broker.latency(), () => hear(FAILED));
    const settle = (reply: Answer | null): void => {
      if (kind === "unknown" || kind === "reordered") {
        fail();
      }
      if (kind === "unknown") {
        return;
      }
      const answerMs = kind === "slow-answer" || kind === "reordered" ? ms : broker.latency();
      this.#later(answerMs, () => {
        const isEnd = reply !== null;
        this.#after(hit ? fault : null, () =>
          isEnd ? hear(reply) : this.#ask(requests, index + 1, fault, hear),
        );
      });
      if (kind === "twice" && reply !== null) {
        this.#later(answerMs + ms, () => hear(reply));
      }
    };
    switch (kind) {
      case "lost":
        fail();
        break;
      case "crash-sent":
        this.#process.kill();
        this.#world.scheduler.after(ms, request);
        break;
      case "late":
        fail();
        this.#world.scheduler.after(ms, request);
        break;
      default:
        this.#arrive(kind === "slow" ? ms : broker.latency(), request, kind, settle);
    }
  }

  #arrive(
    ms: number,
    request: Request,
    kind: ActionFault["fault"] | null,
    settle: (reply: Answer | null) => void,
  ): void {
    this.#world.scheduler.after(ms, () => {
      if (kind === "repeat") {
        request();
      }
      const reply = request();
      if (reply === "concurrent") {
        // The client asks again, if it is still there.
        this.#later(CONCURRENT_RETRY_MS, () => this.#arrive(0, request, null, settle));
      } else if (reply === "nothing yet") {
        this.#poll(request, settle);
      } else {
        settle(reply);
      }
    });
  }

  /** A fetch that waits at the broker for something to read. */
  #poll(request: Request, settle: (reply: Answer | null) => void): void {
    let isDone = false;
    const again = (isLate: boolean) => {
      if (isDone) {
        return;
      }
      isDone = true;
      const reply = request(isLate);
      if (reply !== "nothing yet" && reply !== "concurrent") {
        settle(reply);
      } else {
        isDone = false;
        this.#world.input(this.lane).watch(() => again(false));
      }
    };
    this.#world.input(this.lane).watch(() => again(false));
    this.#world.scheduler.after(FETCH_WAIT_MS, () => again(true));
  }

  #later(ms: number, run: () => void): void {
    this.#world.scheduler.after(ms, () => this.#process.run(run));
  }
}
