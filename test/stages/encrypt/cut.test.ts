/**
 * Where rows are cut: prefixes only, one pack at most, and nobody waits longer than the linger.
 */
import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { type CutOptions, decideCut } from "../../../pipeline/stages/encrypt/cut.ts";
import type { Row } from "../../../pipeline/stages/encrypt/row.ts";

const NOW = 1000;
const base: CutOptions = {
  slotsPerPack: 3,
  lingerMs: 100,
  nowMs: NOW,
  windowFull: false,
  canSeal: true,
  canPack: true,
  canRecord: true,
};

/** e: example, p: to predict, seen now, o: to predict, seen long ago, x: refused, d: dropped. */
function rows(text: string): Row[] {
  return [...text].map((letter, offset): Row => {
    if (letter === "x") return { kind: "refused", offset, reason: "not-json" };
    if (letter === "d") return { kind: "dropped", offset };
    const x = Float32Array.of(0);
    if (letter === "e") {
      const recordId = new Uint8Array(1);
      return { kind: "example", offset, recordId, x, label: 0, split: "train", subject: null };
    }
    return { kind: "predict", offset, recordId: "r", x, seenMs: letter === "o" ? NOW - 100 : NOW };
  });
}

const cut = (text: string, options: Partial<CutOptions> = {}) =>
  decideCut(rows(text), { ...base, ...options });

describe("decideCut", () => {
  it.each([
    ["", 0, 0, null],
    ["eexe", 4, 0, null],
    ["edde", 4, 0, null],
    // an unlabelled row waits, and what is behind it waits with it
    ["eepe", 2, 0, NOW + 100],
    ["peee", 0, 0, NOW + 100],
    // a full pack takes the rows up to the next one that waits
    ["ppp", 3, 3, null],
    ["epepxpee", 8, 3, null],
    ["pppeep", 5, 3, NOW + 100],
    ["ppppppp", 3, 3, NOW + 100],
    // lingered long enough: everything goes
    ["o", 1, 1, null],
    ["eoepe", 5, 2, null],
    // a later row's time is its own
    ["po", 0, 0, NOW + 100],
  ])("%j: %i rows, %i of them in a pack", (text, count, packRows, dueMs) => {
    expect(cut(text)).toEqual({ count, packRows, blockedAt: null, dueMs });
  });

  it("goes at once with lingerMs 0, and when the lane is full", () => {
    expect(cut("epe", { lingerMs: 0 })).toMatchObject({ count: 3, packRows: 1 });
    expect(cut("epe", { windowFull: true })).toMatchObject({ count: 3, packRows: 1 });
    expect(cut("o", { nowMs: NOW - 1 })).toMatchObject({ count: 0, dueMs: NOW });
  });

  it("does not wait for a clock that was set back to catch up", () => {
    expect(cut("ep", { nowMs: NOW - 3_600_000 })).toMatchObject({ count: 2, packRows: 1 });
  });

  it("stops before the first row whose key is missing, and still lingers before it", () => {
    expect(cut("eex", { canSeal: false })).toEqual({
      count: 0,
      packRows: 0,
      blockedAt: 0,
      dueMs: null,
    });
    expect(cut("xxe", { canSeal: false })).toMatchObject({ count: 2, blockedAt: 2 });
    expect(cut("eepe", { canPack: false })).toMatchObject({ count: 2, blockedAt: 2 });
    expect(cut("ppepp", { canSeal: false })).toEqual({
      count: 0,
      packRows: 0,
      blockedAt: 2,
      dueMs: NOW + 100,
    });
    expect(cut("opepp", { canSeal: false })).toMatchObject({ count: 2, packRows: 2, blockedAt: 2 });
    expect(cut("pe", { canSeal: false, windowFull: true })).toMatchObject({
      count: 1,
      packRows: 1,
    });
  });

  it("stops before the first usable row while nobody can read the records", () => {
    expect(cut("xxep", { canRecord: false })).toMatchObject({ count: 2, blockedAt: 2 });
    expect(cut("xpe", { canRecord: false, windowFull: true })).toMatchObject({ count: 1 });
  });

  it("keeps its promises for 2,000 windows", () => {
    for (let seed = 0; seed < 2000; seed++) {
      const hash = createHash("sha256").update(`cut ${seed}`).digest();
      const text = [...hash.subarray(0, seed % 20)].map((byte) => "eepox"[byte % 5]).join("");
      const all = rows(text);
      const result = decideCut(all, base);
      const taken = all.slice(0, result.count).filter((row) => row.kind === "predict");
      expect(taken.length).toBe(result.packRows);
      expect(result.packRows).toBeLessThanOrEqual(base.slotsPerPack);
      // what is left begins with a row that may wait, and it is woken for
      const next = all[result.count];
      if (next !== undefined) {
        expect(next.kind).toBe("predict");
        expect(result.dueMs).toBe((next.kind === "predict" ? next.seenMs : 0) + base.lingerMs);
      } else {
        expect(result.dueMs).toBeNull();
      }
    }
  });
});
