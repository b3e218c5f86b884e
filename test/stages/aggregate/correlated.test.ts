/**
 * Runs under correlated noise: what is added is the mixture of the ledger's rows, a killed aggregate goes on with the
 * same bits, and readers verify it all from the topics.
 */
import { beforeAll, describe, expect, test } from "vitest";
import { decodeCheckpoint } from "../../../pipeline/network/safetensors.ts";
import { flatten } from "../../../pipeline/network/weights.ts";
import { columnNorm } from "../../../pipeline/privacy/correlation/coefficients.ts";
import { createNoiseMixer } from "../../../pipeline/privacy/correlation/mixer.ts";
import { verifyLedger } from "../../../pipeline/privacy/ledger.ts";
import { methodOf } from "../../../pipeline/privacy/ledger-entry.ts";
import { blockStart, type LedgerNoise } from "../../../pipeline/privacy/ledger-noise.ts";
import { noiseRow } from "../../../pipeline/privacy/noise.ts";
import type { NoiseSpec } from "../../../pipeline/spec/training-spec.ts";
import { createNoiseThread } from "../../../pipeline/stages/aggregate/noise-thread.ts";
import type { AggregateStageOptions } from "../../../pipeline/stages/aggregate/options.ts";
import {
  BATCH,
  createTopics,
  createTrainer,
  createZones,
  directoryOf,
  FRACTION_BITS,
  PARAMETERS,
  PIPELINE,
  readerOf,
  SPEC,
  startLane,
  type Topics,
  type Zones,
} from "./world.ts";

let zones: Zones;
beforeAll(async () => {
  zones = await createZones();
});

const withNoise = (noise: NoiseSpec): AggregateStageOptions["spec"] => ({
  ...SPEC,
  privacy: { ...SPEC.privacy, noise },
});
const KINDS: [string, NoiseSpec][] = [
  ["toeplitz", { kind: "toeplitz", updates: 4 }],
  ["banded", { kind: "banded", updates: 4, bands: 2 }],
  ["blt", { kind: "blt", updates: 4, buffers: 2 }],
];

/** A genesis and the contributions of seven updates: two blocks. */
async function prepared(spec: AggregateStageOptions["spec"]): Promise<Topics> {
  const topics = createTopics(zones);
  const lane = await startLane(zones, topics, { spec });
  await lane.run();
  const trainer = await createTrainer(zones, topics);
  for (let i = 0; i < 14; i += 1) trainer.send(trainer.next(lane.state().run.runId));
  return topics;
}

function copyOf(topics: Topics): Topics {
  const { contributions, keys, models, ledger, dead } = topics;
  return {
    ...topics,
    ...{ contributions: [...contributions], keys: [...keys], models: [...models] },
    ...{ ledger: [...ledger], dead: [...dead] },
  };
}

function weightsOf(topics: Topics): Float32Array {
  const newest = readerOf(zones, topics).newest();
  if (newest === null) throw new Error("no model");
  return flatten(decodeCheckpoint(newest.checkpoint).weights);
}

const entriesOf = (topics: Topics) =>
  readerOf(zones, topics)
    .entries()
    .map(({ entry }) => entry);

/** The noise of a step, from the ledger and the secret alone. */
function noiseOf(topics: Topics, noise: LedgerNoise, step: number): Float64Array {
  const mixer = createNoiseMixer(noise, PARAMETERS);
  let mixed = new Float64Array();
  for (const entry of entriesOf(topics)) {
    if (entry.step < blockStart(noise, step) || entry.step > step || entry.step === 0) continue;
    const row = noiseRow({
      noise: zones.aggregate.secret("noise"),
      runId: entry.runId,
      step: entry.step,
      contributionsHash: Buffer.from(entry.contributionsHash ?? "", "hex"),
      length: PARAMETERS,
      standardDeviation: entry.noiseMultiplier * entry.sensitivity * 2 ** FRACTION_BITS,
      fractionBits: 16,
    });
    mixed = new Float64Array(mixer.mix(entry.step, row));
  }
  return mixed;
}

