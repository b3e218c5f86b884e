/** What `sealstream status` makes of a cluster, a ledger and processes; and that it never claims more than it knows. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { processStands } from "../../pipeline/commands/status/processes.ts";
import { ageText, type StatusReport, statusLines } from "../../pipeline/commands/status/text.ts";
import { trainingStand } from "../../pipeline/commands/status/training.ts";
import { kafkaStatus, status } from "../../pipeline/commands/status.ts";
import { networkFromSpec } from "../../pipeline/network/from-spec.ts";
import { startHealthServer } from "../../pipeline/observe/health.ts";
import { createStageMetrics } from "../../pipeline/observe/metrics.ts";
import { analyticGaussianEpsilon } from "../../pipeline/privacy/gaussian.ts";
import { verifyLedger } from "../../pipeline/privacy/ledger.ts";
import type { LedgerEntry } from "../../pipeline/privacy/ledger-entry.ts";
import { runConfigHash } from "../../pipeline/privacy/run-config.ts";
import type { StreamRecord } from "../../pipeline/stream/contract.ts";
import { RECEIPT_HEADER } from "../../pipeline/stream/dead-letter-replay.ts";
import type { GroupMember, KafkaClient } from "../../pipeline/stream/port.ts";
import { plannedTopics } from "../../pipeline/stream/topics.ts";
import { chainOf, options, sign } from "../privacy/ledger-world.ts";
import { edited, exampleText, loadGood } from "../spec/fixtures.ts";
import { fakeClient } from "../stream/fake-client.ts";
import { recordingContext } from "./recording-context.ts";

const SPEC = loadGood(exampleText);
const NOW = Date.parse("2026-01-02T03:09:05.678Z");

interface Cluster {
  /** First offset and end by `topic/partition`; elsewhere the log is empty. */
  readonly ends?: Readonly<Record<string, readonly [number, number]>>;
  /** By `group/partition`. */
  readonly committed?: Readonly<Record<string, number>>;
  readonly members?: Readonly<Record<string, readonly GroupMember[]>>;
  readonly records?: Readonly<Record<string, readonly Partial<StreamRecord>[]>>;
}

function clusterClient({ ends = {}, committed = {}, members = {}, records = {} }: Cluster) {
  const reads: string[] = [];
  const logOf = (topic: string, partition: number) => ends[`${topic}/${partition}`] ?? [0, 0];
  const client: KafkaClient = fakeClient({
    describeTopics: () =>
      Promise.resolve(
        plannedTopics({ pipeline: "digits", partitions: 4, replicationFactor: 1 }).map(
          ({ name, partitions }) => ({ name, partitions }),
        ),
      ),
    offsets(topic, partition) {
      const [earliest, latest] = logOf(topic, partition);
      return Promise.resolve({ earliest, latest });
    },
    committedOffset: (group, _topic, partition) =>
      Promise.resolve(committed[`${group}/${partition}`] ?? null),
    groupMembers: (group) => Promise.resolve(members[group] ?? []),
    createReader(topic, partition) {
      reads.push(`${topic}/${partition}`);
      const [, end] = logOf(topic, partition);
      let position = 0;
      return Promise.resolve({
        fetch() {
          position = end;
          const found = records[`${topic}/${partition}`] ?? [];
          return Promise.resolve({
            // Because the fields that are left out are not looked at.
            records: found.map((record) => ({ headers: {}, ...record }) as StreamRecord),
            nextOffset: end,
            lastStableOffset: end,
            highWatermark: end,
          });
        },
        position: () => position,
        close: () => Promise.resolve(),
      });
    },
  });
  return { client, reads };
}

const member = (id: string, ...partitions: number[]): GroupMember => ({
  ...{ id, host: "/127.0.0.1", partitions },
});

