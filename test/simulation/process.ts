/**
 * One instance of a stage in the simulation: a process that can die, stand still and wake up with what it believed.
 *
 * What it does with its lanes at a rebalance is what `pipeline/stream/stage-runner.ts` does: lanes that are lost end
 * first, then new ones begin; those that stay go on. On leaving, the group is left first.
 */
import { LaneDriver } from "./driver.ts";
import type { World } from "./world.ts";

export class Process {
  readonly name: number;
  readonly lanes = new Map<number, LaneDriver>();
  isAlive = true;
  isPaused = false;
  /** Leaves or has left of its own will. */
  isLeaving = false;
  readonly #world: World;
  /** What it will do once it wakes up. */
  #backlog: (() => void)[] = [];
  #pauses = 0;
  #assignments: (readonly number[])[] = [];
  #newest = -1;
  #isBusy = false;

  constructor(world: World, name: number) {
    this.#world = world;
    this.name = name;
  }

  /** Does it now, when it wakes up, or never. */
  run(task: () => void): void {
    if (!this.isAlive) {
      return;
    }
    if (this.isPaused) {
      this.#backlog.push(task);
      return;
    }
    task();
  }

  kill(): void {
    if (this.isAlive) {
      this.isAlive = false;
      this.#backlog = [];
      this.#world.noteDeath(this);
    }
  }

  pause(ms: number): void {
    if (!this.isAlive || this.isPaused) {
      return;
    }
    this.isPaused = true;
    this.#pauses += 1;
    const pause = this.#pauses;
    this.#world.notePause(this, () => this.isPaused && this.#pauses === pause);
    this.#world.scheduler.after(ms, () => {
      if (this.#pauses === pause) {
        this.resume();
      }
    });
  }

  resume(): void {
    if (!this.isPaused) {
      return;
    }
    this.isPaused = false;
    const backlog = this.#backlog;
    this.#backlog = [];
    for (const task of backlog) {
      this.run(task);
    }
    this.#world.noteResume(this);
  }

  /** The group gives it these lanes. */
  assign(generation: number, lanes: readonly number[]): void {
    if (generation > this.#newest && !this.isLeaving) {
      this.#newest = generation;
      this.#assignments.push(lanes);
      this.#reconcile();
    }
  }

  leave(): void {
    if (!this.isLeaving) {
      this.isLeaving = true;
      this.#world.noteLeave(this);
      this.#reconcile();
    }
  }

  #reconcile(): void {
    if (this.#isBusy || !this.isAlive) {
      return;
    }
    const wanted = this.isLeaving ? [] : this.#assignments.shift();
    if (wanted === undefined) {
      return;
    }
    this.#isBusy = true;
    const lost = [...this.lanes.values()].filter(({ lane }) => !wanted.includes(lane));
    let left = lost.length;
    const next = () => {
      for (const lane of this.isLeaving ? [] : wanted) {
        if (!this.lanes.has(lane)) {
          this.lanes.set(lane, new LaneDriver(this.#world, this, lane));
        }
      }
      this.#isBusy = false;
      if (this.isLeaving && this.lanes.size === 0) {
        this.isAlive = false;
      } else {
        this.#reconcile();
      }
    };
    if (left === 0) {
      next();
      return;
    }
    for (const driver of lost) {
      this.lanes.delete(driver.lane);
      driver.stop(() => {
        left -= 1;
        if (left === 0) {
          next();
        }
      });
    }
  }
}
