/** How many bytes a fetch asks for, learnt from how much its answers inflate. */
import { describe, expect, it } from "vitest";
import { FetchSize } from "../../pipeline/stream/fetch-size.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

function learnt(windowBytes: number, ...inflated: readonly ((asked: number) => number)[]): number {
  const size = new FetchSize(windowBytes);
  for (const inflate of inflated) {
    size.learn(inflate(size.bytes));
  }
  return size.bytes;
}

const times = (factor: number) => (asked: number) => asked * factor;
const repeat = <T>(count: number, item: T): T[] => Array.from({ length: count }, () => item);

describe("FetchSize", () => {
  it("begins with its least, whatever the window: what the batches inflate to is not known", () => {
    expect(learnt(64 * MIB)).toBe(64 * KIB);
    expect(learnt(1)).toBe(64 * KIB);
    expect(learnt(0)).toBe(64 * KIB);
  });

  it("settles where a full fetch fills a quarter of the window", () => {
    expect(learnt(16 * MIB, ...repeat(10, times(8)))).toBe(512 * KIB);
    expect(learnt(8 * MIB, ...repeat(10, times(1)))).toBe(2 * MIB);
  });

  it("at most doubles at a time, and stops growing where it gains nothing", () => {
    expect(learnt(1_024 * MIB, times(1))).toBe(128 * KIB);
    expect(learnt(1_024 * MIB, ...repeat(10, times(1)))).toBe(4 * MIB);
  });

  it("shrinks at once when batches inflate a thousandfold, and comes back", () => {
    expect(learnt(16 * MIB, times(1_000))).toBe(64 * KIB);
    expect(learnt(16 * MIB, times(1_000), ...repeat(20, times(1)))).toBe(4 * MIB);
  });

  it("learns nothing from a fetch that had little to bring", () => {
    expect(learnt(16 * MIB, times(0), times(0.5))).toBe(64 * KIB);
    expect(learnt(16 * MIB, times(0.51))).toBe(128 * KIB);
  });

  it("asks for whole bytes", () => {
    expect(Number.isInteger(learnt(1_000_003, times(3), times(1.7)))).toBe(true);
  });
});
