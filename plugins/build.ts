/**
 * Builds every WebAssembly module that asconfig files name, when its sources have changed.
 *
 *   node plugins/build.ts               build what is stale into build/wasm
 *   node plugins/build.ts --force       build all
 *   node plugins/build.ts --out DIR     build into DIR instead
 *   node plugins/build.ts --copy DIR    build, then copy build/wasm/*.wasm to DIR/build/wasm
 *
 * Stale is judged by a hash of sources, configuration and compiler version, kept beside the module. Several builds may
 * run at once: each compiles into a folder of its own and renames, so readers see a whole module or the old one. The
 * compiler exits 0 on some errors, so the module must exist and be WebAssembly afterwards. Must not import plugin
 * source: AssemblyScript is not TypeScript.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join, relative, resolve } from "node:path";
import { parseArgs } from "node:util";

const ROOT = dirname(import.meta.dirname);
/** `\0asm`. */
const MAGIC = Buffer.from([0x00, 0x61, 0x73, 0x6d]);

interface AsConfig {
  readonly entries: readonly string[];
  readonly targets: Readonly<Record<string, { readonly outFile: string }>>;
}

/** One module to build. */
interface Job {
  /** asconfig file, relative to the repository. */
  readonly config: string;
  readonly target: string;
  /** Every file whose change makes the module stale. */
  readonly sources: readonly string[];
  /** Where the module goes, absolute. */
  readonly output: string;
}

/** AssemblyScript files below a folder, in a fixed order. */
function sourcesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .sort()
    .map((name) => join(folder, name));
}

/** asconfig files, relative to the repository; each builds one module per target. */
const CONFIGS: readonly string[] = [
  "asconfig.json",
  "pipeline/ckks/asconfig.json",
  "pipeline/features/asconfig.json",
  "pipeline/stages/train/asconfig.json",
];

/** The folder `assembly` that an entry lies in, however deep: the modules of one guest share files. */
function guestFolder(entry: string): string {
  const parts = entry.split("/");
  return parts.slice(0, parts.indexOf("assembly") + 1).join("/");
}

/** The modules of a configuration, to be put where it says or into the folder `out`. */
function jobsOf(config: string, out: string | undefined): Job[] {
  const file = join(ROOT, config);
  // Because asconfig files are ours and a wrong one fails in the compiler.
  const { entries, targets } = JSON.parse(readFileSync(file, "utf8")) as AsConfig;
  const folder = dirname(file);
  const sources = entries.flatMap((entry) => sourcesBelow(join(folder, guestFolder(entry))));
  return Object.entries(targets).map(([target, { outFile }]) => ({
    config,
    target,
    sources: [file, ...sources],
    output: out === undefined ? join(folder, outFile) : join(out, basename(outFile)),
  }));
}

function compilerVersion(): string {
  const require = createRequire(import.meta.url);
  // Because the compiler's package file is JSON with a version, like every package's.
  return (require("assemblyscript/package.json") as { version: string }).version;
}

/** Changes when anything changes that the module is made of. */
function fingerprint({ target, sources }: Job): string {
  const hash = createHash("sha256").update(`${compilerVersion()}\0${target}\0`);
  for (const source of sources) {
    hash
      .update(`${relative(ROOT, source)}\0`)
      .update(readFileSync(source))
      .update("\0");
  }
  return hash.digest("hex");
}

/** `fingerprint module-hash`: a module that was swapped or cut off is stale too. */
function stampOf(sources: string, module: string): string {
  return `${sources} ${createHash("sha256").update(readFileSync(module)).digest("hex")}\n`;
}

function isFresh(job: Job, sources: string): boolean {
  const stamp = `${job.output}.stamp`;
  if (!existsSync(job.output) || !existsSync(stamp)) return false;
  return readFileSync(stamp, "utf8") === stampOf(sources, job.output);
}

/** Compiles into a fresh folder and moves module and stamp into place. */
function build(job: Job): void {
  const sources = fingerprint(job);
  mkdirSync(dirname(job.output), { recursive: true });
  const folder = mkdtempSync(join(dirname(job.output), ".building-"));
  try {
    const module = join(folder, basename(job.output));
    const require = createRequire(import.meta.url);
    const compiler = join(dirname(require.resolve("assemblyscript/package.json")), "bin/asc.js");
    const { status, stderr, stdout } = spawnSync(
      process.execPath,
      [compiler, "--config", join(ROOT, job.config), "--target", job.target, "--outFile", module],
      { cwd: dirname(join(ROOT, job.config)), encoding: "utf8" },
    );
    if (status !== 0 || !existsSync(module) || !readFileSync(module).subarray(0, 4).equals(MAGIC)) {
      throw new Error(`${job.config}, target ${job.target}, did not build:\n${stdout}${stderr}`);
    }
    if (stderr !== "") process.stderr.write(stderr);
    writeFileSync(`${module}.stamp`, stampOf(sources, module));
    renameSync(module, job.output);
    renameSync(`${module}.stamp`, `${job.output}.stamp`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function copyModules(jobs: readonly Job[], to: string): void {
  const folder = join(to, "build", "wasm");
  mkdirSync(folder, { recursive: true });
  for (const { output } of jobs) copyFileSync(output, join(folder, basename(output)));
}

const { values: options } = parseArgs({
  options: {
    force: { type: "boolean", default: false },
    out: { type: "string" },
    copy: { type: "string" },
  },
});
const out = options.out === undefined ? undefined : resolve(options.out);
const jobs = CONFIGS.flatMap((config) => jobsOf(config, out));
for (const job of jobs) {
  if (!options.force && isFresh(job, fingerprint(job))) continue;
  build(job);
  process.stdout.write(`built ${relative(ROOT, job.output)}\n`);
}
if (options.copy !== undefined) copyModules(jobs, options.copy);
