/** Metrics, health and progress: what they show, and that it is counts and codes only. */
import { describe, expect, it } from "vitest";
import { startHealthServer } from "../../pipeline/observe/health.ts";
import { createStageMetrics } from "../../pipeline/observe/metrics.ts";
import { ProgressCounter, progressLine } from "../../pipeline/observe/progress.ts";
import type { LaneProgress } from "../../pipeline/stream/lane-options.ts";

const progress = (overrides: Partial<LaneProgress> = {}): LaneProgress => ({
  lane: 0,
  records: 10,
  outputs: 9,
  deadLetters: 1,
  reasons: ["schema"],
  drops: [],
  position: 10,
  lag: 5,
  processMs: 250,
  commitMs: 8,
  latencyMs: 30,
  ...overrides,
});
const memory = { rssBytes: 100 * 2 ** 20, rssMaxBytes: 200 * 2 ** 20 };

describe("metrics", () => {
  it("counts records, outputs, dead letters by reason, and lag by lane", async () => {
    const metrics = createStageMetrics("encrypt");
    metrics.record(progress());
    metrics.record(progress({ lane: 1, lag: 7, reasons: ["schema", "too-large"] }));
    metrics.record(progress({ lane: 2, drops: ["subject-limit", "subject-limit"] }));
    const text = await metrics.text();
    expect(text).toMatch(
      /sealstream_dropped_records\{lane="2",reason="subject-limit",stage="encrypt"\} 2/,
    );
    expect(text).toMatch(/messaging_client_consumed_messages\{lane="0",stage="encrypt"\} 10/);
    expect(text).toMatch(
      /sealstream_dead_letters\{lane="1",reason="too-large",stage="encrypt"\} 1/,
    );
    expect(text).toMatch(/kafka_consumergroup_lag\{lane="1",stage="encrypt"\} 7/);
  });

  it("names the backend of train, once it has one", async () => {
    const metrics = createStageMetrics("train");
    expect(await metrics.text()).not.toMatch(/sealstream_train/);
    metrics.backend("wasm");
    expect(await metrics.text()).toMatch(
      /^sealstream_train_backend_info\{backend="wasm",stage="train"\} 1$/m,
    );
  });

  it("shows what windows of grouped records are like, once there are any", async () => {
    const metrics = createStageMetrics("desensitize");
    expect(await metrics.text()).not.toMatch(/sealstream_cluster/);
    const window = {
      lane: 2,
      rows: 100,
      suppressed: 3,
      generalized: 0,
      smallestGroup: 5,
      ncp: 0.25,
      discernibility: 900,
      delayMs: 40,
    };
    metrics.window(window);
    metrics.window({ ...window, rows: 4, suppressed: 4, smallestGroup: null, ncp: 1 });
    const text = await metrics.text();
    expect(text).toMatch(/sealstream_cluster_windows\{lane="2",stage="desensitize"\} 2/);
    expect(text).toMatch(
      /sealstream_cluster_records\{lane="2",outcome="grouped",stage="desensitize"\} 97/,
    );
    expect(text).toMatch(
      /sealstream_cluster_records\{lane="2",outcome="suppressed",stage="desensitize"\} 7/,
    );
    // The last window had no group: the smallest is that of the one before.
    expect(text).toMatch(/sealstream_cluster_smallest_group\{lane="2",stage="desensitize"\} 5/);
    expect(text).toMatch(/sealstream_cluster_ncp\{lane="2",stage="desensitize"\} 1/);
    expect(text).toMatch(
      /sealstream_cluster_delay_milliseconds_count\{stage="desensitize",lane="2"\} 2/,
    );
  });

  it("shows how long records were under way and how long commits take", async () => {
    const metrics = createStageMetrics("encrypt");
    metrics.record(progress({ latencyMs: 30, commitMs: 8 }));
    metrics.record(progress({ latencyMs: null, records: 0 }));
    const text = await metrics.text();
    expect(text).toMatch(
      /sealstream_record_latency_milliseconds_bucket\{le="50",stage="encrypt",lane="0"\} 1/,
    );
    expect(text).toMatch(
      /sealstream_record_latency_milliseconds_count\{stage="encrypt",lane="0"\} 1/,
    );
    expect(text).toMatch(
      /sealstream_commit_duration_milliseconds_bucket\{le="10",stage="encrypt",lane="0"\} 2/,
    );
  });
});

describe("health", () => {
  it("answers ping, ready and metrics, and nothing else", async () => {
    let reason: string | null = "starting";
    const server = await startHealthServer({
      port: 0,
      host: "127.0.0.1",
      notReady: () => reason,
      metrics: () => Promise.resolve("m 1\n"),
    });
    const get = async (path: string) => {
      const response = await fetch(`http://127.0.0.1:${server.port}${path}`);
      return [response.status, await response.text()];
    };
    expect(await get("/ping")).toEqual([200, "pong\n"]);
    expect(await get("/ready")).toEqual([503, "starting\n"]);
    reason = null;
    expect(await get("/ready")).toEqual([200, "ready\n"]);
    expect(await get("/metrics")).toEqual([200, "m 1\n"]);
    expect((await get("/secrets"))[0]).toBe(404);
    await server.close();
  });
});

describe("progress", () => {
  it("adds up lanes and forgets the lag of lanes that went elsewhere", () => {
    const counter = new ProgressCounter("train", 1);
    counter.assign([0, 1]);
    counter.record(progress());
    counter.record(progress({ lane: 1, lag: 3 }));
    counter.note("model", 4);
    const report = counter.report(memory);
    expect(report).toMatchObject({
      lanes: 2,
      records: 20,
      outputs: 18,
      deadLetters: 2,
      lag: 8,
      busySeconds: 0.5,
    });
    expect(progressLine(report)).toMatch(/^train#1 +20 records +lag 8 +dead 2 +100 MB +model 4$/);
    counter.note("model", null);
    expect(progressLine(counter.report(memory))).toMatch(/100 MB$/);
    counter.assign([0]);
    // Its last step, finished after the lane went elsewhere.
    counter.record(progress({ lane: 1, records: 0, outputs: 0, deadLetters: 0, processMs: 0 }));
    expect(counter.report(memory)).toMatchObject({ lanes: 1, lag: 0, records: 20 });
  });
});
