/**
 * The instance in this thread: it reads an honest guest back exactly, and believes a hostile one nothing.
 */
import { beforeAll, describe, expect, test } from "vitest";
import { packBatch, valueAt } from "../../pipeline/wasm/columns.ts";
import { createInstance } from "../../pipeline/wasm/instance.ts";
import { compilePlugin } from "../../pipeline/wasm/module-check.ts";
import { hostileGuest, MODES, type Mode, modeConfig } from "./hostile-guest.ts";

let module: WebAssembly.Module;
beforeAll(async () => {
  module = compilePlugin(await hostileGuest(), 2 ** 24);
});

const ROWS = ["one", "two", "three", "four"].map((text) => Buffer.from(text));

function instanceIn(mode: Mode, maxOutputBytes = 2 ** 20) {
  return createInstance({ module, config: modeConfig(mode), limits: { maxOutputBytes } });
}

test("rows come back as they went in, batch after batch, empty ones and large ones too", () => {
  const instance = instanceIn("honest");
  for (const rows of [ROWS, [], [Buffer.alloc(0)], [Buffer.alloc(500_000, 0x61)], ROWS]) {
    const { status, rowIndex, columns } = instance.transform(packBatch([rows], 0, rows.length));
    expect([...status]).toEqual(rows.map(() => 0));
    expect([...rowIndex]).toEqual(rows.map((_, i) => i));
    expect(rows.map((_, i) => Buffer.from(valueAt(columns[0]!, i)!))).toEqual(rows);
  }
});

const ELSEWHERE: readonly Mode[] = [
  "honest",
  "memory size as output",
  "another ABI version",
  "configure loops",
  "fails empty batches too",
  "configure refuses",
  "configure traps",
];

describe("an impossible answer fails the batch:", () => {
  test.each(MODES.filter((mode) => !ELSEWHERE.includes(mode)))("%s", (mode) => {
    const instance = instanceIn(mode);
    expect(() => instance.transform(packBatch([ROWS], 0, ROWS.length))).toThrow(
      expect.objectContaining({
        code: mode === "data of 4 GiB" ? "limit-exceeded" : "plugin-failed",
      }),
    );
  });
});

test.each([
  ["configure refuses", "plugin-invalid"],
  ["configure traps", "plugin-failed"],
] as const)("%s: no instance", (mode, code) => {
  expect(() => instanceIn(mode)).toThrow(expect.objectContaining({ code }));
});

test("output up to the limit passes, one byte more does not", () => {
  const bytes = ROWS.reduce((sum, row) => sum + row.length, 0);
  const batch = () => packBatch([ROWS], 0, ROWS.length);
  expect(() => instanceIn("honest", bytes).transform(batch())).not.toThrow();
  expect(() => instanceIn("honest", bytes - 1).transform(batch())).toThrow(
    expect.objectContaining({ code: "limit-exceeded" }),
  );
});

test.each(["T", "F", "G"])("row %s fails the batch and says nothing of its content", (letter) => {
  const rows = [...ROWS, Buffer.from(`${letter} secret`)];
  let message = "";
  try {
    instanceIn("honest").transform(packBatch([rows], 0, rows.length));
  } catch (error) {
    message = String(error);
  }
  expect(message).toContain("the plugin");
  expect(message).not.toContain("secret");
});

test("the guest's copy of the configuration is wiped", () => {
  const config = Uint8Array.of(0, ...Buffer.from("the key of keys"));
  const memories: WebAssembly.Memory[] = [];
  const { Instance } = WebAssembly;
  class Watched extends Instance {
    constructor(...args: ConstructorParameters<typeof Instance>) {
      super(...args);
      memories.push(this.exports["memory"] as WebAssembly.Memory);
    }
  }
  WebAssembly.Instance = Watched;
  try {
    createInstance({ module, config, limits: { maxOutputBytes: 1 } });
  } finally {
    WebAssembly.Instance = Instance;
  }
  expect(memories.length).toBe(1);
  expect(Buffer.from(memories[0]!.buffer).includes("the key of keys")).toBe(false);
  expect(Buffer.from(config).includes("the key of keys")).toBe(true);
});
