/**
 * Epsilon of people on the real broker with the real stages: two records of each person train, whatever encrypt suffers;
 * a record in another partition than its person's is a dead letter, and a replay puts it where it belongs.
 */
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import type { RunningStages } from "../../examples/digits/demo/program.ts";
import { readLedger } from "../../pipeline/client/ledger.ts";
import type { KafkaClient } from "../../pipeline/stream/port.ts";
import { partitionOf } from "../../pipeline/stream/subject-partition.ts";
import { changelogTopicName, topicName } from "../../schemas/topics.ts";
import { createWorld, type DeadLetterWorld } from "../lib/dead-letters.ts";
import { connect, readAll, until } from "../lib/kafka.ts";
import { digits, makePipeline, type TestPipeline, untilStages } from "../lib/pipeline.ts";

const LANES = 2;
const LIMIT = 2;
const PEOPLE = 40;
const ROUNDS = 5;
/** The micro-batch of 8 divides what one update has. */
const UPDATE_BATCH = 16;
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = new TextDecoder();

const [form] = digits()
  .filter(({ form: one }) => one.digit !== undefined)
  .map(({ form: one }) => one);
const line = (formId: string, email: string): string => JSON.stringify({ ...form, formId, email });
const person = (index: number): string => `person-${index}@example.org`;
const laneOf = (email: string): number => partitionOf(bytes(email), LANES);

/** Each must be in the example's file. */
const EDITS: readonly (readonly [string, string])[] = [
  ["partitions: 4", `partitions: ${LANES}`],
  ["  subject: email", "  subject: email\n  partitioner: subject"],
  ["split: { train: 0.9, validate: 0.1, test: 0 }", "split: { train: 1 }"],
  ["updateBatchRecords: 64", `updateBatchRecords: ${UPDATE_BATCH}`],
  ["microBatchRecords: 16", "microBatchRecords: 8"],
  ["{ epsilon: 3, delta: 1e-5 }", `{ epsilon: 3, delta: 1e-5, recordsPerSubject: ${LIMIT} }`],
];

let client: KafkaClient;
let pipeline: TestPipeline;
let world: DeadLetterWorld;
let owner: RunningStages[] = [];

beforeAll(async () => {
  client = await connect(inject("brokers"));
  pipeline = await makePipeline(inject("brokers"), (file) =>
    EDITS.reduce((edited, [from, to]) => {
      if (!edited.includes(from)) throw new Error(`the example has no "${from}" any more`);
      return edited.replace(from, to);
    }, file),
  );
  world = createWorld(client, pipeline, { lanes: LANES, brokers: inject("brokers") });
  owner = [pipeline.start(["--stage", "desensitize"]), pipeline.start(["--stage", "encrypt"])];
});

afterAll(async () => {
  await Promise.all(owner.map((stages) => stages.stop()));
  pipeline?.remove();
  await client?.close();
});

/** Kills encrypt's process, which its supervisor starts again. @returns whether there was one */
async function kill(): Promise<boolean> {
  const pid = owner[1]?.pid("encrypt");
  if (pid === undefined) return false;
  process.kill(pid, "SIGKILL");
  await until("encrypt was started again", () => (owner[1]?.pid("encrypt") ?? pid) !== pid);
  return true;
}

const sealed = () => world.keysOf("examples");
/** Waits until a record of a person who was never seen has come through each lane: what lay before it has. */
async function comeThrough(name: string): Promise<void> {
  const emails = [0, 1].map((lane) => {
    let at = 0;
    while (laneOf(`${name}-${at}@example.org`) !== lane) at += 1;
    return `${name}-${at}@example.org`;
  });
  await pipeline.produce(emails.map((email, lane) => line(`${name}-${lane}`, email)));
  await untilStages(owner[1]!, `${name} came through`, async () => {
    const ids = await sealed();
    return ids.has(`${name}-0`) && ids.has(`${name}-1`);
  });
}

