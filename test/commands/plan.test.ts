/** `sealstream plan`, and what `check` says of a plan: every sentence, tried on a file that deserves it. */
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { check } from "../../pipeline/commands/check.ts";
import type { Options } from "../../pipeline/commands/options.ts";
import type { PlanReport } from "../../pipeline/commands/plan/report.ts";
import { amount, count, size } from "../../pipeline/commands/plan/units.ts";
import { plan } from "../../pipeline/commands/plan.ts";
import { recordingContext } from "./recording-context.ts";

const DIGITS = join(import.meta.dirname, "../fixtures/digits");
const folder = mkdtempSync(join(tmpdir(), "sealstream-plan-"));
afterAll(() => rmSync(folder, { recursive: true }));
copyFileSync(join(DIGITS, "form.schema.json"), join(folder, "form.schema.json"));
const exampleText = readFileSync(join(DIGITS, "pipeline.yaml"), "utf8");

/** The digits example with parts replaced, each of which is in there. */
function edited(...edits: readonly (readonly [string, string])[]): string {
  return edits.reduce((text, [from, to]) => {
    if (!text.includes(from)) throw new Error(`expected: ${from}`);
    return text.replace(from, () => to);
  }, exampleText);
}

const predict = (keys: string): readonly [string, string] => [
  "predict: { packing: auto }",
  `predict: { ${keys} }`,
];
const packs = (keys: string): readonly [string, string] => [
  "lingerMs: 500, maxBytesPerRecord: 200000",
  keys,
];

type Run = typeof plan;

async function run(text: string, options: Options = {}, command: Run = plan, columns?: number) {
  const file = join(folder, "pipeline.yaml");
  writeFileSync(file, text);
  const { context, printed, told } = recordingContext({ outputColumns: columns });
  const code = await command(context, file, options);
  const lineOf = (part: string): number => text.slice(0, text.indexOf(part)).split("\n").length;
  return { code, printed: printed.join("\n"), told: told.join("\n"), file, lineOf };
}

async function report(text: string): Promise<PlanReport> {
  const { printed } = await run(text, { json: true });
  return JSON.parse(printed) as PlanReport; // because this is what the command prints
}

describe("a file that predicts nothing", () => {
  const plain = edited(predict("encrypted: false"), [
    "{ dense: 32, activation: square }",
    "{ dense: 32, activation: tanh }",
  ]);
  const says = "prediction  none: predict.encrypted is false; unlabelled records are dropped";

  it("has no plan, and says so", async () => {
    expect(await run(plain)).toMatchObject({ code: 0, told: "", printed: says });
    expect(await report(plain)).toEqual({ version: 1, status: "none", pipeline: "digits" });
  });

  it("passes check with a network that ciphertexts cannot be put through", async () => {
    const { code, printed } = await run(plain, {}, check);
    expect(code).toBe(0);
    expect(printed).toContain(`${says}\n`);
    expect(printed).toContain("network     64 -> 32 tanh -> 10\n");
  });

  it("is told of warnings and of the budget all the same", async () => {
    const risky = plain.replace(
      "field: phone, action: mask, keepLast: 2",
      "field: phone, action: keep",
    );
    expect((await run(risky, {}, check)).told).toMatch(/looks like a phone number/);
  });

  it("is refused with the line of the layer where it predicts", async () => {
    const text = edited(["{ dense: 32, activation: square }", "{ dense: 32, activation: tanh }"]);
    const { code, told, file, lineOf } = await run(text, {}, check);
    expect(code).toBe(2);
    expect(told).toContain(
      `${file}:${lineOf("activation: tanh")}:32: train.network[0].activation: ciphertexts cannot be put through tanh`,
    );
  });
});

