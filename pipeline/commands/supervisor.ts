/**
 * Runs stage processes and keeps them running: restart with back-off, reports passed on, everybody ended together.
 *
 * Each child gets only the environment its stage needs and Node permissions for its own key folder. A child also ends
 * when its standard input closes, so none survives a killed supervisor.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { StageName } from "../../schemas/topics.ts";
import type { StageReport } from "../observe/progress.ts";
import { EXIT } from "./context.ts";

const RESTART_FIRST_MS = 500;
const RESTART_MOST_MS = 30_000;
/** A child that ran this long starts its back-off anew. */
const HEALTHY_AFTER_MS = 30_000;

export interface ChildPlan {
  readonly stage: StageName;
  readonly instance: number;
  readonly command: string;
  readonly arguments: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}

export interface SupervisorEvents {
  readonly onReport: (report: StageReport) => void;
  readonly onStart: (plan: ChildPlan, pid: number) => void;
  /** @param willRestart in milliseconds, or null when the child stays down */
  readonly onExit: (plan: ChildPlan, how: string, willRestart: number | null) => void;
  readonly onErrorLine: (plan: ChildPlan, line: string) => void;
}

function isReport(value: unknown): value is StageReport {
  return (
    typeof value === "object" &&
    value !== null &&
    (value as { event?: unknown }).event === "progress"
  );
}

class Child {
  readonly #plan: ChildPlan;
  readonly #events: SupervisorEvents;
  readonly #signal: AbortSignal;
  #failures = 0;

  constructor(plan: ChildPlan, events: SupervisorEvents, signal: AbortSignal) {
    this.#plan = plan;
    this.#events = events;
    this.#signal = signal;
  }

  /** Keeps the child running until the signal; resolves false when it failed for good. */
  async keep(): Promise<boolean> {
    while (!this.#signal.aborted) {
      const startedMs = performance.now();
      const { code, how } = await this.#once();
      if (this.#signal.aborted || code === EXIT.ok) {
        return true;
      }
      if (code === EXIT.failed || code === EXIT.invalid) {
        this.#events.onExit(this.#plan, how, null);
        return false;
      }
      this.#failures = performance.now() - startedMs > HEALTHY_AFTER_MS ? 1 : this.#failures + 1;
      const waitMs = Math.min(RESTART_FIRST_MS * 2 ** (this.#failures - 1), RESTART_MOST_MS);
      this.#events.onExit(this.#plan, how, waitMs);
      await this.#sleep(waitMs);
    }
    return true;
  }

  async #once(): Promise<{ code: number | null; how: string }> {
    const { command, environment } = this.#plan;
    const child = spawn(command, [...this.#plan.arguments], {
      env: { ...environment },
      stdio: ["pipe", "pipe", "pipe"],
    });
    const end = (): void => {
      child.kill("SIGTERM");
    };
    this.#signal.addEventListener("abort", end, { once: true });
    if (child.pid !== undefined) {
      this.#events.onStart(this.#plan, child.pid);
    }
    this.#listen(child);
    const result = await new Promise<{ code: number | null; how: string }>((resolve) => {
      child.once("error", () => resolve({ code: null, how: "could not be started" }));
      child.once("close", (code, signal) =>
        resolve({ code, how: signal === null ? `exit code ${code}` : `killed by ${signal}` }),
      );
    });
    this.#signal.removeEventListener("abort", end);
    return result;
  }

  #listen(child: ChildProcess): void {
    // Because a child that died before reading may close its end of the pipe first.
    child.stdin?.on("error", () => undefined);
    if (child.stdout !== null && child.stderr !== null) {
      createInterface({ input: child.stdout }).on("line", (line) => {
        const report = parseLine(line);
        if (isReport(report)) {
          this.#events.onReport(report);
        }
      });
      createInterface({ input: child.stderr }).on("line", (line) =>
        this.#events.onErrorLine(this.#plan, line),
      );
    }
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#signal.addEventListener(
        "abort",
        () => {
          clearTimeout(timer);
          resolve();
        },
        { once: true },
      );
    });
  }
}

function parseLine(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    // Because a child may print a runtime warning; it is not a report.
    return null;
  }
}

/** Runs all children until the signal. @returns whether none failed for good */
export async function supervise(
  plans: readonly ChildPlan[],
  events: SupervisorEvents,
  signal: AbortSignal,
): Promise<boolean> {
  const results = await Promise.all(plans.map((plan) => new Child(plan, events, signal).keep()));
  return results.every((fine) => fine);
}
