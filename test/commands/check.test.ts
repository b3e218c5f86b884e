/** What `check` prints and ends with for warnings, with and without --strict and --json. */
import { createHash, randomBytes } from "node:crypto";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { check } from "../../pipeline/commands/check.ts";
import type { Options } from "../../pipeline/commands/options.ts";
import type { Network } from "../../pipeline/network/definition.ts";
import { initialWeights } from "../../pipeline/network/initial-weights.ts";
import { encodeCheckpoint } from "../../pipeline/network/safetensors.ts";
import { recordingContext } from "./recording-context.ts";

const DIGITS = join(import.meta.dirname, "../fixtures/digits");
const folder = mkdtempSync(join(tmpdir(), "sealstream-check-"));
afterAll(() => rmSync(folder, { recursive: true }));
copyFileSync(join(DIGITS, "form.schema.json"), join(folder, "form.schema.json"));

const ZONES = "owner training prediction consumer"
  .split(" ")
  .map((zone, i) => {
    const identity = Buffer.alloc(32, i + 1).toString("base64url");
    return `  ${zone}: "ed25519:${identity}"\n`;
  })
  .join("");

async function run(edit: (text: string) => string, options: Options = {}) {
  const text = `${readFileSync(join(DIGITS, "pipeline.yaml"), "utf8")}\nzones:\n${ZONES}`;
  const file = join(folder, "pipeline.yaml");
  writeFileSync(file, edit(text));
  const { context, printed, told } = recordingContext();
  return { code: await check(context, file, options), printed, told, file };
}

const same = (text: string): string => text;
const risky = (text: string): string =>
  text.replace("field: phone, action: mask, keepLast: 2", "field: phone, action: keep");
const wrong = (text: string): string => text.replace("keepLast: 2", "keepLast: -2");

describe("check", () => {
  it("tells warnings and ends with 0, or with 1 when they count", async () => {
    const { code, told, file } = await run(risky);
    expect(code).toBe(0);
    const line = risky(readFileSync(join(DIGITS, "pipeline.yaml"), "utf8"))
      .split("\n")
      .findIndex((one) => one.includes("field: phone"));
    expect(told).toEqual([
      `warning: ${file}:${line + 1}:14: desensitize[2].field: 'phone' looks like a phone number and leaves as it is: pseudonymize, mask or drop it`,
    ]);
    expect((await run(risky, { strict: true })).code).toBe(1);
    expect((await run(same, { strict: true })).code).toBe(0);
    expect((await run(same)).told).toEqual([]);
    expect((await run(wrong, { strict: true })).code).toBe(2);
  });

  it("says who gets which field of the records that are shared", async () => {
    const shared = `encrypt:
  records:
    clear: [formId, postcode]
    sealed:
      - { fields: [name], for: [support] }
      - { fields: [pixels], for: [support, billing] }
`;
    const { printed } = await run((text) => text.replace("encrypt:\n", shared));
    expect(printed).toContain(
      "records     formId, postcode in clear; name sealed for support; pixels sealed for billing, support; no other field",
    );
    expect((await run(same)).printed.filter((line) => line.startsWith("records"))).toEqual([]);
  });

  it("prints warnings beside complaints under --json", async () => {
    const { code, printed, told, file } = await run(risky, { json: true });
    expect({ code, told }).toEqual({ code: 0, told: [] });
    expect(JSON.parse(printed.join(""))).toEqual({
      valid: true,
      complaints: [],
      warnings: [
        expect.objectContaining({ file, path: "desensitize[2].field", line: expect.any(Number) }),
      ],
    });
    expect((await run(risky, { json: true, strict: true })).code).toBe(1);
    const invalid = JSON.parse((await run(wrong, { json: true })).printed.join(""));
    expect(invalid).toMatchObject({ valid: false, warnings: [] });
    expect(invalid.complaints).toHaveLength(1);
  });

  it("looks at what a run begins with", async () => {
    const network: Network = {
      inputs: 64,
      layers: [
        { outputs: 32, activation: "square" },
        { outputs: 10, activation: "none" },
      ],
    };
    const weights = initialWeights(network, randomBytes);
    const bytes = encodeCheckpoint({ network, weights, metadata: {} });
    writeFileSync(join(folder, "public.safetensors"), bytes);
    const starting =
      (sha256: string, file = "public.safetensors") =>
      (text: string) =>
        text.replace("  backend: auto", `  warmStart: { file: ${file}, sha256: ${sha256} }`);
    const pin = createHash("sha256").update(bytes).digest("hex");
    const { code, printed } = await run(starting(pin));
    expect(code).toBe(0);
    expect(printed.join("\n")).toMatch(/warm start {2}the first 2 of 2 layers/);
    const other = await run(starting("a".repeat(64)));
    expect(other.code).toBe(2);
    expect(other.told.join("\n")).toMatch(
      new RegExp(`train.warmStart: .* has sha256 ${pin}, not the pinned one`),
    );
    expect((await run(starting(pin, "none"))).told.join("\n")).toMatch(/cannot be read/);
    const narrow = (text: string) => starting(pin)(text).replace("dense: 32", "dense: 16");
    expect((await run(narrow)).told.join("\n")).toMatch(
      /layers\.0\.bias must have the shape \[16\]/,
    );
  });

  it("says what the budget means, and refuses one that cannot be met", async () => {
    const told = async (keys: string) => {
      const result = await run((text) => text.replace(/epsilon: 3, delta: 1e-5/, keys));
      return { ...result, all: [...result.told, ...result.printed].join("\n") };
    };
    const plain = await told("epsilon: 3, delta: 1e-5");
    expect(plain.all).toMatch(
      /epsilon 3 at delta 0.00001 for each record, accounted one-pass: noise/,
    );
    const blt = await told("epsilon: 3, delta: 1e-5, noise: { blt: { updates: 64, buffers: 3 } }");
    expect(blt.all).toMatch(/accounted correlated: noise multiplier 1\.391, blt over 64 updates/);
    expect(plain.all).toMatch(
      /accounting {2}each record enters one update of a run.* noise of its own; an update takes 64 records; .*whether a record contributed anything; validation records are not covered/,
    );
    expect(blt.all).toMatch(/noise of the updates hangs together.* begins anew every 64 updates/);
    const absurd = await told("epsilon: 1e-9, delta: 1e-15");
    expect(absurd.code).toBe(2);
    expect(absurd.all).toMatch(
      /pipeline\.yaml:\d+:\d+: privacy\.epsilon: this budget cannot be met/,
    );
    for (const noise of [
      "banded: { updates: 1048576, bands: 5",
      "blt: { updates: 500000, buffers: 9",
    ]) {
      const slow = await told(`epsilon: 3, delta: 1e-5, noise: { ${noise} } }`);
      expect(slow.all).toMatch(
        /pipeline\.yaml:\d+:\d+: privacy\.noise\.(banded|blt): the search .* expected at most \d (bands|buffers)/,
      );
    }
    const large = await told("epsilon: 3, delta: 1e-5, noise: { toeplitz: { updates: 1048576 } }");
    expect(large.code).toBe(2);
    expect(large.all).toMatch(
      /pipeline\.yaml:\d+:\d+: privacy\.noise: would keep \d+ MiB.*256 MiB/,
    );
    const fine = await told("epsilon: 0.01, delta: 1e-5, noise: { toeplitz: { updates: 64 } }");
    expect(fine.code).toBe(2);
    expect(fine.all).toMatch(
      /pipeline\.yaml:\d+:\d+: privacy\.noise: .*cannot be added exactly on this grid.*microBatchRecords/,
    );
  });
});
