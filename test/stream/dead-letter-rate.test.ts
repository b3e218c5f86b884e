/** When too many of a lane's last records were refused: against a window that remembers every record. */
import { describe, expect, it } from "vitest";
import { DeadLetterRate, deadLetterRateError } from "../../pipeline/stream/dead-letter-rate.ts";

describe("dead-letter rate", () => {
  it("trips at the first letter above the share, not at the share", () => {
    const rate = new DeadLetterRate({ maxShare: 0.5, windowRecords: 100 });
    expect(rate.add(50, 50)).toBe(false);
    expect(rate.add(1, 1)).toBe(true);
  });

  it("does not take one bad record at the start for a share of 100 %", () => {
    const rate = new DeadLetterRate({ maxShare: 0.1, windowRecords: 1000 });
    expect(rate.add(1, 1)).toBe(false);
    expect(rate.current()).toMatchObject({ share: 0.001 });
  });

  it("never trips at 1, and at the first letter at 0", () => {
    const never = new DeadLetterRate({ maxShare: 1, windowRecords: 10 });
    const always = new DeadLetterRate({ maxShare: 0, windowRecords: 10 });
    for (let index = 0; index < 100; index += 1) {
      expect(never.add(7, 7)).toBe(false);
    }
    expect(always.add(1000, 0)).toBe(false);
    expect(always.add(1000, 1)).toBe(true);
  });

  it("judges a batch longer than the window as a whole", () => {
    const rate = new DeadLetterRate({ maxShare: 0.5, windowRecords: 100 });
    expect(rate.add(4096, 60)).toBe(false);
    expect(rate.add(4096, 2049)).toBe(true);
  });

  it("forgets what lies before the window: good records after bad ones make it go on", () => {
    const rate = new DeadLetterRate({ maxShare: 0.2, windowRecords: 1000 });
    expect(rate.add(200, 200)).toBe(false);
    for (let index = 0; index < 20; index += 1) expect(rate.add(100, 0)).toBe(false);
    expect(rate.current().deadLetters).toBe(0);
    expect(rate.add(200, 200)).toBe(false);
    expect(rate.add(10, 10)).toBe(true);
  });

  it.each([1, 10, 63, 64, 65, 1000])(
    "agrees with an exact window of %i records, but for one step more",
    (windowRecords) => {
      const rate = new DeadLetterRate({ maxShare: 0.3, windowRecords });
      const all: boolean[] = [];
      let seed = windowRecords;
      for (let index = 0; index < 5 * windowRecords + 50; index += 1) {
        seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
        const isDead = seed / 2 ** 31 < (Math.floor(index / windowRecords) % 2 === 0 ? 0.1 : 0.6);
        all.push(isDead);
        const tripped = rate.add(1, isDead ? 1 : 0);
        const held = rate.current().records;
        expect(held).toBeGreaterThanOrEqual(Math.min(all.length, windowRecords));
        expect(held).toBeLessThanOrEqual(
          windowRecords + Math.max(1, Math.floor(windowRecords / 64)),
        );
        const window = all.slice(-held);
        const dead = window.filter(Boolean).length;
        expect(rate.current().deadLetters).toBe(dead);
        expect(tripped).toBe(dead > 0.3 * Math.max(held, windowRecords));
      }
    },
  );

  it("says what happened, where to look and how to go on, with the top reason", () => {
    const rate = new DeadLetterRate({ maxShare: 0.5, windowRecords: 1000 });
    rate.add(600, 520, [
      ...new Array<"schema">(20).fill("schema"),
      ...new Array<"not-json">(500).fill("not-json"),
    ]);
    const error = deadLetterRateError({
      stage: "desensitize",
      lane: 3,
      maxShare: 0.5,
      windowRecords: 1000,
      found: rate.current(),
    });
    expect(error.code).toBe("limit-exceeded");
    expect(error.message).toBe(
      'Stage desensitize refused 520 of the last 1000 records of lane 3 (52 %, most often for not-json), and deadLetters.maxShare allows 50 %: see "sealstream dead-letters list FILE --stage desensitize" and "dead-letters show", mend the producer or the pipeline file and start again, or raise deadLetters.maxShare.',
    );
  });
});