describe("plan", () => {
  it("explains the choice for the example in plain words", async () => {
    const { code, printed, told } = await run(exampleText);
    expect({ code, told }).toEqual({ code: 0, told: "" });
    for (const part of [
      "network     64 -> 32 square -> 10; 1 product of ciphertexts one after the other",
      "chosen      both-1 (ckks-8192-49.49.30.49-s23): 128-bit security, 177 of at most 218 bits",
      "why         It is the cheapest set",
      "model       secret: the consumer learns its predictions",
      "fill        encrypt.packs.rate is not in the file: packs are taken to be full",
      "the goal is 3",
      "evaluation keys: relinearisation and 16 rotations",
      "not taken   ",
    ]) {
      expect(printed.replaceAll(/\n {12}/g, " ")).toContain(part);
    }
    expect(printed).toMatch(/^packing +records +bytes in +bytes out +ms +latency ms$/m);
    expect(printed).toMatch(/^batch, full +4,096 +3,136 +2\d\d +0\.0\d+ +\d+$/m);
    expect(Math.max(...printed.split("\n").map(({ length }) => length))).toBeLessThanOrEqual(100);
  });

  it("breaks lines where the terminal ends", async () => {
    const { printed } = await run(exampleText, {}, plan, 60);
    const lines = printed.split("\n").filter((line) => !/^(?:packing|batch|slots)/.test(line));
    expect(Math.max(...lines.map(({ length }) => length))).toBeLessThanOrEqual(60);
  });

  it("says what a consumer learns of a shared model", async () => {
    const { printed } = await run(edited(predict("model: shared, packing: batch")));
    expect(printed.replaceAll(/\s+/g, " ")).toContain(
      "shared: the consumer can compute the model's weights from the ciphertexts of about two full packs",
    );
    expect(printed).toContain("chosen      shared-1 (ckks-4096-46.46.17-s21)");
    expect(printed).toContain("evaluation keys: none;");
  });

  it("shows both packings at the declared rate", async () => {
    const { printed, told } = await run(edited(packs("lingerMs: 500, rate: 40")));
    expect(told).toBe("");
    const text = printed.replaceAll(/\s+/g, " ");
    expect(text).toContain(
      "fill 40 records a second over 4 partitions, 500 ms each: about 5 records at a time, which go as slots",
    );
    expect(text).toMatch(/Packs of fewer than \d+ records go as slots, fuller ones as batch/);
    expect(printed).toMatch(/^batch, expected +5 /m);
    expect(printed).toMatch(/^slots, expected +5 /m);
    expect(printed).toMatch(/^levels +batch: input 2\^23 of 98 bits, step 1 2\^\d+ of/m);
  });

  it("prints one JSON object whose figures are marked as predicted", async () => {
    const said = await report(edited(packs("lingerMs: 500, rate: 40")));
    expect(said).toMatchObject({
      version: 1,
      status: "ok",
      predicted: true,
      pipeline: "digits",
      parameters: { securityBits: 128, polyModulusDegree: expect.any(Number) },
      model: "secret",
      packing: "slots",
      expectedRecords: 5,
      precisionGoal: 3,
      keys: { relin: true, rotationSteps: expect.arrayContaining([expect.any(Number)]) },
    });
    if (said.status !== "ok") throw new Error("expected a plan");
    expect(Object.keys(said).sort()).toEqual(
      "assumption expectedRecords keys latencyMs memoryMiB model packing packings parameters pipeline precisionBits precisionGoal predicted reasons refusals status version".split(
        " ",
      ),
    );
    expect(said.packings.map(({ packing }) => packing)).toEqual(["batch", "slots"]);
    for (const one of said.packings) {
      expect(one.packBytesIn / one.packRecords).toBeCloseTo(one.bytesPerRecordIn.whenFull, 9);
      expect(one.packMs).toBeGreaterThan(0);
      expect(one.levels.length).toBeGreaterThan(0);
    }
    for (const { name, id, kind, reason } of said.refusals) {
      expect([name, id, reason].every((text) => text.length > 0)).toBe(true);
      expect(["fit", "keys", "precision", "bytes", "dearer"]).toContain(kind);
    }
  });

  it("refuses a file that is wrong in itself", async () => {
    await expect(run(exampleText.replace("keepLast: 2", "keepLast: -2"))).rejects.toThrow(
      expect.objectContaining({ code: "spec-invalid" }),
    );
  });
});

/** Files that load and cannot be predicted, or only badly. */
const refused: readonly [string, string, string, RegExp][] = [
  [
    "a set that is not secure",
    edited(predict("parameters: ckks-8192-60.60.60.60-s30")),
    "parameters: ckks",
    /predict\.parameters: ckks-8192-60\.60\.60\.60-s30 is no parameter set of 128-bit security that our kernels evaluate \(primes of at most 49 bits\)/,
  ],
  [
    "a set beyond our kernels",
    edited(predict("parameters: ckks-8192-60.30.30.40-s30")),
    "parameters: ckks",
    /predict\.parameters: ckks-8192-60\.30\.30\.40-s30 is no parameter set/,
  ],
  [
    "a named set that is too small",
    edited(predict("packing: batch, parameters: ckks-4096-46.46.17-s21")),
    "parameters: ckks",
    /predict\.parameters: ckks-4096-46\.46\.17-s21 does not carry this network; shared-1: its key prime of 17 bits is too small .*; use auto, or another set/,
  ],
  [
    "records that are too dear",
    edited(packs("lingerMs: 500, maxBytesPerRecord: 1000")),
    "maxBytesPerRecord: 1000",
    /encrypt\.packs\.maxBytesPerRecord: a record takes 2,?\d{3} bytes in a full pack, more than the 1000 of encrypt\.packs\.maxBytesPerRecord, under secret-1; raise it/,
  ],
];

