/**
 * The house stays as DESIGN.md section 3 says: import directions, one import site per heavy library, sizes, names.
 *
 * Every rule is also tried on a planted violation, so that a rule that checks nothing is noticed.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { importsOf, packageOf } from "./structure/imports.ts";
import {
  ambientViolations,
  dependencyViolations,
  type Files,
  fileViolations,
  importSiteViolations,
  importViolations,
  longFunctions,
  roomOf,
} from "./structure/rules.ts";

const ROOT = join(import.meta.dirname, "..");
const FOLDERS = ["pipeline", "plugins", "schemas", "test", "bench", "examples", "bin"];
/** AssemblyScript guests have rules of their own. */
const GUESTS = /\/(?:assembly|node_modules|build|\.peers)\//;

function readFiles(): Map<string, string> {
  const files = new Map<string, string>();
  for (const folder of FOLDERS) {
    for (const entry of entriesOf(join(ROOT, folder))) {
      const path = join(entry.parentPath, entry.name)
        .slice(ROOT.length + 1)
        .replaceAll("\\", "/");
      if (!entry.isFile() || !/\.(?:ts|js)$/.test(path) || GUESTS.test(`/${path}`)) continue;
      files.set(path, readFileSync(join(ROOT, path), "utf8"));
    }
  }
  return files;
}

function entriesOf(folder: string) {
  try {
    return readdirSync(folder, { recursive: true, withFileTypes: true });
  } catch {
    // Because a folder of the list may not exist yet.
    return [];
  }
}

const all = readFiles();
const files: Files = new Map([...all].filter(([path]) => path.endsWith(".ts")));
const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));

const planted = (path: string, source: string): Files =>
  new Map([[path, `/** Planted. */\n${source}\n`]]);

