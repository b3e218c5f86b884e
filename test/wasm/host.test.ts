/**
 * The plugin host with a hostile guest: what loops, traps or eats memory costs its own rows and nobody else's.
 */
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { STATUS_NAMES } from "../../pipeline/wasm/abi.ts";
import { type PluginResult, valueAt } from "../../pipeline/wasm/columns.ts";
import { createPluginHost, type PluginHost, type PluginLimits } from "../../pipeline/wasm/host.ts";
import { hostileGuest, type Mode, modeConfig } from "./hostile-guest.ts";

const LIMITS: PluginLimits = { memoryMaxBytes: 2 ** 24, deadlineMs: 300, maxOutputBytes: 2 ** 20 };

let module: Uint8Array;
beforeAll(async () => {
  module = await hostileGuest();
});

const open: PluginHost[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((host) => host.close()));
});

async function start(
  mode: Mode = "honest",
  limits: Partial<PluginLimits> = {},
): Promise<PluginHost> {
  const host = await createPluginHost({
    module,
    config: modeConfig(mode),
    limits: { ...LIMITS, ...limits },
  });
  open.push(host);
  return host;
}

const rowsOf = (...texts: string[]) => texts.map((text) => Buffer.from(text));

/** A row's status, or its output if it is fine. */
function read({ status, rowIndex, columns }: PluginResult): string[] {
  const texts: string[] = Array.from(status, (code) => STATUS_NAMES[code]!);
  rowIndex.forEach((row, i) => {
    texts[row] = Buffer.from(valueAt(columns[0]!, i)!).toString();
  });
  return texts;
}

async function run(host: PluginHost, ...texts: string[]): Promise<string[]> {
  return read(await host.transform([rowsOf(...texts)], texts.length));
}

test("answers batches in order, also when they overlap, and the empty one", async () => {
  const host = await start();
  const answers = await Promise.all([
    run(host, "a", "b"),
    run(host),
    run(host, "c"),
    run(host, ""),
  ]);
  expect(answers).toEqual([["a", "b"], [], ["c"], [""]]);
});

test("leaves the caller's rows as they are", async () => {
  const host = await start();
  const rows = rowsOf("alpha", "beta");
  await host.transform([rows], 2);
  expect(rows.map(String)).toEqual(["alpha", "beta"]);
});

describe("only the culprit is refused:", () => {
  test.each(["T", "F", "G", "P", "L"])("%s among others, first, last and alone", async (letter) => {
    const host = await start();
    expect(await run(host, "a", "b", letter, "c", "d")).toEqual([
      "a",
      "b",
      "plugin-failed",
      "c",
      "d",
    ]);
    expect(await run(host, letter, "a")).toEqual(["plugin-failed", "a"]);
    expect(await run(host, "a", letter)).toEqual(["a", "plugin-failed"]);
    expect(await run(host, letter)).toEqual(["plugin-failed"]);
    expect(await run(host, "a")).toEqual(["a"]);
  });

  test("many that trap, in a batch of a thousand", async () => {
    const host = await start();
    const texts = Array.from({ length: 1000 }, (_, i) => (i % 97 === 5 ? `T${i}` : `row ${i}`));
    const expected = texts.map((text) => (text.startsWith("T") ? "plugin-failed" : text));
    expect(await run(host, ...texts)).toEqual(expected);
  });

  test("the batch behind one that loops is not touched", async () => {
    const host = await start();
    const [first, second] = await Promise.all([run(host, "L", "a"), run(host, "b")]);
    expect(first).toEqual(["plugin-failed", "a"]);
    expect(second).toEqual(["b"]);
  });
});

test("a batch that only fails as a whole, by its output, is done in parts", async () => {
  const host = await start("honest", { maxOutputBytes: 10 });
  expect(await run(host, "12345", "12345", "12345", "12345678901")).toEqual([
    "12345",
    "12345",
    "12345",
    "plugin-failed",
  ]);
});

test("everything at fault ends within its budget", async () => {
  const host = await start();
  const answers = await run(host, ...Array<string>(2000).fill("T"));
  expect(new Set(answers)).toEqual(new Set(["plugin-failed"]));
  expect(await run(host, "a")).toEqual(["a"]);
});

test("a plugin that fails on nothing is broken: no record is blamed for it", async () => {
  const host = await start("fails empty batches too");
  expect(await run(host, "a")).toEqual(["a"]);
  await expect(run(host, "a", "T")).rejects.toMatchObject({ code: "plugin-failed" });
  // An answer that can never be read blames nobody either: the empty batch has it too.
  await expect(run(await start("result of another magic"), "a")).rejects.toMatchObject({
    code: "plugin-failed",
  });
});

test.each([
  ["configure refuses", "plugin-invalid"],
  ["configure traps", "plugin-failed"],
  ["alloc of nothing", "plugin-failed"],
] as const)("does not start when %s", async (mode, code) => {
  if (mode === "alloc of nothing") {
    // Its mode is only known after the first alloc, so it starts and then fails on anything.
    await expect(run(await start(mode), "a")).rejects.toMatchObject({ code });
    return;
  }
  await expect(start(mode)).rejects.toMatchObject({ code });
});

test("what is not a plugin does not start", async () => {
  const options = { module: Buffer.from("no module"), config: Uint8Array.of(), limits: LIMITS };
  await expect(createPluginHost(options)).rejects.toMatchObject({ code: "plugin-invalid" });
});

test("closing rejects the batch under way and every later one", async () => {
  const host = await start("honest", { deadlineMs: 60_000 });
  const running = run(host, "L");
  const refused = expect(running).rejects.toMatchObject({ code: "worker-died" });
  await host.close();
  await refused;
  await expect(run(host, "a")).rejects.toMatchObject({ code: "worker-died" });
});
