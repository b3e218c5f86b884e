/**
 * The redact rule in the plugin: room for what grows, escapes, and sets of detectors that fields share or do not.
 */
import { describe, expect, test } from "vitest";
import type { DetectorSpec } from "../../../pipeline/spec/pipeline-spec.ts";
import { BUILDS, createGuest } from "./guest.ts";
import { type Action, outOf } from "./one-rule.ts";
import { schemaOf } from "./reference.ts";

const X: readonly DetectorSpec[] = [{ name: "x", pattern: "x" }];
const redact = (text: string, detectors = X): Action => ({
  action: "redact",
  detectors,
  replacement: { kind: "token", with: text },
});

describe.each(BUILDS)("%s", (build) => {
  test("every byte may become 31, in a text of half a megabyte", () => {
    // More than the guest's memory grows by at a time: without room of its own, the text would not fit.
    const token = "t".repeat(31);
    const [out] = outOf(build, redact(token), [JSON.stringify("x ".repeat(250_000))]);
    expect(out).toBe(`${token} `.repeat(250_000));
  });

  test("every character may become one of four bytes, beside escapes of six", () => {
    const mask: Action = {
      action: "redact",
      detectors: X,
      replacement: { kind: "mask", with: "😀" },
    };
    const [out] = outOf(build, mask, [JSON.stringify("x\u0001".repeat(100_000))]);
    expect(out).toBe("😀\u0001".repeat(100_000));
  });

  test("fields have their own detectors, whether they share them or not", () => {
    const guest = createGuest(build, {
      id: "id",
      schema: schemaOf({ id: {}, a: {}, b: {}, c: {}, d: {} }),
      rules: [
        { field: "id", action: "keep" },
        { field: "a", action: "redact", detectors: X, replacement: { kind: "token", with: "1" } },
        { field: "b", action: "redact", detectors: X, replacement: { kind: "token", with: "2" } },
        { field: "c", action: "redact", detectors: X, replacement: { kind: "token", with: "1" } },
        {
          field: "d",
          action: "redact",
          detectors: ["email"],
          replacement: { kind: "token", with: "" },
        },
      ],
    });
    const text = "x a@example.org x";
    const [answer] = guest([JSON.stringify({ id: "r", a: text, b: text, c: text, d: text })]);
    expect(answer).toEqual({
      key: "r",
      value: JSON.stringify({
        id: "r",
        a: "1 a@example.org 1",
        b: "2 a@example.org 2",
        c: "1 a@example.org 1",
        d: "x  x",
      }),
    });
  });
});
