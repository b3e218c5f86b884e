/** `sealstream plugin new NAME`: a folder that builds and passes `plugin test`, out of the examples of this package. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import { SealstreamError } from "../../errors.ts";
import { programPath } from "../child-permissions.ts";
import { type CommandContext, EXIT } from "../context.ts";
import type { Options } from "../options.ts";

/** What crates, packages and folders may all be called. */
const NAME = /^[a-z][a-z0-9-]{0,63}$/;

interface Language {
  readonly example: string;
  readonly build: string;
  readonly module: string;
}

const LANGUAGES: Readonly<Record<string, Language>> = {
  assemblyscript: {
    example: "example-as",
    build: "npm install && npm run build",
    module: "build/plugin.wasm",
  },
  rust: {
    example: "example-rust",
    build: "cargo build --release --target wasm32-unknown-unknown",
    module: "target/wasm32-unknown-unknown/release/plugin.wasm",
  },
  c: { example: "example-c", build: "make", module: "build/plugin.wasm" },
};

/** Where the example finds the SDK, and where a plugin outside this repository does. */
const SDK = ["../../sdk/assembly/", "./sdk/"] as const;
/** What building leaves behind. */
const BUILT = /(?:^|\/)(?:build|target|node_modules)(?:\/|$)/;
const IGNORED = "node_modules/\nbuild/\ntarget/\n";

/** Copies the files below a folder, their text changed. */
function copy(from: string, to: string, change: (text: string) => string): void {
  for (const entry of readdirSync(from, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (!entry.isFile() || BUILT.test(relative(from, path).replaceAll("\\", "/"))) continue;
    const target = join(to, relative(from, path));
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, change(readFileSync(path, "utf8")));
  }
}

export async function newCommand(
  context: CommandContext,
  path: string,
  options: Options,
): Promise<number> {
  const folder = resolve(path);
  const name = basename(folder);
  const wanted = String(options["language"] ?? "assemblyscript");
  const language = Object.hasOwn(LANGUAGES, wanted) ? LANGUAGES[wanted] : undefined;
  if (language === undefined) {
    const known = Object.keys(LANGUAGES).join(", ");
    throw new SealstreamError("usage", `There is no template in "${wanted}": there are ${known}.`);
  }
  if (!NAME.test(name)) {
    const what = `"${name}" is no name for a plugin: use lower-case letters, digits and -, beginning with a letter.`;
    throw new SealstreamError("usage", what);
  }
  if (existsSync(folder)) {
    throw new SealstreamError("usage", `${path} exists: name a folder that does not.`);
  }
  const plugins = join(dirname(dirname(programPath())), "plugins");
  if (!existsSync(join(plugins, language.example))) {
    const what = "This installation has no templates: install the npm package sealstream.";
    throw new SealstreamError("usage", what);
  }
  const { example, build, module } = language;
  copy(join(plugins, example), folder, (text) => text.replaceAll(example, name).replaceAll(...SDK));
  if (wanted === "assemblyscript") {
    copy(join(plugins, "sdk", "assembly"), join(folder, "assembly", "sdk"), (text) => text);
  }
  writeFileSync(join(folder, "ABI.md"), readFileSync(join(plugins, "ABI.md")));
  writeFileSync(join(folder, ".gitignore"), IGNORED);
  context.print(`made ${path}; next:`);
  context.print(`  cd ${path} && ${build}`);
  context.print(`  sealstream plugin test ${module} --config config.txt --input samples.txt`);
  return EXIT.ok;
}
