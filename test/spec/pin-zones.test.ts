/**
 * Pinning identities edits the zones of a pipeline file and not one character more.
 */
import { describe, expect, it } from "vitest";
import { formatIdentity, parseIdentity } from "../../pipeline/spec/identity.ts";
import { pinZones } from "../../pipeline/spec/pin-zones.ts";
import { exampleText, loadGood } from "./fixtures.ts";

const key = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);
const listed = (zones: Record<string, Uint8Array>) =>
  Object.fromEntries(Object.entries(zones).map(([zone, one]) => [zone, [one]]));
const ALL = { owner: key(1), training: key(2), prediction: key(3), consumer: key(4) };

describe("pinZones", () => {
  it("adds zones at the end of the example and keeps everything before", () => {
    const pinned = pinZones(exampleText, ALL);
    expect(pinned.startsWith(exampleText)).toBe(true);
    expect(loadGood(pinned).zones).toEqual(listed(ALL));
  });

  it("replaces single identities in place, comments and order kept", () => {
    const pinned = pinZones(`${pinZones(exampleText, ALL)}# the end\n`, {});
    const again = pinZones(pinned.replace("\nzones:", "\nzones: # who is who"), {
      prediction: key(9),
    });
    expect(again).toContain("zones: # who is who\n");
    expect(again.endsWith("# the end\n")).toBe(true);
    expect(loadGood(again).zones).toEqual(listed({ ...ALL, prediction: key(9) }));
    expect(again.length).toBe(pinned.length + " # who is who".length);
  });

  it.each([
    "",
    "a: 1",
    "a: 1 # x\n",
    "zones:\n",
    "zones:",
    "zones: ~ # hi\nb: 2\n",
    "zones: {}\nb: 1\n",
    "zones: { owner: x } # y\n",
    "zones:\n    # c\n    training: x # y\n    owner:\nq: 1\n",
    "zones: null\r\nb: 1\r\n",
  ])("works on %j", (text) => {
    if (text === "") {
      expect(() => pinZones(text, ALL)).toThrow(expect.objectContaining({ code: "spec-invalid" }));
      return;
    }
    const pinned = pinZones(text, ALL);
    for (const [zone, value] of Object.entries(ALL)) {
      expect(pinned.match(new RegExp(`${zone}: "${formatIdentity(value)}"`, "g"))).toHaveLength(1);
    }
    for (const comment of text.match(/#.*/g) ?? []) expect(pinned).toContain(comment);
    expect(pinZones(pinned, ALL)).toBe(pinned);
  });

  it.each(["zones: 3\n", "zones: [a]\n", "{ a: 1 }", "- a", "a: ["])("refuses %j", (text) => {
    expect(() => pinZones(text, ALL)).toThrow(expect.objectContaining({ code: "spec-invalid" }));
  });
});

describe("identities", () => {
  it("round trip, and only in canonical form", () => {
    for (let byte = 0; byte < 256; byte++) {
      const text = formatIdentity(key(byte));
      expect(parseIdentity(text)).toEqual(key(byte));
      expect(parseIdentity(`${text}=`)).toBeNull();
      expect(parseIdentity(text.slice(0, -1))).toBeNull();
    }
    expect(parseIdentity(formatIdentity(key(0)).replace(/A$/, "B"))).toBeNull();
    expect(parseIdentity(formatIdentity(new Uint8Array(31)))).toBeNull();
    expect(parseIdentity("x25519:AAAA")).toBeNull();
    expect(formatIdentity(key(255))).toBe("ed25519:__________________________________________8");
  });
});
