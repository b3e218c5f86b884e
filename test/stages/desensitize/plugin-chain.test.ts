/**
 * The user's plugins before the rules: what they make is a raw value like any other, and what they do wrong costs their rows.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import {
  type ChainedPlugin,
  startPlugins,
} from "../../../pipeline/stages/desensitize/plugin-chain.ts";
import { createDesensitizeStage } from "../../../pipeline/stages/desensitize/stage.ts";
import { STATUS_NAMES } from "../../../pipeline/wasm/abi.ts";
import { wasmPath } from "../../../pipeline/wasm/locate.ts";
import { changedGuest, modeConfig } from "../../wasm/hostile-guest.ts";
import { recordsOf, type SpecParts, secrets, specWith } from "./fixtures.ts";

const builtIn = readFileSync(wasmPath("desensitize"));
const hashOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** Echoes; a row that begins with `S` and a letter gets the status of that letter, `D` twice two rows, `N` null. */
let echo: Uint8Array;
/** Writes ! in place of every ?. */
let exclaim: Uint8Array;
beforeAll(async () => {
  const end = "  return result;\n}\n";
  const withEnd = (statements: string) => (source: string) =>
    source.replace(end, () => `${statements}\n${end}`);
  // Rows are refused from the last on, so that those before it stay where they are.
  echo = await changedGuest(
    withEnd(`
  for (let row: i32 = <i32>rows - 1; row >= 0; row--) {
    const from = load<u32>(offsets + (row << 2)), to = load<u32>(offsets + (row << 2), 4);
    const first = from < to ? load<u8>(data + from) : 0;
    const count = load<u32>(result, 4);
    if (first == 0x53) {
      store<u8>(status + row, load<u8>(data + from, 1) - 0x61);
      for (let i = <u32>row; i + 1 < count; i++) store<u32>(index + (i << 2), load<u32>(index + (i << 2), 4));
      const bytesOut = load<u32>(column, 16);
      memory.copy(data + from, data + to, bytesOut - to);
      for (let i = <u32>row; i < count; i++) {
        store<u32>(offsets + (i << 2), load<u32>(offsets + (i << 2), 4) - (to - from));
      }
      store<u32>(column, bytesOut - (to - from), 16);
      store<u32>(result, count - 1, 4);
    }
    if (first == 0x44 && rows == 1) {
      const twice = alloc(16, 16);
      store<u32>(twice, load<u32>(offsets));
      store<u32>(twice, (from + to) >> 1, 4);
      store<u32>(twice, to, 8);
      store<u32>(column, <u32>twice, 8);
      const both = alloc(16, 16);
      store<u32>(both, 0);
      store<u32>(both, 0, 4);
      store<u32>(result, <u32>both, 24);
      store<u32>(result, 2, 4);
    }
    if (first == 0x4e && rows == 1) {
      const validity = alloc(16, 16);
      store<u8>(validity, 0);
      store<u32>(column, <u32>validity, 4);
      store<u32>(column, 1, 20);
    }
    if (first == 0x43 && rows == 1) store<u32>(result, 0, 8);
  }`),
  );
  exclaim = await changedGuest(
    withEnd(
      "  for (let i: u32 = 0; i < bytes; i++) if (load<u8>(data + i) == 0x3f) store<u8>(data + i, 0x21);",
    ),
  );
}, 60_000);

const open: { close?(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((one) => one.close?.()));
});

function pluginOf(wasm: Uint8Array, parts: Partial<ChainedPlugin> = {}): ChainedPlugin {
  const config = Buffer.from(modeConfig("honest")).toString();
  return {
    wasm,
    sha256: hashOf(wasm),
    config,
    memoryMaxBytes: 2 ** 24,
    deadlineMs: 1500,
    ...parts,
  };
}

