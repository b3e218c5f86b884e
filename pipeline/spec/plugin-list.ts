/**
 * Checks the pipeline file's `plugins` list against the modules it names, and turns it into what the other rooms see.
 *
 * A module is pinned by the SHA-256 of its bytes: a file that was swapped is refused here, and again when the stage that
 * runs it starts. Must not look into a module: whether it is a plugin is the host's to say.
 */
import { createHash } from "node:crypto";
import { dirname, resolve } from "node:path";
import type { PipelineFile } from "../../schemas/pipeline-file.ts";
import type { Complaint } from "./complaint.ts";
import type { LocatedTree } from "./located-tree.ts";
import type { PipelineSpec, PluginSpec } from "./pipeline-spec.ts";

/** Far above any plugin, and read at once. */
const MAX_MODULE_BYTES = 32 * 1024 * 1024;
const MIB = 1024 * 1024;
/** `\0asm` */
const WASM_MAGIC = [0x00, 0x61, 0x73, 0x6d];

type Entries = PipelineFile["plugins"];

/** How the bytes are got at; null where there are none. */
export interface PluginReaders {
  readonly readModule: (named: string) => Uint8Array | null;
  /** Undefined: pins of built-in plugins are not checked. */
  readonly readBuiltIn: ((name: string) => Uint8Array | null) | undefined;
}

/** Everything that is wrong with the list. */
export function checkPlugins(
  { plugins }: PipelineFile,
  tree: LocatedTree,
  readers: PluginReaders,
): Complaint[] {
  const complaints: Complaint[] = [];
  const pinned = new Set<string>();
  for (const [index, entry] of plugins.entries()) {
    const path = ["plugins", index];
    const { module, name } = entry;
    if ((module === undefined) === (name === undefined)) {
      complaints.push(tree.complain(path, "expected either module or name"));
      continue;
    }
    if (name !== undefined) {
      if (pinned.has(name)) {
        complaints.push(tree.complain([...path, "name"], `${name} is pinned above already`));
      }
      pinned.add(name);
      const given = Object.keys(Object(entryAt(tree, index)));
      for (const key of ["config", "memoryMaxMb", "deadlineMs"].filter((k) => given.includes(k))) {
        const message = `${key} is about a module of your own; an entry with a name only pins its hash`;
        complaints.push(tree.complainAboutKey([...path, key], message));
      }
    }
    complaints.push(...checkBytes(entry, { tree, index, readers }));
  }
  return complaints;
}

/** The entry as written: defaults are not in it. */
function entryAt(tree: LocatedTree, index: number): unknown {
  // Because the schema has found a list of objects here.
  return (tree.value as { readonly plugins: readonly unknown[] }).plugins[index];
}

/** Whether there are bytes and they are the pinned ones. */
function checkBytes(
  { module, name, sha256 }: Entries[number],
  at: { readonly tree: LocatedTree; readonly index: number; readonly readers: PluginReaders },
): Complaint[] {
  const { tree, index, readers } = at;
  const path = ["plugins", index];
  if (module === undefined && readers.readBuiltIn === undefined) {
    return sha256 === undefined
      ? [tree.complain(path, "missing; expected sha256: the hash that is pinned")]
      : [];
  }
  const bytes =
    module === undefined ? (readers.readBuiltIn?.(name ?? "") ?? null) : readers.readModule(module);
  if (bytes === null) {
    const message =
      module === undefined
        ? `the plugin ${name} is not built: run npm run build:wasm`
        : "expected a readable file relative to this one, found none";
    return [tree.complain([...path, module === undefined ? "name" : "module"], message)];
  }
  if (bytes.length > MAX_MODULE_BYTES) {
    const message = `expected at most ${MAX_MODULE_BYTES} bytes, found ${bytes.length}`;
    return [tree.complain([...path, "module"], message)];
  }
  if (WASM_MAGIC.some((byte, i) => bytes[i] !== byte)) {
    return [tree.complain([...path, "module"], "the file is no WebAssembly module")];
  }
  const actual = createHash("sha256").update(bytes).digest("hex");
  if (sha256 === actual) return [];
  return sha256 === undefined
    ? [tree.complain(path, `missing; expected sha256: ${actual}, which the file has`)]
    : [
        tree.complain(
          [...path, "sha256"],
          `expected sha256: ${sha256}, the file has ${actual}; pin it only if you know why`,
        ),
      ];
}

/** Text as it is, nothing as nothing, anything else as JSON. */
function configText(config: Entries[number]["config"]): string {
  if (config === undefined) return "";
  return typeof config === "string" ? config : JSON.stringify(config);
}

/** The user's modules, in order. @param file absolute path of the pipeline file: paths are relative to it */
export function toPlugins(entries: Entries, file: string): readonly PluginSpec[] {
  return entries.flatMap(({ module, sha256 = "", config, memoryMaxMb, deadlineMs }) =>
    module === undefined
      ? []
      : [
          {
            module: resolve(dirname(file), module),
            sha256,
            config: configText(config),
            memoryMaxBytes: memoryMaxMb * MIB,
            deadlineMs,
          },
        ],
  );
}

/** Hashes that entries without a module pin. */
export function toBuiltIns(entries: Entries): PipelineSpec["builtInPlugins"] {
  return { desensitize: entries.find(({ name }) => name === "desensitize")?.sha256 ?? null };
}
