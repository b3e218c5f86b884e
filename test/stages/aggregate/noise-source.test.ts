/**
 * The source of noise: the same integers for the same request, however they come about: in a row, after a restart, from
 * a thread that died, ahead of time or late; and never the noise of another list of contributions.
 */
import { Worker } from "node:worker_threads";
import { afterEach, describe, expect, test } from "vitest";
import { createSecretHandle } from "../../../pipeline/crypto/key-handles.ts";
import { createNoiseMixer } from "../../../pipeline/privacy/correlation/mixer.ts";
import { blockStart, type LedgerNoise } from "../../../pipeline/privacy/ledger-noise.ts";
import { noiseRow } from "../../../pipeline/privacy/noise.ts";
import {
  createInlineMaker,
  type NoiseJob,
  type NoiseMaker,
} from "../../../pipeline/stages/aggregate/noise-rows.ts";
import {
  createNoiseSource,
  type NoiseRequest,
} from "../../../pipeline/stages/aggregate/noise-source.ts";
import { createNoiseThread } from "../../../pipeline/stages/aggregate/noise-thread.ts";

const SECRET = createSecretHandle("noise", new Uint8Array(32).fill(3));
const RUN = "ab".repeat(16);
const LENGTH = 5;
const DEVIATION = 2 ** 24;
const NOISES: Readonly<Record<string, LedgerNoise>> = {
  independent: { kind: "independent" },
  toeplitz: { kind: "toeplitz", updates: 4 },
  banded: { kind: "banded", updates: 5, coefficients: [1, 0.5, 0.25] },
  blt: { kind: "blt", updates: 4, decay: [0.5], weight: [0.25] },
};
const hashAt = (step: number) => step.toString(16).padStart(2, "0").repeat(32);

/** The request of a step whose predecessors were made from `hashAt`. */
function requestOf(noise: LedgerNoise, step: number, changes: Partial<NoiseRequest> = {}) {
  const first = blockStart(noise, step);
  const before = Array.from({ length: step - first }, (_, index) => hashAt(first + index));
  return {
    ...{ runId: RUN, noise, length: LENGTH, standardDeviation: DEVIATION, step, before },
    contributionsHash: hashAt(step),
    ...changes,
  };
}

/** What the noise of a step is, from the definitions alone. */
function expected(noise: LedgerNoise, step: number): number[] {
  const mixer = createNoiseMixer(noise, LENGTH);
  const fractionBits = noise.kind === "independent" ? 0 : 16;
  let mixed = new Float64Array();
  for (let at = blockStart(noise, step); at <= step; at += 1) {
    const row = noiseRow({
      ...{ noise: SECRET, runId: RUN, step: at, length: LENGTH, standardDeviation: DEVIATION },
      ...{ contributionsHash: Buffer.from(hashAt(at), "hex"), fractionBits },
    });
    mixed = new Float64Array(mixer.mix(at, row));
  }
  return [...mixed];
}

const opened: NoiseMaker[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((maker) => maker.close()));
});

function sourceOf(maker: NoiseMaker = createInlineMaker(), fallback = createInlineMaker) {
  opened.push(maker);
  return createNoiseSource({ secret: () => SECRET, maker, fallback });
}

/** A maker that counts rows and fails when it is told to. */
function counting(fails: (call: number) => boolean = () => false) {
  const inner = createInlineMaker();
  const calls: { rows: number; fresh: boolean }[] = [];
  const maker: NoiseMaker = {
    async make(job: NoiseJob) {
      calls.push({ rows: job.rows.length, fresh: job.fresh });
      if (fails(calls.length)) throw new Error("dead");
      return await inner.make(job);
    },
    close: async () => undefined,
  };
  return { maker, calls };
}

