/** Chunks and bundles: joined only when complete and signed, whatever stands between their records. */
import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import {
  type BundleRecord,
  createBundle,
  type LaneRecord,
  laneRecordBytes,
  type ReadBundlesOptions,
  readBundles,
} from "../../pipeline/crypto/bundle.ts";
import { joinChunks, sha256, splitIntoChunks } from "../../pipeline/crypto/chunks.ts";
import { bytesOf, freshSigner, hexOf, survivors, utf8 } from "./fixtures.ts";

const signer = freshSigner("owner-signing");
const stranger = freshSigner("owner-signing");
const context = "sealstream/packs/v1|digits|0";
const MAX = 10_000;

function make(id: number, sizes: number[], options: { by?: typeof signer; context?: string } = {}) {
  const parts = sizes.map((size) => new Uint8Array(randomBytes(size)));
  const bundleId = new Uint8Array(16).fill(id);
  const records = createBundle({
    context: options.context ?? context,
    bundleId,
    parts,
    fields: { sequence: id, note: "n", ids: utf8("sealed") },
    signer: options.by ?? signer,
    maxChunkBytes: 100,
  });
  return { bundleId, parts, records };
}

function at(records: readonly BundleRecord[], from = 0): LaneRecord[] {
  return records.map((record, i) => ({ ...record, offset: from + i }));
}

type Extra = Partial<ReadBundlesOptions> & { max?: number; wait?: boolean };

function read(records: readonly LaneRecord[], { max, wait, ...more }: Extra = {}) {
  return readBundles(records, {
    context,
    findSigner: (kid) => (hexOf(kid) === hexOf(signer.kid) ? signer : null),
    maxBundleBytes: max ?? MAX,
    waitForSigner: () => wait === true,
    ...more,
  });
}

/** A chunk of a bundle that nobody finishes; `id` null: an id of its own. */
function foreign(bytes = 1, id: Uint8Array | null = null): Omit<LaneRecord, "offset"> {
  const bundleId = id ?? randomBytes(16);
  const key = new Uint8Array(Buffer.concat([bundleId, new Uint8Array(4)]));
  return { key, value: new Uint8Array(bytes), headers: { "sealstream-type": utf8("chunk") } };
}

function inOrder(records: readonly Omit<LaneRecord, "offset">[], from = 0): LaneRecord[] {
  return records.map((record, index) => ({ ...record, offset: from + index }));
}

/** `more` before each record but the first. */
function between(
  records: readonly BundleRecord[],
  more: () => readonly Omit<LaneRecord, "offset">[],
): LaneRecord[] {
  return inOrder(records.flatMap((record, i) => (i === 0 ? [record] : [...more(), record])));
}

describe("chunks", () => {
  test("are split and joined at every boundary", () => {
    for (const length of [0, 1, 99, 100, 101, 199, 200, 201, 1000]) {
      const bytes = new Uint8Array(randomBytes(length));
      const chunks = splitIntoChunks(bytes, 100);
      expect(chunks.length).toBe(Math.ceil(length / 100));
      const held = new Map(chunks.map((chunk) => [hexOf(chunk.hash), chunk.bytes]));
      const hashes = chunks.map((chunk) => chunk.hash);
      const lookup = (hash: Uint8Array) => held.get(hexOf(hash)) ?? null;
      expect(joinChunks({ hashes, lookup, bytes: length })).toEqual(bytes);
      expect(joinChunks({ hashes, lookup, bytes: length + 1 })).toBeNull();
      if (length > 0) {
        expect(joinChunks({ hashes, lookup, bytes: length - 1 })).toBeNull();
        expect(joinChunks({ hashes, lookup: () => null, bytes: length })).toBeNull();
        expect(joinChunks({ hashes, lookup: () => utf8("x"), bytes: length })).toBeNull();
      }
    }
    expect(() => splitIntoChunks(new Uint8Array(1), 0)).toThrow();
  });
});

