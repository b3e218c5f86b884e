/**
 * The consumer group as far as a lane can tell: who is told to own what, and when.
 *
 * Every member hears of a new assignment after a time of its own, so that for a while two believe that they own a lane,
 * or nobody does. A member that died or stands still keeps its lanes until its session is over, and learns nothing.
 */
import type { Process } from "./process.ts";
import type { Random, Scheduler } from "./random.ts";

const SESSION_MS = 200;
const REJOIN_MS = 30;
/** A member may hear of its assignment this much later than another. */
const SPREAD_MS = 40;

export class Group {
  readonly #scheduler: Scheduler;
  readonly #random: Random | null;
  readonly #lanes: number;
  #members: Process[] = [];
  #generation = 0;
  #turn = 0;

  constructor(scheduler: Scheduler, random: Random | null, lanes: number) {
    this.#scheduler = scheduler;
    this.#random = random;
    this.#lanes = lanes;
  }

  join(process: Process): void {
    this.#scheduler.after(1, () => {
      if (process.isAlive && !process.isLeaving && !this.#members.includes(process)) {
        this.#members.push(process);
        this.#assign();
      }
    });
  }

  /** The member says that it goes. */
  leave(process: Process): void {
    this.#scheduler.after(1, () => this.#remove(process));
  }

  /** The member is silent from now on. @param isSilent whether it still is */
  lose(process: Process, isSilent: () => boolean): void {
    this.#scheduler.after(SESSION_MS, () => {
      if (isSilent()) {
        this.#remove(process);
      }
    });
  }

  /** The member speaks again; if it was given up, it joins anew. */
  hearAgain(process: Process): void {
    this.#scheduler.after(REJOIN_MS, () => process.run(() => this.join(process)));
  }

  /** Moves lanes although nobody came or went. */
  rotate(): void {
    this.#turn += 1;
    this.#assign();
  }

  #remove(process: Process): void {
    if (this.#members.includes(process)) {
      this.#members = this.#members.filter((member) => member !== process);
      this.#assign();
    }
  }

  #assign(): void {
    this.#generation += 1;
    const generation = this.#generation;
    const members = this.#members;
    for (const [index, member] of members.entries()) {
      const lanes: number[] = [];
      for (let lane = 0; lane < this.#lanes; lane += 1) {
        if ((lane + this.#turn) % members.length === index) {
          lanes.push(lane);
        }
      }
      const ms = this.#random === null ? 1 : this.#random.below(SPREAD_MS);
      this.#scheduler.after(ms, () => member.run(() => member.assign(generation, lanes)));
    }
  }
}