describe.each(Object.entries(NOISES))("%s", (_name, noise) => {
  test("is the mixture of its rows, step after step and over blocks", async () => {
    const source = sourceOf();
    for (let step = 1; step <= 9; step += 1) {
      const made = await source.noise(requestOf(noise, step));
      expect([...made], `step ${step}`).toEqual(expected(noise, step));
      expect(made.every(Number.isSafeInteger)).toBe(true);
    }
  });

  test("after a restart at any step is the same", async () => {
    for (const step of [1, 3, 4, 5, 8]) {
      expect([...(await sourceOf().noise(requestOf(noise, step)))]).toEqual(expected(noise, step));
    }
  });

  test("made ahead is the same, and a guess that was wrong changes nothing", async () => {
    const source = sourceOf();
    for (const step of [1, 2, 3]) source.prefetch(requestOf(noise, step));
    source.prefetch(requestOf(noise, 4, { contributionsHash: "ff".repeat(32) }));
    for (const step of [1, 2, 3, 4, 5]) {
      expect([...(await source.noise(requestOf(noise, step)))]).toEqual(expected(noise, step));
    }
  });

  test("a repeated step is not made again, one of another past is", async () => {
    const { maker, calls } = counting();
    const source = sourceOf(maker);
    for (const step of [1, 2, 3]) await source.noise(requestOf(noise, step));
    const made = calls.length;
    const again = await source.noise(requestOf(noise, 2));
    expect([...again]).toEqual(expected(noise, 2));
    expect(calls).toHaveLength(made);
    if (noise.kind === "independent") return;
    const otherPast = requestOf(noise, 3, { before: [hashAt(1), "ee".repeat(32)] });
    expect([...(await source.noise(otherPast))]).not.toEqual(expected(noise, 3));
    expect(calls.at(-1)).toEqual({ rows: 3, fresh: true });
    expect([...(await source.noise(requestOf(noise, 3)))]).toEqual(expected(noise, 3));
  });

  test.each([
    ["once", (call: number) => call === 2],
    ["whenever it is asked", () => true],
  ])("from a maker that fails %s is the same", async (_how, fails) => {
    const source = sourceOf(counting(fails).maker);
    for (let step = 1; step <= 6; step += 1) {
      expect([...(await source.noise(requestOf(noise, step)))]).toEqual(expected(noise, step));
    }
  });

  test("from a thread is the same, also when it is killed between and during jobs", async () => {
    const threads: Worker[] = [];
    const entry = new URL("../../../pipeline/stages/aggregate/noise-worker.ts", import.meta.url);
    const maker = createNoiseThread({
      startThread: () => {
        const thread = new Worker(entry, { env: {}, execArgv: [] });
        threads.push(thread);
        return thread;
      },
    });
    const source = sourceOf(maker, () => {
      throw new Error("the fallback is not needed");
    });
    for (let step = 1; step <= 6; step += 1) {
      if (step === 3) await threads[0]?.terminate();
      const asked = source.noise(requestOf(noise, step));
      if (step === 5) void threads[1]?.terminate();
      expect([...(await asked)], `step ${step}`).toEqual(expected(noise, step));
    }
    expect(threads.length).toBeGreaterThan(1);
  });
});

test("does not go on from another past, though the step is the next one", async () => {
  const noise: LedgerNoise = { kind: "toeplitz", updates: 8 };
  const other = { ...requestOf(noise, 2), contributionsHash: "ee".repeat(32) };
  const source = sourceOf();
  await source.noise(other);
  expect([...(await source.noise(requestOf(noise, 3)))]).toEqual(expected(noise, 3));
  // Nor from another run, or under another standard deviation.
  for (const change of [{ runId: "cd".repeat(16) }, { standardDeviation: 2 * DEVIATION }]) {
    const fresh = sourceOf();
    await fresh.noise(requestOf(noise, 2, change));
    expect([...(await fresh.noise(requestOf(noise, 3)))]).toEqual(expected(noise, 3));
  }
});

test("goes on without the rows that were mixed already", async () => {
  const { maker, calls } = counting();
  const source = sourceOf(maker);
  const noise: LedgerNoise = { kind: "toeplitz", updates: 8 };
  await source.noise(requestOf(noise, 4));
  await source.noise(requestOf(noise, 5));
  expect(calls).toEqual([
    { rows: 4, fresh: true },
    { rows: 1, fresh: false },
  ]);
});

test("holds no more than its bound, and what was made ahead is not thrown away for more of it", async () => {
  const { maker, calls } = counting();
  const source = sourceOf(maker);
  const noise: LedgerNoise = { kind: "independent" };
  for (let step = 1; step <= 40; step += 1) source.prefetch(requestOf(noise, step));
  expect(calls).toHaveLength(16);
  for (let step = 1; step <= 16; step += 1) await source.noise(requestOf(noise, step));
  expect(calls).toHaveLength(16);
  await source.noise(requestOf(noise, 17));
  expect(calls).toHaveLength(17);
});

test("a thread that hangs is given up after its deadline", async () => {
  const maker = createNoiseThread({
    deadlineMs: 50,
    startThread: () => new Worker("setInterval(() => {}, 1000)", { eval: true }),
  });
  const noise: LedgerNoise = { kind: "toeplitz", updates: 8 };
  const made = await sourceOf(maker).noise(requestOf(noise, 3));
  expect([...made]).toEqual(expected(noise, 3));
});

test("a request that cannot be met is refused, and the next one is met", async () => {
  const source = sourceOf();
  const noise: LedgerNoise = { kind: "independent" };
  const bad = requestOf(noise, 1, { standardDeviation: Number.NaN });
  await expect(source.noise(bad)).rejects.toMatchObject({ code: "internal" });
  expect([...(await source.noise(requestOf(noise, 1)))]).toEqual(expected(noise, 1));
});
