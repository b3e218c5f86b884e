/** Lines of a byte stream, however it is cut, and the size limits of what is sent. */
import { Readable } from "node:stream";
import { describe, expect, it } from "vitest";
import { produceLines, splitLines } from "../../pipeline/client/produce.ts";
import { chunkByBytes } from "../../pipeline/stream/kafkajs-producer.ts";
import { partitionOf } from "../../pipeline/stream/subject-partition.ts";
import { exampleText, loadGood } from "../spec/fixtures.ts";
import { fakeClient } from "../stream/fake-client.ts";

async function lines(chunks: readonly Uint8Array[], limit = 1_000): Promise<string[]> {
  const found: string[] = [];
  for await (const line of splitLines(Readable.from(chunks), limit)) {
    found.push(Buffer.from(line).toString());
  }
  return found;
}

describe("splitLines", () => {
  it("finds the same lines wherever the stream is cut, across characters too", async () => {
    const text = Buffer.from('{"a":"ä"}\n\n{"b":"手書き"}\r\nno end');
    const expected = ['{"a":"ä"}', '{"b":"手書き"}', "no end"];
    for (let cut = 0; cut <= text.length; cut += 1) {
      expect(await lines([text.subarray(0, cut), text.subarray(cut)])).toEqual(expected);
    }
    expect(await lines([...text].map((byte) => Buffer.of(byte)))).toEqual(expected);
  });

  it("refuses a line that no record can hold", async () => {
    await expect(lines([Buffer.alloc(500, 65), Buffer.alloc(501, 65)])).rejects.toMatchObject({
      code: "limit-exceeded",
    });
    expect((await lines([Buffer.alloc(500, 65), Buffer.alloc(500, 65)]))[0]?.length).toBe(1_000);
  });
});

describe("chunkByBytes", () => {
  const record = (bytes: number) => ({ key: null, value: new Uint8Array(bytes) });
  const total = (chunk: readonly { value: Uint8Array | null }[]) =>
    chunk.reduce((sum, { value }) => sum + (value?.byteLength ?? 0), 0);

  it("keeps every request below Kafka's default message limit and loses nothing", () => {
    const records = Array.from({ length: 500 }, (_, index) => record((index * 7_919) % 300_000));
    const chunks = chunkByBytes(records);
    expect(chunks.flat()).toEqual(records);
    expect(Math.max(...chunks.map(total))).toBeLessThan(1_048_588 - 61);
  });

  it("sends a record above the limit alone, for the broker to judge", () => {
    expect(
      chunkByBytes([record(10), record(2_000_000), record(10)]).map((chunk) => chunk.length),
    ).toEqual([1, 1, 1]);
    expect(chunkByBytes([])).toEqual([]);
  });
});

describe("where lines go", () => {
  const lines = [
    '{"formId":"1","email":"a@b.c"}',
    '{"formId":"2","email":"jürgen"}',
    '{"formId":"3"}',
    '{"formId":"4","email":7}',
    "no JSON",
    '{"formId":"5","email":""}',
  ];

  async function placed(partitioner: "none" | "subject") {
    const sent: string[] = [];
    const client = fakeClient({
      createPlainProducer: () =>
        Promise.resolve({
          send: async (_topic, records) =>
            void sent.push(
              ...records.map(
                ({ key, partition }) => `${key === null ? "-" : Buffer.from(key)} ${partition}`,
              ),
            ),
          close: () => Promise.resolve(),
        }),
    });
    const spec = loadGood(exampleText);
    await produceLines({
      client,
      spec: { ...spec, record: { ...spec.record, partitioner } },
      input: Readable.from([Buffer.from(lines.join("\n"))]),
      signal: new AbortController().signal,
      onProgress: () => undefined,
    });
    return sent;
  }

  it("is their subject's partition where raw is partitioned by it, computed here", async () => {
    const murmur = (name: string) => partitionOf(Buffer.from(name), 4);
    expect(await placed("subject")).toEqual([
      `a@b.c ${murmur("a@b.c")}`,
      `jürgen ${murmur("jürgen")}`,
      ...["- 0", "- 1", "- 2", "- 3"],
    ]);
  });

  it("is the client's choice by subject or id elsewhere, and their turn without either", async () => {
    expect(await placed("none")).toEqual([
      ...["a@b.c null", "jürgen null", "3 null", "7 null", "- 0", " null"],
    ]);
  });
});
