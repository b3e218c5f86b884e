/**
 * Peers of kernels in other languages: fetched from their registries once into an ignored folder, run as child
 * processes that are handed the same items over a file and measure themselves when it is their turn.
 *
 * What could not be fetched, built or started is reported as missing, with the reason. Must not know what is measured.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

const FETCH_TIMEOUT_MS = 480_000;
const HERE = join(import.meta.dirname, "..");
const SOURCES = join(HERE, "desensitize");
const PEERS = join(HERE, ".peers");

export const BENTHOS_VERSION = "4.50.0";
export const PRESIDIO_VERSION = "2.2.366";
export const RUST_HMAC_VERSION = "0.12.1";
export const RUST_SHA2_VERSION = "0.10.9";

const exec = promisify(execFile);

/** A command to fetch or build something. */
async function run(command: string, args: readonly string[], cwd: string): Promise<void> {
  await exec(command, args, { cwd, timeout: FETCH_TIMEOUT_MS, maxBuffer: 1 << 24 });
}

/** How a peer is put into its folder, and the command that runs it there. */
interface Recipe {
  readonly folder: string;
  readonly source: string;
  readonly needs: string;
  readonly build: (folder: string) => Promise<void>;
  readonly command: (folder: string) => readonly [string, ...string[]];
}

const CARGO = `[package]
name = "peer"
version = "1.0.0"
edition = "2021"
[dependencies]
hmac = "=${RUST_HMAC_VERSION}"
sha2 = "=${RUST_SHA2_VERSION}"
[profile.release]
opt-level = 3
lto = true
codegen-units = 1
`;

export const RECIPES = {
  benthos: {
    folder: `benthos-${BENTHOS_VERSION}`,
    source: "mapping.go",
    needs: "Go and its module proxy",
    async build(folder) {
      const module = "github.com/redpanda-data/benthos/v4";
      if (!existsSync(join(folder, "go.mod"))) await run("go", ["mod", "init", "peer"], folder);
      await run("go", ["get", `${module}@v${BENTHOS_VERSION}`], folder);
      await run("go", ["build", "-mod=mod", "-o", "peer", "."], folder);
    },
    command: (folder) => [join(folder, "peer")],
  },
  presidio: {
    folder: `presidio-anonymizer-${PRESIDIO_VERSION}`,
    source: "anonymizer.py",
    needs: "Python 3 and PyPI",
    async build(folder) {
      await run("python3", ["-m", "venv", "env"], folder);
      const pip = join(folder, "env", "bin", "python");
      await run(
        pip,
        ["-m", "pip", "install", "-q", `presidio-anonymizer==${PRESIDIO_VERSION}`],
        folder,
      );
    },
    command: (folder) => [join(folder, "env", "bin", "python"), join(folder, "anonymizer.py")],
  },
  rust: {
    folder: `rust-hmac-${RUST_HMAC_VERSION}-sha2-${RUST_SHA2_VERSION}`,
    source: "hmac.rs",
    needs: "Rust and crates.io",
    async build(folder) {
      await mkdir(join(folder, "src"), { recursive: true });
      await copyFile(join(folder, "hmac.rs"), join(folder, "src", "main.rs"));
      await writeFile(join(folder, "Cargo.toml"), CARGO);
      await run("cargo", ["build", "--release", "-q"], folder);
    },
    command: (folder) => [join(folder, "target", "release", "peer")],
  },
} as const satisfies Record<string, Recipe>;

export interface KernelPeer {
  /** What it made of each item. */
  readonly outputs: readonly Buffer[];
  /** Works for about that long; returns items a second. */
  turn(turnMs: number): Promise<number>;
  /** Ends the process. */
  close(): void;
}

/** u32 count, then u32 length and bytes each. */
function encodeItems(items: readonly Uint8Array[]): Buffer {
  const word = (value: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    return bytes;
  };
  return Buffer.concat([word(items.length), ...items.flatMap((one) => [word(one.length), one])]);
}

function decodeItems(data: Buffer): Buffer[] {
  let at = 4;
  return Array.from({ length: data.readUInt32LE(0) }, () => {
    const start = at + 4;
    at = start + data.readUInt32LE(at);
    return data.subarray(start, at);
  });
}

/** Lines that a child writes, one for each call; rejects when there are no more. */
function linesOf(child: ChildProcess): () => Promise<string> {
  if (child.stdout === null) throw new Error("the peer has no output");
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return async () => {
    const { value, done } = await lines.next();
    if (done === true) throw new Error("the peer ended");
    return value;
  };
}

/** Builds a peer where it is not built from the same source already. */
async function ensure(recipe: Recipe, tell: (message: string) => void): Promise<string> {
  const folder = join(PEERS, recipe.folder);
  const source = join(SOURCES, recipe.source);
  const built = join(folder, "built-from");
  const text = await readFile(source, "utf8");
  if (existsSync(built) && (await readFile(built, "utf8")) === text) return folder;
  tell(`fetching and building ${recipe.folder} (once)`);
  await mkdir(folder, { recursive: true });
  await copyFile(source, join(folder, recipe.source));
  await recipe.build(folder);
  await writeFile(built, text);
  return folder;
}

/** Starts a peer on these items, or says in words why it cannot be had. */
export async function openKernelPeer(
  name: keyof typeof RECIPES,
  job: { readonly items: readonly Uint8Array[]; readonly key: string },
  tell: (message: string) => void,
): Promise<KernelPeer | string> {
  const recipe: Recipe = RECIPES[name];
  let doing = `fetch and build ${recipe.folder}: needs ${recipe.needs}`;
  const work = await mkdtemp(join(tmpdir(), "sealstream-bench-"));
  try {
    const folder = await ensure(recipe, tell);
    doing = `run ${recipe.folder}`;
    const [input, output] = [join(work, "input"), join(work, "output")];
    await writeFile(input, encodeItems(job.items));
    const [command, ...args] = recipe.command(folder);
    const child = spawn(command, [...args, input, output, job.key], {
      stdio: ["pipe", "pipe", "ignore"],
    });
    // A child that could not start, or died, ends its output: that is noticed where its next line is awaited.
    child.on("error", () => {});
    child.stdin.on("error", () => {});
    const nextLine = linesOf(child);
    if ((await nextLine()) !== "ready") throw new Error("not ready");
    const outputs = decodeItems(await readFile(output));
    return {
      outputs,
      async turn(turnMs) {
        child.stdin.write(`${turnMs}\n`);
        const speed = Number(await nextLine());
        if (!(speed > 0)) throw new Error(`${recipe.folder} measured nothing`);
        return speed;
      },
      close: () => child.stdin.end(),
    };
  } catch {
    // Because a peer that cannot be had is an outcome of a benchmark, told in its table.
    return `could not ${doing}`;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
