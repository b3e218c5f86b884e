/** The file of a warm start: what is none is refused before it is read. */
import { mkdtempSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { loadWarmStart } from "../../pipeline/commands/warm-start.ts";
import { exampleText, loadGood } from "../spec/fixtures.ts";

const folder = mkdtempSync(join(tmpdir(), "sealstream-warm-"));

function load(file: string) {
  const spec = loadGood(exampleText);
  const warmStart = { file, sha256: "0123456789abcdef".repeat(4) };
  return () => loadWarmStart({ ...spec, train: { ...spec.train, warmStart } });
}

describe("the file of a warm start", () => {
  it("is not read where it is a device without an end, or far larger than any model", () => {
    const large = join(folder, "large");
    writeFileSync(large, "");
    // Sparse: takes no room.
    truncateSync(large, 70_000_000);
    for (const file of ["/dev/zero", large, folder]) {
      expect(load(file)).toThrow(/is no file of at most 67108864 bytes/);
    }
  });

  it("is compared with its pinned hash", () => {
    const other = join(folder, "other");
    writeFileSync(other, "not this one");
    expect(load(other)).toThrow(/not the pinned one/);
    expect(load(join(folder, "none"))).toThrow(/cannot be read/);
  });
});