function stageWith(
  plugins: readonly ChainedPlugin[],
  parts: SpecParts = {},
  sha256: string | null = null,
) {
  const stage = createDesensitizeStage({
    spec: specWith(parts),
    secrets,
    wasm: builtIn,
    plugins,
    sha256,
  });
  open.push(stage);
  return stage;
}

async function process(
  plugins: readonly ChainedPlugin[],
  records: Parameters<typeof recordsOf>,
  parts: SpecParts = {},
) {
  const lane = await stageWith(plugins, parts).openLane(0);
  const result = await lane.process(recordsOf(...records), await lane.restore(null, 100), 0);
  return {
    ...result,
    texts: result.outputs.map(({ value }) => Buffer.from(value!).toString()),
    ends: result.outcomes.map(({ offset, kind, reason }) => `${offset} ${kind} ${reason}`),
  };
}

const good = (id: string, rest: object = {}) => ({ formId: id, age: 1, ...rest });

describe("what plugins make", () => {
  test("passes the rules, and the next plugin gets what the one before it made", async () => {
    const { texts } = await process([pluginOf(exclaim)], [good("a?", { name: "Leo?" })]);
    expect(texts).toEqual(['{"formId":"a!","age":1,"name":"L***"}']);
    const both = await process([pluginOf(exclaim), pluginOf(echo)], [good("b?"), null, good("c")]);
    expect(both.texts).toEqual(['{"formId":"b!","age":1}', '{"formId":"c","age":1}']);
    expect(both.ends).toEqual(["101 dead-letter tombstone"]);
    expect(both.consumedTo).toBe(103);
  });

  test("gets no field out that no rule names, and none past the schema", async () => {
    const adds = await changedGuest((source) =>
      source.replace(
        "  return result;\n}\n",
        () => `
  const more = '{"formId":"a","age":1,"ssn":"078-05-1120"}', other = '{"formId":"a","age":1,"note":"private!"}';
  const text = bytes > 22 ? other : more;
  const out = alloc(100, 16);
  const end = alloc(16, 16);
  for (let i = 0; i < text.length; i++) store<u8>(out + i, text.charCodeAt(i));
  if (rows == 1) {
    store<u32>(end, 0);
    store<u32>(end, text.length, 4);
    store<u32>(column, <u32>end, 8);
    store<u32>(column, <u32>out, 12);
    store<u32>(column, text.length, 16);
  }
  return result;
}
`,
      ),
    );
    const unknown = await process([pluginOf(adds)], [good("x")]);
    expect(unknown.ends).toEqual(["100 dead-letter unknown-field"]);
    const dropped = await process([pluginOf(adds)], [good("longer")]);
    expect(dropped.texts).toEqual(['{"formId":"a","age":1}']);
  });

  test("is bound by the size limit of a raw value, before and behind each", async () => {
    const doubles = await changedGuest((source) =>
      source.replace(
        "  return result;\n}\n",
        () => `
  if (rows == 1) {
    const out = alloc(bytes * 2, 16);
    memory.fill(out, 0x20, bytes * 2);
    memory.copy(out, data, bytes);
    store<u32>(offsets, bytes * 2, 4);
    store<u32>(column, <u32>out, 12);
    store<u32>(column, bytes * 2, 16);
  }
  return result;
}
`,
      ),
    );
    const record = JSON.stringify(good("a"));
    const parts = { maxBytes: record.length * 2 };
    expect((await process([pluginOf(doubles)], [record], parts)).texts).toEqual([record]);
    const under = { maxBytes: record.length * 2 - 1 };
    expect((await process([pluginOf(doubles)], [record], under)).ends).toEqual([
      "100 dead-letter too-large",
    ]);
    const twice = await process([pluginOf(doubles), pluginOf(doubles)], [record], parts);
    expect(twice.ends).toEqual(["100 dead-letter too-large"]);
  });
});

