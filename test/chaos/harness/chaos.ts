/**
 * One chaos run: three brokers, two instances of every stage, records and faults for a while, then the count.
 *
 * Failures it makes: kill -9, a freeze past the session timeout, leaving, joining; brokers killed, frozen, restarted.
 * Not made: loss of a disk, two brokers at once, a clock that jumps, a network that loses packets between live processes.
 * Not reproducible from the seed: where within a transaction a fault falls, and how fast the machine is.
 */
import { cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  type ClusterHandle,
  startEmbeddedCluster,
} from "../../../pipeline/stream/broker-cluster.ts";
import type { KafkaClient } from "../../../pipeline/stream/port.ts";
import { STAGES, topicName } from "../../../schemas/topics.ts";
import { connect } from "../../lib/kafka.ts";
import type { TestPipeline } from "../../lib/pipeline.ts";
import { type Brokers, createBrokers } from "./brokers.ts";
import { type Hop, isClean, sumHops, type Verdict, verdictLine } from "./checker.ts";
import { collect, writeAgain } from "./collect.ts";
import { ensureToolJars } from "./console-reader.ts";
import { planFaults } from "./fault-plan.ts";
import { type Feeder, startFeeder } from "./feeder.ts";
import { inspect } from "./hops.ts";
import { createInput } from "./input.ts";
import { createInstances, Instance } from "./instances.ts";
import { type LaneStand, lagOf, looksDrained, sameStand, standOfLanes, standText } from "./lag.ts";
import { LANES, makeChaosPipeline } from "./pipeline-file.ts";
import { createRandom } from "./random.ts";
import { type FaultCounts, type Storm, startStorm } from "./storm.ts";

export type Sabotage = "duplicate" | "drop" | "swap";

export interface ChaosOptions {
  readonly seed: number;
  readonly durationMs: number;
  readonly recordsPerSecond: number;
  readonly faultsEveryMs: readonly [number, number];
  /** How long it may take until everything has come through after the input ended. */
  readonly drainMs: number;
  /** Falsifies the outcome once everything is through, to see that the check notices. */
  readonly sabotage: Sabotage | null;
  readonly cacheDir: string;
  readonly signal: AbortSignal;
  readonly tell: (line: string) => void;
}

export interface ChaosResult {
  readonly seed: number;
  readonly verdict: Verdict;
  readonly hops: readonly Hop[];
  readonly findings: readonly string[];
  readonly faults: FaultCounts;
  readonly restarts: number;
  readonly repeatedSends: number;
  /** Folder, kept after a failure only. */
  readonly logs: string | null;
  readonly passed: boolean;
}

const INSTANCES = 2;
const NODES = 3;
const SHARES = { unlabelled: 0.06, odd: 0.02, garbage: 0.03 };
const READY_TIMEOUT_MS = 400_000;
const PROGRESS_EVERY_MS = 3_000;
const POLL_MS = 500;
/** Without a movement for so long, nothing is under way: above the session timeout, when something seems left. */
const QUIET_MS = { drained: 4_000, doubtful: 12_000 };
/** What does not look right is looked at once more, after the stages had another chance. */
const LOOKS = 2;

/** Everything that must be ended, whatever happens. */
interface World {
  readonly options: ChaosOptions;
  readonly logs: string;
  readonly findings: string[];
  readonly libs: string;
  readonly cluster: ClusterHandle;
  readonly client: KafkaClient;
  readonly pipeline: TestPipeline;
  readonly brokers: Brokers;
  readonly instances: Instance[];
  readonly extras: Instance[];
}

type Cleanup = () => Promise<void> | void;

async function openWorld(options: ChaosOptions, logs: string, cleanups: Cleanup[]): Promise<World> {
  const { cacheDir, tell, signal } = options;
  const findings: string[] = [];
  const libs = await ensureToolJars(cacheDir);
  const cluster = await startEmbeddedCluster({
    ...{ nodes: NODES, security: null, cacheDir, dataDir: null },
    environment: process.env,
    onProgress: tell,
  });
  cleanups.push(() => cluster.stop());
  cleanups.push(() => {
    for (const node of cluster.nodes) cpSync(node.logFile, join(logs, `broker-${node.id}.log`));
  });
  signal.throwIfAborted();
  const client = await connect(cluster.brokers);
  cleanups.push(() => client.close());
  const pipeline = await makeChaosPipeline(cluster.brokers);
  cleanups.push(() => pipeline.remove());
  const topics = await client.listTopics(`${pipeline.name}.`);
  const brokers = createBrokers(cluster, () => topics);
  cleanups.push(() => brokers.close());
  const world = { pipeline, logs, onFinding: (finding: string) => findings.push(finding) };
  const instances = createInstances(world, INSTANCES);
  const extras: Instance[] = [];
  // A crash of this process ends its children through their standard input, but not those that are frozen.
  const onCrash = (): void => {
    for (const instance of [...instances, ...extras]) instance.signal("SIGKILL");
  };
  process.once("exit", onCrash);
  cleanups.push(async () => {
    await Promise.all([...instances, ...extras].map((instance) => instance.destroy()));
    process.removeListener("exit", onCrash);
  });
  return { options, logs, findings, libs, cluster, client, pipeline, brokers, instances, extras };
}

