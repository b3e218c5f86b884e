/**
 * Pinning identities edits the zones of a pipeline file and not one character more.
 */
import { describe, expect, it } from "vitest";
import { formatIdentity, parseIdentity } from "../../pipeline/spec/identity.ts";
import { pinRevoked, pinZones, roomForRevoked } from "../../pipeline/spec/pin-zones.ts";
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

describe("pinZones with lists", () => {
  const both = [key(9), key(1)];

  it.each([
    `zones:\n  owner: "${formatIdentity(key(1))}" # mine\nb: 1 # x\n`,
    `zones: { owner: "${formatIdentity(key(1))}" } # y\nb: 1\n`,
    `zones:\n  owner:\n    - "${formatIdentity(key(1))}"\n    - "${formatIdentity(key(2))}"\n  training: x # t\nb: 1\n`,
    `zones:\n  owner: ["${formatIdentity(key(1))}"]\n`,
    "b: 1\n",
  ])("writes both identities of a handover into %j", (text) => {
    const pinned = pinZones(text, { owner: both });
    const list = both.map((one) => `"${formatIdentity(one)}"`).join(", ");
    expect(pinned).toContain(`[${list}]`);
    for (const comment of text.match(/#.*/g) ?? []) expect(pinned).toContain(comment);
    expect(pinZones(pinned, { owner: both })).toBe(pinned);
    expect(pinZones(pinned, { owner: key(9) })).not.toContain("[");
  });

  it("gives what the pipeline file's reader reads", () => {
    const text = pinZones(pinZones(exampleText, ALL), { owner: both });
    expect(loadGood(text).zones).toEqual({ ...listed(ALL), owner: both });
  });

  it("can pin one zone alone, and the file says who is missing", () => {
    const { zones } = loadGood(pinZones(exampleText, { training: key(2) }));
    expect(zones).toEqual({ owner: [], training: [key(2)], prediction: [], consumer: [] });
  });
});

describe("pinRevoked", () => {
  const [a, b, c] = ["a", "b", "c"].map((digit) => digit.repeat(32)) as [string, string, string];

  it.each([
    "b: 1\n",
    "b: 1 # x",
    "revoked:\nb: 1\n",
    "revoked: ~ # none\nb: 1\n",
    "revoked: [] # none\nb: 1\n",
    `revoked: ["${a}"] # one\nb: 1\n`,
    `revoked: [ "${a}", # a\n  "${b}" ] # two\nb: 1\n`,
    `revoked:\n- "${a}" # a\n- "${b}" # b\nb: 1\n`,
    `revoked:\r\n    # first\r\n    - "${a}"\r\n`,
  ])("adds keys to %j once", (text) => {
    const pinned = pinRevoked(text, [c, c, a]);
    for (const kid of [a, c]) expect(pinned.match(new RegExp(kid, "g"))).toHaveLength(1);
    for (const comment of text.match(/#.*/g) ?? []) expect(pinned).toContain(comment.trim());
    expect(pinRevoked(pinned, [a, c])).toBe(pinned);
    expect(pinRevoked(text, [])).toBe(text);
  });

  it("says how many of them fit, and refuses more", () => {
    const many = Array.from({ length: 1030 }, (_, index) => index.toString(16).padStart(32, "0"));
    const text = pinRevoked("b: 1\n", [a, ...many.slice(0, 4)]);
    expect(roomForRevoked(text, many)).toBe(1023);
    expect(roomForRevoked(text, [b, a])).toBe(2);
    const full = pinRevoked(text, many.slice(0, 1023));
    expect([roomForRevoked(full, [a, b]), roomForRevoked(full, [b])]).toEqual([1, 0]);
    expect(() => pinRevoked(text, many)).toThrow(/names 1024 revoked keys/);
  });

  it("gives what the pipeline file's reader reads", () => {
    const text = pinRevoked(pinRevoked(exampleText, [a]), [b, c]);
    expect([...loadGood(text).revoked].sort()).toEqual([a, b, c]);
  });

  it.each(["revoked: 3\n", "{ a: 1 }", "- a", "a: ["])("refuses %j", (text) => {
    expect(() => pinRevoked(text, [a])).toThrow(expect.objectContaining({ code: "spec-invalid" }));
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