describe("the house", () => {
  it("is read at all", () => {
    expect(files.size).toBeGreaterThan(40);
    expect(new Set([...files.keys()].map(roomOf)).size).toBeGreaterThan(10);
  });

  it("imports in the directions of the table", () => {
    expect(importViolations(files)).toEqual([]);
  });

  it("has one import site per heavy library", () => {
    expect(importSiteViolations(files)).toEqual([]);
  });

  it("has files of at most 400 lines that say what they are, in kebab-case", () => {
    expect(fileViolations(files)).toEqual([]);
  });

  it("reads environment, clock and randomness only where it wires", () => {
    expect(ambientViolations(files)).toEqual([]);
  });

  it("uses every dependency and declares what it uses", () => {
    expect(dependencyViolations(all, manifest)).toEqual([]);
  });

  it("warns of functions over 70 lines", () => {
    const shipped = new Map(
      [...files].filter(([path]) => !/^(?:test|bench|examples)\//.test(path)),
    );
    for (const warning of longFunctions(shipped)) console.warn(`long function: ${warning}`);
  });
});

describe("the checker", () => {
  it.each([
    ["pipeline/crypto/a.ts", `import { b } from "../stream/b.ts";`],
    ["pipeline/crypto/a.ts", `import type { B } from "../stream/b.ts";`],
    ["pipeline/stages/train/a.ts", `import { b } from "../predict/b.ts";`],
    ["pipeline/stages/train/a.ts", `import {\n  a,\n  b,\n} from "../../commands/b.ts";`],
    ["pipeline/stages/train/a.ts", `const b = await import("../../observe/b.ts");`],
    ["pipeline/network/a.ts", `export { b } from "../crypto/b.ts";`],
    ["pipeline/network/a.ts", `export * from "../crypto/b.ts";`],
    ["pipeline/network/a.ts", `import "../crypto/b.ts";`],
    ["pipeline/network/a.ts", `import * as b from "../crypto/b.ts";`],
    ["pipeline/network/a.ts", `import b, { c } from "../crypto/b.ts";`],
    ["pipeline/ckks/a.ts", `new Worker(new URL("../crypto/b.ts", import.meta.url));`],
    ["pipeline/features/a.ts", `import { loadPipelineSpec } from "../spec/load.ts";`],
    ["pipeline/features/a.ts", `import { type A, b } from "../spec/load.ts";`],
    ["pipeline/client/a.ts", `import { a } from "../stages/train/stage.ts";`],
    ["schemas/a.ts", `import { a } from "../pipeline/errors.ts";`],
    ["pipeline/errors.ts", `import { a } from "../schemas/topics.ts";`],
    ["pipeline/commands/a.ts", `import { a } from "../../test/lib/kafka.ts";`],
    ["examples/digits/a.ts", `import { a } from "../../test/lib/kafka.ts";`],
    ["plugins/build.ts", `import { a } from "../pipeline/wasm/host.ts";`],
    ["pipeline/cellar/a.ts", `export const a = 1;`],
  ])("finds a wrong import in %s: %s", (path, source) => {
    expect(importViolations(planted(path, source))).toHaveLength(1);
  });

  it.each([
    ["pipeline/features/a.ts", `import type { PipelineSpec } from "../spec/pipeline-spec.ts";`],
    ["pipeline/features/a.ts", `import { type A, type B } from "../spec/pipeline-spec.ts";`],
    [
      "pipeline/stages/train/a.ts",
      `import { a } from "./b.ts";\nimport { c } from "../../stream/contract.ts";`,
    ],
    ["pipeline/commands/a.ts", `import { a } from "../stages/train/stage.ts";`],
    ["test/crypto/a.test.ts", `import { a } from "../../pipeline/commands/a.ts";`],
    [
      "pipeline/crypto/a.ts",
      `// import { b } from "../stream/b.ts";\n/* \nimport { b } from "../stream/b.ts";\n*/`,
    ],
    ["pipeline/wasm/a.ts", `new URL("../../build/wasm/x.wasm", import.meta.url);`],
  ])("finds nothing wrong in %s: %s", (path, source) => {
    expect(importViolations(planted(path, source))).toEqual([]);
  });

  it("finds libraries outside their site, or at two", () => {
    const wrong = (path: string, source: string) => importSiteViolations(planted(path, source));
    expect(wrong("pipeline/commands/a.ts", `import { Kafka } from "kafkajs";`)).toHaveLength(1);
    expect(wrong("pipeline/ckks/pack.ts", `import SEAL from "node-seal";`)).toHaveLength(1);
    expect(wrong("pipeline/privacy/a.ts", `import * as tf from "@tensorflow/tfjs";`)).toHaveLength(
      1,
    );
    expect(wrong("examples/digits/a.ts", `await import("@testcontainers/kafka");`)).toHaveLength(1);
    expect(wrong("pipeline/stream/a.ts", `import { Kafka } from "kafkajs";`)).toEqual([]);
    const twice = new Map([
      ...planted("pipeline/stages/train/a.ts", `import * as tf from "@tensorflow/tfjs";`),
      ...planted("pipeline/stages/train/b.ts", `import "@tensorflow/tfjs/dist/x.js";`),
    ]);
    expect(importSiteViolations(twice)).toHaveLength(1);
  });

  it("finds long files, bad names and missing headers", () => {
    expect(fileViolations(planted("pipeline/crypto/a.ts", `${"\n".repeat(400)}x`))).toHaveLength(1);
    expect(fileViolations(planted("pipeline/crypto/aB.ts", ""))).toHaveLength(1);
    expect(fileViolations(new Map([["pipeline/crypto/a.ts", "export {};"]]))).toHaveLength(1);
    expect(fileViolations(planted("pipeline/crypto/a-b.test.ts", "x\n".repeat(398)))).toEqual([]);
  });

  it("finds the ambient world, but not in comments and templates", () => {
    for (const use of [
      "process.env.A",
      'process.env["A"]',
      "Date.now()",
      "new Date()",
      "Math.random()",
    ]) {
      expect(ambientViolations(planted("pipeline/crypto/a.ts", `const a = ${use};`))).toHaveLength(
        1,
      );
      expect(ambientViolations(planted("pipeline/crypto/a.ts", `// ${use}`))).toEqual([]);
      expect(ambientViolations(planted("pipeline/commands/a.ts", `const a = ${use};`))).toEqual([]);
    }
    expect(ambientViolations(planted("pipeline/crypto/a.ts", "new Date(nowMs)"))).toEqual([]);
  });

  it("finds packages that are unused, undeclared or shipped by accident", () => {
    const used = planted("pipeline/spec/a.ts", `import { parse } from "yaml";\nimport "zod/v4";`);
    const declared = { dependencies: { yaml: "1", zod: "4" } };
    expect(dependencyViolations(used, declared)).toEqual([]);
    expect(
      dependencyViolations(used, { dependencies: { yaml: "1", zod: "4", left: "1" } }),
    ).toHaveLength(1);
    expect(
      dependencyViolations(used, { dependencies: { yaml: "1" }, devDependencies: { zod: "4" } }),
    ).toHaveLength(1);
    expect(dependencyViolations(planted("test/a.ts", `import "leftpad";`), {})).toHaveLength(1);
    expect(
      dependencyViolations(new Map(), { devDependencies: { leftpad: "1", vitest: "1" } }),
    ).toHaveLength(1);
  });

  it("finds functions over 70 lines", () => {
    const body = "  a();\n".repeat(69);
    for (const head of [
      "function f() {",
      "export async function f(\n  a: A,\n): B {",
      "const f = async (a: A) => {",
    ]) {
      expect(longFunctions(planted("a.ts", `${head}\n${body}}`))).toHaveLength(1);
      expect(longFunctions(planted("a.ts", `${head}\n  a();\n}\n${body}`))).toEqual([]);
    }
    expect(
      longFunctions(planted("a.ts", `class A {\n  method(a: A): B {\n${body}    a();\n  }\n}`)),
    ).toHaveLength(1);
  });

  it("reads import statements of every shape", () => {
    const source = `import a from "x";\nimport { type B } from "@s/y/z";\nimport type { C } from "./c.ts";\nexport type { D } from "../d.ts";\nimport fs from "node:fs";`;
    expect(importsOf("pipeline/spec/a.ts", source)).toEqual([
      { target: "x", isPackage: true, typeOnly: false },
      { target: "@s/y/z", isPackage: true, typeOnly: true },
      { target: "pipeline/spec/c.ts", isPackage: false, typeOnly: true },
      { target: "pipeline/d.ts", isPackage: false, typeOnly: true },
    ]);
    expect(packageOf("@s/y/z")).toBe("@s/y");
    expect(packageOf("zod/v4")).toBe("zod");
  });
});