/** Stages with a lane that has no owner or two, or with an instance that is down or frozen. */
function unsettled({ instances }: World): string[] {
  return STAGES.flatMap((stage) => {
    const own = instances.filter((instance) => instance.stage === stage);
    const lanes = own.reduce((sum, instance) => sum + instance.lanes(), 0);
    const here = own.filter((instance) => instance.pid() !== null && !instance.isFrozen).length;
    const wanted = stage === "aggregate" ? 1 : LANES;
    const isFine = here === own.length && lanes === wanted;
    return isFine ? [] : [`${stage} (${here} up with ${lanes} of ${wanted} lanes)`];
  });
}

function allHere(world: World): boolean {
  return unsettled(world).length === 0;
}

async function startAll(world: World): Promise<void> {
  const { instances, options, findings } = world;
  for (const instance of instances) instance.start();
  const deadline = performance.now() + READY_TIMEOUT_MS;
  let toldMs = performance.now();
  while (!allHere(world)) {
    const waiting = unsettled(world).join(", ");
    if (findings.length > 0 || performance.now() > deadline) {
      throw new Error(`the stages did not start: ${waiting}. ${findings.join("; ")}`);
    }
    if (performance.now() - toldMs > PROGRESS_EVERY_MS) {
      toldMs = performance.now();
      options.tell(`starting: ${waiting}`);
    }
    await sleep(POLL_MS, undefined, { signal: options.signal });
  }
}

function progress(world: World, phase: string, feeder: Feeder, storm: Storm | null): void {
  const { instances, options } = world;
  const done = STAGES.map((stage) => {
    const own = instances.filter((instance) => instance.stage === stage);
    const up = own.filter((instance) => instance.pid() !== null && !instance.isFrozen).length;
    const records = own.reduce((sum, instance) => sum + instance.records(), 0);
    return `${stage} ${records} (${up} up)`;
  });
  const faults = Object.entries(storm?.counts ?? {}).reduce(
    (sum, [kind, count]) => sum + (kind === "skipped" ? 0 : count),
    0,
  );
  const fed = feeder.acknowledged.reduce((sum, lane) => sum + lane.length, 0);
  options.tell(`${phase}: ${faults} faults, fed ${fed}, ${done.join(", ")}`);
}

/** Where the lanes stand; null while the cluster does not answer. */
function standNow({ client, pipeline }: World): Promise<LaneStand[] | null> {
  // Because a broker may still be electing; whoever waits asks again.
  return standOfLanes(client, pipeline.name).catch(() => null);
}

function whatIsStuck(world: World, now: readonly LaneStand[] | null): string {
  return `${now === null ? "the cluster does not answer" : standText(now)}; unsettled: ${unsettled(world).join(", ") || "none"}`;
}

/** Waits until nothing moves any more. @returns what seems stuck, or null */
async function drain(world: World, deadlineMs: number): Promise<string | null> {
  const { tell, signal } = world.options;
  let before: readonly LaneStand[] | null = null;
  let since = performance.now();
  let toldMs = 0;
  while (performance.now() < deadlineMs) {
    await sleep(POLL_MS, undefined, { signal });
    const now = await standNow(world);
    if (now === null || before === null || !sameStand(now, before) || !allHere(world)) {
      before = now;
      since = performance.now();
    }
    const drained = now !== null && looksDrained(now);
    if (performance.now() - since > (drained ? QUIET_MS.drained : QUIET_MS.doubtful)) {
      return drained ? null : whatIsStuck(world, now);
    }
    if (now !== null && performance.now() - toldMs > PROGRESS_EVERY_MS) {
      toldMs = performance.now();
      const lags = STAGES.map((stage) => `${stage} ${lagOf(now, stage)}`);
      tell(`draining: lag ${lags.join(", ")}; unsettled: ${unsettled(world).join(", ") || "none"}`);
    }
  }
  return whatIsStuck(world, before);
}