describe("what plugins refuse", () => {
  test("is a dead letter by its status, and a drop when it is dropped", async () => {
    const statuses = STATUS_NAMES.slice(1);
    const rows = statuses.flatMap((_, i) => [`S${String.fromCharCode(0x62 + i)}`, good(`g${i}`)]);
    const { ends, texts } = await process([pluginOf(echo)], rows);
    expect(ends).toEqual(
      statuses.map(
        (name, i) => `${100 + 2 * i} ${name === "dropped" ? "drop" : "dead-letter"} ${name}`,
      ),
    );
    expect(texts).toEqual(statuses.map((_, i) => `{"formId":"g${i}","age":1}`));
  });

  test("does not meet the next plugin", async () => {
    const traps = await changedGuest((source) =>
      source.replace("letter == 0x54", "letter == 0x53"),
    );
    expect((await process([pluginOf(traps)], ["Sb"])).ends).toEqual([
      "100 dead-letter plugin-failed",
    ]);
    const { ends, texts } = await process([pluginOf(echo), pluginOf(traps)], ["Sb", good("a")]);
    expect(ends).toEqual(["100 drop dropped"]);
    expect(texts).toEqual(['{"formId":"a","age":1}']);
  });

  test("all of it: the records are final", async () => {
    const result = await process([pluginOf(echo)], ["Sb", "Sb"]);
    expect(result).toMatchObject({ outputs: [], consumedTo: 102, wakeAtMs: null });
  });
});

describe("what plugins do wrong costs its own rows:", () => {
  test.each([
    ["a trap", "T"],
    ["a batch that fails", "F"],
    ["all memory there is", "G"],
    ["a loop", "L"],
  ])("%s", async (_, letter) => {
    const { ends, texts } = await process([pluginOf(echo)], [good("a"), letter, good("b")]);
    expect(ends).toEqual(["101 dead-letter plugin-failed"]);
    expect(texts).toEqual(['{"formId":"a","age":1}', '{"formId":"b","age":1}']);
  });

  test.each([
    ["two rows for one", "DD"],
    ["null for a row", "N"],
    ["no column", "C"],
  ])("%s", async (_, row) => {
    expect((await process([pluginOf(echo)], [row])).ends).toEqual([
      "100 dead-letter plugin-failed",
    ]);
  });
});

describe("a stage does not start", () => {
  const swapped = Buffer.from("other bytes");

  test("with a module that is not the pinned one", async () => {
    const stage = stageWith([pluginOf(echo), pluginOf(exclaim, { sha256: hashOf(swapped) })]);
    const refused = {
      code: "plugin-invalid",
      message: expect.stringContaining(`sha256: ${hashOf(swapped)} of plugins[1]`),
    };
    await expect(stage.openLane(0)).rejects.toMatchObject(refused);
    await expect(stage.warmUp?.()).rejects.toMatchObject(refused);
  });

  test("with a built-in plugin that is not the pinned one, and does with the pinned one", async () => {
    await expect(stageWith([], {}, hashOf(swapped)).openLane(0)).rejects.toMatchObject({
      code: "plugin-invalid",
      message: expect.stringContaining(`the file has ${hashOf(builtIn)}`),
    });
    await expect(stageWith([], {}, hashOf(builtIn)).openLane(0)).resolves.toBeDefined();
  });

  test("with a module that is no plugin, or that refuses its configuration", async () => {
    const code = "plugin-invalid";
    await expect(stageWith([pluginOf(swapped)]).openLane(0)).rejects.toMatchObject({ code });
    const config = Buffer.from(modeConfig("configure refuses")).toString();
    await expect(stageWith([pluginOf(echo, { config })]).openLane(0)).rejects.toMatchObject({
      code,
    });
  });
});

test("a chain of none hands everything on, and a closed one runs nothing", async () => {
  const none = await startPlugins([], 10);
  const values = [Buffer.from("a"), null];
  expect(await none.run(values)).toEqual(values);
  await none.close();
  const one = await startPlugins([pluginOf(echo)], 10);
  await one.close();
  await expect(one.run(values)).rejects.toMatchObject({ code: "worker-died" });
});
