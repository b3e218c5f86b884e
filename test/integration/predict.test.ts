/**
 * The prediction zone on the real broker: what its process holds, what kills do to packs, and keys that are rotated while
 * packs flow. A consumer group reads it all, once.
 */
import { execFile } from "node:child_process";
import { openSync, readdirSync, readFileSync, readlinkSync, readSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, inject, it } from "vitest";
import type { RunningStages } from "../../examples/digits/demo/program.ts";
import type { Prediction } from "../../pipeline/client/predictions.ts";
import { readConsumerDirectory } from "../../pipeline/client/predictions.ts";
import { trustRoot } from "../../pipeline/commands/context.ts";
import { openKeyStore } from "../../pipeline/crypto/key-store.ts";
import { topicsInReach } from "../../pipeline/stream/acls.ts";
import type { KafkaClient } from "../../pipeline/stream/port.ts";
import { connect } from "../lib/kafka.ts";
import { digits, makePipeline, type TestPipeline, untilStages } from "../lib/pipeline.ts";

const UNLABELLED = 90;
const KILLS = 4;

let client: KafkaClient;
let pipeline: TestPipeline;
let stages: RunningStages;
const produced: string[] = [];
const unlabelled = digits().filter(({ form }) => form.digit === undefined);

const note = (name: string) => Number(stages.reports().get("predict")?.notes[name] ?? 0);

async function produce(count: number): Promise<void> {
  const next = unlabelled.slice(produced.length, produced.length + count);
  produced.push(...next.map(({ form }) => form.formId));
  await pipeline.produce(next);
}

async function readGroup(group: string): Promise<Prediction[]> {
  const out = await pipeline.run("predictions", ["predictions", pipeline.file, "--group", group]);
  return out
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as Prediction);
}

beforeAll(async () => {
  client = await connect(inject("brokers"));
  pipeline = await makePipeline(inject("brokers"), (file) =>
    file.replace("partitions: 4", "partitions: 2"),
  );
  stages = pipeline.start();
  const labelled = digits().filter(({ form }) => form.digit !== undefined);
  await pipeline.produce(labelled.slice(0, 100));
  await untilStages(stages, "predict has a model", () => note("model") >= 1);
  await produce(30);
  await untilStages(stages, "the first are predicted", () => note("predicted") >= 30);
}, 240_000);

afterAll(async () => {
  await stages?.stop();
  pipeline?.remove();
  await client?.close();
});

/** Bytes of a process that it can write: its heaps and WebAssembly memories. */
function* memoryOf(pid: number): Generator<Buffer> {
  const memory = openSync(`/proc/${pid}/mem`, "r");
  for (const line of readFileSync(`/proc/${pid}/maps`, "latin1").split("\n")) {
    const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line) ?? [];
    if (from === undefined || to === undefined) continue;
    const end = Number.parseInt(to, 16);
    const step = 16 * 2 ** 20;
    for (let at = Number.parseInt(from, 16); at < end; at += step) {
      // 64 bytes more, so that nothing is missed between two pieces.
      const piece = Buffer.alloc(Math.min(step + 64, end - at));
      try {
        if (readSync(memory, piece, 0, piece.length, at) > 0) yield piece;
      } catch {
        // Because parts of a mapping may have gone meanwhile, or may not be read.
      }
    }
  }
}

function findInMemory(pid: number, wanted: readonly Uint8Array[]): boolean[] {
  const found = wanted.map(() => false);
  for (const piece of memoryOf(pid)) {
    for (const [index, bytes] of wanted.entries()) {
      if (found[index] !== true && piece.includes(Buffer.from(bytes))) found[index] = true;
    }
  }
  return found;
}

