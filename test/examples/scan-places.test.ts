/** The demo's scan looks everywhere: a marker planted in any topic, key folder, log or temporary file is found. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { scanForMarkers } from "../../examples/digits/demo/scan.ts";
import { watchFolders } from "../../examples/digits/demo/watch.ts";
import type { DigitForm } from "../../examples/digits/records.ts";
import type { FetchedRecords, KafkaClient } from "../../pipeline/stream/port.ts";
import { STAGE_INPUT, STAGES, TOPICS } from "../../schemas/topics.ts";

const PIPELINE = "digits";
const MARKER = "maria.planted@example.org";
// Because a scan reads nothing but the personal fields of a form.
const form = { email: MARKER, phone: "", note: "", name: "" } as DigitForm;
const TOPIC_NAMES = [
  ...Object.keys(TOPICS),
  ...STAGES.map((stage) => `${STAGE_INPUT[stage]}.dead`),
  ...STAGES.map((stage) => `${stage}.changelog`),
].map((name) => `${PIPELINE}.${name}`);

let root = "";
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "sealstream-scan-"));
  for (const name of ["keys", "tmp", "logs"]) mkdirSync(join(root, name));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** A cluster in which one topic has one record. */
function cluster(topics: readonly string[], planted: string | null): KafkaClient {
  const record = {
    ...{ offset: 0, timestampMs: 0, key: null },
    value: Buffer.from(`xx${Buffer.from(MARKER).toString("base64")}`),
    headers: {},
  };
  const client: Partial<KafkaClient> = {
    listTopics: async () => topics,
    describeTopics: async (names) => names.map((name) => ({ name, partitions: 1 })),
    offsets: async (topic) => ({ earliest: 0, latest: topic === planted ? 1 : 0 }),
    createReader: async () => {
      let position = 0;
      return {
        fetch: async (): Promise<FetchedRecords> => {
          position = 1;
          return { records: [record], nextOffset: 1, lastStableOffset: 1, highWatermark: 1 };
        },
        position: () => position,
        close: async () => undefined,
      };
    },
  };
  // Because a scan asks for nothing else.
  return client as KafkaClient;
}

const scan = (
  planted: string | null,
  seen?: ReadonlyMap<string, Uint8Array | null>,
  topics = TOPIC_NAMES,
) =>
  scanForMarkers({
    ...{ client: cluster(topics, planted), pipeline: PIPELINE, partitions: 1, metrics: [], seen },
    records: [{ form, truth: 0 }],
    folders: ["keys", "tmp", "logs"].map((name) => join(root, name)),
  });

it.each(TOPIC_NAMES.filter((name) => name !== "digits.raw"))("looks in %s", async (topic) => {
  const { hits, places } = await scan(topic);
  expect(hits).toEqual([{ where: topic, encoding: "base64", count: 1 }]);
  expect(places).toContain(topic);
});

it("does not look in raw, and finds nothing where nothing is", async () => {
  expect((await scan("digits.raw")).hits).toEqual([]);
});

it.each(TOPIC_NAMES.filter((name) => name !== "digits.raw"))(
  "says so when %s is not there to be looked in",
  async (topic) => {
    const others = TOPIC_NAMES.filter((name) => name !== topic);
    await expect(scan(null, undefined, others)).rejects.toThrow(topic);
  },
);

it.each(["keys", "tmp", "logs"])("looks in files below %s, and at their names", async (folder) => {
  const below = join(root, folder, "deep");
  mkdirSync(below);
  writeFileSync(join(below, "one"), Buffer.from(MARKER).toString("hex"));
  writeFileSync(join(below, MARKER), "");
  const { hits } = await scan(null);
  expect(hits.map(({ encoding }) => encoding).sort()).toEqual(["hex", "raw"]);
  expect(hits.every(({ where }) => where.includes(below))).toBe(true);
});

it("finds what stood in a temporary file that was removed again", async () => {
  const watched = watchFolders([join(root, "tmp"), join(root, "keys")]);
  const files = ["tmp/short-lived", "keys/train.key"].map((name) => join(root, name));
  for (const file of files) writeFileSync(file, `secret ${MARKER}`);
  await new Promise((resolve) => setTimeout(resolve, 300));
  for (const file of files) rmSync(file);
  const seen = await watched.stop();
  expect([...seen.keys()].sort()).toEqual([...files].sort());
  const { hits } = await scan(null, seen);
  expect(hits.map(({ where }) => where).sort()).toEqual([...files].sort());
});

it("does not pass over a file that it could not read in time", async () => {
  await expect(scan(null, new Map([["tmp/gone", null]]))).rejects.toThrow("tmp/gone");
});
