/**
 * Stage instances as `sealstream run --instances N` has them: the product's own plans, permissions and supervisor, but
 * one supervisor an instance, so that each can be killed, frozen, sent away and fetched back by itself.
 */
import { createWriteStream, type WriteStream } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { planChild } from "../../../pipeline/commands/child-plan.ts";
import { type CommandContext, loadSpecFiles } from "../../../pipeline/commands/context.ts";
import { supervise } from "../../../pipeline/commands/supervisor.ts";
import type { StageReport } from "../../../pipeline/observe/progress.ts";
import { STAGES, type StageName } from "../../../schemas/topics.ts";
import type { TestPipeline } from "../../lib/pipeline.ts";

/** Far above twice `kafka.shutdownTimeoutMs` (10 s), for a machine that is busy with other things. */
const LEAVE_TIMEOUT_MS = 60_000;

const START_AGAIN_MS = 2_000;

export interface InstanceWorld {
  readonly pipeline: TestPipeline;
  readonly logs: string;
  readonly onFinding: (finding: string) => void;
}

export class Instance {
  readonly stage: StageName;
  readonly number: number;
  readonly #world: InstanceWorld;
  readonly #log: WriteStream;
  #abort: AbortController | null = null;
  #running: Promise<void> = Promise.resolve();
  #pid: number | null = null;
  #report: StageReport | null = null;
  #records = 0;
  #frozen = false;
  #again: NodeJS.Timeout | undefined;
  starts = 0;

  constructor(stage: StageName, number: number, world: InstanceWorld) {
    this.stage = stage;
    this.number = number;
    this.#world = world;
    this.#log = createWriteStream(join(world.logs, `${this.name}.log`));
  }

  get name(): string {
    return `${this.stage}-${this.number}`;
  }

  get isHere(): boolean {
    return this.#abort !== null;
  }

  get isFrozen(): boolean {
    return this.#frozen;
  }

  pid(): number | null {
    return this.#pid;
  }

  lanes(): number {
    return this.#pid === null ? 0 : (this.#report?.lanes ?? 0);
  }

  /** Over all its processes. */
  records(): number {
    return this.#records + (this.#report?.records ?? 0);
  }

  start(): void {
    if (this.#abort !== null) {
      return;
    }
    const { pipeline, onFinding } = this.#world;
    const abort = new AbortController();
    const context: CommandContext = {
      environment: { ...pipeline.program.environment, SEALSTREAM_LOG: "debug" },
      clock: Date.now,
      print: () => undefined,
      tell: () => undefined,
      signal: abort.signal,
      inputEnds: () => abort.signal,
      isTerminal: false,
    };
    const { spec, files } = loadSpecFiles(context, pipeline.file);
    const plan = planChild(context, spec, {
      name: this.stage,
      instance: this.number,
      keysRoot: pipeline.keys,
      files,
      metricsHost: "127.0.0.1",
      metricsPort: null,
    });
    const say = (line: string): void => {
      this.#log.write(`${new Date().toISOString()} ${line}\n`);
    };
    this.#abort = abort;
    this.#running = supervise(
      [plan],
      {
        onReport: (report) => {
          this.#report = report;
        },
        onStart: (_, pid) => {
          this.#pid = pid;
          this.starts += 1;
          say(`started as ${pid}`);
        },
        onExit: (_, how, willRestart) => {
          this.#settle();
          say(`ended: ${how}; again in ${willRestart}`);
          if (willRestart === null) {
            onFinding(`${this.name} gave up (${how})`);
          }
        },
        onErrorLine: (_, line) => say(line),
      },
      abort.signal,
    ).then((fine) => {
      this.#settle();
      say("its supervisor ended");
      if (!fine && !abort.signal.aborted) {
        // Found already; as an operator would, so that the rest of the run still says something.
        this.#abort = null;
        this.#again = setTimeout(() => this.start(), START_AGAIN_MS);
      }
    });
  }

  /** What a process that ended had counted stays counted. */
  #settle(): void {
    this.#records += this.#report?.records ?? 0;
    this.#report = null;
    this.#pid = null;
    this.#frozen = false;
  }

  /** @returns whether there was a process to send it to */
  signal(signal: "SIGKILL" | "SIGSTOP" | "SIGCONT"): boolean {
    if (this.#pid === null) {
      return false;
    }
    try {
      process.kill(this.#pid, signal);
    } catch {
      // Because it may have ended by itself between the two lines.
      return false;
    }
    this.#frozen = signal === "SIGSTOP";
    return true;
  }

  /** Asks it to end and waits until it has. */
  async leave(): Promise<void> {
    clearTimeout(this.#again);
    const abort = this.#abort;
    if (abort === null) {
      return;
    }
    this.signal("SIGCONT");
    abort.abort();
    const giveUp = new AbortController();
    const late = sleep(LEAVE_TIMEOUT_MS, "late", { signal: giveUp.signal }).catch(() => "over");
    if ((await Promise.race([this.#running, late])) === "late") {
      this.#world.onFinding(`${this.name} did not end within ${LEAVE_TIMEOUT_MS} ms of SIGTERM`);
      this.signal("SIGKILL");
      await this.#running;
    }
    giveUp.abort();
    this.#abort = null;
  }

  /** At once, for good. */
  async destroy(): Promise<void> {
    clearTimeout(this.#again);
    this.#abort?.abort();
    this.signal("SIGKILL");
    await this.#running;
    this.#abort = null;
    this.#log.end();
  }
}

/** `count` instances of every stage, not started. */
export function createInstances(world: InstanceWorld, count: number): Instance[] {
  return STAGES.flatMap((stage) =>
    Array.from({ length: count }, (_, number) => new Instance(stage, number, world)),
  );
}
