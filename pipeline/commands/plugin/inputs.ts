/** What `plugin test` and `plugin bench` are given: a module, its configuration and rows, out of files. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { SealstreamError } from "../../errors.ts";
import { countOption, type Options } from "../options.ts";

const MIB = 1024 * 1024;
const NEWLINE = 0x0a;
const MEMORY_MB = { least: 1, fallback: 64, most: 1024 };
const DEADLINE_MS = { least: 1, fallback: 2000, most: 600_000 };

export interface PluginInputs {
  readonly module: Uint8Array;
  /** Hexadecimal. */
  readonly sha256: string;
  readonly config: Uint8Array;
  /** Lines of the input; empty without one. */
  readonly rows: readonly Uint8Array[];
  readonly memoryMaxBytes: number;
  readonly deadlineMs: number;
}

function read(path: string, what: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new SealstreamError("usage", `${what} ${path} cannot be read: name a file.`, { cause });
  }
}

/** Lines as they are, bytes that are no text too; what ends a line is not part of it. */
export function linesOf(bytes: Uint8Array): Uint8Array[] {
  const lines: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(NEWLINE, at);
    lines.push(bytes.subarray(at, end === -1 ? bytes.length : end));
    at = end === -1 ? bytes.length : end + 1;
  }
  return lines;
}

/** Reads everything. @throws SealstreamError `usage` */
export function readInputs(path: string, options: Options): PluginInputs {
  const module = read(path, "The module");
  const { config, input } = options;
  return {
    module,
    sha256: createHash("sha256").update(module).digest("hex"),
    config: config === undefined ? new Uint8Array(0) : read(String(config), "The configuration"),
    rows: input === undefined ? [] : linesOf(read(String(input), "The input")),
    memoryMaxBytes: countOption(options["memoryMaxMb"], "memory-max-mb", MEMORY_MB) * MIB,
    deadlineMs: countOption(options["deadlineMs"], "deadline-ms", DEADLINE_MS),
  };
}
