/** What is authenticated beside the plaintext, against a plain encoding of the grammar; and the slabs envelopes lie in. */
import { describe, expect, test } from "vitest";
import { encodeCbor } from "../../pipeline/crypto/cbor.ts";
import { type EnvelopeContext, encryptStructure } from "../../pipeline/crypto/envelope-aad.ts";
import { createSlabs } from "../../pipeline/crypto/slabs.ts";
import { hexOf, utf8 } from "./fixtures.ts";

/** The grammar of envelope.ts, by the general encoder. */
function expected(header: Uint8Array, context: EnvelopeContext): string {
  const { pipeline, topic, lane, recordId, schemaVersion, attributes = {} } = context;
  const label = "sealstream/envelope/v1";
  const place = [label, pipeline, topic, lane, recordId, schemaVersion, attributes];
  return hexOf(encodeCbor(["Encrypt0", header, encodeCbor(place)]));
}

const header = new Uint8Array(31).fill(0xee);
const context: EnvelopeContext = {
  pipeline: "digits",
  topic: "examples",
  lane: 0,
  recordId: utf8("record-1"),
  schemaVersion: 1,
};

const contexts: EnvelopeContext[] = [
  context,
  { ...context, attributes: {} },
  { ...context, attributes: { split: "train" } },
  { ...context, attributes: { bb: "", a: "2", "\u00e9": "\u{1f511}", "": "x", ab: "\ud800" } },
  {
    ...context,
    attributes: Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`k${i}`, "v"])),
  },
  { ...context, pipeline: "d\u00efgits" },
  { ...context, pipeline: "digits-2" },
  { ...context, topic: "contributions", lane: 23 },
  { ...context, topic: "contributions", lane: 24 },
  { ...context, topic: "models", lane: 2 ** 40 },
  { ...context, recordId: new Uint8Array(0) },
  { ...context, recordId: new Uint8Array(255) },
  { ...context, recordId: new Uint8Array(65_536).fill(7) },
  { ...context, attributes: { long: "\u00fc".repeat(50_000) } },
  { ...context, attributes: { long: "a".repeat(300), longer: "b".repeat(200_000) } },
  { ...context, schemaVersion: 2 ** 32 },
];

describe("the Enc_structure", () => {
  test("is the encoding of the grammar, whatever was encoded before it", () => {
    // Every pair, because what is kept between calls must not show.
    for (const before of contexts) {
      for (const one of contexts) {
        encryptStructure(header, 0, header.length, before);
        const ours = hexOf(encryptStructure(header, 0, header.length, one));
        expect(ours === expected(header, one)).toBe(true);
      }
    }
  });

  test("takes the header out of the middle of other bytes, up to 255", () => {
    const source = Uint8Array.from({ length: 400 }, (_, i) => i);
    for (const length of [27, 36, 255]) {
      const ours = encryptStructure(source, 3, 3 + length, context);
      expect(hexOf(ours)).toBe(expected(source.slice(3, 3 + length), context));
    }
  });

  test("refuses a schema version that is no unsigned integer", () => {
    for (const schemaVersion of [-1, 0.5, 2 ** 53, Number.NaN]) {
      expect(() => encryptStructure(header, 0, 31, { ...context, schemaVersion })).toThrow(
        expect.objectContaining({ code: "internal" }),
      );
    }
  });
});

describe("slabs", () => {
  test("hand no byte out twice", () => {
    const slabs = createSlabs();
    const sizes = [1, 100, 5000, 8192, 8193, 0, 70_000, 63, 8000];
    const pieces = Array.from({ length: 200 }, (_, i) => slabs.take(sizes[i % sizes.length]!));
    for (const [i, piece] of pieces.entries()) {
      expect(piece.length).toBe(sizes[i % sizes.length]);
      expect(piece.every((byte) => byte === 0)).toBe(true);
      piece.fill(1 + (i % 250));
    }
    for (const [i, piece] of pieces.entries()) {
      expect(piece.every((byte) => byte === 1 + (i % 250))).toBe(true);
    }
  });

  test("are shared by small pieces only", () => {
    const slabs = createSlabs();
    expect(slabs.take(300).buffer).toBe(slabs.take(300).buffer);
    const large = slabs.take(8193);
    expect(large.buffer.byteLength).toBe(8193);
  });
});
