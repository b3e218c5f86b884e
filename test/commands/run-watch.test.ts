/** What train says when the newest run is not of its settings: wait, or that the budget is spent, as aggregate says it. */
import { beforeAll, expect, test } from "vitest";
import { createRunWatch } from "../../pipeline/commands/stages/run-watch.ts";
import type { AggregateStageOptions } from "../../pipeline/stages/aggregate/options.ts";
import {
  CONFIG_HASH,
  configHashOf,
  createTopics,
  createTrainer,
  createZones,
  readerOf,
  SPEC,
  startLane,
  type Topics,
  type Zones,
} from "../stages/aggregate/world.ts";

const FASTER = { ...SPEC, train: { ...SPEC.train, learningRate: 0.25 } };

let zones: Zones;
beforeAll(async () => {
  zones = await createZones();
});

function watching(spec: AggregateStageOptions["spec"]) {
  const said: (string | null)[] = [];
  const watch = createRunWatch({
    spec,
    own: configHashOf(spec),
    say: (reason) => said.push(reason),
  });
  return {
    said,
    look(topics: Topics) {
      const reader = readerOf(zones, topics);
      const newest = reader.newest();
      if (newest === null) throw new Error("no model");
      watch(newest.entry, reader.entries());
    },
  };
}

async function updated(topics: Topics, spec = SPEC) {
  const lane = await startLane(zones, topics, { spec });
  await lane.run();
  const trainer = await createTrainer(zones, topics);
  for (let i = 0; i < 2; i += 1) trainer.send(trainer.next(lane.state().run.runId));
  await lane.run();
}

test("nothing while the run is its own", async () => {
  const topics = createTopics(zones);
  await updated(topics);
  expect(configHashOf(SPEC)).toBe(CONFIG_HASH);
  const watch = watching(SPEC);
  watch.look(topics);
  expect(watch.said).toEqual([]);
});

test("waits while the budget has room, is told when there is none, and works again with its own run", async () => {
  const topics = createTopics(zones);
  const genesis = await startLane(zones, topics);
  await genesis.run();
  const watch = watching(FASTER);
  watch.look(topics);
  watch.look(topics);
  expect(watch.said).toEqual([expect.stringContaining("waits for a run")]);

  const trainer = await createTrainer(zones, topics);
  for (let i = 0; i < 2; i += 1) trainer.send(trainer.next(genesis.state().run.runId));
  await genesis.run();
  watch.look(topics);
  const { ended } = await startLane(zones, topics, { spec: FASTER });
  // Word for word what aggregate says.
  expect(ended).toHaveLength(1);
  expect(watch.said.slice(1)).toEqual(ended);

  const richer = { ...FASTER, privacy: { ...FASTER.privacy, epsilon: 5 } };
  const again = watching(richer);
  again.look(topics);
  await (await startLane(zones, topics, { spec: richer })).run();
  again.look(topics);
  expect(again.said).toEqual([expect.stringContaining("waits for a run"), null]);
});