it.runIf(process.platform === "linux")(
  "holds no CKKS secret and no data key: environment, files, memory, topics",
  async () => {
    const pid = stages.pid("predict")!;
    const environment = readFileSync(`/proc/${pid}/environ`, "latin1");
    expect(environment).not.toContain("PSEUDONYM_KEY");
    const open = readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`);
      } catch {
        return [];
      }
    });
    expect(open.filter((path) => path.startsWith(pipeline.folder))).toEqual([]);
    // The closed list of DESIGN's zones: what unwraps models and what signs results.
    const own = readdirSync(join(pipeline.keys, "predict")).map((name) => name.split(".")[0]);
    expect(own.sort()).toEqual(["model-unwrap", "result-signing"]);
    expect([...topicsInReach("p", "predict")].sort()).toEqual([
      "p.keys",
      "p.ledger",
      "p.models",
      "p.packs",
      "p.packs.dead",
      "p.predict.changelog",
      "p.predictions",
    ]);
    const consumer = await openKeyStore({
      folder: join(pipeline.keys, "consumer"),
      holder: "consumer",
    });
    const secret = consumer.blob("ckks-secret", 1);
    const directory = await readConsumerDirectory({
      ...{ client, pipeline: pipeline.name },
      ...trustRoot(pipeline.spec()),
    });
    const publicKey = directory.blob("ckks-public")!.bytes;
    const window = (blob: Uint8Array, at: number) => blob.slice(at, at + 48);
    const wanted = [1_000, 20_000, 60_000].map((at) => window(secret, at));
    const [control, ...secrets] = findInMemory(pid, [window(publicKey, 5_000), ...wanted]);
    // The public key is there, so that the search would have found the other.
    expect(control).toBe(true);
    expect(secrets).toEqual([false, false, false]);
  },
);

it("loses and doubles nothing when it is killed over packs", async () => {
  for (let kill = 0; kill < KILLS; kill += 1) {
    await produce((UNLABELLED - 30) / KILLS);
    // Somewhere between reading a pack and committing its result.
    await sleep(300 + 200 * kill);
    const pid = stages.pid("predict")!;
    process.kill(pid, "SIGKILL");
    await untilStages(stages, "predict was started again", () => stages.pid("predict") !== pid);
  }
  const ids = async () => (await pipeline.predictions()).map(({ recordId }) => recordId).sort();
  await untilStages(
    stages,
    "all are predicted",
    async () => (await ids()).length >= produced.length,
  );
  await sleep(2_000);
  expect(await ids()).toEqual(produced.toSorted());
}, 240_000);

it("goes on under rotated keys without a pause, and a group reads all of it once", async () => {
  const before = await readGroup("billing");
  expect(before.map(({ recordId }) => recordId).sort()).toEqual(produced.toSorted());
  const { scores, precisionBits } = before[0]!;
  expect(scores.every((score) => Number.isInteger(score * 2 ** precisionBits))).toBe(true);
  const pid = stages.pid("predict");
  const known = produced.length;
  await produce(20);
  await pipeline.run("rotate", ["keys", "rotate", pipeline.file, "ckks"]);
  await produce(20);
  const fresh: Prediction[] = [];
  await untilStages(stages, "both generations are predicted", async () => {
    fresh.push(...(await readGroup("billing")));
    return fresh.length >= 40;
  });
  expect(fresh.map(({ recordId }) => recordId).sort()).toEqual(produced.slice(known).sort());
  expect(stages.pid("predict")).toBe(pid);
  expect(await readGroup("billing")).toEqual([]);
}, 240_000);

it("feeds the example of a downstream service, which counts everything once over two runs", async () => {
  const service = fileURLToPath(new URL("../../examples/downstream/service.ts", import.meta.url));
  const output = join(pipeline.folder, "tally.json");
  const run = async () => {
    const given = [service, pipeline.file, join(pipeline.keys, "consumer"), output];
    const { stdout } = await promisify(execFile)(process.execPath, given, {
      env: pipeline.program.environment,
    });
    return Object.values(JSON.parse(stdout) as Record<string, number>).reduce((a, b) => a + b, 0);
  };
  expect(await run()).toBe(produced.length);
  expect(await run()).toBe(produced.length);
}, 120_000);
