/** The changelog's bytes, hex-exact, and what is not one. */
import { describe, expect, it } from "vitest";
import { decodeChangelog, encodeChangelog } from "../../pipeline/stream/changelog.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

describe("changelog value", () => {
  it("is a version, a position and the state", () => {
    expect(hex(encodeChangelog({ position: 258, state: Uint8Array.of(7, 8) }))).toBe(
      "0100000000000001020708",
    );
    expect(hex(encodeChangelog({ position: 0, state: null }))).toBe("010000000000000000");
  });

  it("comes back as it was", () => {
    for (const value of [
      { position: Number.MAX_SAFE_INTEGER, state: Uint8Array.of(0) },
      { position: 1, state: null },
    ]) {
      expect(decodeChangelog(encodeChangelog(value))).toEqual(value);
    }
  });

  it("is refused in another version, cut off, or beyond what a number holds", () => {
    const good = encodeChangelog({ position: 5, state: null });
    for (let length = 0; length < good.length; length += 1) {
      expect(decodeChangelog(good.subarray(0, length))).toBeNull();
    }
    expect(decodeChangelog(Uint8Array.of(2, ...good.subarray(1)))).toBeNull();
    expect(decodeChangelog(Uint8Array.of(1, ...Array(8).fill(255)))).toBeNull();
  });
});
