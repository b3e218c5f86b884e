/**
 * What a lane's actions ask of the modelled Kafka and of its stage; each request takes effect when it is called.
 *
 * Here are most of the places where a test takes a guard away (`Sabotage`).
 */
import { SealstreamError } from "../../pipeline/errors.ts";
import type { ChangelogValue } from "../../pipeline/stream/changelog.ts";
import type { LaneAction, LaneAnswer } from "../../pipeline/stream/lane-events.ts";
import type { Entry, PartitionLog, Verdict, Writer } from "./kafka-log.ts";
import {
  callStage,
  decodeState,
  type SimOutput,
  type SimRecord,
  type StageState,
} from "./stages.ts";
import type { World } from "./world.ts";

export const CHANGELOG = "changelog";
export const INPUT = "input";

export const FENCED = new SealstreamError("fenced", "Another owner.");
export const FAILED = new SealstreamError("kafka-failed", "No answer.");
export const OUT_OF_RANGE = new SealstreamError("state-mismatch", "Out of range.");

export type Asking = Extract<LaneAction, { readonly id: number }>;
type Answer = LaneAnswer | SealstreamError;
/** `concurrent`: to be asked again; null: asked, go on with the action's next request. */
type Reply = Answer | "concurrent" | "nothing yet" | null;
/** @param isLast a fetch that has waited long enough */
export type Request = (isLast?: boolean) => Reply;

/** What one ownership holds. */
interface Ownership {
  producer: Writer | null;
  located: number | null;
  recalled: ChangelogValue | null;
  /** Where the records begin that the next transaction makes final. */
  from: number;
  position: number;
  state: StageState;
  readonly sequences: Map<PartitionLog, number>;
  /** Requests of the transaction under way. */
  transaction: Asking[];
}

export class LaneRequests {
  /** Whether an ownership got as far as its first step. */
  hasOpened = false;
  readonly #world: World;
  readonly #lane: number;
  #held: Ownership = nothing();
  /** What a lane that does not look again believes of its position. */
  #known: number | null | undefined;

  constructor(world: World, lane: number) {
    this.#world = world;
    this.#lane = lane;
  }

  /** Actions of the transaction under way. */
  get transaction(): readonly Asking[] {
    return this.#held.transaction;
  }

  /** The requests of an action; each takes effect when it is called. */
  of(action: Asking): Request[] {
    const { id } = action;
    switch (action.type) {
      case "fence":
        return this.#fence(id);
      case "locate":
        return this.#locate(id);
      case "recall":
        return [() => this.#recall(id)];
      case "fetch":
        return [this.#fetch(id)];
      case "open":
        return [
          () => {
            const held = this.#held;
            held.position = action.position;
            held.from = action.position;
            const counts = this.#entries();
            held.state = { ...decodeState(action.state), counts };
            const sum = [...counts.values()].reduce((all, count) => all + count, 0);
            if (sum !== (held.state.passed ?? 0) && !this.#world.sabotage?.startsWith("entries")) {
              return new SealstreamError("state-mismatch", `The entries add up to ${sum}.`);
            }
            this.hasOpened = true;
            return { type: "opened", id };
          },
        ];
      case "process":
        return [() => this.#call(id, action.records)];
      case "discard":
        return [
          () => {
            this.#held = nothing();
            return { type: "discarded", id };
          },
        ];
      default:
        return this.#transact(action);
    }
  }

  #fence(id: number): Request[] {
    const held = this.#held;
    const coordinator = this.#world.coordinator(this.#lane);
    const fence: Request = () => {
      const writer = coordinator.fence();
      if (writer === "concurrent") {
        return writer;
      }
      held.producer = writer;
      return { type: "fenced", id };
    };
    if (this.#world.sabotage !== "read-before-fence") {
      return [fence];
    }
    const early: Request = () => {
      held.located = this.#world.group(this.#lane).committed;
      held.recalled = this.#remembered();
      return null;
    };
    return [early, fence];
  }

  #locate(id: number): Request[] {
    const held = this.#held;
    const { sabotage } = this.#world;
    return [
      () => {
        if (sabotage !== "read-before-fence") {
          held.located = this.#world.group(this.#lane).committed;
        }
        if (sabotage === "located-once") {
          this.#known = this.#known === undefined ? held.located : this.#known;
          held.located = this.#known;
        }
        return null;
      },
      () => {
        const { earliest, latest } = this.#world.input(this.#lane);
        return { type: "located", id, committed: held.located, earliest, latest };
      },
    ];
  }

  #recall(id: number): Reply {
    const { sabotage } = this.#world;
    const { located, recalled } = this.#held;
    const remembered = sabotage === "read-before-fence" ? recalled : this.#remembered();
    if (sabotage === "changelog-unchecked") {
      const state = remembered?.state ?? null;
      return {
        type: "recalled",
        id,
        remembered: located === null ? null : { position: located, state },
      };
    }
    return { type: "recalled", id, remembered };
  }

