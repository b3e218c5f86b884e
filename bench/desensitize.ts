/**
 * How fast records are desensitized: the WASM kernel, alone and behind its worker, against the same job in plain Node,
 * Benthos (the mapping of Redpanda Connect) and presidio-anonymizer.
 *
 * Records of about 250 bytes with ten fields, four of them sensitive: two pseudonymized, one masked, one replaced. Plain
 * Node is JSON.parse, createHmac with a KeyObject (the fast way) and JSON.stringify. All start from a list of record
 * values and end with bytes; outputs are compared before anything is timed. The peers check no types, we do.
 */
import { createHmac, createSecretKey, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import type { PipelineSpec } from "../pipeline/spec/pipeline-spec.ts";
import { encodePluginConfig } from "../pipeline/stages/desensitize/plugin-config.ts";
import { readRecordSchema } from "../pipeline/stages/desensitize/record-schema.ts";
import { type PluginResult, packBatch, valueAt } from "../pipeline/wasm/columns.ts";
import { createPluginHost } from "../pipeline/wasm/host.ts";
import { createInstance } from "../pipeline/wasm/instance.ts";
import { wasmPath } from "../pipeline/wasm/locate.ts";
import { compilePlugin } from "../pipeline/wasm/module-check.ts";
import { makeRecords, SPEC } from "./desensitize/records.ts";
import { measureStage } from "./desensitize/stage.ts";
import { BENTHOS_VERSION, openKernelPeer, PRESIDIO_VERSION } from "./lib/kernel-peers.ts";
import { type BenchOptions, type BenchOutcome, rowOf } from "./lib/report.ts";
import { measure, type Timed } from "./lib/rounds.ts";

const BATCH_RECORDS = 1000;
const LIMITS = { memoryMaxBytes: 128 * 2 ** 20, deadlineMs: 10_000, maxOutputBytes: 64 * 2 ** 20 };
/** Text, so that it can be handed to any peer. */
const KEY_TEXT = randomBytes(16).toString("hex");
const KEY = Buffer.from(KEY_TEXT);

/** A mask that keeps the first code point; ASCII text, which is nearly all of it, takes the short way. */
function maskInNode(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII is meant
  if (/^[\x00-\x7f]*$/.test(text))
    return text.length < 2 ? "*" : text[0] + "*".repeat(text.length - 1);
  const points = [...text];
  return points[0] + "*".repeat(points.length - 1);
}

/** The job in plain Node. */
function createNodeJob(): (record: Buffer) => Buffer {
  const key = createSecretKey(KEY);
  const pseudonym = (text: string) => createHmac("sha256", key).update(text).digest("hex");
  return (record) => {
    const raw = JSON.parse(record.toString()) as Record<string, unknown>;
    const out: Record<string, unknown> = {};
    for (const field of Object.keys(raw)) {
      const value = raw[field];
      switch (field) {
        case "name":
          out[field] = maskInNode(value as string);
          break;
        case "email":
        case "phone":
          out[field] = pseudonym(value as string);
          break;
        case "note":
          out[field] = "removed";
          break;
        case "formId":
        case "city":
        case "amount":
        case "visits":
        case "member":
        case "scores":
          out[field] = value;
          break;
        default:
          throw new Error("unknown field");
      }
    }
    return Buffer.from(JSON.stringify(out));
  };
}

function assertSame(result: PluginResult, expected: readonly Buffer[]): void {
  const [, values] = result.columns;
  if (values === undefined || result.rowIndex.length !== expected.length)
    throw new Error("rows are missing");
  expected.forEach((bytes, i) => {
    if (!bytes.equals(valueAt(values, i) ?? Buffer.of()))
      throw new Error(`output ${i} is not the same`);
  });
}

/** The same record, whatever the order of its fields. */
function assertSameRecords(outputs: readonly Buffer[], expected: readonly Buffer[]): void {
  expected.forEach((bytes, i) => {
    const theirs: unknown = JSON.parse((outputs[i] ?? Buffer.of()).toString());
    if (!isDeepStrictEqual(theirs, JSON.parse(bytes.toString())))
      throw new Error(`a peer's output ${i} is not the same`);
  });
}

const PEERS = { Benthos: "benthos", "presidio-anonymizer": "presidio" } as const;

/** The peers in other languages that can be had, and the reasons of those that cannot. */
async function openPeers(records: readonly Buffer[], expected: readonly Buffer[]) {
  const opened: (Timed & { close(): void })[] = [];
  const missing: string[] = [];
  for (const [name, recipe] of Object.entries(PEERS)) {
    const peer = await openKernelPeer(recipe, { items: records, key: KEY_TEXT }, console.log);
    if (typeof peer === "string") {
      missing.push(`${name}: ${peer}`);
      continue;
    }
    assertSameRecords(peer.outputs, expected);
    opened.push({ name, turn: (turnMs) => peer.turn(turnMs), close: () => peer.close() });
  }
  return { opened, missing };
}

async function benchRecords(rounds: number, turnMs: number): Promise<BenchOutcome> {
  const module = readFileSync(wasmPath("desensitize"));
  // Because the encoder reads no other part of the spec than these two.
  const spec = SPEC as PipelineSpec;
  const config = encodePluginConfig(spec, readRecordSchema(spec.record.schema), () => KEY);
  const compiled = compilePlugin(module, LIMITS.memoryMaxBytes);
  const instance = createInstance({ module: compiled, config, limits: LIMITS });
  const host = await createPluginHost({ module, config, limits: LIMITS });
  const records = makeRecords(BATCH_RECORDS);
  const inNode = createNodeJob();
  const runKernel = () => instance.transform(packBatch([records], 0, records.length));
  const runHost = () => host.transform([records], records.length);
  const runNode = () => records.map(inNode);

  const expected = runNode();
  assertSame(runKernel(), expected);
  assertSame(await runHost(), expected);

  const { opened, missing } = await openPeers(records, expected);

  const speeds = await measure(
    [
      { name: "kernel", run: runKernel },
      { name: "host", run: runHost },
      { name: "plain Node", run: runNode },
      ...opened,
    ],
    { unitsPerRun: records.length, rounds, turnMs },
  );
  await host.close();
  const bytes = Math.round(records.reduce((sum, { length }) => sum + length, 0) / records.length);
  for (const peer of opened) peer.close();
  const names = ["plain Node", ...opened.map(({ name }) => name)];
  const peers = Object.fromEntries(names.map((name) => [name, speeds.get(name)!]));
  const about = { unit: "records/s", rounds };
  const rows = [
    rowOf({ case: `${bytes}-byte records, kernel`, ...about }, speeds.get("kernel")!, peers),
    rowOf({ case: `${bytes}-byte records, in its worker`, ...about }, speeds.get("host")!, peers),
  ];
  const versions = { Benthos: BENTHOS_VERSION, "presidio-anonymizer": PRESIDIO_VERSION };
  return { packages: ["assemblyscript"], versions, rows, missing };
}

export async function bench({ quick }: BenchOptions): Promise<BenchOutcome> {
  const rounds = quick ? 7 : 21;
  const turnMs = quick ? 120 : 400;
  const kernels = await benchRecords(rounds, turnMs);
  const stage = await measureStage(quick ? 2 : 3, quick ? 200_000 : 1_000_000);
  return { ...kernels, rows: [...kernels.rows, ...stage] };
}
