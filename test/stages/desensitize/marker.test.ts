/**
 * Random markers in sensitive values through a whole lane with the real plugin in its worker and a Kafka of arrays:
 * nothing that the lane writes, logs, counts or says holds one, in any form.
 *
 * Dead letters are sealed by the real sealer. A marker may come up by chance in digests and ciphertexts: what counts is a
 * record whose marker comes out in two runs with different markers.
 */
import { readFileSync } from "node:fs";
import { afterEach, expect, test, vi } from "vitest";
import { createDeadLetterSealer } from "../../../pipeline/commands/dead-letter-sealer.ts";
import type { KeyDirectory } from "../../../pipeline/crypto/directory.ts";
import { createRecipient, createUnwrapKey } from "../../../pipeline/crypto/wrap/key-wrap.ts";
import { createStageMetrics } from "../../../pipeline/observe/metrics.ts";
import { ProgressCounter, progressLine } from "../../../pipeline/observe/progress.ts";
import type { ClusterOptions, DesensitizeRule } from "../../../pipeline/spec/pipeline-spec.ts";
import { createDesensitizeStage } from "../../../pipeline/stages/desensitize/stage.ts";
import type { StreamRecord } from "../../../pipeline/stream/contract.ts";
import { startLane } from "../../../pipeline/stream/lane.ts";
import type { Logger, ProducerRecord } from "../../../pipeline/stream/port.ts";
import { wasmPath } from "../../../pipeline/wasm/locate.ts";
import { breakDocument } from "../../fuzz/broken.ts";
import { spelled } from "../../fuzz/documents.ts";
import {
  decodeEscapes,
  findMarker,
  MARKER_KINDS,
  markedText,
  randomMarker,
} from "../../fuzz/markers.ts";
import { openChangelog } from "../../lib/kafka.ts";
import { createRandom, type Random } from "../../plugins/desensitize/random.ts";
import { fakeClient, idleProducer, idleReader } from "../../stream/fake-client.ts";
import { secrets, specWith } from "./fixtures.ts";

const RECORDS = 200;
const WINDOW = 50;
const key = { env: "PSEUDONYM_KEY" };
const token = { kind: "token", with: "[{type}]" } as const;
const secretPattern = { name: "secret", pattern: "<[^>]{1,40}>" };
const TABLE = { table: [["a", "b"]], unknown: "*" } as const;

const PLAIN: readonly DesensitizeRule[] = [
  { field: "id", action: "keep" },
  { field: "who", action: "pseudonymize", key, keyId: "k1" },
  { field: "short", action: "pseudonymize", key, form: { encoding: "base64url", bits: 64 } },
  { field: "gone", action: "drop" },
  { field: "fixed", action: "replace", with: "-" },
  { field: "masked", action: "mask", keepFirst: 1, keepLast: 2, with: "*" },
  { field: "hashed", action: "hash" },
  { field: "range", action: "generalize", to: { width: 10 } },
  { field: "bounds", action: "generalize", to: { bounds: [18, 65] } },
  { field: "month", action: "generalize", to: { date: "month" } },
  { field: "start", action: "generalize", to: { prefix: 2 } },
  { field: "level", action: "generalize", to: TABLE },
  { field: "picked", action: "pick", from: ["Ada", "Bob"], key },
  { field: "faked", action: "fake", key },
  { field: "account", action: "fpe", key, alphabet: "0123456789", tweak: "a" },
  { field: "noisy", action: "perturb", key, noise: "laplace", scale: 1, within: 5, decimals: 2 },
  { field: "text", action: "redact", detectors: ["email", secretPattern], replacement: token },
  { field: "in.ner", action: "hash" },
  { field: "list[].v", action: "mask", keepFirst: 0, keepLast: 0, with: "x" },
  { field: "tags[]", action: "pseudonymize", key },
];
const CLUSTER: ClusterOptions = {
  ...{ k: 2, windowRecords: WINDOW, maxDelayMs: 100, method: "mondrian", acrossWindows: "nested" },
  ...{ publish: "range", whenTooFew: "suppress", suppressUpTo: 0 },
  sensitive: { field: "masked", lDiversity: 2, tCloseness: null },
};
const GROUPED: readonly DesensitizeRule[] = [
  ...PLAIN.filter(({ field }) => !["range", "month"].includes(field)),
  {
    field: "range",
    action: "cluster",
    domain: { kind: "number", range: [0, 99] },
    cluster: CLUSTER,
  },
  {
    ...{ field: "month", action: "cluster", cluster: CLUSTER },
    domain: { kind: "date", range: ["2026-01-01", "2026-12-31"] },
  },
];
const LEAKING: readonly DesensitizeRule[] = PLAIN.map((rule) =>
  rule.field === "gone" ? { field: "gone", action: "keep" } : rule,
);
const NAMES = [...new Set(PLAIN.map(({ field }) => field.replace(/[.[].*/, ""))), "unruled"];

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  vi.restoreAllMocks();
  for (const close of closing.splice(0)) await close();
});

