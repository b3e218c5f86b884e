/**
 * kill -9 of each stage in turn while records flow. At the end nothing is missing and nothing is there twice: examples,
 * predictions, the ranges of the contributions, and the ledger's count of them.
 */
import { afterAll, beforeAll, expect, inject, it } from "vitest";
import { readLedger } from "../../pipeline/client/ledger.ts";
import type { KafkaClient } from "../../pipeline/stream/port.ts";
import { STAGES, type StageName, topicName } from "../../schemas/topics.ts";
import { connect, readAll, until } from "../lib/kafka.ts";
import { digits, makePipeline, type TestPipeline, untilStages } from "../lib/pipeline.ts";

const LANES = 2;
const MICRO_BATCH = 16;
const CONTRIBUTIONS_PER_UPDATE = 4;
const text = new TextDecoder();

let client: KafkaClient;
let pipeline: TestPipeline;

beforeAll(async () => {
  client = await connect(inject("brokers"));
  pipeline = await makePipeline(inject("brokers"), (file) =>
    file
      .replace("partitions: 4", `partitions: ${LANES}`)
      .replace("sessionTimeoutMs: 10000", "sessionTimeoutMs: 3000"),
  );
});

afterAll(async () => {
  pipeline?.remove();
  await client?.close();
});

it("survives kill -9 of every stage while records flow", async () => {
  const all = digits();
  const labelled = all.filter(({ form }) => form.digit !== undefined).slice(0, 800);
  const unlabelled = all.filter(({ form }) => form.digit === undefined).slice(0, 60);
  const stages = pipeline.start();
  const note = (stage: string, name: string) =>
    Number(stages.reports().get(stage)?.notes[name] ?? 0);
  await untilStages(stages, "all stages work", () =>
    STAGES.every((stage) => stages.reports().has(stage)),
  );

  const kill = async (stage: StageName): Promise<void> => {
    const pid = stages.pid(stage);
    process.kill(pid!, "SIGKILL");
    await until(`${stage} was started again`, () => stages.pid(stage) !== pid);
  };
  const size = Math.ceil(labelled.length / STAGES.length);
  const few = Math.ceil(unlabelled.length / STAGES.length);
  for (const [index, stage] of STAGES.entries()) {
    await pipeline.produce([
      ...labelled.slice(index * size, (index + 1) * size),
      ...unlabelled.slice(index * few, (index + 1) * few),
    ]);
    await kill(stage);
  }
  // Predict dies once more with packs in the making.
  await until("packs are there", () => note("encrypt", "packs") > 0);
  await kill("predict");

  const ids = async (role: "examples" | "desensitized") =>
    (await readAll(client, topicName(pipeline.name, role), LANES)).map((lane) =>
      lane.map(({ key }) => text.decode(key!)),
    );
  await untilStages(
    stages,
    "everything was desensitized",
    async () => (await ids("desensitized")).flat().length >= labelled.length + unlabelled.length,
  );
  await untilStages(
    stages,
    "everything labelled was sealed",
    async () => (await ids("examples")).flat().length >= labelled.length,
  );
  const places = (await readAll(client, topicName(pipeline.name, "examples"), LANES)).map(
    (lane) =>
      lane.filter(({ headers }) => text.decode(headers["sealstream-split"]) === "train").length,
  );
  const contributions = places.reduce((sum, count) => sum + Math.floor(count / MICRO_BATCH), 0);
  const updates = Math.floor(contributions / CONTRIBUTIONS_PER_UPDATE);
  await untilStages(
    stages,
    `${updates} updates were made`,
    () => note("aggregate", "model") >= updates,
  );
  await untilStages(
    stages,
    "everything unlabelled was predicted",
    async () => (await pipeline.predictions()).length >= unlabelled.length,
  );
  await stages.stop();

  expect((await ids("desensitized")).flat().sort()).toEqual(
    [...labelled, ...unlabelled].map(({ form }) => form.formId).sort(),
  );
  expect((await ids("examples")).flat().sort()).toEqual(
    labelled.map(({ form }) => form.formId).sort(),
  );
  expect((await pipeline.predictions()).map(({ recordId }) => recordId).sort()).toEqual(
    unlabelled.map(({ form }) => form.formId).sort(),
  );

  const sent = (await readAll(client, topicName(pipeline.name, "contributions"), 1)).flat();
  expect(sent.length).toBe(contributions);
  const { entries, findings } = await readLedger({
    client,
    pipeline: pipeline.name,
    zones: pipeline.spec().zones!,
  });
  expect(findings).toEqual([]);
  expect(entries.length).toBe(updates + 1);
  const ranges = entries.flatMap(({ entry }) => entry.ranges);
  expect(ranges.length).toBe(updates * CONTRIBUTIONS_PER_UPDATE);
  expect(new Set(ranges.map(({ lane, from }) => `${lane}/${from}`)).size).toBe(ranges.length);
  for (let lane = 0; lane < LANES; lane += 1) {
    const own = ranges.filter((range) => range.lane === lane);
    expect(own.slice(1).map(({ from }) => from)).toEqual(own.slice(0, -1).map(({ to }) => to));
  }
  const verified = await pipeline.run("ledger", ["ledger", pipeline.file, "--verify", "--json"]);
  expect(verified.trim().split("\n").length).toBe(updates + 1);
});
