/**
 * Features: scaling to 0..1 by the public range, and refusal of everything that is not clean.
 */
import { describe, expect, it } from "vitest";
import { createFeatureExtractor } from "../../pipeline/features/extract.ts";

const features = {
  inputs: [
    { field: "pixels", length: 3, range: [0, 16] },
    { field: "age", length: 1, range: [-10, 10] },
  ],
  maps: [],
  label: { field: "digit", classes: 10 },
  split: { train: 1, validate: 0, test: 0 },
} as const;
const extractor = createFeatureExtractor(features);
const extract = (text: string | Uint8Array) =>
  extractor.extract(typeof text === "string" ? Buffer.from(text) : text);

const good = { pixels: [0, 4, 16], age: 5, digit: 7 };
const withFields = (fields: Record<string, unknown>) =>
  extract(JSON.stringify({ ...good, ...fields }));

describe("createFeatureExtractor", () => {
  it("scales by the public range, in the file's order", () => {
    expect(extractor.length).toBe(4);
    expect(withFields({})).toMatchObject({
      status: "example",
      x: Float32Array.of(0, 0.25, 1, 0.75),
      label: 7,
    });
  });

  it("takes a missing or null label for one to predict", () => {
    expect(withFields({ digit: null })).toMatchObject({
      status: "predict",
      x: Float32Array.of(0, 0.25, 1, 0.75),
    });
    expect(withFields({ digit: undefined }).status).toBe("predict");
  });

  it.each([0, 9])("takes label %s", (digit) => {
    expect(withFields({ digit })).toMatchObject({ status: "example", label: digit });
  });

  it.each([-1, 10, 1.5, "7", true, [7], {}, 1e300])("refuses label %j", (digit) => {
    expect(withFields({ digit })).toEqual({ status: "refused", reason: "label-invalid" });
  });

  it.each([
    [[0, 4]],
    [[0, 4, 16, 0]],
    [[0, 4, 16.001]],
    [[0, 4, -1e-9]],
    [[0, null, 1]],
    [[0, "4", 1]],
    [[0, [4], 1]],
    [[0, true, 1]],
    [{ 0: 0, 1: 4, 2: 16, length: 3 }],
    ["abc"],
    [null],
    [undefined],
    [5],
  ])("refuses pixels %j", (pixels) => {
    expect(withFields({ pixels })).toEqual({ status: "refused", reason: "feature-invalid" });
  });

  it("takes a single number bare or in an array of one", () => {
    expect(withFields({ age: [5] }).status).toBe("example");
    expect(withFields({ age: [5, 5] }).status).toBe("refused");
    expect(withFields({ age: -10 })).toMatchObject({ x: Float32Array.of(0, 0.25, 1, 0) });
  });

  it("refuses numbers beyond doubles, and reads negative zero as zero of the range", () => {
    expect(extract('{"pixels":[0,4,1e999],"age":5}')).toEqual({
      status: "refused",
      reason: "feature-invalid",
    });
    expect(extract('{"pixels":[0,4,16],"age":-1e999}').status).toBe("refused");
    expect(extract('{"pixels":[-0,4,16],"age":5}')).toMatchObject({ status: "predict" });
    expect(extract('{"pixels":[0,4,NaN],"age":5}')).toEqual({
      status: "refused",
      reason: "not-json",
    });
  });

  it("refuses what is no JSON object", () => {
    expect(extractor.extract(null)).toEqual({ status: "refused", reason: "tombstone" });
    expect(extract("")).toEqual({ status: "refused", reason: "not-json" });
    expect(extract("{")).toEqual({ status: "refused", reason: "not-json" });
    expect(extract("\uFEFF{}")).toEqual({ status: "refused", reason: "not-json" });
    expect(extract("[]")).toEqual({ status: "refused", reason: "wrong-type" });
    expect(extract("null")).toEqual({ status: "refused", reason: "wrong-type" });
    expect(extract(Uint8Array.of(0x22, 0xff, 0x22))).toEqual({
      status: "refused",
      reason: "not-utf8",
    });
  });

  it("never takes a feature or label from a prototype", () => {
    const { extract: odd } = createFeatureExtractor({
      ...features,
      inputs: [{ field: "constructor", length: 1, range: [0, 1] }],
      label: { field: "toString", classes: 2 },
    });
    expect(odd(Buffer.from("{}"))).toEqual({ status: "refused", reason: "feature-invalid" });
    expect(odd(Buffer.from('{"constructor":1}'))).toMatchObject({ status: "predict" });
    expect(odd(Buffer.from('{"__proto__":{"constructor":1}}')).status).toBe("refused");
  });
});
