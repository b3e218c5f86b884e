/** What `npm pack` makes installs elsewhere and runs: its bin, its plugin, its workers, as plain JavaScript. */
import { execFileSync, spawnSync } from "node:child_process";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, inject, it } from "vitest";
import { freshPipeline } from "../lib/kafka.ts";

const ROOT = join(import.meta.dirname, "../..");
let folder: string;

/** Installs the tarball into an empty project, with this repository's copies of its dependencies. */
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "sealstream-package-"));
  execFileSync("npm", ["pack", "--silent", "--pack-destination", folder], {
    cwd: ROOT,
    stdio: ["ignore", "ignore", "inherit"],
  });
  const [tarball = ""] = readdirSync(folder);
  execFileSync("tar", ["-xzf", tarball], { cwd: folder });
  const modules = join(folder, "node_modules");
  mkdirSync(modules);
  renameSync(join(folder, "package"), join(modules, "sealstream"));
  for (const name of readdirSync(join(ROOT, "node_modules"))) {
    if (!name.startsWith(".")) {
      symlinkSync(join(ROOT, "node_modules", name), join(modules, name));
    }
  }
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

it("runs a stage from the installed package", () => {
  const bin = join(folder, "node_modules/sealstream/bin/sealstream.js");
  const examples = join(folder, "node_modules/sealstream/examples/digits");
  const file = join(folder, "pipeline.yaml");
  const text = readFileSync(join(examples, "pipeline.yaml"), "utf8").replace(
    /^name: digits$/m,
    `name: ${freshPipeline("package")}`,
  );
  writeFileSync(file, text);
  copyFileSync(join(examples, "form.schema.json"), join(folder, "form.schema.json"));
  const env = {
    PATH: process.env["PATH"] ?? "",
    HOME: homedir(),
    KAFKA_BROKERS: inject("brokers").join(","),
    PSEUDONYM_KEY: "00".repeat(32),
  };
  const sealstream = (args: string[], timeout = 60_000) =>
    spawnSync(process.execPath, [bin, ...args], { env, timeout, encoding: "utf8", cwd: folder });
  for (const args of [
    ["check", file],
    ["topics", file],
    ["keys", "create", file],
  ]) {
    const { status, stderr } = sealstream(args);
    expect(status, stderr).toBe(0);
  }
  const records = join(folder, "records.ndjson");
  const form = {
    formId: "form-1",
    name: "Ada Lovelace",
    email: "ada@example.org",
    phone: "+44 1234",
    postcode: "W1",
    birthDate: "1815-12-10",
    note: "n",
    pixels: Array(64).fill(1),
    digit: 3,
  };
  writeFileSync(records, `${JSON.stringify(form)}\n`);
  expect(sealstream(["produce", file, records]).status).toBe(0);
  const { stdout } = sealstream(
    ["run", file, "--stage", "desensitize", "--in-process", "--json"],
    10_000,
  );
  expect(stdout).toMatch(/"records":1,"outputs":1,"deadLetters":0/);
});
