/**
 * Noise rows: exact values from an implementation in integers alone (slow-gaussian.ts), and what they depend on.
 *
 * The distribution is tested in noise-statistics.test.ts. Keys are fixed, so that nothing here fails by chance.
 */
import { hkdfSync } from "node:crypto";
import { describe, expect, test } from "vitest";
import { createSecretHandle } from "../../pipeline/crypto/key-handles.ts";
import { noiseRow } from "../../pipeline/privacy/noise.ts";
import { slowGaussians, slowWords } from "./slow-gaussian.ts";

const LENGTH = 20_000;
const STANDARD_DEVIATION = 1e6;
const SECRET = Uint8Array.from({ length: 32 }, (_, i) => i);
/** CBOR ["sealstream/noise-row/v2", h'1011..1f', 7, h'a9 x 32'], by hand. */
const INFO = `8477${Buffer.from("sealstream/noise-row/v2").toString("hex")}50101112131415161718191a1b1c1d1e1f075820${"a9".repeat(32)}`;

function request(changes: Partial<Parameters<typeof noiseRow>[0]> = {}) {
  return {
    noise: createSecretHandle("noise", SECRET.slice()),
    runId: "101112131415161718191a1b1c1d1e1f",
    step: 7,
    contributionsHash: new Uint8Array(32).fill(0xa9),
    length: LENGTH,
    standardDeviation: STANDARD_DEVIATION,
    ...changes,
  };
}

describe("exact values", () => {
  const key = new Uint8Array(hkdfSync("sha256", SECRET, "", Buffer.from(INFO, "hex"), 32));

  test("are those of integers alone", () => {
    // The first eight as slow-gaussian.ts printed them on the day the format was fixed.
    const first = [-902821, 1083425, 927666, -575690, -582343, -1146366, 127122, -1034841];
    expect([...noiseRow(request({ length: 8 }))]).toEqual(first);
    const slow = slowGaussians({
      length: 2_000,
      numerator: 1_000_000n,
      bits: 0n,
      draw: slowWords(key),
    });
    expect([...noiseRow(request({ length: 2_000 }))].map(BigInt)).toEqual(slow);
  });

  test("on a finer grid too: the same reals, rounded elsewhere", () => {
    const fine = noiseRow(request({ length: 1_000, fractionBits: 16 }));
    const scaled = [...fine].map((value) => BigInt(value * 65_536));
    const numerator = 1_000_000n << 16n;
    expect(scaled).toEqual(
      slowGaussians({ length: 1_000, numerator, bits: 0n, draw: slowWords(key) }),
    );
    const coarse = noiseRow(request({ length: 1_000 }));
    expect(coarse.every((value, k) => Math.abs(value - (fine[k] ?? 0)) <= 0.5 + 2 ** -17)).toBe(
      true,
    );
  });

  test("a shorter row is the beginning of a longer one, at every boundary", () => {
    const row = noiseRow(request());
    for (const length of [0, 1, 2, 3, 1_860, 1_861, 9_000]) {
      expect(noiseRow(request({ length }))).toEqual(row.slice(0, length));
    }
  });

  test("the secret is asked for exactly the documented key", () => {
    const asked: string[] = [];
    const noise = {
      hkdf: (info: Uint8Array, bytes: number) => {
        asked.push(`${Buffer.from(info).toString("hex")}/${bytes}`);
        return new Uint8Array(bytes);
      },
    };
    noiseRow(request({ noise }));
    expect(asked).toEqual([`${INFO}/32`]);
  });
});

describe("invariant 6", () => {
  test("the same arguments give the same row; any other run, step, contributions or secret an unrelated one", () => {
    const base = request();
    const row = noiseRow(base);
    expect(noiseRow(base)).toEqual(row);
    for (const change of [
      { runId: "ab".repeat(16) },
      { step: 2 },
      { contributionsHash: Uint8Array.of(1, ...new Uint8Array(31)) },
      { noise: createSecretHandle("noise", new Uint8Array(32).fill(1)) },
    ]) {
      const other = noiseRow({ ...base, ...change });
      expect(Math.abs(correlation(row, other))).toBeLessThan(5.33 / Math.sqrt(LENGTH));
    }
  });
});

describe("edge cases", () => {
  test("no noise is zeros, no length is empty", () => {
    expect(noiseRow(request({ standardDeviation: 0, length: 5 })).every((v) => v === 0)).toBe(true);
    expect(noiseRow(request({ length: 0 }))).toHaveLength(0);
  });

  test.each([
    { standardDeviation: Number.NaN },
    { standardDeviation: -1 },
    { standardDeviation: Number.POSITIVE_INFINITY },
    { standardDeviation: 2 ** 48 + 1 },
    { standardDeviation: 2 ** 33, fractionBits: 16 },
    { fractionBits: 33 },
    { fractionBits: 0.5 },
    { fractionBits: -1 },
    { runId: "ab" },
    { contributionsHash: new Uint8Array(31) },
  ])("%j is refused", (change) => {
    expect(() => noiseRow(request(change))).toThrow(expect.objectContaining({ code: "internal" }));
  });
});

function correlation(a: Float64Array, b: Float64Array): number {
  const dot = a.reduce((sum, value, i) => sum + value * (b[i] ?? 0), 0);
  return dot / (a.length * STANDARD_DEVIATION ** 2);
}
