/**
 * Drill: key folders are lost, on a real Kafka with running stages. What is missing is said before anything starts, a
 * backup brings everything back, and without one `keys list` says what is lost and what is not.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { type RunningStages, runProgram } from "../../examples/digits/demo/program.ts";
import { readLedger } from "../../pipeline/client/ledger.ts";
import type { KafkaClient } from "../../pipeline/stream/port.ts";
import { connect } from "../lib/kafka.ts";
import { deadLetters, type Feed, listKeys, runKeys, startFeed } from "../lib/key-drill.ts";
import { makePipeline, type TestPipeline, untilStages } from "../lib/pipeline.ts";

const LANES = 2;
/** Records of one update: what a drill writes goes into a model as a whole. */
const UPDATE = 64;
const HALF = { labelled: UPDATE / 2, unlabelled: 2 };
const PASSPHRASE = "correct horse battery staple";

let client: KafkaClient;
let pipeline: TestPipeline;
let stages: RunningStages;
let feed: Feed;
let backup: string;

const note = (stage: string, name: string) => Number(stages.reports().get(stage)?.notes[name] ?? 0);

/** Half an update and two unlabelled records for each lane. */
async function write(): Promise<void> {
  for (let lane = 0; lane < LANES; lane += 1) await feed.write(lane, HALF);
}

/** Places that the ledger's updates have, by lane. */
async function places(): Promise<number[]> {
  const { zones, revoked } = pipeline.spec();
  if (zones === null) throw new Error("no zone is pinned");
  const { entries, findings } = await readLedger({
    ...{ client, pipeline: pipeline.name, zones, revoked },
  });
  expect(findings).toEqual([]);
  const ranges = entries.flatMap(({ entry }) => entry.ranges);
  return feed.labelled.map((_count, lane) =>
    ranges.filter((range) => range.lane === lane).reduce((sum, range) => sum + range.places, 0),
  );
}

/** As a backup does: with modes, of folders too. */
function copy(from: string, to: string): void {
  execFileSync("cp", ["-a", from, to]);
}

const updates = () => feed.labelled.reduce((sum, count) => sum + count, 0) / UPDATE;

async function fails(...args: string[]): Promise<string> {
  const { code, err } = await runProgram(pipeline.program, "failing", args);
  expect(code).toBe(1);
  return err;
}

beforeAll(async () => {
  client = await connect(inject("brokers"));
  pipeline = await makePipeline(
    inject("brokers"),
    (file) =>
      file
        .replace("partitions: 4", `partitions: ${LANES}`)
        .replace("- { dense: 32, activation: square }", "- { dense: 4, activation: square }")
        .replace("train: 0.9, validate: 0.1, test: 0", "train: 1, validate: 0, test: 0"),
    {
      environment: { SEALSTREAM_KEY_PASSPHRASE: PASSPHRASE },
      // One zone's alone: every file costs every command half a second of scrypt.
      createKeys: [
        ["owner", "training", "consumer"].flatMap((zone) => ["--zone", zone]),
        ["--zone", "prediction", "--seal", "passphrase"],
      ],
    },
  );
  backup = join(pipeline.folder, "backup");
  feed = await startFeed(client, pipeline, { beats: [], everyMs: 1 });
  await feed.stop();
  stages = pipeline.start();
  await write();
  await untilStages(
    stages,
    "the first records are through",
    () => note("predict", "predicted") >= feed.unlabelled.size && note("predict", "model") >= 1,
  );
  await stages.stop();
}, 240_000);

afterAll(async () => {
  await feed?.close();
  await stages?.stop();
  pipeline?.remove();
  await client?.close();
});