describe("two records of each person", () => {
  it("are sealed and no third, the first of the log, over kills of encrypt", async () => {
    let kills = 0;
    for (let round = 0; round < ROUNDS; round += 1) {
      await pipeline.produce(
        Array.from({ length: PEOPLE }, (_, index) => line(`${index}-${round}`, person(index))),
      );
      kills += (await kill()) ? 1 : 0;
    }
    await comeThrough("last");
    // The first one may come before encrypt has.
    expect(kills).toBeGreaterThanOrEqual(ROUNDS - 1);
    const expected = Array.from({ length: PEOPLE }, (_, index) => [`${index}-0`, `${index}-1`]);
    expect([...(await sealed())].sort()).toEqual(
      [...expected.flat(), "last-0", "last-1"].map((id) => [id, 1]).sort(),
    );
    expect(await world.count(`${topicName(pipeline.name, "desensitized")}.dead`)).toBe(0);
  });

  it("are counted without a name in the changelog, and told of in what encrypt reports", async () => {
    const notes = () => owner[1]?.reports().get("encrypt")?.notes ?? {};
    await kill();
    // Of people who have had theirs.
    await pipeline.produce([line("more-0", person(0)), line("more-1", person(1))]);
    await comeThrough("after");
    await until("the notes say so", () => notes()["left out: subject-limit"] === 2);
    expect(notes()["subjects"]).toBe(PEOPLE + 4);
    const changelog = await readAll(client, changelogTopicName(pipeline.name, "encrypt"), LANES);
    const entries = changelog.flat().filter(({ key }) => key?.[0] === 0);
    expect(new Set(entries.map(({ key }) => Buffer.from(key!).toString("hex"))).size).toBe(
      PEOPLE + 4,
    );
    const everything = Buffer.concat(changelog.flat().flatMap(({ key, value }) => [key!, value!]));
    expect(everything.includes("person")).toBe(false);
    const [desensitized] = (await readAll(client, topicName(pipeline.name, "desensitized"), 1))[0]!;
    const { email } = JSON.parse(text.decode(desensitized!.value!)) as { email: string };
    expect(everything.includes(email)).toBe(false);
  });
});

describe("a record in another partition than its person's", () => {
  it("is a dead letter, and a replay puts it where it belongs", async () => {
    const email = person(PEOPLE + 1);
    const wrong = 1 - laneOf(email);
    const value = bytes(line("astray", email));
    await world.send(topicName(pipeline.name, "raw"), [{ key: bytes(email), value }], wrong);
    const letters = () => world.count(`${topicName(pipeline.name, "raw")}.dead`);
    await untilStages(owner[0]!, "it is refused", async () => (await letters()) === 1);
    const [letter] = await world.list();
    expect(letter).toMatchObject({ reason: "wrong-partition", partition: wrong });
    expect(JSON.stringify(letter)).not.toContain(email);
    expect((await sealed()).has("astray")).toBe(false);

    const { verdicts } = await world.replay("--stage", "desensitize", "--all");
    expect([...verdicts]).toEqual([["replayed", 1]]);
    await untilStages(owner[1]!, "it came through", async () => (await sealed()).has("astray"));
    const lanes = await readAll(client, topicName(pipeline.name, "examples"), LANES);
    const found = lanes.map((lane) => lane.some(({ key }) => text.decode(key!) === "astray"));
    expect(found).toEqual([0, 1].map((lane) => lane === laneOf(email)));
    const again = await world.replay("--stage", "desensitize", "--all");
    expect([...again.verdicts]).toEqual([["already-replayed", 1]]);
  });
});

it("the ledger speaks of subjects, at the price of two records", async () => {
  const training = [
    pipeline.start(["--stage", "train"]),
    pipeline.start(["--stage", "aggregate"]),
  ] as const;
  try {
    const trust = () => {
      const { zones, revoked } = pipeline.spec();
      if (zones === null) throw new Error("no zones");
      return { zones, revoked };
    };
    const ledger = () => readLedger({ client, pipeline: pipeline.name, ...trust() });
    await untilStages(training[1], "a model is published", async () => {
      const { entries } = await ledger();
      return entries.some(({ entry }) => entry.modelVersion > 0);
    });
    const { entries, findings } = await ledger();
    expect(findings).toEqual([]);
    for (const { entry } of entries) expect(entry).toMatchObject({ recordsPerSubject: LIMIT });
  } finally {
    await Promise.all(training.map((stages) => stages.stop()));
  }
  expect(await world.count(`${topicName(pipeline.name, "examples")}.dead`)).toBe(0);
});