  /** Entries are the bodies that begin with "=", the newest of a key counts. */
  #entries(): ReadonlyMap<string, number> {
    const { sabotage } = this.#world;
    if (sabotage === "entries-unread") {
      return new Map();
    }
    const entries = this.#world.read(CHANGELOG, this.#lane).filter(({ body }) => isEntry(body));
    return new Map(
      entries.map(({ body }) => {
        const [key = "", value] = body.slice(1).split(":");
        return [key, Number(value)];
      }),
    );
  }

  #remembered(): ChangelogValue | null {
    const values = this.#world.read(CHANGELOG, this.#lane).filter(({ body }) => !isEntry(body));
    const last = values.at(-1);
    const [position, state] = last?.body.split("|") ?? [];
    return position === undefined
      ? null
      : { position: Number(position), state: state === "" ? null : Buffer.from(state ?? "") };
  }

  #fetch(id: number): Request {
    const held = this.#held;
    const from = held.position;
    const { scenario, sabotage } = this.#world;
    return (isLast) => {
      const answer = this.#world
        .input(this.#lane)
        .fetch(from, scenario.fetchRecords, { isFiltered: sabotage !== "unfiltered" });
      if (answer === null) {
        return OUT_OF_RANGE;
      }
      if (answer.next === from && isLast !== true) {
        return "nothing yet";
      }
      held.position = answer.next;
      return { type: "fetched", id, records: answer.records.map(toRecord) };
    };
  }

  #call(id: number, given: readonly unknown[]): Reply {
    const { scenario, scheduler } = this.#world;
    // Because the driver's own fetches are all that the machine was ever given.
    const records = given as readonly SimRecord[];
    const { state } = this.#held;
    const call = callStage(scenario.stage, {
      records,
      state,
      lane: this.#lane,
      nowMs: scheduler.nowMs,
    });
    this.#held.state = call.state;
    return { type: "processed", id, step: call.step };
  }

  #transact(
    action: Extract<
      LaneAction,
      { readonly type: "begin" | "send" | "remember" | "sendOffset" | "commit" }
    >,
  ): Request[] {
    const { id } = action;
    const held = this.#held;
    const { producer } = held;
    if (producer === null) {
      this.#world.violate(`lane ${this.#lane}: ${action.type} without a producer`);
      return [() => FAILED];
    }
    const coordinator = this.#world.coordinator(this.#lane);
    const done = { type: "done", id } as const;
    if (action.type === "begin") {
      held.transaction = [];
      return [() => done];
    }
    if (!held.transaction.includes(action)) {
      held.transaction.push(action);
    }
    switch (action.type) {
      case "send": {
        const { topic, partition, records } = action.write;
        // Because the model's stages make no other outputs.
        const bodies = (records as readonly SimOutput[]).map(({ body }) => body);
        return this.#send(producer, this.#world.broker.log(topic, partition), bodies, done);
      }
      case "remember": {
        const { position, state } = action.value;
        const log = this.#world.broker.log(CHANGELOG, this.#lane);
        const entries = action.entries.map(
          ({ key, value }) => `=${Buffer.from(key)}:${Buffer.from(value)}`,
        );
        const body = `${position}|${state === null ? "" : Buffer.from(state).toString()}`;
        if (this.#world.sabotage === "entries-outside") {
          return [
            () => {
              for (const entry of entries) {
                log.appendPlain(entry);
              }
              return null;
            },
            ...this.#send(producer, log, [body], done),
          ];
        }
        return this.#send(producer, log, [...entries, body], done);
      }
      case "sendOffset": {
        const group = this.#world.group(this.#lane);
        const { offset } = action;
        return [
          () => replyOf(coordinator.add(producer, group), null),
          () => replyOf(group.append(producer, held.from, offset), done),
        ];
      }
      case "commit":
        return [
          () => {
            const verdict = coordinator.end(producer, true);
            if (verdict === "ok") {
              this.#committed(held);
            }
            return replyOf(verdict, done);
          },
        ];
    }
  }

  #committed(held: Ownership): void {
    const offset = held.transaction.find((action) => action.type === "sendOffset")?.offset;
    if (offset !== undefined) {
      held.from = offset;
      this.#known = offset;
    }
  }

  #send(writer: Writer, log: PartitionLog, bodies: readonly string[], done: LaneAnswer): Request[] {
    const held = this.#held;
    if (
      this.#world.sabotage === "output-outside" &&
      log !== this.#world.broker.log(CHANGELOG, this.#lane)
    ) {
      return [
        () => {
          for (const body of bodies) {
            log.appendPlain(body);
          }
          return done;
        },
      ];
    }
    const sequence = (held.sequences.get(log) ?? -1) + 1;
    held.sequences.set(log, sequence);
    const coordinator = this.#world.coordinator(this.#lane);
    return [
      () => replyOf(coordinator.add(writer, log), null),
      () => replyOf(log.append(writer, sequence, bodies), done),
    ];
  }
}

function nothing(): Ownership {
  return {
    producer: null,
    located: null,
    recalled: null,
    from: 0,
    position: 0,
    state: { count: 0, cut: null },
    sequences: new Map(),
    transaction: [],
  };
}

/** Whether a body of the changelog is an entry. */
export const isEntry = (body: string): boolean => body.startsWith("=");

function replyOf(verdict: Verdict, done: LaneAnswer | null): Reply {
  switch (verdict) {
    case "ok":
      return done;
    case "concurrent":
      return "concurrent";
    case "fenced":
      return FENCED;
    case "invalid":
      return FAILED;
  }
}

function toRecord({ offset, body }: Entry): SimRecord {
  return { offset, timestampMs: 0, key: null, value: null, headers: {}, sizeBytes: 10, body };
}
