/** What a person sees when something is missing or wrong: one sentence that says what to run, and an exit code. */
import { randomBytes } from "node:crypto";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { type ProgramOptions, runProgram } from "../../examples/digits/demo/program.ts";
import { freshPipeline } from "../lib/kafka.ts";
import { makePipeline, type TestPipeline, untilStages } from "../lib/pipeline.ts";

const DIGITS = join(import.meta.dirname, "../fixtures/digits");
/** A port of the loopback address on which nothing listens. */
const NOBODY = "127.0.0.1:9";

let folder: string;
let ready: TestPipeline;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "sealstream-commands-"));
  mkdirSync(join(folder, "logs"));
  copyFileSync(join(DIGITS, "form.schema.json"), join(folder, "form.schema.json"));
  ready = await makePipeline(inject("brokers"), (text) =>
    text.replace("partitions: 4", "partitions: 1"),
  );
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
  ready?.remove();
});

function program(overrides: Record<string, string> = {}): ProgramOptions {
  const environment = {
    PATH: process.env["PATH"] ?? "",
    HOME: homedir(),
    KAFKA_BROKERS: inject("brokers").join(","),
    PSEUDONYM_KEY: randomBytes(32).toString("base64"),
    ...overrides,
  };
  return { environment, logs: join(folder, "logs") };
}

function freshFile(edit: (text: string) => string = (text) => text): string {
  const name = freshPipeline("commands");
  const file = join(folder, `${name}.yaml`);
  const text = readFileSync(join(DIGITS, "pipeline.yaml"), "utf8").replace(
    /^name: digits$/m,
    `name: ${name}`,
  );
  writeFileSync(file, edit(text));
  return file;
}

async function fails(
  args: string[],
  options = program(),
): Promise<{ code: number | null; err: string }> {
  const { code, err } = await runProgram(options, "failing", args);
  // While nobody answers, each longer wait is told; what is said in the end is one sentence.
  const said = err.trim().split("\n");
  expect(said.filter((line) => !/: trying again in \d+ s$/.test(line)).length, err).toBe(1);
  expect(err).not.toMatch(/\n\s+at |node:internal/);
  return { code, err };
}