/** A value with the marker for a field; for those whose rule lets all of a value out, one without. */
function plantedValue(rule: DesensitizeRule, marker: string, random: Random): string {
  const { field } = rule;
  const isDigits = /^[0-9]+$/.test(marker);
  const digits = (before: string, behind = ""): string =>
    `${before}.${isDigits ? marker : 0}${behind}`;
  if (field === "range") return digits(String(random.int(99)));
  if (field === "month") return JSON.stringify(digits("2026-11-05T10:00:00", "Z"));
  if (field === "noisy") return "7";
  if (field === "gone") return spelled(marker, random, random.pick([0, 0.3, 1]));
  if (field === "id") return `"${random.int(1e6)}"`;
  const fallback = field === "account" ? "123456" : "41";
  return spelled(markedText(rule, marker) ?? fallback, random, random.pick([0, 0.3, 1]));
}

/** @param isBroken what a detector finds may be broken too: then nothing is planted there */
function recordText(
  rules: readonly DesensitizeRule[],
  marker: string,
  random: Random,
  isBroken: boolean,
): string {
  const members = rules.map((rule) => {
    const isLost = isBroken && rule.action === "redact";
    const value = isLost ? '"of no interest"' : plantedValue(rule, marker, random);
    if (rule.field === "in.ner") return `"in":{"${marker}":${value},"ner":${value}}`;
    if (rule.field === "list[].v") return `"list":[{"v":${value},"${marker}":1},{"w":${value}}]`;
    return rule.field === "tags[]" ? `"tags":[${value}]` : `"${rule.field}":${value}`;
  });
  // Fields without a rule, and now and then one that nobody knows.
  members.push(`"unruled":["${marker}"]`);
  if (random.chance(0.1)) members.push(`"${marker}":"${marker}"`);
  return `{${members.join(",")}}`;
}

interface Planted {
  readonly markers: readonly string[];
  readonly records: readonly StreamRecord[];
}

/** Records, a third of them broken; with another salt the same with other markers. */
function plant(rules: readonly DesensitizeRule[], seed: number, salt: number): Planted {
  const random = createRandom(seed);
  const others = createRandom(seed + salt);
  const markers: string[] = [];
  const records = Array.from({ length: RECORDS }, (_, i): StreamRecord => {
    const marker = randomMarker(random.pick(MARKER_KINDS), others);
    markers.push(marker);
    const isBroken = random.chance(0.33);
    const whole = Buffer.from(recordText(rules, marker, random, isBroken));
    const value = isBroken ? breakDocument(whole, random) : whole;
    const bytes = Buffer.from(marker);
    const headers = { trace: bytes, "sealstream-replays": bytes };
    return { offset: i, timestampMs: 1_700_000_000_000, key: bytes, value, headers };
  });
  return { markers, records };
}