describe("createBundle", () => {
  test("writes chunks, then the manifest, named as the grammar says", () => {
    const { bundleId, parts, records } = make(7, [250, 100]);
    const id = hexOf(bundleId);
    expect(records.map((record) => hexOf(record.key))).toEqual([
      `${id}00000000`,
      `${id}00000001`,
      `${id}00000002`,
      `${id}00000003`,
      id,
    ]);
    expect(
      records.map((record) => Buffer.from(record.headers["sealstream-type"]!).toString()),
    ).toEqual(["chunk", "chunk", "chunk", "chunk", "manifest"]);
    const manifest = hexOf(records[4]!.value);
    for (const part of splitIntoChunks(parts[0]!, 100))
      expect(manifest).toContain(hexOf(part.hash));
  });

  test("refuses no part, an empty part and a wrong id", () => {
    const base = { context, fields: {}, signer, maxChunkBytes: 10 };
    const internal = expect.objectContaining({ code: "internal" });
    const bundleId = new Uint8Array(16);
    expect(() => createBundle({ ...base, bundleId, parts: [] })).toThrow(internal);
    expect(() => createBundle({ ...base, bundleId, parts: [new Uint8Array(0)] })).toThrow(internal);
    expect(() =>
      createBundle({ ...base, bundleId: new Uint8Array(15), parts: [utf8("x")] }),
    ).toThrow(internal);
  });
});

