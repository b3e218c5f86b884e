/**
 * `sealstream plugin ...` as a person or a script meets it, and plugins of a pipeline file in what runs beside the stage.
 */
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { check } from "../../pipeline/commands/check.ts";
import { loadSpecFiles } from "../../pipeline/commands/context.ts";
import { createJudge } from "../../pipeline/commands/dead-letters/judge.ts";
import { linesOf } from "../../pipeline/commands/plugin/inputs.ts";
import { pipelineLine } from "../../pipeline/commands/plugin/test.ts";
import { plugin } from "../../pipeline/commands/plugin.ts";
import { recordsOf } from "../stages/desensitize/fixtures.ts";
import { changedGuest, hostileGuest, modeConfig } from "../wasm/hostile-guest.ts";
import { recordingContext } from "./recording-context.ts";

const DIGITS = join(import.meta.dirname, "..", "fixtures", "digits");

const folder = mkdtempSync(join(tmpdir(), "sealstream-plugin-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const at = (name: string): string => join(folder, name);

beforeAll(async () => {
  writeFileSync(at("echo.wasm"), await hostileGuest());
  writeFileSync(at("honest.bin"), modeConfig("honest"));
  writeFileSync(at("rows.txt"), 'one\ntwo\r\n{"id":3}\n');
  writeFileSync(at("loops.txt"), "one\nL\n");
}, 60_000);

const listen = () => recordingContext({ environment: { PSEUDONYM_KEY: "5a".repeat(32) } });

async function run(action: string, target: string, options: Record<string, unknown> = {}) {
  const { printed, told, context } = listen();
  return { code: await plugin(context, action, target, options), printed, told };
}

const HONEST = { config: at("honest.bin"), input: at("rows.txt") };

describe("plugin test", () => {
  test("exits 0 and prints the pin of a plugin that passes", async () => {
    const { code, printed } = await run("test", at("echo.wasm"), {
      ...HONEST,
      deadlineMs: "10000",
    });
    expect(code).toBe(0);
    expect(printed).toContain("fails none of 27 checks");
    expect(printed.at(-1)).toMatch(
      /^ {2}- \{ module: ".*echo\.wasm", sha256: "[0-9a-f]{64}", config: "\\u0000" \}$/,
    );
  });

  test("exits 1 and names the check that fails, also as JSON", async () => {
    writeFileSync(
      at("bad.wasm"),
      await changedGuest((source) => source.replace("return 1; }", "return 2; }")),
    );
    const { code, printed } = await run("test", at("bad.wasm"), HONEST);
    expect(code).toBe(1);
    expect(printed.filter((line) => line.startsWith("FAIL"))).toEqual([
      expect.stringMatching(/^FAIL {2}version .*speaks version 2.*: let abi_version answer 1$/),
    ]);
    expect(printed).not.toContain("plugins:");
    const json = await run("test", at("bad.wasm"), { ...HONEST, json: true });
    expect(json).toMatchObject({ code: 1 });
    expect(json.printed.length).toBe(1);
    const report = JSON.parse(json.printed[0]!);
    expect(report).toMatchObject({ passed: false, fitsPipeline: false, pipelineLine: null });
    const failed = report.checks.filter(({ outcome }: { outcome: string }) => outcome === "fail");
    expect(failed).toMatchObject([{ name: "version" }]);
  });
});

describe("plugin bench", () => {
  test("measures an instance and a worker", async () => {
    const { code, printed } = await run("bench", at("echo.wasm"), {
      ...HONEST,
      deadlineMs: "10000",
      json: true,
    });
    expect(code).toBe(0);
    const { speeds, statuses } = JSON.parse(printed[0]!);
    expect(Object.keys(statuses)).toEqual(["ok"]);
    expect(speeds.map(({ way }: { way: string }) => way)).toEqual([
      "instance, in this thread",
      "worker, as in a stage",
    ]);
    for (const { recordsPerSecond, megabytesPerSecond } of speeds) {
      // Rows of 3, 4 and 8 bytes: 5 on average.
      expect(megabytesPerSecond).toBeCloseTo((recordsPerSecond * 5) / 1e6, 1);
      expect(recordsPerSecond).toBeGreaterThan(1000);
    }
  });

  test("does not hang on a plugin that loops: there is nothing to measure", async () => {
    const options = { ...HONEST, input: at("loops.txt"), deadlineMs: "100" };
    await expect(run("bench", at("echo.wasm"), options)).rejects.toMatchObject({
      code: "plugin-invalid",
      message: expect.stringContaining("plugin test"),
    });
  }, 120_000);
});

describe("the command line is refused in one sentence:", () => {
  const cases: [string, string, string, Record<string, unknown>, RegExp][] = [
    ["another action", "fly", "x", {}, /plugin test MODULE/],
    ["an action that every object has", "toString", "x", {}, /plugin test MODULE/],
    ["no module", "test", "no-such.wasm", {}, /no-such\.wasm cannot be read/],
    [
      "no configuration",
      "test",
      at("echo.wasm"),
      { config: "none.txt" },
      /none\.txt cannot be read/,
    ],
    ["no input", "bench", at("echo.wasm"), {}, /needs --input/],
    ["no memory", "test", at("echo.wasm"), { memoryMaxMb: "0" }, /--memory-max-mb/],
    ["another language", "new", "a", { language: "go" }, /assemblyscript, rust, c/],
    ["a name with capitals", "new", "My-Plugin", {}, /lower-case/],
  ];
  test.each(cases.map(([what, ...rest]) => [what, rest] as const))("%s", async (_, refused) => {
    const [action, target, options, says] = refused;
    await expect(run(action, target, options)).rejects.toMatchObject({
      code: "usage",
      message: expect.stringMatching(says),
    });
  });

  test("new does not touch a folder that exists", async () => {
    mkdirSync(at("mine"));
    await expect(run("new", at("mine"))).rejects.toMatchObject({ code: "usage" });
  });
});

test("an input is cut into its lines, the last one with or without an end", () => {
  const lines = (text: string) =>
    linesOf(Buffer.from(text)).map((line) => Buffer.from(line).toString());
  expect(lines("a\n\nb")).toEqual(["a", "", "b"]);
  expect(lines("a\nb\n")).toEqual(["a", "b"]);
  expect(lines("")).toEqual([]);
});

test("the line to paste says the configuration so that the pipeline file reads the same", () => {
  const line = (config: Buffer) =>
    pipelineLine("p.wasm", {
      ...{ module: Buffer.of(), sha256: "ab", rows: [], memoryMaxBytes: 1, deadlineMs: 1, config },
    });
  const variable = "$" + "{HOME}";
  expect(line(Buffer.of())).toBe('  - { module: "p.wasm", sha256: "ab" }');
  expect(line(Buffer.from(`a "b" ${variable}`))).toBe(
    `  - { module: "p.wasm", sha256: "ab", config: "a \\"b\\" $${variable}" }`,
  );
  expect(line(Buffer.from([0xff]))).toBe(null);
});

describe("plugins of a pipeline file", () => {
  const file = at("pipeline.yaml");
  let module: Uint8Array;
  const writeFile = (sha256: string) => {
    const text = readFileSync(join(DIGITS, "pipeline.yaml"), "utf8");
    const config = JSON.stringify(Buffer.from(modeConfig("honest")).toString());
    const entry = `{ module: echo.wasm, sha256: "${sha256}", config: ${config}, deadlineMs: 10000 }`;
    writeFileSync(file, `${text}\nplugins:\n  - ${entry}\n`);
  };
  beforeAll(() => {
    module = readFileSync(at("echo.wasm"));
    const schema = JSON.parse(readFileSync(join(DIGITS, "form.schema.json"), "utf8"));
    writeFileSync(at("form.schema.json"), JSON.stringify({ ...schema, required: ["formId"] }));
    writeFile(createHash("sha256").update(module).digest("hex"));
  });

  test("are files that a stage's process may read", () => {
    const { files } = loadSpecFiles(listen().context, file);
    expect(files).toContain(at("echo.wasm"));
  });

  test("are run by the judge of replays too", async () => {
    const { context } = listen();
    const { spec } = loadSpecFiles(context, file);
    const judge = await createJudge({ context, spec, stage: "desensitize", ownerFolder: "" });
    try {
      const verdicts = await judge.judge(recordsOf({ formId: "f1" }, "T", { formId: "f2" }));
      expect(verdicts).toMatchObject([
        { status: "passes" },
        // Without the plugin this is no JSON; the plugin traps on it.
        { status: "refused", reason: "plugin-failed" },
        { status: "passes" },
      ]);
    } finally {
      await judge.close();
    }
  });

  test("are named by check, and refused with line and path when the file was swapped", async () => {
    const good = listen();
    expect(await check(good.context, file, {})).toBe(0);
    expect(good.printed.join("\n")).toMatch(
      /plugins {5}echo\.wasm \(sha256 [0-9a-f]{8}\.\.\.\), before the rules/,
    );
    writeFile("0".repeat(64));
    const bad = listen();
    expect(await check(bad.context, file, {})).toBe(2);
    expect(bad.told.join("\n")).toMatch(
      /pipeline\.yaml:\d+:\d+.*plugins\[0\]\.sha256.*the file has [0-9a-f]{64}/,
    );
  });
});
