/**
 * How fast records are desensitized: the WASM kernel, alone and behind its worker, against the same job in plain Node.
 *
 * Records of about 250 bytes with ten fields, four of them sensitive: two pseudonymized, one masked, one replaced. Plain
 * Node is JSON.parse, createHmac with a KeyObject (the fast way) and JSON.stringify. Both start from a list of record
 * values and end with bytes; outputs are compared before anything is timed.
 */
import { createHmac, createSecretKey, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { faker } from "@faker-js/faker";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import type { PipelineSpec } from "../pipeline/spec/pipeline-spec.ts";
import { encodePluginConfig } from "../pipeline/stages/desensitize/plugin-config.ts";
import { readRecordSchema } from "../pipeline/stages/desensitize/record-schema.ts";
import { type PluginResult, packBatch, valueAt } from "../pipeline/wasm/columns.ts";
import { createPluginHost } from "../pipeline/wasm/host.ts";
import { createInstance } from "../pipeline/wasm/instance.ts";
import { wasmPath } from "../pipeline/wasm/locate.ts";
import { compilePlugin } from "../pipeline/wasm/module-check.ts";
import { type BenchOptions, type BenchOutcome, type BenchRow, rowOf } from "./lib/report.ts";
import { measure } from "./lib/rounds.ts";
import { createHmacKernel } from "./lib/wasm-hmac.ts";

const BATCH_RECORDS = 1000;
const LIMITS = { memoryMaxBytes: 128 * 2 ** 20, deadlineMs: 10_000, maxOutputBytes: 64 * 2 ** 20 };
const KEY = randomBytes(32);

const STRING = { type: "string" };
const SPEC: Pick<PipelineSpec, "record" | "desensitize"> = {
  record: {
    id: "formId",
    subject: null,
    maxBytes: 65536,
    schema: {
      type: "object",
      properties: {
        formId: STRING,
        name: STRING,
        email: STRING,
        phone: STRING,
        note: STRING,
        city: STRING,
        amount: { type: "number" },
        visits: { type: "integer" },
        member: { type: "boolean" },
        scores: { type: "array" },
      },
      required: ["formId"],
    },
  },
  desensitize: [
    { field: "formId", action: "keep" },
    { field: "name", action: "mask", keepFirst: 1, keepLast: 0, with: "*" },
    { field: "email", action: "pseudonymize", key: { env: "KEY" } },
    { field: "phone", action: "pseudonymize", key: { env: "KEY" } },
    { field: "note", action: "replace", with: "removed" },
    { field: "city", action: "keep" },
    { field: "amount", action: "keep" },
    { field: "visits", action: "keep" },
    { field: "member", action: "keep" },
    { field: "scores", action: "keep" },
  ],
};

/** One batch of made-up records, the same in every run. */
function makeRecords(): Buffer[] {
  faker.seed(3);
  return Array.from({ length: BATCH_RECORDS }, (_, i) =>
    Buffer.from(
      JSON.stringify({
        formId: `form-${100_000 + i}`,
        name: faker.person.fullName(),
        email: faker.internet.email(),
        phone: faker.phone.number({ style: "international" }),
        note: faker.lorem.sentence({ min: 7, max: 9 }),
        city: faker.location.city(),
        amount: faker.number.int({ min: 0, max: 99_999 }) / 100,
        visits: faker.number.int({ min: 0, max: 500 }),
        member: i % 3 === 0,
        scores: [i % 7, i % 5, i % 11],
      }),
    ),
  );
}

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

async function benchRecords(rounds: number, turnMs: number): Promise<BenchRow[]> {
  const module = readFileSync(wasmPath("desensitize"));
  // Because the encoder reads no other part of the spec than these two.
  const spec = SPEC as PipelineSpec;
  const config = encodePluginConfig(spec, readRecordSchema(spec.record.schema), () => KEY);
  const compiled = compilePlugin(module, LIMITS.memoryMaxBytes);
  const instance = createInstance({ module: compiled, config, limits: LIMITS });
  const host = await createPluginHost({ module, config, limits: LIMITS });
  const records = makeRecords();
  const inNode = createNodeJob();
  const runKernel = () => instance.transform(packBatch([records], 0, records.length));
  const runHost = () => host.transform([records], records.length);
  const runNode = () => records.map(inNode);

  const expected = runNode();
  assertSame(runKernel(), expected);
  assertSame(await runHost(), expected);

  const speeds = await measure(
    [
      { name: "kernel", run: runKernel },
      { name: "host", run: runHost },
      { name: "node", run: runNode },
    ],
    { unitsPerRun: records.length, rounds, turnMs },
  );
  await host.close();
  const bytes = Math.round(records.reduce((sum, { length }) => sum + length, 0) / records.length);
  const peers = { "plain Node": speeds.get("node")! };
  const about = { unit: "records/s", rounds };
  return [
    rowOf({ case: `${bytes}-byte records, kernel`, ...about }, speeds.get("kernel")!, peers),
    rowOf({ case: `${bytes}-byte records, in its worker`, ...about }, speeds.get("host")!, peers),
  ];
}

async function benchHmac(rounds: number, turnMs: number): Promise<BenchRow[]> {
  const fields = Array.from({ length: 10_000 }, (_, i) => Buffer.from(randomBytes(16 + (i % 49))));
  const kernel = createHmacKernel(readFileSync(wasmPath("desensitize")), KEY);
  const key = createSecretKey(KEY);
  const midstate = hmac.create(sha256, KEY);
  const inNode = (field: Buffer) => createHmac("sha256", key).update(field).digest("hex");
  const inNoble = (field: Buffer) => bytesToHex(midstate.clone().update(field).digest());
  const first = kernel(fields);
  fields.forEach((field, i) => {
    const ours = Buffer.from(first.subarray(64 * i, 64 * i + 64)).toString();
    if (ours !== inNode(field) || ours !== inNoble(field))
      throw new Error(`digest ${i} is not the same`);
  });
  const speeds = await measure(
    [
      { name: "wasm", run: () => kernel(fields) },
      { name: "node", run: () => fields.map(inNode) },
      { name: "noble", run: () => fields.map(inNoble) },
    ],
    { unitsPerRun: fields.length, rounds, turnMs },
  );
  return [
    rowOf(
      { case: "HMAC-SHA-256 of 16..64 bytes, hex", unit: "fields/s", rounds },
      speeds.get("wasm")!,
      {
        "node createHmac, KeyObject": speeds.get("node")!,
        "@noble/hashes, cloned midstate": speeds.get("noble")!,
      },
    ),
  ];
}

export async function bench({ quick }: BenchOptions): Promise<BenchOutcome> {
  const rounds = quick ? 7 : 21;
  const turnMs = quick ? 120 : 400;
  const rows = [...(await benchRecords(rounds, turnMs)), ...(await benchHmac(rounds, turnMs))];
  return { packages: ["@noble/hashes", "assemblyscript"], rows };
}
