/**
 * Refuses a WebAssembly module that is not a plugin, and writes a memory maximum into one that is.
 *
 * A module without a declared maximum may grow to 4 GiB, so the host rewrites the memory section (WebAssembly core
 * specification 2.0, binary format, sections 5.5.8 and 5.4.2) before anything is compiled. Only the section frame is
 * parsed here; everything inside the other sections is V8's to validate.
 */
import { GRANTED_IMPORTS, REQUIRED_FUNCTIONS } from "./abi.ts";
import { type FaultKind, PluginFault } from "./fault.ts";

/** Bytes of a WebAssembly page. */
export const PAGE_BYTES = 65536;
/** `\0asm`, version 1. */
const PREAMBLE = Uint8Array.of(0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00);
const MEMORY_SECTION = 5;
/** limits flag: a maximum follows. Every other flag (shared, 64-bit, custom page size) is refused. */
const HAS_MAXIMUM = 1;

function invalid(what: string, kind: FaultKind = "module"): PluginFault {
  return new PluginFault(kind, `the WebAssembly module is not a plugin: ${what}`);
}

/** Reads an unsigned LEB128 of at most 32 bits at `at`; returns value and where it ends. */
function readUnsigned(bytes: Uint8Array, at: number, end: number): [value: number, next: number] {
  let value = 0;
  for (let i = 0; i < 5; i++) {
    const byte = at + i < end ? bytes[at + i] : undefined;
    if (byte === undefined) break;
    value += (byte & 0x7f) * 2 ** (7 * i);
    if (byte < 0x80) {
      if (value > 0xffffffff) break;
      return [value, at + i + 1];
    }
  }
  throw invalid("a number in it is cut off or too large");
}

function writeUnsigned(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  do {
    const low = rest % 128;
    rest = Math.floor(rest / 128);
    bytes.push(rest > 0 ? low | 0x80 : low);
  } while (rest > 0);
  return bytes;
}

/** The memory section of a module that may grow to `maxPages`, from the section's content at `at`..`end`. */
function cappedSection(
  bytes: Uint8Array,
  section: { at: number; end: number },
  maxPages: number,
): Uint8Array {
  const { at, end } = section;
  const [count, flagsAt] = readUnsigned(bytes, at, end);
  if (count !== 1) throw invalid("it must declare exactly one memory");
  const [flags, initialAt] = readUnsigned(bytes, flagsAt, end);
  if ((flags & ~HAS_MAXIMUM) !== 0)
    throw invalid("its memory is shared, 64-bit or of a custom kind");
  const [initial, maximumAt] = readUnsigned(bytes, initialAt, end);
  const [declared, next] =
    flags === HAS_MAXIMUM ? readUnsigned(bytes, maximumAt, end) : [maxPages, maximumAt];
  if (next !== end) throw invalid("its memory section has more than a memory");
  if (initial > maxPages) throw invalid("its memory starts above the maximum");
  const content = [
    1,
    HAS_MAXIMUM,
    ...writeUnsigned(initial),
    ...writeUnsigned(Math.min(declared, maxPages)),
  ];
  return Uint8Array.from([MEMORY_SECTION, ...writeUnsigned(content.length), ...content]);
}

/**
 * A copy of a module whose memory cannot grow above `memoryMaxBytes`.
 * @throws plugin-invalid when it is no module, or has not exactly one plain memory of its own
 */
export function capMemory(bytes: Uint8Array, memoryMaxBytes: number): Uint8Array<ArrayBuffer> {
  if (PREAMBLE.some((byte, i) => bytes[i] !== byte)) throw invalid("it does not start as one");
  const maxPages = Math.floor(memoryMaxBytes / PAGE_BYTES);
  const parts: Uint8Array[] = [PREAMBLE];
  let memories = 0;
  for (let at = PREAMBLE.length; at < bytes.length; ) {
    const [length, start] = readUnsigned(bytes, at + 1, bytes.length);
    const end = start + length;
    if (end > bytes.length) throw invalid("a section in it is cut off");
    if (bytes[at] === MEMORY_SECTION) {
      memories++;
      parts.push(cappedSection(bytes, { at: start, end }, maxPages));
    } else {
      parts.push(bytes.subarray(at, end));
    }
    at = end;
  }
  if (memories !== 1) throw invalid("it has no memory of its own");
  const capped = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    capped.set(part, at);
    at += part.length;
  }
  return capped;
}

/** Throws unless the module imports only what is granted and exports what the ABI asks for. */
function checkInterface(module: WebAssembly.Module): void {
  for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
    const granted = GRANTED_IMPORTS.some((grant) => grant.module === from && grant.name === name);
    if (!granted || kind !== "function") {
      const what = `it imports ${kind} ${from}.${name}; only env.abort and host.log are granted`;
      throw invalid(what, "imports");
    }
  }
  const exports = new Map(WebAssembly.Module.exports(module).map(({ name, kind }) => [name, kind]));
  if (exports.get("memory") !== "memory") throw invalid("it does not export its memory", "exports");
  for (const name of REQUIRED_FUNCTIONS) {
    if (exports.get(name) !== "function") {
      throw invalid(`it does not export the function ${name}`, "exports");
    }
  }
}

/**
 * Compiles a plugin with a memory maximum.
 * @param memoryMaxBytes at least one page; rounded down to whole pages
 * @throws plugin-invalid
 */
export function compilePlugin(bytes: Uint8Array, memoryMaxBytes: number): WebAssembly.Module {
  const capped = capMemory(bytes, memoryMaxBytes);
  let module: WebAssembly.Module;
  try {
    module = new WebAssembly.Module(capped);
  } catch (cause) {
    throw new PluginFault("module", "the WebAssembly module does not compile: build it anew", {
      cause,
    });
  }
  checkInterface(module);
  return module;
}
