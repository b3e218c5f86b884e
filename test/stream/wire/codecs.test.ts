/** Every codec that a producer may have used, its bound, and broken bytes. Vectors: lz4-napi 2.9.0 and snappy 7.4.3. */
import { gzipSync, zstdCompressSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { inflate } from "../../../pipeline/stream/wire/codecs.ts";
import { createRandom } from "./random.ts";

const PLAIN = Buffer.from(
  "sealstream sealstream sealstream, sealed streams of seals; 0123456789".repeat(3),
);
const LZ4 = Buffer.from(
  "BCJNGGBAgkIAAAC/c2VhbHN0cmVhbSALAAIRLBcAMmVkICUAQXMgb2YSAN9zOyAwMTIzNDU2Nzg5OgACAicAAVsAD0UAUWA0NTY3ODkAAAAA",
  "base64",
);
const SNAPPY = Buffer.from(
  "zwEoc2VhbHN0cmVhbSBSCwAALAUXCGVkIAklDHMgb2YFEjBzOyAwMTIzNDU2Nzg5UjoACScFW/5FAKZFAA==",
  "base64",
);

function xerial(...blocks: readonly Buffer[]): Buffer {
  const header = Buffer.from("82534e41505059000000000100000001", "hex");
  const parts = blocks.flatMap((block) => {
    const length = Buffer.alloc(4);
    length.writeInt32BE(block.length);
    return [length, block];
  });
  return Buffer.concat([header, ...parts]);
}

const CODECS = [
  ["gzip", 1, gzipSync(PLAIN), PLAIN],
  ["snappy", 2, SNAPPY, PLAIN],
  ["snappy in xerial's framing", 2, xerial(SNAPPY, SNAPPY), Buffer.concat([PLAIN, PLAIN])],
  ["lz4", 3, LZ4, PLAIN],
  ["lz4 in two frames", 3, Buffer.concat([LZ4, LZ4]), Buffer.concat([PLAIN, PLAIN])],
  ["zstd", 4, zstdCompressSync(PLAIN), PLAIN],
] as const;

describe.each(CODECS)("%s", (_, codec, packed, plain) => {
  it("inflates, up to its bound and no further", () => {
    expect(inflate(codec, packed, "t/0")).toEqual(plain);
    expect(inflate(codec, packed, "t/0", plain.length)).toEqual(plain);
    expect(() => inflate(codec, packed, "t/0", plain.length - 1)).toThrow(
      expect.objectContaining({ code: "limit-exceeded" }),
    );
  });

  it("refuses broken bytes with limit-exceeded, or inflates them within the bound", () => {
    const random = createRandom(codec);
    for (let round = 0; round < 1_000; round += 1) {
      const broken = Buffer.from(packed.subarray(0, random(packed.length + 1)));
      if (broken.length > 0) broken[random(broken.length)] = random(256);
      try {
        expect(inflate(codec, broken, "t/0", 4_096).length).toBeLessThanOrEqual(4_096);
      } catch (error) {
        expect(error).toMatchObject({ code: "limit-exceeded" });
      }
    }
  });
});

it.each([5, 6, 7])("codec %i is not known", (codec) => {
  expect(() => inflate(codec, PLAIN, "topic/3")).toThrow(/topic\/3 .* codec/);
});