describe("sealstream", () => {
  it("checks the example", async () => {
    const { code, out } = await runProgram(program(), "check", [
      "check",
      join(DIGITS, "pipeline.yaml"),
    ]);
    expect(code).toBe(0);
    expect(out).toContain("noise multiplier 1.391");
  });

  it("names line, column and path of a wrong pipeline file and exits 2", async () => {
    const file = freshFile((text) =>
      text.replace("action: mask, keepFirst: 1", "action: tokenize"),
    );
    const line =
      readFileSync(file, "utf8")
        .split("\n")
        .findIndex((text) => text.includes("tokenize")) + 1;
    const { code, err } = await runProgram(program(), "check", ["check", file]);
    expect(code).toBe(2);
    expect(err).toMatch(
      new RegExp(`${file}:${line}:\\d+: desensitize\\[1\\]\\.action: .*tokenize`),
    );
  });

  it("says how to get a broker", async () => {
    const file = freshFile();
    const unnamed = await fails(["topics", file], program({ KAFKA_BROKERS: "" }));
    expect(unnamed).toMatchObject({ code: 2, err: expect.stringContaining("sealstream broker") });
    const absent = await fails(["topics", file], program({ KAFKA_BROKERS: NOBODY }));
    expect(absent).toMatchObject({ code: 1, err: expect.stringContaining(NOBODY) });
  });

  it("says how to get topics and keys", async () => {
    const file = freshFile();
    expect(await fails(["keys", "create", file])).toMatchObject({
      code: 1,
      err: expect.stringContaining("sealstream topics"),
    });
    expect(await fails(["run", file])).toMatchObject({
      code: 1,
      err: expect.stringContaining("sealstream keys create"),
    });
    expect(await fails(["produce", file, join(folder, "nothing.ndjson")])).toMatchObject({
      code: 2,
    });
  });

  it("says one sentence, not five, when run lacks a broker, a secret or a key folder", async () => {
    expect(await fails(["run", ready.file], program({ KAFKA_BROKERS: "" }))).toMatchObject({
      code: 2,
      err: expect.stringContaining("sealstream broker"),
    });
    expect(await fails(["run", ready.file], program({ PSEUDONYM_KEY: "" }))).toMatchObject({
      code: 1,
      err: expect.stringContaining("PSEUDONYM_KEY"),
    });
    expect(await fails(["run", ready.file, "--keys", folder])).toMatchObject({
      code: 1,
      err: expect.stringContaining("--keys"),
    });
  });

  it("takes lines from standard input, and ends quietly when nobody reads on", async () => {
    const { spawnSync } = await import("node:child_process");
    const bin = join(import.meta.dirname, "../../bin/sealstream.js");
    const env = program().environment;
    const produced = spawnSync(process.execPath, [bin, "produce", ready.file, "-"], {
      env,
      input: "{}\n{}\n",
      encoding: "utf8",
    });
    expect(produced.stderr).toContain("2 records written");
    expect(produced.status).toBe(0);
    const script = `"${process.execPath}" "${bin}" topics "${ready.file}" | head -n 1`;
    const headed = spawnSync("sh", ["-c", script], { env, encoding: "utf8" });
    expect(headed.stderr).toBe("");
    expect(headed.stdout.trim().split("\n").length).toBe(1);
  });

  it("does not overwrite keys", async () => {
    const { code, err } = await fails(["keys", "create", ready.file]);
    expect(code).toBe(1);
    expect(err).toContain("nothing was overwritten");
  });

  it("tells the status of a pipeline that rests, that runs, and that no broker knows", async () => {
    // It has patience for some seconds; meanwhile the rest.
    const unreached = fails(["status", ready.file], program({ KAFKA_BROKERS: NOBODY }));
    unreached.catch(() => undefined);
    const resting = await runProgram(program(), "status", ["status", ready.file]);
    expect(resting).toMatchObject({ code: 0, out: expect.stringMatching(/^train .* 0 +0\/1 /m) });
    expect(resting.out).toMatch(/^training {4}not begun$/m);
    const port = 20_000 + (process.pid % 20_000);
    const stages = ready.start(["--stage", "train", "--metrics-port", String(port)]);
    await untilStages(stages, "train has its backend", () =>
      Boolean(stages.reports().get("train")?.notes["backend"]),
    );
    const args = ["status", ready.file, "--metrics-port", String(port), "--json"];
    const running = JSON.parse((await runProgram(program(), "status-json", args)).out);
    const { members, lanes } = running.stages[2];
    expect(members).toMatchObject([{ host: expect.any(String), partitions: [0] }]);
    expect(lanes).toMatchObject([{ lane: 0, lag: 0 }]);
    // Train alone was started, and took the first port.
    expect(running.processes[0]).toMatchObject({
      ...{ port, stage: "train", backend: stages.reports().get("train")?.notes["backend"] },
    });
    expect(running.processes[4]).toMatchObject({ port: port + 4, isReady: null });
    await stages.stop();
    expect(await unreached).toMatchObject({ code: 1, err: expect.stringContaining(NOBODY) });
    expect(await fails(["status", freshFile()])).toMatchObject({
      code: 1,
      err: expect.stringContaining("sealstream topics"),
    });
  });

  it("names a missing secret of the environment", async () => {
    const { code, err } = await fails(
      ["run", ready.file, "--stage", "desensitize", "--in-process"],
      program({ PSEUDONYM_KEY: "" }),
    );
    expect(code).toBe(1);
    expect(err).toContain("PSEUDONYM_KEY");
  });

  it("names a missing key file", async () => {
    const name = join(ready.keys, "train", "train-signing.key");
    const content = readFileSync(name);
    rmSync(name);
    const { code, err } = await fails(["run", ready.file, "--stage", "train", "--in-process"]);
    writeFileSync(name, content, { mode: 0o600 });
    expect(code).toBe(1);
    expect(err).toContain("train-signing.key");
  });

  it("refuses to start a stage with another zone's key", async () => {
    const stray = join(ready.keys, "encrypt", "noise.key");
    copyFileSync(join(ready.keys, "aggregate", "noise.key"), stray);
    const { code, err } = await fails(["run", ready.file, "--stage", "encrypt", "--in-process"]);
    rmSync(stray);
    expect(code).toBe(1);
    expect(err).toContain("noise.key");
  });

  it("refuses to start predict beside the consumer's secret, but not where it is out of reach", async () => {
    const { code, err } = await fails(["run", ready.file, "--stage", "predict", "--in-process"]);
    expect(code).toBe(1);
    expect(err).toMatch(/predict|secret|reach/);
    const stages = ready.start(["--stage", "predict"]);
    const deadline = performance.now() + 30_000;
    while (!stages.reports().has("predict") && performance.now() < deadline) {
      await Promise.race([new Promise((resolve) => setTimeout(resolve, 100)), stages.failed]);
    }
    expect(stages.reports().get("predict")?.lanes).toBe(1);
    await stages.stop();
  });

  it("refuses words it does not know", async () => {
    expect(await fails(["run", ready.file, "--stage", "dance"])).toMatchObject({ code: 2 });
    expect(await fails(["keys", "sing", ready.file])).toMatchObject({ code: 2 });
    expect(await fails(["conquer"])).toMatchObject({
      code: 2,
      err: expect.stringContaining("conquer"),
    });
    expect(await fails(["run", ready.file, "--instances", "0"])).toMatchObject({ code: 2 });
  });

  it("ends within the shutdown timeout on SIGTERM with exit code 0, in-process too", async () => {
    const { spawn } = await import("node:child_process");
    const bin = join(import.meta.dirname, "../../bin/sealstream.js");
    const args = [
      bin,
      "run",
      ready.file,
      "--stage",
      "encrypt",
      "--in-process",
      "--json",
      "--metrics-port",
      "0",
    ];
    const child = spawn(process.execPath, args, {
      env: program().environment,
      stdio: ["ignore", "pipe", "inherit"],
    });
    await new Promise((resolve) => child.stdout.once("data", resolve));
    child.kill("SIGTERM");
    const code = await new Promise((resolve) => child.once("close", resolve));
    expect(code).toBe(0);
  });
});
