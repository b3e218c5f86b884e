/**
 * The `plugins` list of the pipeline file: what it becomes, and what is refused with line and path.
 */
import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { type Complaint, formatComplaint } from "../../pipeline/spec/complaint.ts";
import { loadPipelineSpec } from "../../pipeline/spec/load.ts";
import type { PipelineSpec } from "../../pipeline/spec/pipeline-spec.ts";
import { exampleSchema, exampleText, lineOf } from "./fixtures.ts";

const hashOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

const MODULE = Buffer.from("\0asm and the bytes of a module");
const BUILT_IN = Buffer.from("\0asm and the bytes of the built-in plugin");
const PIN = hashOf(MODULE);
const OTHER = "0".repeat(64);

const textWith = (...entries: string[]): string =>
  `${exampleText}\nplugins:\n${entries.map((entry) => `  - ${entry}\n`).join("")}`;

function load(text: string, withBuiltIn = true) {
  return loadPipelineSpec({
    path: "/p/pipeline.yaml",
    env: {},
    readFile: (path) => {
      if (path === "/p/pipeline.yaml") return Buffer.from(text);
      if (path === "/p/form.schema.json") return Buffer.from(exampleSchema);
      if (path === "/p/plugins/a.wasm" || path === "/elsewhere/b.wasm") return MODULE;
      throw new Error("ENOENT");
    },
    readBuiltIn: withBuiltIn ? (name) => (name === "desensitize" ? BUILT_IN : null) : undefined,
  });
}

function specOf(...entries: string[]): PipelineSpec {
  const loaded = load(textWith(...entries));
  if (loaded.status === "ok") return loaded.spec;
  throw new Error(loaded.complaints.map(formatComplaint).join("\n"));
}

function complaintsOf(...entries: string[]): readonly Complaint[] {
  const loaded = load(textWith(...entries));
  if (loaded.status === "ok") throw new Error("expected complaints");
  return loaded.complaints;
}

describe("a good list", () => {
  it("becomes modules in file order, with paths relative to the file and defaults filled in", () => {
    const spec = specOf(
      `{ module: plugins/a.wasm, sha256: "${PIN}" }`,
      `{ module: /elsewhere/b.wasm, sha256: "${PIN}", config: { b: [1, x], a: null }, memoryMaxMb: 8, deadlineMs: 50 }`,
      `{ module: ./plugins/a.wasm, sha256: "${PIN}", config: "plain text" }`,
      `{ name: desensitize, sha256: "${hashOf(BUILT_IN)}" }`,
    );
    const megabyte = 1024 * 1024;
    expect(spec.plugins).toEqual([
      {
        module: "/p/plugins/a.wasm",
        sha256: PIN,
        config: "",
        memoryMaxBytes: 64 * megabyte,
        deadlineMs: 2000,
      },
      {
        module: "/elsewhere/b.wasm",
        sha256: PIN,
        config: '{"b":[1,"x"],"a":null}',
        memoryMaxBytes: 8 * megabyte,
        deadlineMs: 50,
      },
      {
        module: "/p/plugins/a.wasm",
        sha256: PIN,
        config: "plain text",
        memoryMaxBytes: 64 * megabyte,
        deadlineMs: 2000,
      },
    ]);
    expect(spec.builtInPlugins).toEqual({ desensitize: hashOf(BUILT_IN) });
  });

  it("may be left out: no module, and nothing pinned", () => {
    const loaded = load(exampleText);
    expect(loaded).toMatchObject({
      status: "ok",
      spec: { plugins: [], builtInPlugins: { desensitize: null } },
    });
  });

  it("refuses a file that is no module", () => {
    const loaded = load(textWith(`{ module: form.schema.json, sha256: "${PIN}" }`));
    const said = loaded.status === "ok" ? [] : loaded.complaints.map(formatComplaint);
    expect(said.join()).toMatch(/plugins\[0\]\.module: the file is no WebAssembly module/);
  });

  it("keeps a built-in's pin where nobody can say what its bytes are: the stage checks it", () => {
    const loaded = load(textWith(`{ name: desensitize, sha256: "${OTHER}" }`), false);
    expect(loaded).toMatchObject({
      status: "ok",
      spec: { builtInPlugins: { desensitize: OTHER } },
    });
  });
});

describe("is refused with line and path:", () => {
  const cases: [what: string, entry: string, path: string, says: RegExp][] = [
    [
      "a hash that is another file's",
      `{ module: plugins/a.wasm, sha256: "${OTHER}" }`,
      "plugins[0].sha256",
      new RegExp(`expected sha256: ${OTHER}, the file has ${PIN}`),
    ],
    [
      "no hash",
      "{ module: plugins/a.wasm }",
      "plugins[0]",
      new RegExp(`missing; expected sha256: ${PIN}, which the file has`),
    ],
    [
      "another built-in plugin than the one that is pinned",
      `{ name: desensitize, sha256: "${OTHER}" }`,
      "plugins[0].sha256",
      new RegExp(`expected sha256: ${OTHER}, the file has ${hashOf(BUILT_IN)}`),
    ],
    [
      "a built-in plugin without a hash",
      "{ name: desensitize }",
      "plugins[0]",
      new RegExp(`missing; expected sha256: ${hashOf(BUILT_IN)}`),
    ],
    [
      "a module that is not there",
      `{ module: plugins/c.wasm, sha256: "${PIN}" }`,
      "plugins[0].module",
      /readable file relative to this one/,
    ],
    ["neither", `{ sha256: "${PIN}" }`, "plugins[0]", /either module or name/],
    [
      "both",
      `{ module: plugins/a.wasm, name: desensitize, sha256: "${PIN}" }`,
      "plugins[0]",
      /either module or name/,
    ],
    [
      "options of a built-in plugin",
      `{ name: desensitize, sha256: "${hashOf(BUILT_IN)}", deadlineMs: 5000 }`,
      "plugins[0].deadlineMs",
      /only pins its hash/,
    ],
    [
      "a hash in another form",
      `{ module: plugins/a.wasm, sha256: "${PIN.toUpperCase()}" }`,
      "plugins[0].sha256",
      /64 lowercase hexadecimal digits/,
    ],
    [
      "a mistyped key",
      `{ module: plugins/a.wasm, sha256: "${PIN}", memoryMaxMB: 8 }`,
      "plugins[0].memoryMaxMB",
      /unknown key 'memoryMaxMB'; did you mean 'memoryMaxMb'/,
    ],
    [
      "no memory",
      `{ module: plugins/a.wasm, sha256: "${PIN}", memoryMaxMb: 0 }`,
      "plugins[0].memoryMaxMb",
      /at least 1/,
    ],
    [
      "a configuration that JSON cannot say",
      `{ module: plugins/a.wasm, sha256: "${PIN}", config: .nan }`,
      "plugins[0].config",
      /expected/,
    ],
  ];
  it.each(cases)("%s", (_, entry, path, says) => {
    const complaints = complaintsOf(entry);
    const line = lineOf(entry, textWith(entry));
    const here = complaints.filter((complaint) => complaint.line === line);
    expect(here.map((complaint) => complaint.path)).toContain(path);
    expect(here.map(({ message }) => message).join("\n")).toMatch(says);
  });

  it("a built-in plugin pinned twice", () => {
    const entry = `{ name: desensitize, sha256: "${hashOf(BUILT_IN)}" }`;
    expect(complaintsOf(entry, entry).map(({ path }) => path)).toEqual(["plugins[1].name"]);
  });
});
