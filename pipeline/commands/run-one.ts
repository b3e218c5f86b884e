/** One stage instance in this process: opens its world, runs its lanes, reports, and ends on a signal or a failure. */

import { join } from "node:path";
import { setInterval } from "node:timers";
import type { StageName } from "../../schemas/topics.ts";
import { assertNothingForbiddenInReach } from "../crypto/key-store.ts";
import { startHealthServer } from "../observe/health.ts";
import { createStageMetrics, type StageMetrics } from "../observe/metrics.ts";
import { ProgressCounter, progressLine } from "../observe/progress.ts";
import { topicsInReach } from "../stream/acls.ts";
import { runStage } from "../stream/stage-runner.ts";
import { checkTopics } from "../stream/topics.ts";
import { createChangelogGuard } from "./changelog-guard.ts";
import { type CommandContext, EXIT, loadSpec, openKafka, openLogger } from "./context.ts";
import { createJudge } from "./dead-letter-judge.ts";
import { createDeadLetterSealer } from "./dead-letter-sealer.ts";
import { openWorld, type StageWorld, type WireStage } from "./stages/world.ts";

const REPORT_EVERY_MS = 1_000;
/** Not train and aggregate: a gap in their input is a gap in the ledger's ranges, where training ends. */
const MAY_SKIP_EXPIRED: ReadonlySet<StageName> = new Set(["desensitize", "encrypt", "predict"]);

/** Loads one stage's module only: TensorFlow and SEAL are large, and no stage needs both. */
const WIRING: Readonly<Record<StageName, () => Promise<{ wire: WireStage }>>> = {
  desensitize: () => import("./stages/desensitize.ts"),
  encrypt: () => import("./stages/encrypt.ts"),
  train: () => import("./stages/train.ts"),
  aggregate: () => import("./stages/aggregate.ts"),
  predict: () => import("./stages/predict.ts"),
};

export interface RunOneOptions {
  readonly file: string;
  readonly stage: StageName;
  readonly instance: number;
  readonly keysRoot: string;
  readonly metricsPort: number | null;
  readonly metricsHost: string;
  readonly json: boolean;
}

function memory(): { rssBytes: number; rssMaxBytes: number } {
  // maxRSS is in kibibytes on every platform (libuv).
  return {
    rssBytes: process.memoryUsage.rss(),
    rssMaxBytes: process.resourceUsage().maxRSS * 1024,
  };
}

export async function runOne(context: CommandContext, options: RunOneOptions): Promise<number> {
  const { stage: name, keysRoot } = options;
  if (name === "predict") {
    assertNothingForbiddenInReach({
      folder: join(keysRoot, name),
      environment: context.environment,
    });
  }
  const spec = loadSpec(context, options.file);
  const logger = openLogger(context, {
    pipeline: spec.name,
    stage: name,
    instance: options.instance,
  });
  const counter = new ProgressCounter(name, options.instance);
  const metrics = createStageMetrics(name);
  let notReady: string | null = "starting";
  let halted: string | null = null;
  const health =
    options.metricsPort === null
      ? null
      : await startHealthServer({
          port: options.metricsPort,
          host: options.metricsHost,
          notReady: () => notReady ?? halted,
          metrics: metrics.text,
        });
  const client = await openKafka(context, spec, logger, { role: name, forever: true });
  try {
    const { partitions, replicationFactor } = spec.kafka;
    await checkTopics(
      client,
      { pipeline: spec.name, partitions, replicationFactor },
      topicsInReach(spec.name, name),
    );
    const world = await openWorld({
      context,
      spec,
      client,
      logger,
      stage: name,
      keysRoot,
      counter,
      metrics,
      halt(reason) {
        halted = reason;
        counter.note("training", reason);
      },
    });
    try {
      await runLanes({
        context,
        options,
        world,
        counter,
        metrics,
        onReady: (reason) => {
          notReady = reason;
        },
      });
    } finally {
      await withDeadline(world.close(), spec.kafka.shutdownTimeoutMs);
    }
    return EXIT.ok;
  } finally {
    await health?.close();
    await client.close();
  }
}

interface LanesOptions {
  readonly context: CommandContext;
  readonly options: RunOneOptions;
  readonly world: StageWorld;
  readonly counter: ProgressCounter;
  readonly metrics: StageMetrics;
  /** null when the stage works, else why not. */
  readonly onReady: (reason: string | null) => void;
}

/** Runs the stage's lanes until a signal, and reports once a second. */
async function runLanes({
  context,
  options,
  world,
  counter,
  metrics,
  onReady,
}: LanesOptions): Promise<void> {
  const { spec, client, logger } = world;
  const report = (): void => {
    const current = counter.report(memory());
    if (options.json) {
      context.print(JSON.stringify(current));
    } else {
      context.tell(progressLine(current));
    }
  };
  const { wire } = await WIRING[options.stage]();
  const runner = await runStage({
    client,
    pipeline: spec.name,
    partitions: spec.kafka.partitions,
    transactionIntervalMs: spec.kafka.transactionIntervalMs,
    skipsExpired:
      spec.kafka.whenRecordsExpired === "continue" && MAY_SKIP_EXPIRED.has(options.stage),
    stage: await wire(world),
    sealDeadLetter: createDeadLetterSealer(world.directory, options.stage),
    createJudge: () => createJudge(spec, options.stage),
    changelog: createChangelogGuard({
      ...world,
      pipeline: spec.name,
      stage: options.stage,
      entrySecret: options.stage === "encrypt" ? world.keys.secret("split") : null,
    }),
    clock: context.clock,
    logger,
    onProgress: (progress) => {
      counter.record(progress);
      metrics.record(progress);
      onReady(null);
    },
    // A lane that fails over and over makes no progress, and /ready says why.
    onFailure: onReady,
    onAssignment: (lanes) => {
      counter.assign(lanes);
      onReady(null);
      report();
    },
  });
  world.onChange = () => runner.wake();
  const timer = setInterval(report, REPORT_EVERY_MS);
  const asked = new Promise<void>((resolve) => {
    if (context.signal.aborted) {
      resolve();
    }
    context.signal.addEventListener("abort", () => resolve(), { once: true });
  });
  try {
    await Promise.race([asked, runner.done, world.failed]);
    onReady("stopping");
  } finally {
    clearInterval(timer);
    await withDeadline(runner.stop(), spec.kafka.shutdownTimeoutMs);
    report();
  }
}

/** Waits for work, but no longer than `ms`: what is left open then is fenced by the next owner. */
async function withDeadline(work: Promise<unknown>, ms: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  await Promise.race([work.catch(() => undefined), promise]);
  clearTimeout(timer);
}