describe("stages", () => {
  const CLUSTER: Cluster = {
    ends: {
      "digits.raw/0": [0, 7],
      "digits.raw/1": [5, 9],
      "digits.desensitized/0": [0, 11],
      "digits.desensitized/1": [0, 31],
      "digits.raw.dead/2": [0, 4],
      "digits.packs.dead/0": [10, 2_010],
      "digits.predictions/0": [0, 3],
      "digits.predictions/3": [2, 9],
    },
    committed: {
      "digits.desensitize/0": 6,
      "digits.desensitize/1": 3,
      "digits.encrypt/0": 10,
      "digits.encrypt/1": 10,
    },
    members: {
      "digits.desensitize": [member("a", 0, 1), member("b", 2, 3), member("c")],
      "digits.encrypt": [member("d", 0)],
    },
    records: {
      "digits.raw.dead/2": [
        { headers: { type: Buffer.from("letter") } },
        {},
        { headers: { [RECEIPT_HEADER]: Buffer.from("replayed") } },
      ],
    },
  };

  it("stand where their groups and logs say: records of raw, and no trailing marker elsewhere", async () => {
    const { client } = clusterClient(CLUSTER);
    const { stages, ledger } = await kafkaStatus(client, SPEC, NOW);
    const [desensitize, encrypt, , aggregate] = stages;
    expect(desensitize?.lanes.map(({ lag }) => lag)).toEqual([1, 4, 0, 0]);
    expect(desensitize?.lanes.map(({ expired }) => expired)).toEqual([0, 2, 0, 0]);
    // A lane that has read everything but the marker of the last transaction has nothing left.
    expect(encrypt?.lanes.map(({ lag }) => lag)).toEqual([0, 20, 0, 0]);
    expect(encrypt?.lanes[2]?.committed).toBeNull();
    expect(aggregate?.lanes).toHaveLength(1);
    // The file pins no identities, so there is nobody to believe.
    expect(ledger).toBeNull();
  });

  it("count dead letters without receipts, and only bound them where there are many", async () => {
    const { client, reads } = clusterClient(CLUSTER);
    const { stages } = await kafkaStatus(client, SPEC, NOW);
    expect(stages.map(({ deadLetters }) => deadLetters)).toEqual([
      { records: 2, isExact: true },
      { records: 0, isExact: true },
      { records: 0, isExact: true },
      { records: 0, isExact: true },
      { records: 1_999, isExact: false },
    ]);
    expect(reads).toEqual(["digits.raw.dead/2"]);
  });

  it("are a table of one line each, with what expired below", async () => {
    const { client } = clusterClient(CLUSTER);
    const lines = statusLines({ ...(await kafkaStatus(client, SPEC, NOW)), processes: null });
    expect(lines).toEqual([
      "stage        group               instances  lanes owned  committed  lag <=  dead letters",
      "desensitize  digits.desensitize          3          4/4          9       5             2",
      "encrypt      digits.encrypt              1          1/4         20      20             0",
      "train        digits.train                0          0/4          0       0             0",
      "aggregate    digits.aggregate            0          0/1          0       0             0",
      "predict      digits.predict              0          0/4          0       0      <= 1,999",
      "desensitize lane 1: retention removed 2 places before they were read",
      "",
      "model       unknown: the pipeline file pins no zone identities yet",
      "predictions at most 8 bundles lie in digits.predictions",
    ]);
  });

  it("leave predict out where nothing is predicted", async () => {
    const spec = loadGood(edited("predict: { packing: auto }", "predict: { encrypted: false }"));
    const report = await kafkaStatus(clusterClient(CLUSTER).client, spec, NOW);
    expect(report.stages.map(({ stage }) => stage)).not.toContain("predict");
    expect(report.predictionBundles).toBeNull();
  });

  it("are missing with their topics", async () => {
    await expect(kafkaStatus(fakeClient(), SPEC, NOW)).rejects.toMatchObject({
      code: "topic-missing",
    });
  });
});

describe("training", () => {
  const own = runConfigHash({ spec: SPEC, network: networkFromSpec(SPEC.features, SPEC.train) });
  const stand = (
    changes: Partial<LedgerEntry>,
    spec = SPEC,
    values = sign(chainOf(1, 2, [changes])),
  ) => trainingStand(spec, verifyLedger(values, options), NOW);
  const report = (ledger: StatusReport["ledger"]): string =>
    statusLines({
      ...{ pipeline: "digits", at: "", stages: [], ledger },
      ...{ predictionBundles: null, processes: null },
    }).join("\n");

  it("goes on with a run of the file's settings, and says what it has cost and for whom", () => {
    const found = stand({ configHash: own });
    expect(found).toMatchObject({
      ...{ entries: 3, faults: 0 },
      model: { runId: "0".repeat(32), version: 2, ageMs: 300_000 },
      privacy: { budget: 3, delta: 1e-5, unit: "record", recordsPerSubject: null },
      training: { status: "goes-on", reason: null },
    });
    expect(found.privacy.epsilon).toBeCloseTo(analyticGaussianEpsilon(2, 1e-5), 12);
    expect(report(found)).toMatch(/model {7}run 00000000, version 2, 5 min old\n/);
    expect(report(found)).toMatch(
      /privacy {5}epsilon 1\.99\d\d of 3 at delta 0\.00001 for each record of digits\.raw\n/,
    );
    expect(report(found)).toContain("training    goes on, as far as the ledger says");
  });

  it("speaks of subjects where the run bounds their records", () => {
    const bounded = { noise: { kind: "independent" }, recordsPerSubject: 2 } as const;
    const found = stand({
      ...{ configHash: own, version: 3, noiseMultiplier: 4, ...bounded },
      ...{ method: "gradient", clipping: "flat" },
    });
    expect(found.privacy).toMatchObject({ unit: "subject", recordsPerSubject: 2 });
    expect(found.privacy.epsilon).toBeCloseTo(analyticGaussianEpsilon(2, 1e-5), 12);
    expect(report(found)).toContain("for each subject of at most 2 records of digits.raw");
  });

  it("waits for a run of other settings while there is budget, and has ended when there is none", () => {
    expect(stand({}).training).toMatchObject({
      status: "waits",
      reason: expect.stringContaining("waits for a run"),
    });
    const poor = { ...SPEC, privacy: { ...SPEC.privacy, epsilon: 1.9 } };
    const ended = stand({}, poor);
    expect(ended.training.status).toBe("ended");
    expect(report(ended)).toMatch(
      /training {4}ended: The privacy budget of digits\.examples is spent/,
    );
  });

  it("has not begun before the first entry", () => {
    const found = stand({}, SPEC, []);
    expect(found).toMatchObject({ model: null, training: { status: "not-begun" } });
    expect(found.privacy.epsilon).toBe(0);
    expect(report(found)).toContain("model       none yet\n");
  });

  it("tells of a ledger that does not hold", () => {
    const [genesis, , second] = sign(chainOf(1, 2, [{ configHash: own }]));
    const found = stand({}, SPEC, [genesis!, second!]);
    expect(found.faults).toBe(1);
    expect(report(found)).toMatch(/ledger {6}1 faults: do not rely on it/);
  });

  it.each([
    [0, "0 s"],
    [119_999, "119 s"],
    [120_000, "2 min"],
    [7_200_000, "2 h"],
    [172_800_000, "2 days"],
  ])("%i ms are %s", (ms, text) => {
    expect(ageText(ms)).toBe(text);
  });
});

