/** The table of counts: a map of hashes, however full, of which ten million fit into a fraction of a gigabyte. */
import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { SubjectCounts } from "../../../pipeline/stages/encrypt/subject-counts.ts";

const hashOf = (name: string): Uint8Array =>
  createHash("sha256").update(name).digest().subarray(0, 12);

describe("counts of subjects", () => {
  it("are those of a map, through growth, overwriting and near collisions", () => {
    const counts = new SubjectCounts();
    const model = new Map<string, number>();
    let seed = 1;
    const next = (below: number): number => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return seed % below;
    };
    for (let step = 0; step < 40_000; step += 1) {
      const name = `s${next(9_000)}`;
      const hash = Buffer.from(hashOf(name));
      // Half of them differ in one word alone, and share their first slot.
      if (next(2) === 0) hash.writeUInt32BE(7, 0);
      const key = hash.toString("hex");
      expect(counts.get(hash)).toBe(model.get(key) ?? 0);
      const count = 1 + next(65_535);
      counts.set(hash, count);
      model.set(key, count);
    }
    expect(counts.subjects).toBe(model.size);
    expect(counts.sealed).toBe([...model.values()].reduce((sum, count) => sum + count, 0));
    for (const [key, count] of model) expect(counts.get(Buffer.from(key, "hex"))).toBe(count);
    expect(counts.get(hashOf("nobody"))).toBe(0);
  });

  it("tell hashes apart that differ in any one byte, and read a view in a larger buffer", () => {
    const counts = new SubjectCounts();
    const hash = Buffer.from(hashOf("a"));
    counts.set(Buffer.concat([Buffer.of(1), hash]).subarray(1), 3);
    expect(counts.get(hash)).toBe(3);
    for (let at = 0; at < 12; at += 1) {
      const other = Buffer.from(hash);
      other[at] = (other[at] ?? 0) ^ 1;
      expect(counts.get(other)).toBe(0);
    }
  });

  it("take 14 bytes a slot and are at most three quarters full: 10 million in 235 MB", () => {
    const counts = new SubjectCounts();
    const hash = Buffer.alloc(12);
    const most = 200_000;
    for (let at = 0; at < most; at += 1) {
      hash.writeUInt32BE(Math.imul(at, 2654435761) >>> 0, 0);
      hash.writeUInt32BE(at, 4);
      counts.set(hash, 1);
    }
    expect(counts.subjects).toBe(most);
    // The power of two that holds 4/3 of them.
    expect(counts.memoryBytes).toBe(14 * 2 ** 19);
    expect(14 * 2 ** Math.ceil(Math.log2((10e6 * 4) / 3))).toBeLessThan(235e6);
  });
});
