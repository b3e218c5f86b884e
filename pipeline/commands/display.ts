/** What a person, or a program under `--json`, sees of the supervised stages: one live line for each. */
import { STAGES } from "../../schemas/topics.ts";
import { progressLine, type StageReport } from "../observe/progress.ts";
import type { CommandContext } from "./context.ts";
import type { ChildPlan, SupervisorEvents } from "./supervisor.ts";

/** Without a terminal a stage's line is printed when it changed, at most this often. */
const QUIET_EVERY_MS = 5_000;

export interface Display extends SupervisorEvents {
  close(): void;
}

function name({ stage, instance }: ChildPlan): string {
  return instance === 0 ? stage : `${stage}#${instance}`;
}

/** Erases the block of `lines` lines above the cursor. */
function erase(lines: number): string {
  return lines === 0 ? "" : `\u001b[${lines}A\u001b[J`;
}

export function createDisplay(context: CommandContext, json: boolean): Display {
  const latest = new Map<string, StageReport>();
  const told = new Map<string, { at: number; counts: string }>();
  const down = new Set<string>();
  let drawn = 0;
  const lineOf = (report: StageReport): string =>
    `${progressLine(report)}${down.has(`${report.stage}#${report.instance}`) ? "  DOWN" : ""}`;
  const ordered = (): StageReport[] =>
    [...latest.values()].sort(
      (a, b) => STAGES.indexOf(a.stage) - STAGES.indexOf(b.stage) || a.instance - b.instance,
    );
  const redraw = (above: string | null): void => {
    const block = ordered().map(lineOf);
    context.tell(`${erase(drawn)}${above === null ? "" : `${above}\n`}${block.join("\n")}`);
    drawn = Math.max(1, block.length);
  };
  const say = (line: string): void => {
    if (context.isTerminal && !json && drawn > 0) {
      redraw(line);
    } else {
      context.tell(line);
    }
  };
  /** Compares with what was told last, so that the last change of all is told too. */
  const tellIfChanged = (key: string, report: StageReport): void => {
    // Memory changes all the time and is not worth a line.
    const counts = JSON.stringify([report.records, report.deadLetters, report.lag, report.notes]);
    const last = told.get(key);
    const now = context.clock();
    if (last === undefined || (last.counts !== counts && now - last.at >= QUIET_EVERY_MS)) {
      told.set(key, { at: now, counts });
      context.tell(lineOf(report));
    }
  };
  const event = (kind: string, plan: ChildPlan, fields: Record<string, unknown>): void => {
    if (json) {
      context.print(
        JSON.stringify({ event: kind, stage: plan.stage, instance: plan.instance, ...fields }),
      );
    }
  };
  return {
    onReport(report) {
      const key = `${report.stage}#${report.instance}`;
      latest.set(key, report);
      if (json) {
        context.print(JSON.stringify(report));
      } else if (context.isTerminal) {
        redraw(null);
      } else {
        tellIfChanged(key, report);
      }
    },
    onStart(plan, pid) {
      event("start", plan, { pid });
    },
    onExit(plan, how, willRestart) {
      event("exit", plan, { how, willRestart });
      if (willRestart === null) {
        down.add(`${plan.stage}#${plan.instance}`);
      }
      say(
        willRestart === null
          ? `${name(plan)} stopped and stays down (${how})`
          : `${name(plan)} ended (${how}); starts again in ${willRestart} ms`,
      );
    },
    onErrorLine(plan, line) {
      say(`${name(plan)}: ${line}`);
    },
    close() {
      if (!context.isTerminal && !json) {
        for (const report of ordered()) {
          context.tell(lineOf(report));
        }
      }
    },
  };
}
