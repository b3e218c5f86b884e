/**
 * Instances join and leave under load, at the default session timeout: every record once and in order, and how long
 * each lane stood still is printed. Instances beyond the number of lanes wait, and take over when one leaves.
 */
import { afterAll, beforeAll, expect, inject, it } from "vitest";
import type { KafkaClient } from "../../pipeline/stream/port.ts";
import { ensureTopics } from "../../pipeline/stream/topics.ts";
import { connect, freshPipeline, until } from "../lib/kafka.ts";
import {
  committed,
  expectExactlyOnce,
  type Instance,
  type Load,
  longestGapMs,
  rawCount,
  startInstance,
  startLoad,
} from "../lib/lane-load.ts";

const LANES = 4;
const PER_SECOND = 500;
/** Default of `kafka.sessionTimeoutMs`. */
const SESSION_TIMEOUT_MS = 10_000;
/** Not the target (3 s), which belongs in a benchmark: beyond this something hangs until a session ends. */
const SANITY_MS = 10_000;

let client: KafkaClient;
const everybody: Instance[] = [];

beforeAll(async () => {
  client = await connect(inject("brokers"));
});

afterAll(async () => {
  await Promise.allSettled(everybody.map((instance) => instance.stop()));
  await client.close();
});

/** All lanes are owned by these, evenly, and each owner has committed in each of its lanes since `sinceMs`. */
function isSettled(live: readonly Instance[], sinceMs: number): boolean {
  const sizes = live.map((instance) => instance.lanes().length);
  const owned = live.flatMap((instance) => [...instance.lanes()]).sort((a, b) => a - b);
  const works = live.every(({ commits, lanes }) =>
    lanes().every((lane) =>
      commits.some((commit) => commit.lane === lane && commit.atMs > sinceMs),
    ),
  );
  return (
    owned.join() === Array.from({ length: LANES }, (_, lane) => lane).join() &&
    Math.max(...sizes) - Math.min(...sizes) <= 1 &&
    works
  );
}

it("moves lanes between 1, 2, 4, 5, 4 and 1 instances without losing or doubling a record", async () => {
  const pipeline = freshPipeline("scale");
  await ensureTopics(client, { pipeline, partitions: LANES, replicationFactor: 1 });
  const join = async (): Promise<Instance> => {
    const instance = await startInstance({
      name: `i${everybody.length}`,
      brokers: inject("brokers"),
      pipeline,
      partitions: LANES,
      sessionTimeoutMs: SESSION_TIMEOUT_MS,
    });
    everybody.push(instance);
    return instance;
  };
  let live: Instance[] = [await join()];
  const load: Load = startLoad({ client, pipeline, partitions: LANES, perSecond: PER_SECOND });
  await until("the first instance works", () => isSettled(live, 0));

  const pauses: number[] = [];
  const move = async (what: string, act: () => Promise<void>): Promise<void> => {
    const fromMs = performance.now();
    await act();
    const actedMs = performance.now();
    await until(`settled after ${what}`, () => isSettled(live, actedMs));
    const toMs = performance.now();
    const measured = Array.from({ length: LANES }, (_, lane) => {
      const commits = everybody.flatMap((instance) => instance.commits);
      const times = commits.filter((commit) => commit.lane === lane).map(({ atMs }) => atMs);
      return {
        pause: Math.round(longestGapMs(times, fromMs, toMs)),
        feed: Math.round(longestGapMs(load.times[lane] ?? [], fromMs, toMs)),
      };
    });
    pauses.push(...measured.map(({ pause }) => pause));
    process.stdout.write(
      `scale: ${what}: pause of each lane ${measured.map(({ pause }) => pause).join(", ")} ms (the load's own ${Math.max(...measured.map(({ feed }) => feed))} ms), settled in ${Math.round(toMs - fromMs)} ms\n`,
    );
  };
  const joinSome = async (count: number): Promise<void> => {
    live = [...live, ...(await Promise.all(Array.from({ length: count }, join)))];
  };
  const leave = async (leaving: readonly Instance[]): Promise<void> => {
    live = live.filter((instance) => !leaving.includes(instance));
    await Promise.all(leaving.map((instance) => instance.stop()));
  };

  await move("1 -> 2", () => joinSome(1));
  await move("2 -> 4", () => joinSome(2));
  await move("4 -> 5, one idle", () => joinSome(1));
  const idle = live.find((instance) => instance.lanes().length === 0);
  const busy = live.find((instance) => instance.lanes().length > 0);
  expect(idle).toBeDefined();
  await move("5 -> 4, the idle one takes over", () => leave(busy === undefined ? [] : [busy]));
  expect(idle?.lanes().length).toBe(1);
  await move("4 -> 1", () => leave(live.slice(1)));

  await load.stop();
  const total = await rawCount(client, pipeline, LANES);
  await until("everything is final", () => committed(everybody) >= total);
  await Promise.all(live.map((instance) => instance.stop()));
  expect(await expectExactlyOnce(client, pipeline, load)).toBe(total);
  expect(committed(everybody)).toBe(total);
  process.stdout.write(
    `scale: ${total} records, longest pause ${Math.max(...pauses)} ms, lanes started again ${everybody.flatMap(({ failures }) => failures).join(" ") || "never"}\n`,
  );
  expect(Math.max(...pauses)).toBeLessThan(SANITY_MS);
});