/** Everything that a lane said: what it wrote, and what it told a log, the metrics and a person. */
async function everything(rules: readonly DesensitizeRule[], records: readonly StreamRecord[]) {
  const said: string[] = [];
  const count = { outputs: 0, dead: 0 };
  const say = (...parts: unknown[]): void => void said.push(JSON.stringify(parts));
  const write = (bytes: Uint8Array | null | undefined): void => {
    if (bytes !== null && bytes !== undefined) said.push(Buffer.from(bytes).toString());
  };
  for (const stream of [process.stdout, process.stderr]) {
    vi.spyOn(stream, "write").mockImplementation((text) => said.push(String(text)) > 0);
  }
  const logger: Logger = { debug: say, info: say, warn: say, error: say };
  const metrics = createStageMetrics("desensitize");
  const counter = new ProgressCounter("desensitize", 1);
  const schema = { type: "object", properties: Object.fromEntries(NAMES.map((n) => [n, {}])) };
  const stage = createDesensitizeStage({
    spec: specWith({ schema, rules, id: "id", subject: "who", maxBytes: 100_000 }),
    ...{ secrets, wasm: readFileSync(wasmPath("desensitize")) },
    onWindow: ({ lane, quality, delayMs }) => {
      metrics.window({ ...quality, lane, delayMs });
      logger.info({ lane, delayMs, ...quality }, "a window was grouped");
    },
  });
  const send = async (topic: string, _: number, sent: readonly ProducerRecord[]): Promise<void> => {
    if (topic.endsWith(".dead")) count.dead += sent.length;
    else if (topic.endsWith(".desensitized")) count.outputs += sent.length;
    for (const { key: name, value, headers } of sent) {
      write(name);
      write(value);
      for (const [header, bytes] of Object.entries(headers ?? {})) {
        said.push(header);
        write(bytes);
      }
    }
  };
  let done = 0;
  const rest = [
    { records, nextOffset: RECORDS, lastStableOffset: RECORDS, highWatermark: RECORDS },
  ];
  const fetch = () => Promise.resolve(rest.shift() ?? new Promise<never>(() => undefined));
  const owner = createUnwrapKey("owner-dead-letter", Buffer.alloc(32, 7));
  const recipient = createRecipient("owner-dead-letter", owner.publicKey);
  const directory = { recipient: () => recipient };
  await new Promise<void>((resolve, reject) => {
    const lane = startLane({
      client: fakeClient({
        createReader: () => Promise.resolve({ ...idleReader, fetch, position: () => RECORDS }),
        createLaneProducer: () => Promise.resolve({ ...idleProducer, send }),
      }),
      ...{ pipeline: "p", stage, lane: 0, changelog: openChangelog, logger, skipsExpired: false },
      // Because a sealer asks its directory for the recipient and nothing else.
      sealDeadLetter: createDeadLetterSealer(directory as unknown as KeyDirectory, "desensitize"),
      clock: () => Date.now(),
      transactionIntervalMs: 0,
      onProgress: (progress) => {
        say(progress);
        metrics.record(progress);
        counter.record(progress);
        done += progress.records;
        if (done === records.length) resolve();
      },
      judge: () => null,
      onFailure: (code) => reject(new Error(code)),
      onFatal: reject,
    });
    closing.push(async () => {
      await lane.stop();
      await stage.close?.();
    });
  });
  for (const close of closing.splice(0)) await close();
  said.push(progressLine(counter.report({ rssBytes: 1, rssMaxBytes: 1 })), await metrics.text());
  return { text: said.join("\n"), count };
}

/** Records whose markers came out, by their number. */
async function leaks(rules: readonly DesensitizeRule[], seed: number, salt: number) {
  const { markers, records } = plant(rules, seed, salt);
  const { text, count } = await everything(rules, records);
  const decoded = decodeEscapes(text);
  const leaked = markers.flatMap((marker, i) =>
    findMarker(marker, text, decoded) === null ? [] : [i],
  );
  return { leaked, count };
}

test.each([
  ["single records", PLAIN],
  ["records that are grouped", GROUPED],
])("%s: no marker comes out of a lane", async (_, rules) => {
  const { seed } = createRandom();
  const first = await leaks(rules, seed, 1);
  const second = await leaks(rules, seed, 2);
  expect(
    first.leaked.filter((i) => second.leaked.includes(i)),
    `seed ${seed}`,
  ).toEqual([]);
  // Worth something only if many leave and many are refused; and none is lost.
  expect(first.count.outputs, `seed ${seed}`).toBeGreaterThan(RECORDS / 4);
  expect(first.count.dead, `seed ${seed}`).toBeGreaterThan(RECORDS / 20);
  expect(first.count.outputs + first.count.dead).toBe(RECORDS);
});

test("the search finds the markers of a field that is kept", async () => {
  const { seed } = createRandom();
  const { leaked, count } = await leaks(LEAKING, seed, 1);
  expect(leaked.length, `seed ${seed}`).toBeGreaterThan(count.outputs * 0.9);
});
