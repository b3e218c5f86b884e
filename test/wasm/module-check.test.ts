/**
 * Which modules are refused before they run, and that the memory maximum holds for those that are not.
 */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { packBatch, valueAt } from "../../pipeline/wasm/columns.ts";
import { createInstance } from "../../pipeline/wasm/instance.ts";
import { wasmPath } from "../../pipeline/wasm/locate.ts";
import { capMemory, compilePlugin, PAGE_BYTES } from "../../pipeline/wasm/module-check.ts";
import { changedGuest, hostileGuest, modeConfig } from "./hostile-guest.ts";

const MAX_BYTES = 4 * 2 ** 20;
const PREAMBLE = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];

/** A module that has only a memory section of the given content. */
function moduleWithMemory(...content: number[]): Uint8Array {
  return Uint8Array.from([...PREAMBLE, 5, content.length, ...content]);
}

/** Pages that the guest got by asking until it got no more. */
function grownPages(module: WebAssembly.Module): number {
  const instance = createInstance({
    module,
    config: modeConfig("memory size as output"),
    limits: { maxOutputBytes: 100 },
  });
  const { columns } = instance.transform(packBatch([[Buffer.from("x")]], 0, 1));
  return Buffer.from(valueAt(columns[0]!, 0)!).readUInt32LE();
}

describe("the memory maximum", () => {
  test.each([undefined, 3, 60, 65, 1000])(
    "holds when the module declares a maximum of %s pages",
    async (declared) => {
      const options = declared === undefined ? {} : { maximumMemory: declared };
      const module = compilePlugin(await hostileGuest("honest", options), MAX_BYTES);
      expect(grownPages(module)).toBe(Math.min(declared ?? 64, 64));
    },
  );

  test("changes nothing else of a module", () => {
    const built = readFileSync(wasmPath("desensitize"));
    const capped = capMemory(built, 128 * 2 ** 20);
    // Declaring a maximum takes the bytes of that number, and nothing else may differ.
    expect(capped.length - built.length).toBe(2);
    expect(() => new WebAssembly.Module(capped)).not.toThrow();
    expect(capMemory(capped, 128 * 2 ** 20)).toEqual(capped);
  });

  test("is written into the section, in LEB128", () => {
    const memory = (bytes: number) =>
      [...capMemory(moduleWithMemory(1, 0, 1), bytes * PAGE_BYTES)].slice(8);
    expect(memory(1)).toEqual([5, 4, 1, 1, 1, 1]);
    expect(memory(127)).toEqual([5, 4, 1, 1, 1, 127]);
    expect(memory(128)).toEqual([5, 5, 1, 1, 1, 0x80, 0x01]);
    expect(memory(65_536)).toEqual([5, 6, 1, 1, 1, 0x80, 0x80, 0x04]);
  });
});

describe("refused before anything runs", () => {
  test.each([
    ["nothing", Uint8Array.of()],
    ["text", Buffer.from("hello, world")],
    ["another version", Uint8Array.from([...PREAMBLE.slice(0, 4), 2, 0, 0, 0])],
    ["no memory", Uint8Array.from(PREAMBLE)],
    ["two memories", moduleWithMemory(2, 0, 1, 0, 1)],
    ["no memory in its memory section", moduleWithMemory(0)],
    ["two memory sections", Uint8Array.from([...moduleWithMemory(1, 0, 1), 5, 3, 1, 0, 1])],
    ["a shared memory", moduleWithMemory(1, 3, 1, 2)],
    ["a 64-bit memory", moduleWithMemory(1, 4, 1)],
    ["a custom page size", moduleWithMemory(1, 8, 1, 0)],
    ["a memory that starts above the maximum", moduleWithMemory(1, 0, 65)],
    ["a section that is cut off", moduleWithMemory(1, 0, 1).subarray(0, 12)],
    [
      "a section length that never ends",
      Uint8Array.from([...PREAMBLE, 5, 0xff, 0xff, 0xff, 0xff, 0xff]),
    ],
    ["bytes behind the memory", moduleWithMemory(1, 0, 1, 7)],
    ["a memory and nonsense", Uint8Array.from([...moduleWithMemory(1, 0, 1), 1, 1, 0xff])],
    ["a memory and no exports", moduleWithMemory(1, 0, 1)],
  ])("%s", (_, bytes) => {
    expect(() => compilePlugin(bytes, MAX_BYTES)).toThrow(
      expect.objectContaining({ code: "plugin-invalid" }),
    );
  });

  test.each([
    ["an imported memory", (source: string) => source, { importMemory: true }],
    ["an import that is not granted", addImport("wasi_snapshot_preview1", "fd_write"), {}],
    ["an import of a granted module under another name", addImport("host", "fetch"), {}],
    ["a memory that is not exported", (source: string) => source, { noExportMemory: true }],
    [
      "no transform",
      (source: string) => source.replace("function transform", "function other"),
      {},
    ],
    ["no alloc", (source: string) => source.replace(/export (function alloc)/, "$1"), {}],
  ])("%s", async (_, change, options) => {
    const bytes = await changedGuest(change, options);
    expect(() => compilePlugin(bytes, MAX_BYTES)).toThrow(
      expect.objectContaining({ code: "plugin-invalid" }),
    );
  });

  test("what is granted is granted", async () => {
    const withLog = await changedGuest(addImport("host", "log"));
    const withAbort = await changedGuest(addImport("env", "abort"));
    for (const bytes of [withLog, withAbort])
      expect(() => compilePlugin(bytes, MAX_BYTES)).not.toThrow();
  });

  test("another version of the ABI, by its own answer", async () => {
    const module = compilePlugin(await hostileGuest("another ABI version"), MAX_BYTES);
    expect(() =>
      createInstance({ module, config: Uint8Array.of(), limits: { maxOutputBytes: 1 } }),
    ).toThrow(expect.objectContaining({ code: "plugin-invalid" }));
  });
});

/** Declares an imported function and calls it, else the compiler leaves it out. */
function addImport(from: string, name: string): (source: string) => string {
  return (source) =>
    `@external("${from}", "${name}") declare function imported(a: i32, b: i32, c: i32): void;\n${source}
     export function more(): void { imported(1, 2, 3); }`;
}

test("a module that was not built is named with the command that builds it", () => {
  expect(() => wasmPath("no-such-module")).toThrow(/no-such-module.*npm run build:wasm/);
});