describe("processes", () => {
  const closing: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    await Promise.all(closing.splice(0).map((close) => close()));
  });

  async function serve(stage: "train" | "aggregate", notReady: string | null) {
    const metrics = createStageMetrics(stage);
    const server = await startHealthServer({
      ...{ port: 0, host: "127.0.0.1" },
      notReady: () => notReady,
      metrics: metrics.text,
    });
    closing.push(server.close);
    return { metrics, port: server.port };
  }
  const look = async (port: number) => {
    const [stand] = await processStands({
      ...{ host: "127.0.0.1", port, stages: ["predict"], instances: 1 },
    });
    return stand;
  };

  it("say which stage they are, what train runs on, and what validation says", async () => {
    const { metrics, port } = await serve("train", null);
    expect(await look(port)).toMatchObject({ stage: "train", backend: null, validation: null });
    metrics.backend("tfjs-node");
    metrics.validation({ lane: 0, records: 30, correct: 27, drifts: 1 });
    metrics.validation({ lane: 1, records: 10, correct: 9, drifts: 0 });
    const found = await look(port);
    expect(found).toEqual({
      ...{ port, stage: "train", isReady: true, reason: null, backend: "tfjs-node" },
      validation: { records: 40, correct: 36, driftAlarms: 1 },
    });
    const lines = statusLines({
      ...{ pipeline: "digits", at: "", stages: [], ledger: null, predictionBundles: null },
      processes: [found!],
    });
    expect(lines.at(-1)).toBe(
      `${port}  train  yes    backend tfjs-node; validation 90.0 % of 40, 1 drift alarms (not covered by epsilon)`,
    );
  });

  it("say why they are not ready, without what a terminal acts on", async () => {
    const { port } = await serve("aggregate", "spent\u001b[2J");
    const found = await look(port);
    expect(found).toMatchObject({ stage: "aggregate", isReady: false, reason: "spent\\u001b[2J" });
  });

  it("are no answer where somebody else listens, and where nobody does", async () => {
    const server = createServer((_request, response) => response.end("hello")).listen(
      0,
      "127.0.0.1",
    );
    await new Promise((resolve) => server.once("listening", resolve));
    // Because a server that listens on TCP has an AddressInfo.
    const { port } = server.address() as AddressInfo;
    expect(await look(port)).toMatchObject({ stage: "predict", isReady: null });
    await new Promise((resolve) => server.close(resolve));
    expect(await look(port)).toMatchObject({ stage: "predict", isReady: null });
  });

  it("are looked for at the ports that run gives out", async () => {
    const found = await processStands({
      ...{ host: "127.0.0.1", port: 65_530, stages: ["train", "aggregate"], instances: 2 },
    });
    expect(found.map(({ port, stage }) => [port, stage])).toEqual([
      [65_530, "train"],
      [65_531, "train"],
      [65_532, "aggregate"],
      [65_533, "aggregate"],
    ]);
  });

  it.each([
    [{ metricsPort: 0 }],
    [{ metricsPort: 65_534 }],
    [{ metricsPort: "x" }],
    [{ instances: 0 }],
  ])("cannot be named by %j", async (wrong) => {
    const { context } = recordingContext();
    const file = new URL("../../examples/digits/pipeline.yaml", import.meta.url).pathname;
    await expect(status(context, file, wrong)).rejects.toMatchObject({ code: "usage" });
  });
});
