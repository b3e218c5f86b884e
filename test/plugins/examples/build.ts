/**
 * Builds the plugin examples as their READMEs say, where the compiler is; says by name which cannot be built here.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, dirname, join } from "node:path";

export const PLUGINS = join(import.meta.dirname, "..", "..", "..", "plugins");
const WASM = "wasm32-unknown-unknown";

export interface Toolchain {
  readonly language: "assemblyscript" | "rust" | "c";
  readonly example: string;
  /** Null: it can be built here. */
  readonly missing: string | null;
  /** Builds the plugin in a folder. */
  readonly build: (folder: string) => Uint8Array;
}

function run(
  command: string,
  args: readonly string[],
  cwd: string,
  env: Record<string, string> = {},
): void {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd,
    encoding: "utf8",
    env: { ...process.env, ...env },
    timeout: 300_000,
  });
  if (status !== 0) throw new Error(`${command} in ${cwd}: ${error}\n${stdout}${stderr}`);
}

/** Folders of the search path that have a program. */
function folders(program: string): string[] {
  return (process.env["PATH"] ?? "")
    .split(delimiter)
    .filter((folder) => existsSync(join(folder, program)));
}

/** A folder with a Rust compiler that has the standard library of WebAssembly: rustup's, or a distribution's. */
function rustFolder(): string | null {
  const found = folders("rustc").find((folder) => {
    const { stdout } = spawnSync(join(folder, "rustc"), ["--print", "sysroot"], {
      encoding: "utf8",
    });
    return (
      existsSync(join(String(stdout).trim(), "lib", "rustlib", WASM)) &&
      existsSync(join(folder, "cargo"))
    );
  });
  return found ?? null;
}

function hasClang(): boolean {
  return folders("clang").length > 0 && folders("wasm-ld").length > 0 && folders("make").length > 0;
}

export function toolchains(): readonly Toolchain[] {
  const rust = rustFolder();
  return [
    {
      language: "assemblyscript",
      example: "example-as",
      missing: null,
      build(folder) {
        const require = createRequire(import.meta.url);
        const compiler = join(
          dirname(require.resolve("assemblyscript/package.json")),
          "bin/asc.js",
        );
        run(
          process.execPath,
          [compiler, "--config", "asconfig.json", "--target", "release"],
          folder,
        );
        return readFileSync(join(folder, "build", "plugin.wasm"));
      },
    },
    {
      language: "rust",
      example: "example-rust",
      missing: rust === null ? `a Rust compiler with ${WASM}` : null,
      build(folder) {
        const env = {
          PATH: `${rust}${delimiter}${process.env["PATH"]}`,
          CARGO_NET_OFFLINE: "true",
        };
        run(
          join(String(rust), "cargo"),
          ["build", "--release", "--locked", "--target", WASM],
          folder,
          env,
        );
        return readFileSync(join(folder, "target", WASM, "release", "plugin.wasm"));
      },
    },
    {
      language: "c",
      example: "example-c",
      missing: hasClang() ? null : "clang, lld and make",
      build(folder) {
        run("make", [], folder);
        return readFileSync(join(folder, "build", "plugin.wasm"));
      },
    },
  ];
}
