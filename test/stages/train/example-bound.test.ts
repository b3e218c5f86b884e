/** A run with a bound on the records of a subject takes examples that were sealed under that bound or a narrower one. */
import { describe, expect, it } from "vitest";
import { openExample } from "../../../pipeline/stages/train/example.ts";
import { createOwner, createZones, type ExampleFields, PIPELINE } from "./world.ts";

const zones = createZones();
const owner = await createOwner(zones, 0);
const directory = zones.trainDirectory();
for (const { key, value } of owner.entries) directory.apply(key, value);

function open(recordsPerSubject: number | null, fields: ExampleFields): string {
  const opener = {
    pipeline: PIPELINE,
    lane: 0,
    directory,
    inputs: 4,
    classes: 2,
    recordsPerSubject,
  };
  const opened = openExample(opener, owner.seal(fields), null);
  return opened.status === "refused" ? opened.reason : opened.status;
}

describe("an example that may train", () => {
  it.each<[string, number | null, ExampleFields, string]>([
    ["the same bound", 3, { sealedBound: "3" }, "ok"],
    ["a narrower one", 3, { sealedBound: "2" }, "ok"],
    ["a wider one", 3, { sealedBound: "4" }, "subject-unproven"],
    ["a wider one of more digits", 3, { sealedBound: "10" }, "subject-unproven"],
    ["none", 3, {}, "subject-unproven"],
    ["any, in a run without a bound", null, { sealedBound: "9" }, "ok"],
    ["none, in a run without a bound", null, {}, "ok"],
    [
      "a bound that the header makes narrower",
      3,
      { sealedBound: "9", bound: "2" },
      "envelope-refused",
    ],
    ["none, which the header denies", 3, { bound: "2" }, "envelope-refused"],
    ["one that was taken off", null, { sealedBound: "9", bound: undefined }, "envelope-refused"],
    ["no number", 3, { sealedBound: "x", bound: "x" }, "envelope-refused"],
    ["another spelling of a number", 3, { sealedBound: "02", bound: "02" }, "envelope-refused"],
    ["a number without an end", 3, { sealedBound: "111111" }, "envelope-refused"],
  ])("sealed under %s: bound %s", (_, most, fields, status) => {
    expect(open(most, fields)).toBe(status);
  });

  it("of another split needs none: it contributes nothing", () => {
    expect(open(3, { split: "validate" })).toBe("ok");
    expect(open(3, { split: "test" })).toBe("ok");
  });
});
