/** The changelog's bytes, hex-exact, and what is not one. */
import { describe, expect, it } from "vitest";
import {
  changelogRecords,
  decodeChangelog,
  encodeChangelog,
  readChangelog,
  readEntries,
} from "../../pipeline/stream/changelog.ts";
import type { StreamRecord } from "../../pipeline/stream/contract.ts";
import type { PartitionReader } from "../../pipeline/stream/port.ts";
import { openChangelog } from "../lib/kafka.ts";
import { fakeClient } from "./fake-client.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

describe("changelog value", () => {
  it("is a version, a position and the state", () => {
    expect(hex(encodeChangelog({ position: 258, state: Uint8Array.of(7, 8) }))).toBe(
      "0100000000000001020708",
    );
    expect(hex(encodeChangelog({ position: 0, state: null }))).toBe("010000000000000000");
  });

  it("comes back as it was", () => {
    for (const value of [
      { position: Number.MAX_SAFE_INTEGER, state: Uint8Array.of(0) },
      { position: 1, state: null },
    ]) {
      expect(decodeChangelog(encodeChangelog(value))).toEqual(value);
    }
  });

  it("is refused in another version, cut off, or beyond what a number holds", () => {
    const good = encodeChangelog({ position: 5, state: null });
    for (let length = 0; length < good.length; length += 1) {
      expect(decodeChangelog(good.subarray(0, length))).toBeNull();
    }
    expect(decodeChangelog(Uint8Array.of(2, ...good.subarray(1)))).toBeNull();
    expect(decodeChangelog(Uint8Array.of(1, ...Array(8).fill(255)))).toBeNull();
  });
});

describe("entries beside the state", () => {
  const bytes = (text: string) => Buffer.from(text);
  const entry = (key: string, value: string) => ({ key: bytes(key), value: bytes(value) });
  /** Says which entry it protects, and refuses one of another key. */
  const guard = {
    ...openChangelog,
    protectEntry: ({ key, value }: { key: Uint8Array; value: Uint8Array }, lane: number) =>
      bytes(`${lane}${Buffer.from(key)}${Buffer.from(value)}`),
    openEntry: (
      { key, protectedValue }: { key: Uint8Array; protectedValue: Uint8Array },
      lane: number,
    ) => {
      const head = `${lane}${Buffer.from(key)}`;
      const text = Buffer.from(protectedValue).toString();
      return text.startsWith(head) ? bytes(text.slice(head.length)) : null;
    },
  };

  function logOf(records: readonly { key: Uint8Array | null; value: Uint8Array | null }[]) {
    const log = records.map(
      (record, offset): StreamRecord => ({ ...record, offset, timestampMs: 0, headers: {} }),
    );
    return fakeClient({
      offsets: () => Promise.resolve({ earliest: 0, latest: log.length }),
      createReader: (_topic, _partition, from) => {
        let position = from;
        const reader: PartitionReader = {
          fetch: () => {
            const rest = log.slice(position, position + 100);
            position += rest.length;
            const ends = { lastStableOffset: log.length, highWatermark: log.length };
            return Promise.resolve({ records: rest, nextOffset: position, ...ends });
          },
          position: () => position,
          close: () => Promise.resolve(),
        };
        return Promise.resolve(reader);
      },
    });
  }

  async function read(client: ReturnType<typeof logOf>, lane = 3) {
    const found: string[] = [];
    const apply = ({ key, value }: { key: Uint8Array; value: Uint8Array }) =>
      void found.push(`${Buffer.from(key)}=${Buffer.from(value)}`);
    await readEntries({ client, topic: "t", lane, guard, apply });
    return found;
  }

  it("are written before the value, each protected under its lane and key", () => {
    const records = changelogRecords({ position: 1, state: null }, [entry("a", "7")], {
      ...{ guard, lane: 3 },
    });
    expect(records.map(({ key, value }) => `${hex(key!)} ${Buffer.from(value!)}`)).toEqual([
      "0061 3a7",
      `${hex(bytes("state"))} ${bytes("\u0001\0\0\0\0\0\0\0\u0001")}`,
    ]);
  });

  it("come back in the order of the log, without what does not open and without the state", async () => {
    const good = changelogRecords(
      { position: 1, state: null },
      [entry("a", "1"), entry("b", "1"), entry("a", "2")],
      { guard, lane: 3 },
    );
    const moved = { key: Uint8Array.of(0, 0x63), value: good[0]!.value };
    const deleted = { key: good[0]!.key, value: null };
    const client = logOf([...good, moved, deleted, { key: null, value: bytes("3x") }]);
    expect(await read(client)).toEqual(["a=1", "b=1", "a=2"]);
    expect(await read(client, 4)).toEqual([]);
  });

  it("are never taken for the state, whatever is in them", async () => {
    const one = changelogRecords({ position: 3, state: null }, [], { guard, lane: 0 });
    const entries = [{ key: bytes("k"), value: encodeChangelog({ position: 5, state: null }) }];
    const [entry] = changelogRecords({ position: 3, state: null }, entries, {
      ...{ guard: openChangelog, lane: 0 },
    });
    const client = logOf([...one, entry!]);
    const found = await readChangelog({ client, topic: "t", lane: 0, guard: openChangelog });
    expect(found).toEqual({ position: 3, state: null });
  });

  it("do not hide the state, however many lie behind and before it", async () => {
    const many = Array.from({ length: 3_000 }, (_, index) => entry(`k${index}`, "1"));
    const value = { position: 9, state: bytes("s") };
    const one = changelogRecords(value, many, { guard, lane: 0 });
    const client = logOf([...one, ...one.slice(0, -1)]);
    const options = { topic: "t", lane: 0, guard };
    expect(await readChangelog({ client, ...options })).toEqual({
      position: 9,
      state: Uint8Array.from(bytes("s")),
    });
    expect(await read(client, 0)).toHaveLength(6_000);
  });
});
