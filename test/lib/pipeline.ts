/** A whole pipeline on the real broker, made and run with the commands users have. */
import { randomBytes } from "node:crypto";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import {
  type ProgramOptions,
  type RunningStages,
  runCommand,
  runProgram,
  startStages,
} from "../../examples/digits/demo/program.ts";
import { type DigitRecord, digitRecords } from "../../examples/digits/records.ts";
import type { Prediction } from "../../pipeline/client/predictions.ts";
import { loadPipelineSpec } from "../../pipeline/spec/load.ts";
import type { PipelineSpec } from "../../pipeline/spec/pipeline-spec.ts";
import { freshPipeline, until } from "./kafka.ts";

const EXAMPLES = join(import.meta.dirname, "../../examples");
/** A plain pipeline, beside the examples that users copy: tests edit it by its words. */
const PLAIN = join(import.meta.dirname, "../fixtures/digits");

/** The demo's forms. */
export function digits(): DigitRecord[] {
  return digitRecords({ csvGz: readFileSync(join(EXAMPLES, "digits/digits_8x8.csv.gz")), seed: 7 });
}

export interface TestPipeline {
  readonly name: string;
  readonly folder: string;
  readonly file: string;
  readonly keys: string;
  /** TMPDIR of every command and stage. */
  readonly temporary: string;
  /** Working directory of every command and stage. */
  readonly work: string;
  readonly program: ProgramOptions;
  /** The pipeline file as it is now: with pinned zones after `keys create`. */
  spec(): PipelineSpec;
  run(name: string, args: readonly string[]): Promise<string>;
  produce(records: readonly (DigitRecord | string)[]): Promise<void>;
  predictions(): Promise<Prediction[]>;
  start(args?: readonly string[]): RunningStages;
  remove(): void;
}

export interface MakeOptions {
  /** Variables beside those that every pipeline gets. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Folder of the example that the pipeline file is of. */
  readonly example?: "digits" | "clinic";
  /** Options of each call of `keys create`; one call without any by default. */
  readonly createKeys?: readonly (readonly string[])[];
  /** Called before topics and keys are made. */
  readonly before?: (pipeline: TestPipeline) => Promise<void>;
}

/** Makes topics and keys of a fresh pipeline after an example. @param edit changes the file's text */
export async function makePipeline(
  brokers: readonly string[],
  edit: (text: string) => string = (text) => text,
  options: MakeOptions = {},
): Promise<TestPipeline> {
  const folder = mkdtempSync(join(tmpdir(), "sealstream-test-"));
  const logs = join(folder, "logs");
  mkdirSync(logs);
  const temporary = join(folder, "tmp");
  mkdirSync(temporary);
  const work = join(folder, "work");
  mkdirSync(work);
  const name = freshPipeline("flow");
  const file = join(folder, "pipeline.yaml");
  const example = options.example === "clinic" ? join(EXAMPLES, "clinic") : PLAIN;
  for (const entry of readdirSync(example)) {
    if (/\.(?:schema\.json|csv|txt)$/.test(entry))
      copyFileSync(join(example, entry), join(folder, entry));
  }
  const text = readFileSync(join(example, "pipeline.yaml"), "utf8").replace(
    /^name: \w+$/m,
    `name: ${name}`,
  );
  writeFileSync(file, edit(text));
  const environment = {
    PATH: process.env["PATH"] ?? "",
    HOME: homedir(),
    TMPDIR: temporary,
    KAFKA_BROKERS: brokers.join(","),
    PSEUDONYM_KEY: randomBytes(32).toString("hex"),
    ...options.environment,
  };
  const program = { environment, logs, cwd: work };
  let inputs = 0;
  const running: RunningStages[] = [];
  const pipeline: TestPipeline = {
    name,
    folder,
    file,
    keys: join(folder, "keys"),
    temporary,
    work,
    program,
    spec() {
      const loaded = loadPipelineSpec({ path: file, readFile: readFileSync, env: environment });
      if (loaded.status === "invalid") {
        throw new Error(JSON.stringify(loaded.complaints));
      }
      return loaded.spec;
    },
    run: (command, args) => runCommand(program, command, args),
    async produce(records) {
      inputs += 1;
      const input = join(folder, `input-${inputs}.ndjson`);
      const lines = records.map((record) =>
        typeof record === "string" ? record : JSON.stringify(record.form),
      );
      writeFileSync(input, `${lines.join("\n")}\n`);
      await runCommand(program, `produce-${inputs}`, ["produce", file, input]);
    },
    async predictions() {
      // Refused bundles make it end with 1; what it decrypted is printed all the same.
      const { out } = await runProgram(program, "predictions", ["predictions", file]);
      return out
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line) as Prediction);
    },
    start(args = []) {
      const stages = startStages(program, [file, ...args]);
      running.push(stages);
      return stages;
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
  await options.before?.(pipeline);
  await pipeline.run("topics", ["topics", file]);
  for (const more of options.createKeys ?? [[]]) {
    await pipeline.run("keys", ["keys", "create", file, ...more]);
  }
  return pipeline;
}

/** Waits for a condition while the stages run; fails at once when a stage fails for good. */
export function untilStages(
  stages: RunningStages,
  what: string,
  condition: () => boolean | Promise<boolean>,
): Promise<void> {
  return Promise.race([until(what, condition, 120_000), stages.failed]);
}
