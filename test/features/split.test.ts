/**
 * The keyed split: proportions (two-sided, false-reject rate stated), stability, dependence on the key.
 */
import { createHmac } from "node:crypto";
import { describe, expect, it } from "vitest";
import { type SplitShares, splitOf } from "../../pipeline/features/split.ts";

const hmacOf = (key: string) => (message: Uint8Array) =>
  new Uint8Array(createHmac("sha256", key).update(message).digest());
const subject = (index: number): Uint8Array => Buffer.from(`subject-${index}@example.org`);

function count(split: SplitShares, key: string, subjects: number) {
  const counts = { train: 0, validate: 0, test: 0 };
  const hmac = hmacOf(key);
  for (let index = 0; index < subjects; index++) {
    counts[splitOf({ subject: subject(index), hmac, split })] += 1;
  }
  return counts;
}

/** Standard deviations between a count and its expectation. */
const deviations = (count: number, subjects: number, share: number): number =>
  Math.abs(count - subjects * share) / Math.sqrt(subjects * share * (1 - share));

describe("splitOf", () => {
  const subjects = 20_000;
  const split = { train: 0.8, validate: 0.15, test: 0.05 };

  // Twelve counts, each within 4.5 standard deviations: a right split fails with probability below 12 * 6.8e-6 =
  // 8e-5 over the choice of keys; the keys are fixed, so the test is not flaky.
  it.each(["a", "b", "c", "d"])("gives each share what it says, key %s", (key) => {
    const counts = count(split, key, subjects);
    for (const name of ["train", "validate", "test"] as const) {
      expect(deviations(counts[name], subjects, split[name])).toBeLessThan(4.5);
    }
  });

  it("would notice shares that are off by a tenth", () => {
    const counts = count({ train: 0.72, validate: 0.165, test: 0.115 }, "a", subjects);
    expect(deviations(counts.train, subjects, split.train)).toBeGreaterThan(4.5);
    expect(deviations(counts.test, subjects, split.test)).toBeGreaterThan(4.5);
  });

  it("is the same every time, and independent under another key", () => {
    const half = { train: 0.5, validate: 0.5, test: 0 };
    let same = 0;
    for (let index = 0; index < subjects; index++) {
      const one = splitOf({ subject: subject(index), hmac: hmacOf("a"), split: half });
      expect(splitOf({ subject: subject(index), hmac: hmacOf("a"), split: half })).toBe(one);
      if (splitOf({ subject: subject(index), hmac: hmacOf("b"), split: half }) === one) same += 1;
    }
    expect(deviations(same, subjects, 0.5)).toBeLessThan(4.5);
  });

  it("keeps a literal choice: the rule is a format", () => {
    const hmac = hmacOf("sealstream");
    const split = { train: 0.4, validate: 0.3, test: 0.3 };
    const chosen = [0, 1, 2, 3, 4, 5, 6, 7].map((index) =>
      splitOf({ subject: subject(index), hmac, split }),
    );
    // computed with Python's hmac and integers: (first 8 bytes >> 11) / 2^53
    expect(chosen.join(" ")).toBe("train validate train test validate test train train");
  });

  it("hashes the subject under its own label", () => {
    const messages: string[] = [];
    const hmac = (message: Uint8Array) => {
      messages.push(Buffer.from(message).toString());
      return new Uint8Array(32);
    };
    splitOf({ subject: Buffer.from("me"), hmac, split });
    expect(messages).toEqual(["sealstream/split/v1|me"]);
  });

  it("leaves nothing in an empty share, at either end of the hash", () => {
    const lowest = () => new Uint8Array(32);
    const highest = () => new Uint8Array(32).fill(255);
    const of = (hmac: () => Uint8Array, train: number, validate: number, test: number) =>
      splitOf({ subject: subject(0), hmac, split: { train, validate, test } });
    expect(of(lowest, 1, 0, 0)).toBe("train");
    expect(of(highest, 1, 0, 0)).toBe("train");
    expect(of(lowest, 0, 1, 0)).toBe("validate");
    expect(of(highest, 0.5, 0.5, 0)).toBe("validate");
    expect(of(highest, 0.5, 0, 0.5)).toBe("test");
    // 0.7 + 0.2 + 0.1 is below 1 in binary, and the last share takes what is left
    expect(of(highest, 0.7, 0.2, 0.1)).toBe("test");
    expect(of(highest, 0.9999999999, 0, 0)).toBe("train");
  });
});
