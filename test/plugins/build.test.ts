/**
 * The build of the WebAssembly modules: it leaves a fresh module alone, notices one that is damaged, and copies.
 *
 * Builds into folders of its own, since other tests read build/wasm at the same time.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, expect, test, vi } from "vitest";
import { wasmPath } from "../../pipeline/wasm/locate.ts";

// Eight compilations, on a machine that may have other work.
vi.setConfig({ testTimeout: 240_000 });

const SCRIPT = join(import.meta.dirname, "..", "..", "plugins", "build.ts");
const MODULES = [
  "ckks-exact.wasm",
  "ckks.wasm",
  "desensitize.debug.wasm",
  "desensitize.wasm",
  "features.wasm",
  "train.wasm",
];
const FILES = MODULES.flatMap((name) => [name, `${name}.stamp`]);

/** Where all tests of this file build to, one after the other: compiling is what takes long here. */
const folder = mkdtempSync(join(tmpdir(), "sealstream-build-"));
const out = join(folder, "out");
afterAll(() => rmSync(folder, { recursive: true }));

/** Runs the build; returns its exit code and the names of the modules that it says it built. */
async function build(
  ...args: string[]
): Promise<{ code: number | null; built: string[]; stderr: string }> {
  const child = spawn(process.execPath, [SCRIPT, ...args]);
  const ended = new Promise<number | null>((resolve) => {
    child.on("close", resolve);
  });
  const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  const built = [...stdout.matchAll(/^built (.*)$/gm)].map(([, file]) => basename(file!));
  return { code, built: built.sort(), stderr };
}

test("builds what the asconfig files name, alike at the same time, and leaves nothing else behind", async () => {
  const both = await Promise.all([build("--out", out), build("--out", out)]);
  for (const result of both) expect(result).toMatchObject({ code: 0, stderr: "" });
  expect(readdirSync(out).sort()).toEqual(FILES.toSorted());
  for (const name of MODULES) {
    const pretest = readFileSync(wasmPath(name.replace(/\.wasm$/, "")));
    expect(readFileSync(join(out, name)).equals(pretest)).toBe(true);
  }
});

test("builds nothing that is fresh, and only the module that is damaged", async () => {
  expect(await build("--out", out)).toMatchObject({ code: 0, built: [] });
  truncateSync(join(out, "desensitize.wasm"), 1000);
  expect(await build("--out", out)).toMatchObject({ code: 0, built: ["desensitize.wasm"] });
});

test("--copy puts the modules, without their stamps, where a published package has them", async () => {
  const target = join(folder, "package");
  expect(await build("--out", out, "--copy", target)).toMatchObject({ code: 0 });
  expect(readdirSync(join(target, "build", "wasm")).sort()).toEqual(MODULES);
});