/** Feeds and harms for the run's time; resolves when the input ended and every fault was undone. */
async function storm(world: World): Promise<{ feeder: Feeder; counts: FaultCounts }> {
  const { options, client, pipeline, brokers, instances, extras, findings, logs } = world;
  const { seed, durationMs, recordsPerSecond, faultsEveryMs, signal, tell } = options;
  const onFinding = (finding: string): void => {
    findings.push(finding);
    tell(`FINDING ${finding}`);
  };
  const feeder = startFeeder({
    ...{ client, topic: topicName(pipeline.name, "raw"), partitions: LANES, recordsPerSecond },
    next: createInput(createRandom(seed + 1), SHARES),
    random: createRandom(seed + 2),
  });
  const plan = planFaults({
    random: createRandom(seed),
    ...{ durationMs, everyMs: faultsEveryMs, instances: INSTANCES, nodes: NODES },
  });
  const running = startStorm({
    ...{ plan, instances, brokers, durationMs, signal, onFinding },
    createExtra: (stage) => {
      const extra = new Instance(stage, INSTANCES + extras.length, { pipeline, logs, onFinding });
      extras.push(extra);
      return extra;
    },
    onFault: (text) => tell(`fault: ${text}`),
  });
  const timer = setInterval(() => progress(world, "running", feeder, running), PROGRESS_EVERY_MS);
  try {
    await sleep(durationMs, undefined, { signal });
    await feeder.stop();
    await running.done;
    await brokers.heal();
  } finally {
    clearInterval(timer);
  }
  return { feeder, counts: running.counts };
}

/** Reads everything and compares. */
async function look(world: World, feeder: Feeder) {
  const { libs, cluster, client, pipeline, options } = world;
  const collected = await collect({
    ...{ libs, brokers: cluster.brokers, client, pipeline, signal: options.signal },
  });
  const doubtful = feeder.doubtful();
  const evidence = { ...collected.evidence, acknowledged: feeder.acknowledged, doubtful };
  return { evidence, ...inspectAll(evidence, collected.findings) };
}

function inspectAll(evidence: Parameters<typeof inspect>[0], before: readonly string[]) {
  const { hops, findings } = inspect(evidence);
  return { hops, verdict: sumHops(hops), findings: [...before, ...findings] };
}

type Look = Awaited<ReturnType<typeof look>>;

/** Falsifies what was read, or what is there, in a way that the check must see. */
async function falsify(world: World, feeder: Feeder, seen: Look): Promise<Look> {
  const { sabotage } = world.options;
  const examples = seen.evidence.topics.examples.map((lane) => [...lane]);
  const lane = examples.find(({ length }) => length > 3) ?? [];
  if (sabotage === "duplicate") {
    const last = lane.at(-1);
    if (last !== undefined) {
      await writeAgain(world.client, topicName(world.pipeline.name, "examples"), last);
    }
    return look(world, feeder);
  }
  if (sabotage === "drop") {
    lane.splice(-1, 1);
  } else {
    const [a, b] = lane.slice(-2);
    if (a !== undefined && b !== undefined) {
      lane.splice(-2, 2, { ...a, key: b.key }, { ...b, key: a.key });
    }
  }
  const evidence = { ...seen.evidence, topics: { ...seen.evidence.topics, examples } };
  return { evidence, ...inspectAll(evidence, []) };
}

/** Waits, sends everybody away, and counts. */
async function settle(world: World, feeder: Feeder): Promise<Look> {
  const { options, instances, findings } = world;
  const deadlineMs = performance.now() + options.drainMs;
  for (let turn = 1; ; turn += 1) {
    const stuck = await drain(world, deadlineMs);
    options.tell("the stages are sent away, the console consumer reads");
    await Promise.all(instances.map((instance) => instance.leave()));
    const seen = await look(world, feeder);
    options.tell(`read: ${verdictLine(seen.verdict)}`);
    if (isClean(seen.verdict) || turn === LOOKS || performance.now() > deadlineMs) {
      if (stuck !== null && seen.verdict.missing > 0) findings.push(`stuck: ${stuck}`);
      return options.sabotage === null ? seen : falsify(world, feeder, seen);
    }
    options.tell(`${verdictLine(seen.verdict)}: the stages get another chance`);
    await startAll(world);
  }
}

/** Runs chaos. @throws Error when it could not be run; whatever was started is ended */
export async function runChaos(options: ChaosOptions): Promise<ChaosResult> {
  const logs = mkdtempSync(join(tmpdir(), "sealstream-chaos-"));
  mkdirSync(logs, { recursive: true });
  const cleanups: Cleanup[] = [];
  let passed = false;
  try {
    const world = await openWorld(options, logs, cleanups);
    await startAll(world);
    options.tell("all stages are up");
    const { feeder, counts } = await storm(world);
    const { hops, verdict, findings: seen } = await settle(world, feeder);
    const findings = [...world.findings, ...seen];
    passed = isClean(verdict) && findings.length === 0;
    const restarts = world.instances.reduce((sum, { starts }) => sum + starts - 1, 0);
    const repeatedSends = feeder.repeated();
    const outcome = { seed: options.seed, verdict, hops, findings, faults: counts, restarts };
    return { ...outcome, repeatedSends, logs: passed ? null : logs, passed };
  } finally {
    for (const cleanup of cleanups.reverse()) {
      try {
        await cleanup();
      } catch (error) {
        options.tell(`cleaning up: ${String(error)}`);
      }
    }
    if (!passed) options.tell(`logs: ${logs}`);
    if (passed) rmSync(logs, { recursive: true, force: true });
  }
}