describe("readBundles", () => {
  test("finds bundles in order, with fields, parts and places", () => {
    const one = make(1, [250, 1]);
    const two = make(2, [100]);
    const result = read([...at(one.records, 10), ...at(two.records, 20)]);
    expect(result.bundles.map((b) => [b.fromOffset, b.toOffset])).toEqual([
      [10, 15],
      [20, 22],
    ]);
    expect(result.bundles[0]).toMatchObject({
      bundleId: one.bundleId,
      fields: { sequence: 1, note: "n", ids: utf8("sealed") },
      parts: one.parts,
      kid: signer.kid,
    });
    expect(result).toMatchObject({ refused: [], pendingFrom: null, consumedTo: 22 });
  });

  test("waits for what is unfinished, record by record, and ends the same", () => {
    const one = make(1, [250]);
    const two = make(2, [350]);
    const records = [...at(one.records, 0), ...at(two.records, 5)];
    // [bundles, pendingFrom, consumedTo] after each number of records
    const expected = [
      [0, null, null],
      [0, 0, null],
      [0, 0, null],
      [0, 0, null],
      [1, null, 4],
      [1, 5, 5],
      [1, 5, 5],
      [1, 5, 5],
      [1, 5, 5],
      [2, null, 10],
    ];
    const seen = expected.map((_, count) => {
      const result = read(records.slice(0, count));
      expect(result.refused).toEqual([]);
      return [result.bundles.length, result.pendingFrom, result.consumedTo];
    });
    expect(seen).toEqual(expected);
    expect(records.length).toBe(expected.length - 1);
    const rest = read(records.slice(4));
    expect(rest.bundles.map((b) => b.fields["sequence"])).toEqual([2]);
  });

  test("refuses what was never finished once a later bundle is complete", () => {
    const lost = make(1, [350]).records.slice(0, 3);
    const other = make(3, [250]).records.slice(1, 2);
    const good = make(2, [150]);
    const result = read([...at(lost, 0), ...at(other, 3), ...at(good.records, 4)]);
    expect(result.bundles.map((b) => b.fromOffset)).toEqual([4]);
    expect(result.refused.map((r) => [r.offset, r.reason])).toEqual([
      [0, "pack-incomplete"],
      [1, "pack-incomplete"],
      [2, "pack-incomplete"],
      [3, "pack-incomplete"],
    ]);
    expect(result).toMatchObject({ pendingFrom: null, consumedTo: 7 });
  });

  test("completes a bundle although others' records and junk stand between its own", () => {
    const good = make(1, [350]);
    const lost = make(2, [350]).records;
    const forgedChunk = { ...good.records[0]!, value: utf8("not the chunk") };
    const forgedManifest = make(1, [50], { by: stranger }).records.at(-1)!;
    const junk = { key: null, value: utf8("x"), headers: {} };
    const mixed = [
      good.records[0]!,
      lost[0]!,
      forgedChunk,
      good.records[1]!,
      junk,
      forgedManifest,
      good.records[3]!,
      good.records[2]!,
      lost[1]!,
      good.records[4]!,
    ].map((record, offset) => ({ ...record, offset }));
    const result = read(mixed);
    expect(result.bundles.length).toBe(1);
    expect(result.bundles[0]).toMatchObject({ parts: good.parts, fromOffset: 0, toOffset: 10 });
    expect(result.refused.map((r) => [r.offset, r.reason])).toEqual([
      [1, "pack-incomplete"],
      [4, "pack-refused"],
      [5, "key-unknown"],
      [8, "pack-incomplete"],
    ]);
    expect(result).toMatchObject({ pendingFrom: null, consumedTo: 10 });
  });

  test("a bundle with a chunk missing stays open and is refused by its successor", () => {
    const { records } = make(1, [350]);
    const gap = at(records).filter((record) => record.offset !== 2);
    expect(read(gap)).toMatchObject({ bundles: [], refused: [], pendingFrom: 0, consumedTo: null });
    const result = read([...gap, ...at(make(2, [10]).records, 9)]);
    expect(result.bundles.length).toBe(1);
    expect(result.refused.map((r) => r.offset)).toEqual([0, 1, 3, 4]);
  });

  test("refuses every flipped byte of every record", () => {
    const { records } = make(1, [60, 30]);
    const place = at(records);
    for (const [i, record] of place.entries()) {
      for (const field of ["key", "value"] as const) {
        const survived = survivors(record[field]!, (bytes) => {
          const changed = place.with(i, { ...record, [field]: bytes });
          return read(changed).bundles.length > 0;
        });
        expect(survived, `record ${i} ${field}`).toEqual([]);
      }
      for (const headers of [{}, { "sealstream-type": utf8("chunks") }]) {
        expect(read(place.with(i, { ...record, headers })).bundles).toEqual([]);
      }
    }
  });

  test("refuses a bundle moved to another lane or pipeline, and one under another id", () => {
    const moved = make(1, [50], { context: "sealstream/packs/v1|digits|1" });
    expect(read(at(moved.records))).toMatchObject({ bundles: [] });
    const { records } = make(1, [50]);
    const renamed = records.map((record) => ({
      ...record,
      key: new Uint8Array(record.key).fill(9, 0, 16),
    }));
    expect(read(at(renamed)).bundles).toEqual([]);
  });

  test("an unknown signer: its manifest is refused at once, or reading stops there", () => {
    const unknown = make(1, [150], { by: stranger });
    const behind = [...at(unknown.records), ...at(make(2, [10]).records, 3)];
    const result = read(behind);
    expect(result.refused.map((r) => [r.offset, r.reason])).toEqual([
      [0, "pack-incomplete"],
      [1, "pack-incomplete"],
      [2, "key-unknown"],
    ]);
    expect(result).toMatchObject({ pendingFrom: null, consumedTo: 5, waitsForSigner: false });
    expect(read(behind, { wait: true })).toMatchObject({
      bundles: [],
      refused: [],
      pendingFrom: 0,
      consumedTo: null,
      waitsForSigner: true,
    });
    const asked: number[] = [];
    const waitForSigner = (offset: number) => asked.push(offset) < 0;
    expect(read(behind, { waitForSigner }).bundles.length).toBe(1);
    expect(asked).toEqual([2]);
  });

  test("a manifest of an unknown signer takes no chunks of an authentic bundle with it", () => {
    const { records } = make(1, [150]);
    const forged = make(1, [150], { by: stranger }).records.at(-1)!;
    const cut = inOrder([records[0]!, forged]);
    expect(read(cut)).toMatchObject({ refused: [], consumedTo: null, pendingFrom: 0 });
    expect(read([...cut, ...at(records.slice(1), 2)]).bundles.length).toBe(1);
  });

  test("a bundle of unknown signature waits behind what is final", () => {
    const unknown = make(1, [150], { by: stranger });
    const result = read([...at(make(2, [10]).records), ...at(unknown.records.slice(-1), 2)], {
      wait: true,
    });
    expect(result).toMatchObject({ consumedTo: 2, pendingFrom: 2, waitsForSigner: true });
  });

  test("bounds the parts of a bundle", () => {
    const exact = make(1, [500, 500]);
    expect(read(at(exact.records), { max: 1000 }).bundles.length).toBe(1);
    expect(read(at(exact.records), { max: 999 }).bundles).toEqual([]);
  });

  test("S5: one foreign 1-byte chunk does not destroy a bundle of exactly the largest size", () => {
    const { records, bundleId } = make(1, [500, 500]);
    const span = { records: records.length + 20, bytes: 4000 };
    const options = { max: 1000, maxSpan: span };
    const variants = () => [foreign(1, bundleId)];
    for (const more of [() => [foreign()], variants, () => [foreign(), foreign(90)]]) {
      const result = read(between(records, more), options);
      expect(result.bundles.map((b) => b.parts.length)).toEqual([2]);
      expect(result.bundles[0]!.fromOffset).toBe(0);
    }
  });

  test("S5: a steady writer of foreign chunks kills no bundle that lies within its span", () => {
    const good = Array.from({ length: 6 }, (_, i) => make(i + 1, [400]));
    const all = inOrder(
      good.flatMap(({ records, bundleId }) =>
        records.flatMap((record, i) => [
          ...(i === 0 ? [foreign(), foreign(50)] : []),
          foreign(1, bundleId),
          record,
          foreign(),
        ]),
      ),
    );
    const maxSpan = { records: 17, bytes: 2000 };
    // As a lane does it: a bounded window from the position on, one record at a time.
    let held: LaneRecord[] = [];
    let most = 0;
    const found: unknown[] = [];
    const refused: number[] = [];
    for (const record of all) {
      held.push(record);
      most = Math.max(most, held.length);
      const result = read(held, { max: 400, maxSpan, atMost: 1 });
      found.push(...result.bundles.map((b) => b.fields["sequence"]));
      refused.push(...result.refused.map(({ offset }) => offset));
      held = held.filter(({ offset }) => offset >= (result.consumedTo ?? 0));
    }
    expect(found).toEqual([1, 2, 3, 4, 5, 6]);
    expect(most).toBeLessThanOrEqual(maxSpan.records + 1);
    expect(refused).toEqual([...new Set(refused)]);
  });

  test("gives up only what began too long ago, never what may still complete", () => {
    const { records } = make(1, [400]);
    const head = [foreign(), foreign(), records[0]!, foreign(), records[1]!];
    const byRecords = read(inOrder(head), { maxSpan: { records: 3, bytes: 1e6 } });
    expect(byRecords.refused.map(({ offset }) => offset)).toEqual([0, 1]);
    expect(byRecords).toMatchObject({ consumedTo: 2, pendingFrom: 2 });
    const bytes = head.slice(2).reduce((sum, record) => sum + laneRecordBytes(record), 0);
    const byBytes = read(inOrder(head), { maxSpan: { records: 99, bytes } });
    expect(byBytes).toMatchObject({ consumedTo: 2, pendingFrom: 2 });
    for (const maxSpan of [
      { records: 99, bytes: bytes - 1 },
      { records: 2, bytes: 1e6 },
    ]) {
      expect(read(inOrder(head), { maxSpan })).toMatchObject({ consumedTo: 3 });
    }
  });

  test("a copy of an old bundle ends nobody but itself", () => {
    const old = make(1, [150]);
    const { records } = make(2, [250]);
    const mixed = inOrder([...records.slice(0, 2), ...old.records, ...records.slice(2)]);
    // Without memory it is the copy that counts.
    expect(read(mixed).bundles.map((b) => b.fields["sequence"])).toEqual([1]);
    const isReplay: ReadBundlesOptions["isReplay"] = ({ fields, bundleId }) =>
      fields["sequence"] === 1 && hexOf(bundleId) === hexOf(old.bundleId);
    const result = read(mixed, { isReplay });
    expect(result.bundles.map((b) => b.fields["sequence"])).toEqual([2]);
    const same = { reason: "replayed", bundleId: hexOf(old.bundleId) };
    expect(result.refused).toEqual([2, 3, 4].map((offset) => ({ offset, ...same })));
  });

  test("stops behind as many bundles as asked for", () => {
    const records = [...at(make(1, [50]).records), ...at(make(2, [50]).records, 2)];
    expect(read(records, { atMost: 1 })).toMatchObject({ consumedTo: 2, pendingFrom: null });
  });

  test("equal chunks of two parts are one chunk in two places", () => {
    const same = new Uint8Array(randomBytes(100));
    const records = createBundle({
      context,
      bundleId: bytesOf("ab".repeat(16)),
      parts: [same, same, same],
      fields: {},
      signer,
      maxChunkBytes: 100,
    });
    expect(read(at(records), { max: 300 }).bundles[0]?.parts).toEqual([same, same, same]);
    expect(hexOf(sha256(same))).toBe(hexOf(splitIntoChunks(same, 100)[0]!.hash));
  });

  test("nothing in, nothing out; tombstones are refused", () => {
    expect(read([])).toMatchObject({
      bundles: [],
      refused: [],
      consumedTo: null,
      pendingFrom: null,
    });
    const [chunk] = at(make(1, [10]).records);
    expect(read([{ ...chunk!, value: null }])).toMatchObject({
      refused: [{ offset: 0, reason: "pack-refused" }],
      consumedTo: 1,
    });
  });
});