describe.each(KINDS)("%s", (_name, noise) => {
  const spec = withNoise(noise);

  test("what an update adds is the mixture of the ledger's rows", async () => {
    const topics = await prepared(spec);
    const all = topics.contributions.splice(0);
    let before = weightsOf(topics);
    for (let update = 1; update <= 7; update += 1) {
      topics.contributions.push(...all.slice(2 * update - 2, 2 * update));
      // A new process for each update: nothing but the topics is remembered.
      await (await startLane(zones, topics, { spec })).run();
      const entry = entriesOf(topics).at(-1);
      expect(entry).toMatchObject({ version: 3, step: update });
      const planned = methodOf(entry ?? {}).noise;
      const noisy = noiseOf(topics, planned, update);
      for (const record of all.slice(2 * update - 2, 2 * update)) {
        const offset = Number(
          Buffer.from(record.key ?? [])
            .toString()
            .split("/")[2]
            ?.split("-")[0],
        );
        for (let i = 0; i < PARAMETERS; i += 1) {
          noisy[i] =
            (noisy[i] ?? 0) + ((offset * 7919 + i * 1_299_709) % 2_000_003) * 13 - 13_000_000;
        }
      }
      const scale = SPEC.train.learningRate / (BATCH * 2 ** FRACTION_BITS);
      const expected = before.map((weight, i) => weight - scale * (noisy[i] ?? 0));
      const after = weightsOf(topics);
      expect([...after]).toEqual([...expected]);
      before = after;
    }
  });

  test("a crash at any point gives the model of an uninterrupted run, bit for bit", async () => {
    const start = await prepared(spec);
    const calm = copyOf(start);
    const noiseMaker = createNoiseThread();
    await (await startLane(zones, calm, { spec, noiseMaker })).run();
    await noiseMaker.close();
    const expected = readerOf(zones, calm);
    for (const schedule of [0b0000_0001, 0b0101_0110, 0b1011_1001]) {
      const topics = copyOf(start);
      let lane = await startLane(zones, topics, { spec });
      for (let turn = 0; turn < 8; turn += 1) {
        const hidden = topics.contributions.splice(2 + 2 * turn);
        const result = await lane.step(turn);
        topics.contributions.push(...hidden);
        if ((schedule >> turn) & 1) lane = await startLane(zones, topics, { spec });
        else lane.commit(result);
      }
      await lane.run();
      const reader = readerOf(zones, topics);
      expect(Buffer.from(reader.newest()?.checkpoint ?? [])).toEqual(
        Buffer.from(expected.newest()?.checkpoint ?? []),
      );
    }
    expect(expected.entries()).toHaveLength(8);
  });

  test("readers verify the run, and what it claims of its noise", async () => {
    const topics = await prepared(spec);
    await (await startLane(zones, topics, { spec })).run();
    const directory = directoryOf(zones, topics.keys);
    const { findings, entries } = verifyLedger(topics.ledger, {
      pipeline: PIPELINE,
      findSigner: (kid) => directory.findSigner(kid, ["model-signing"]),
    });
    expect(findings).toEqual([]);
    const last = entries.at(-1)?.entry;
    expect(last?.epsilon).toBeCloseTo(3, 9);
    const { noise: planned } = methodOf(last ?? {});
    expect(planned.kind).toBe(noise.kind);
    expect(columnNorm(planned)).toBeGreaterThan(1);
    expect(last?.sensitivity).toBeCloseTo(columnNorm(planned), 6);
  });
});

test("the plan of a run comes from its genesis, not from the file again", async () => {
  const spec = withNoise({ kind: "banded", updates: 4, bands: 2 });
  const topics = createTopics(zones);
  const lane = await startLane(zones, topics, { spec });
  await lane.run();
  const { run } = (await startLane(zones, topics, { spec })).state();
  expect(run).toEqual(lane.state().run);
  expect(run.noise).toEqual(entriesOf(topics)[0]?.noise);
});

test("correlation that is asked for anew is another run", async () => {
  const topics = await prepared(withNoise({ kind: "toeplitz", updates: 4 }));
  await (
    await startLane(zones, topics, { spec: withNoise({ kind: "toeplitz", updates: 5 }) })
  ).run();
  expect(entriesOf(topics).map(({ runId }) => runId)).toHaveLength(2);
  expect(new Set(entriesOf(topics).map(({ runId }) => runId)).size).toBe(2);
});

test("more rows than memory holds are refused at once", async () => {
  const start = startLane(zones, createTopics(zones), {
    spec: {
      ...withNoise({ kind: "toeplitz", updates: 1_048_576 }),
      train: {
        ...SPEC.train,
        network: [
          { dense: 512, activation: "square" },
          { dense: 2, activation: "none" },
        ],
      },
    },
  });
  await expect(start).rejects.toMatchObject({
    code: "limit-exceeded",
    message: expect.stringContaining("privacy.noise"),
  });
});
