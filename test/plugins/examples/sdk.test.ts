/**
 * The AssemblyScript SDK beyond its example: the plugin that plugins/ABI.md shows, one that makes strings and objects all the
 * time, and one whose output outgrows its memory.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { CommandContext } from "../../../pipeline/commands/context.ts";
import { plugin } from "../../../pipeline/commands/plugin.ts";
import { STATUS_NAMES } from "../../../pipeline/wasm/abi.ts";
import { packBatch, valueAt } from "../../../pipeline/wasm/columns.ts";
import { testPlugin } from "../../../pipeline/wasm/conformance/suite.ts";
import { createPluginHost } from "../../../pipeline/wasm/host.ts";
import { createInstance } from "../../../pipeline/wasm/instance.ts";
import { compilePlugin } from "../../../pipeline/wasm/module-check.ts";
import { PLUGINS, toolchains } from "./build.ts";

const folder = mkdtempSync(join(tmpdir(), "sealstream-sdk-"));
const home = join(folder, "mine");
afterAll(() => rmSync(folder, { recursive: true, force: true }));

beforeAll(async () => {
  // Because `plugin new` needs nothing else of its context.
  const context = { print: () => undefined } as unknown as CommandContext;
  await plugin(context, "new", home, {});
});

/** A plugin whose entry file is this text, with imports as they are in this repository. */
function compile(source: string): Uint8Array {
  writeFileSync(
    join(home, "assembly", "index.ts"),
    source.replaceAll("../../sdk/assembly/", "./sdk/"),
  );
  const assemblyscript = toolchains().find(({ language }) => language === "assemblyscript");
  return assemblyscript!.build(home);
}

const EXPORTS = `export { abi_version, alloc, configure, last_error, reset, transform } from "../../sdk/assembly/exports";`;

const check = (module: Uint8Array, config = "") =>
  testPlugin({
    ...{
      module,
      config: Buffer.from(config),
      rows: [],
      memoryMaxBytes: 2 ** 26,
      deadlineMs: 10_000,
    },
  });

function textsOf(module: Uint8Array, rows: readonly (Uint8Array | null)[]): string[] {
  const limits = { maxOutputBytes: 2 ** 28 };
  const instance = createInstance({
    module: compilePlugin(module, 2 ** 26),
    config: Buffer.of(),
    limits,
  });
  const { status, rowIndex, columns } = instance.transform(packBatch([rows], 0, rows.length));
  const texts: string[] = Array.from(status, (code) => STATUS_NAMES[code]!);
  rowIndex.forEach((row, i) => {
    texts[row] = Buffer.from(valueAt(columns[0]!, i)!).toString();
  });
  return texts;
}

test("what plugins/ABI.md shows builds, and passes", async () => {
  const text = readFileSync(join(PLUGINS, "ABI.md"), "utf8");
  const [, source = ""] = /```ts\n([\s\S]*?)```/.exec(text) ?? [];
  const module = compile(source);
  expect(textsOf(module, [Buffer.from("a"), Buffer.of(), null])).toEqual([
    "a\n",
    "dropped",
    "tombstone",
  ]);
  expect(await check(module)).toMatchObject({ passed: true, fitsPipeline: true });
}, 120_000);

test("strings, maps and objects may be made for every row, and do not leak", async () => {
  const module = compile(`
import { NOT_UTF8, OK, isUtf8, onRow, putText, readText } from "../../sdk/assembly/index";
${EXPORTS}

class Word {
  count: i32 = 0;
  constructor(public text: string) {}
}

function row(at: usize, bytes: usize): i32 {
  if (!isUtf8(at, bytes)) return NOT_UTF8;
  const words = new Map<string, Word>();
  const parts = readText(at, bytes).split(" ");
  for (let i = 0; i < parts.length; i++) {
    if (!words.has(parts[i])) words.set(parts[i], new Word(parts[i].toUpperCase()));
    words.get(parts[i]).count++;
  }
  const all = words.values();
  for (let i = 0; i < all.length; i++) putText(all[i].text + "=" + all[i].count.toString() + ";");
  return OK;
}

onRow(row);
`);
  const rows = ["a b a", "ü 😀 ü", ""].map((text) => Buffer.from(text));
  expect(textsOf(module, rows)).toEqual(["A=2;B=1;", "Ü=2;😀=1;", "=1;"]);
  const report = await check(module);
  expect(report.checks.filter(({ outcome }) => outcome === "fail")).toEqual([]);
}, 120_000);

test("output that outgrows the memory fails its rows and no others", async () => {
  const module = compile(`
import { OK, onRow, put, putBytes } from "../../sdk/assembly/index";
${EXPORTS}

function row(at: usize, bytes: usize): i32 {
  const times: usize = bytes && load<u8>(at) == 0x2a ? 1 << 22 : 2;
  for (let i: usize = 0; i < times; i++) putBytes(at, bytes);
  put(0x2e);
  return OK;
}

onRow(row);
`);
  const host = await createPluginHost({
    ...{ module, config: Buffer.of() },
    limits: { memoryMaxBytes: 2 ** 24, deadlineMs: 30_000, maxOutputBytes: 2 ** 28 },
  });
  try {
    const rows = ["ab", "*too much*", "cd"].map((text) => Buffer.from(text));
    const { status, columns } = await host.transform([rows], rows.length);
    expect([...status].map((code) => STATUS_NAMES[code])).toEqual(["ok", "plugin-failed", "ok"]);
    expect([0, 1].map((i) => Buffer.from(valueAt(columns[0]!, i)!).toString())).toEqual([
      "abab.",
      "cdcd.",
    ]);
  } finally {
    await host.close();
  }
}, 120_000);