describe("a backup of the key folders", () => {
  it("is needed when they are gone, and stages say what is missing", async () => {
    // Modes are kept: a key file that others can read is refused.
    copy(pipeline.keys, backup);
    for (const holder of readdirSync(pipeline.keys))
      rmSync(join(pipeline.keys, holder), { recursive: true });
    expect(await fails("run", pipeline.file)).toMatch(
      /There is no key folder .*desensitize: name the right one with --keys, or restore it from a backup/,
    );
    // Folders alone do not help.
    mkdirSync(join(pipeline.keys, "train"));
    expect(await fails("run", pipeline.file, "--stage", "train")).toMatch(
      /train-signing\.key is missing: restore it from a backup/,
    );
    rmSync(join(pipeline.keys, "train"), { recursive: true });
  });

  it("brings everything back: stages go on where they were, and nothing is lost", async () => {
    rmSync(pipeline.keys, { recursive: true });
    copy(backup, pipeline.keys);
    const key = join(pipeline.keys, "train", "training-unwrap.key");
    expect(statSync(key).mode & 0o777).toBe(0o600);
    chmodSync(key, 0o644);
    expect(await fails("run", pipeline.file, "--stage", "train")).toContain("training-unwrap.key");
    chmodSync(key, 0o600);
    chmodSync(join(pipeline.keys, "train"), 0o755);
    expect(await fails("run", pipeline.file, "--stage", "train")).toContain("chmod 700");
    chmodSync(join(pipeline.keys, "train"), 0o700);
    const { program } = pipeline;
    const environment = { ...program.environment, SEALSTREAM_KEY_PASSPHRASE: "wrong" };
    const { code, err } = await runProgram({ ...program, environment }, "wrong", [
      ...["run", pipeline.file, "--stage", "predict"],
    ]);
    expect([code, err]).toEqual([1, expect.stringMatching(/passphrase/)]);
    expect((await listKeys(pipeline)).lost).toEqual([]);
    stages = pipeline.start();
    await write();
    await untilStages(stages, "all is in a model", () => note("predict", "model") >= updates());
    const predicted = feed.unlabelled.size / 2;
    await untilStages(stages, "all is predicted", () => note("predict", "predicted") >= predicted);
    await stages.stop();
    expect(await places()).toEqual(feed.labelled);
    expect(await deadLetters(client, pipeline)).toEqual({});
    const ids = (await pipeline.predictions()).map(({ recordId }) => recordId);
    expect(ids.sort()).toEqual([...feed.unlabelled].sort());
  });
});

describe("a key without a backup", () => {
  it("of the training zone loses nothing while owner-recovery is there", async () => {
    // Examples are sealed while nobody trains.
    const owner = ["desensitize", "encrypt"].map((stage) => pipeline.start(["--stage", stage]));
    await write();
    const sealed = () => owner[1]?.reports().get("encrypt")?.records ?? 0;
    const failed = Promise.race(owner.map((one) => one.failed));
    await Promise.race([
      untilStages(owner[1] ?? stages, "all is sealed", () => sealed() >= UPDATE + 4),
      failed,
    ]);
    await Promise.all(owner.map((one) => one.stop()));
    rmSync(join(pipeline.keys, "train", "training-unwrap.key"));
    expect(await fails("run", pipeline.file, "--stage", "train")).toContain(
      "training-unwrap.key is missing",
    );
    const { lost } = await listKeys(pipeline);
    const examples = lost.find((sentence) => sentence.includes("of examples (lanes 0-1)"));
    expect(examples).toMatch(
      /^training-unwrap [0-9a-f]{8}\.\. \(generation 1\) is missing: \d+ data keys of examples \(lanes 0-1\) are wrapped for it, and another key here opens them; restore it from a backup, or run "sealstream keys rotate .* training-unwrap": owner-recovery is here and wraps them anew$/,
    );
    const { out } = await runKeys(pipeline, "rotate", "training-unwrap");
    expect(out).toMatch(/training-unwrap is of generation 2 now; \d+ data keys wrapped anew/);
    expect((await listKeys(pipeline)).lost.filter((one) => one.includes("examples"))).toEqual([]);
    stages = pipeline.start();
    await untilStages(
      stages,
      "the last example is in a model",
      () => note("predict", "model") >= updates(),
    );
    expect(await places()).toEqual(feed.labelled);
    expect(await deadLetters(client, pipeline)).toEqual({});
  });

  it("of the consumer loses its predictions, says so, and takes no later one along", async () => {
    await untilStages(stages, "all is predicted", () => note("predict", "predicted") >= 4);
    const before = new Set((await pipeline.predictions()).map(({ recordId }) => recordId));
    expect(before.size).toBe(feed.unlabelled.size);
    rmSync(join(pipeline.keys, "consumer", "ckks-secret.key"));
    const { lost } = await listKeys(pipeline);
    expect(lost).toEqual([
      expect.stringMatching(
        /^ckks-secret [0-9a-f]{8}\.\. \(generation 1\) is missing: predictions under it are lost, since nobody else can decrypt them; restore it from a backup, or run "sealstream keys rotate .* ckks-secret" for those to come$/,
      ),
    ]);
    await runKeys(pipeline, "rotate", "ckks");
    expect(existsSync(join(pipeline.keys, "consumer", "ckks-secret.2.key"))).toBe(true);
    const old = note("predict", "predicted");
    await write();
    await untilStages(stages, "new ones are there", () => note("predict", "predicted") >= old + 4);
    const { code, out, err } = await runProgram(pipeline.program, "predictions", [
      ...["predictions", pipeline.file],
    ]);
    const ids = out.split("\n").filter((line) => line !== "");
    const fresh = ids.map((line) => (JSON.parse(line) as { recordId: string }).recordId).sort();
    expect(fresh).toEqual([...feed.unlabelled].filter((id) => !before.has(id)).sort());
    expect([code, err]).toEqual([1, expect.stringContaining("key-missing")]);
  });
});
