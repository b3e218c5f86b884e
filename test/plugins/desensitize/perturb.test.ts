/**
 * Noise: keyed by the position, bounded, of the distribution that was asked for, and written exactly.
 *
 * Statistics are two-sided: what is right passes and what is 2/3 or 3/2 of it would not. With 20,000 draws the mean
 * magnitude has a relative standard deviation of 0.7 %; a bound of 5 % rejects what is right with a chance below 1e-10.
 */
import { describe, expect, test } from "vitest";
import type { DesensitizeRule } from "../../../pipeline/spec/pipeline-spec.ts";
import { BUILDS, type Build, createGuest } from "./guest.ts";
import { schemaOf } from "./reference.ts";

type Perturb = Extract<DesensitizeRule, { action: "perturb" }>;

const DRAWS = 20_000;

function guestWith(build: Build, parts: Partial<Perturb> = {}) {
  const rule: Perturb = {
    field: "v",
    action: "perturb",
    key: { env: "A" },
    noise: "laplace",
    scale: 1,
    within: 10,
    decimals: 3,
    ...parts,
  };
  const guest = createGuest(build, {
    id: "id",
    schema: schemaOf({ id: {}, v: {} }),
    rules: [{ field: "id", action: "keep" }, rule],
  });
  /** The text of `v`, or a status. */
  return (texts: readonly string[], firstOffset = 0) =>
    guest(
      texts.map((text) => `{"id":"x","v":${text}}`),
      firstOffset,
    ).map((answer) =>
      typeof answer === "string" ? answer : /"v":(.*)}$/s.exec(answer.value)![1]!,
    );
}

const zeros = new Array<string>(DRAWS).fill("0");
const meanOf = (numbers: readonly number[]): number =>
  numbers.reduce((sum, one) => sum + one, 0) / numbers.length;

describe.each(BUILDS)("%s", (build) => {
  test.each([
    // E|x| of a Laplace distribution cut off at 10 scales is its scale but for 5e-4; E|x| of a normal one is 0.798 sd.
    ["laplace", 1, 10, 1],
    ["laplace", 3, 30, 3],
    ["gaussian", 1, 10, Math.sqrt(2 / Math.PI)],
    ["gaussian", 3, 30, 3 * Math.sqrt(2 / Math.PI)],
  ] as const)(
    "%s of scale %f within %f has mean magnitude %f",
    (noise, scale, within, expected) => {
      const drawn = guestWith(build, { noise, scale, within })(zeros).map(Number);
      expect(Math.abs(meanOf(drawn))).toBeLessThan(0.06 * scale);
      const magnitude = meanOf(drawn.map(Math.abs));
      expect(magnitude).toBeGreaterThan(expected * 0.95);
      expect(magnitude).toBeLessThan(expected * 1.05);
      // Tails tell the two apart: P(|x| > 3 scales) is 5.0 % for the one and 0.27 % for the other.
      const tail = drawn.filter((one) => Math.abs(one) > 3 * scale).length / DRAWS;
      if (noise === "laplace") expect(Math.abs(tail - 0.0498)).toBeLessThan(0.012);
      else expect(tail).toBeLessThan(0.006);
    },
  );

  test.each(["laplace", "gaussian"] as const)("%s never leaves its bound", (noise) => {
    const drawn = guestWith(build, { noise, scale: 1, within: 1 })(zeros).map(Number);
    expect(Math.max(...drawn.map(Math.abs))).toBeLessThanOrEqual(1);
    expect(drawn.some((one) => Math.abs(one) > 0.9)).toBe(true);
  });

  test("a retry repeats it, alone or in another batch; another offset or key does not", () => {
    const guest = guestWith(build);
    const all = guest(zeros.slice(0, 50));
    expect(guest(zeros.slice(0, 50))).toEqual(all);
    expect(guest(["0"], 17)).toEqual([all[17]]);
    expect(guestWith(build)(zeros.slice(0, 10), 30)).toEqual(all.slice(30, 40));
    expect(new Set(all).size).toBeGreaterThan(45);
    expect(guestWith(build, { key: { env: "B" } })(zeros.slice(0, 50))).not.toEqual(all);
  });

  test("values of one record have noise of their own", () => {
    const [list] = guestWith(build, { field: "v[]" })([`[${zeros.slice(0, 100).join(",")}]`]);
    expect(new Set(JSON.parse(list!)).size).toBeGreaterThan(90);
  });

  test("sums are rounded to the decimals and written as JSON numbers", () => {
    const tiny = { scale: 1e-9, within: 1e-9 };
    const texts = [
      "0.0625",
      "-0.0625",
      "12.5e1",
      "1234567890123456789e-10",
      "5",
      "0e5",
      "1e-400",
      "-7.999999",
      "999999999999",
    ];
    expect(guestWith(build, { ...tiny, decimals: 6 })(texts)).toEqual([
      "0.062500",
      "-0.062500",
      "125.000000",
      "123456789.012346",
      "5.000000",
      "0.000000",
      "0.000000",
      "-7.999999",
      "999999999999.000000",
    ]);
    const whole = guestWith(build, { ...tiny, decimals: 0 })(["41.4", "-0.2", "-41.6", "0"]);
    expect(whole).toEqual(["41", "0", "-42", "0"]);
    expect(guestWith(build, { ...tiny, decimals: 1 })(["-0.06", "-0.04", "9.96"])).toEqual([
      "-0.1",
      "0.0",
      "10.0",
    ]);
  });

  test("null stays; text, other types and numbers of 10^12 and more are refused", () => {
    const bad = [
      '"1"',
      '""',
      "true",
      "[]",
      "{}",
      "1e12",
      "-1e12",
      "1e400",
      "1e99999999999",
      "1000000000000.5",
    ];
    expect(guestWith(build)(["null", ...bad])).toEqual(["null", ...bad.map(() => "wrong-type")]);
  });
});