describe.each([
  ["plan", plan],
  ["check", check],
] as const)("%s", (_, command) => {
  it.each(refused)("refuses %s at its line", async (_name, text, part, says) => {
    const { code, told, printed, file, lineOf } = await run(text, {}, command);
    expect(code).toBe(2);
    expect(told).toMatch(says);
    expect(told).toContain(`${file}:${lineOf(part)}:`);
    expect(printed).toBe("");
  });

  it("warns when the precision goal is missed", async () => {
    const { code, told, file, lineOf } = await run(
      edited(predict("packing: batch, precisionBits: 24")),
      {},
      command,
    );
    expect(code).toBe(0);
    expect(told).toMatch(
      /warning: .*predict\.precisionBits: about [\d.]+ right bits are all that is predicted, under [a-z0-9-]+: no set that may be used reaches 24\. Expect an error of [\d.e-]+ in a logit/,
    );
    expect(told).toContain(`${file}:${lineOf("precisionBits: 24")}:`);
  });

  it.each([
    ["batch", "raise encrypt.packs.lingerMs, or use packing auto"],
    ["auto", "raise encrypt.packs.lingerMs"],
  ])("warns when packs of packing %s stay nearly empty", async (packing, remedy) => {
    const rate = packing === "batch" ? 40 : 3000;
    const { code, told, file, lineOf } = await run(
      edited(packs(`lingerMs: 500, rate: ${rate}`), predict(`packing: ${packing}`)),
      {},
      command,
    );
    const records = (rate / 4) * 0.5;
    expect(code).toBe(0);
    expect(told).toMatch(
      new RegExp(
        `encrypt\\.packs\\.rate: a pack would leave with about ${records} of 4,096 records: [\\d,]+ bytes a record instead of [\\d,]+; ${remedy}$`,
        "m",
      ),
    );
    expect(told).toContain(`${file}:${lineOf("rate: ")}:`);
  });

  it("says nothing of fuller packs", async () => {
    const { told } = await run(edited(packs("lingerMs: 500, rate: 20000")), {}, command);
    expect(told).not.toContain("encrypt.packs.rate");
  });
});

describe("deeper networks", () => {
  const deep = (hidden: number): readonly [string, string] => [
    "- { dense: 10 }",
    `${"- { dense: 16, activation: square }\n    ".repeat(hidden)}- { dense: 10 }`,
  ];
  const roomy = packs("lingerMs: 500, maxBytesPerRecord: 1000000");

  it("are planned with more products and more primes", async () => {
    const { code, printed } = await run(edited(deep(1), roomy));
    expect(code).toBe(0);
    expect(printed).toContain("64 -> 32 square -> 16 square -> 10; 2 products of ciphertexts");
    expect(printed).toMatch(/^chosen {6}chain-(?:8192|16384)-\d/m);
  });

  it.each([
    ["plan", plan],
    ["check", check],
  ] as const)("are refused by %s when no set carries them", async (_, command) => {
    const { code, told, printed, file, lineOf } = await run(edited(deep(9), roomy), {}, command);
    expect({ code, printed }).toEqual({ code: 2, printed: "" });
    expect(told).toMatch(
      /train\.network: no parameter set carries this network; chain-32768-15: .*; use fewer or smaller layers, or activations of a lower degree/,
    );
    expect(told).toContain(`${file}:${lineOf("- { dense: 32")}:`);
    if (command === plan) expect(told.match(/^not taken {3}/gm)?.length).toBeGreaterThan(2);
  });
});

describe("a named set that does not carry the network", () => {
  it("is told with its own refusals", async () => {
    const text = edited(predict("packing: slots, parameters: ckks-4096-46.46.17-s21"));
    const { told, printed } = await run(text);
    expect(printed).toBe("");
    expect(told).toContain("not taken   shared-1 in slots:");
    expect(await report(text)).toMatchObject({
      version: 1,
      status: "refused",
      pipeline: "digits",
      key: "predict.parameters",
      message: expect.any(String),
      refusals: [{ name: "shared-1", packing: "slots", kind: "fit" }],
    });
  });
});

describe("check", () => {
  it("names the set and counts a plan's warnings under --strict and --json", async () => {
    const good = await run(exampleText, {}, check);
    expect(good.printed).toMatch(
      /^prediction {2}both-1 \(ckks-8192-49\.49\.30\.49-s23\), batch, secret model: about 3,136 bytes a record in full packs; "sealstream plan" says why$/m,
    );
    const coarse = edited(predict("packing: batch, precisionBits: 24"));
    expect((await run(coarse, { strict: true }, check)).code).toBe(1);
    const json = JSON.parse((await run(coarse, { json: true }, check)).printed);
    expect(json.warnings.map(({ path }: { path: string }) => path)).toContain(
      "predict.precisionBits",
    );
    const dear = edited(packs("lingerMs: 500, maxBytesPerRecord: 1000"));
    const invalid = JSON.parse((await run(dear, { json: true }, check)).printed);
    expect(invalid).toMatchObject({
      valid: false,
      complaints: [{ path: "encrypt.packs.maxBytesPerRecord", line: expect.any(Number) }],
    });
  });
});

it("writes numbers as people read them", () => {
  expect([0.0271, 1.234, 99.94, 123.4, 2944.6].map(amount)).toEqual([
    "0.0271",
    "1.23",
    "99.9",
    "123",
    "2,945",
  ]);
  expect([12.2, 2048, 4.2 * 1024 ** 2].map(size)).toEqual(["13 B", "2 KiB", "4.2 MiB"]);
  expect([count(1, "rotation"), count(1100, "rotation")]).toEqual([
    "1 rotation",
    "1,100 rotations",
  ]);
});
