/**
 * The house rules that regular expressions can check: who may import whom, where heavy libraries enter, file sizes.
 *
 * The table is that of DESIGN.md section 3 and ARCHITECTURE.md. A room that is not in it is a violation: the table is
 * changed on purpose or not at all.
 */
import { codeOf, importsOf, packageOf } from "./imports.ts";

/** Files by path from the repository's root. */
export type Files = ReadonlyMap<string, string>;

/** Rooms in their order: `stages` and `client` may import "the rooms above". */
const BELOW_STAGES = [
  "schemas",
  "errors",
  "spec",
  "crypto",
  "privacy",
  "features",
  "network",
  "ckks",
  "wasm",
  "stream",
];

/** What each room may import beside itself; `types:` allows `import type` alone. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  schemas: [],
  plugins: [],
  errors: [],
  spec: ["schemas", "errors"],
  crypto: ["errors"],
  privacy: ["errors", "crypto"],
  features: ["errors", "types:spec"],
  network: ["errors"],
  ckks: ["errors", "network"],
  wasm: ["errors"],
  stream: ["errors", "schemas", "types:spec"],
  stage: BELOW_STAGES,
  client: BELOW_STAGES,
  observe: ["errors", "types:stream"],
};
/** Rooms that wire or measure: they may import everything but `test`. */
const FREE = ["commands", "examples", "bench"];

/** Where a heavy library enters: one folder, or one file. */
const IMPORT_SITES: Readonly<Record<string, RegExp>> = {
  kafkajs: /^pipeline\/stream\//,
  testcontainers: /^pipeline\/stream\//,
  "@testcontainers/kafka": /^pipeline\/stream\//,
  "node-seal": /^pipeline\/ckks\/seal\.ts$/,
  "@tensorflow/tfjs": /^pipeline\/stages\/train\//,
  "@tensorflow/tfjs-backend-wasm": /^pipeline\/stages\/train\//,
  cbor2: /^pipeline\/crypto\//,
  "prom-client": /^pipeline\/observe\//,
  pino: /^pipeline\/observe\//,
  cac: /^pipeline\/(?:cli\.ts|commands\/)/,
};
/** Optional libraries, loaded by a name in a constant that no import statement shows: the one file that has it. */
const NAMED_SITES: Readonly<Record<string, RegExp>> = {
  "@confluentinc/kafka-javascript": /^pipeline\/stream\/confluent-library\.ts$/,
};
/** Libraries that one file alone may import, wherever that is within their site. */
const ONE_FILE = /^(?:node-seal|@tensorflow\/.*)$/;

export const MAX_FILE_LINES = 400;
export const MAX_FUNCTION_LINES = 70;
const KEBAB = /^[a-z0-9]+(?:-[a-z0-9]+)*(?:\.(?:test|d|config))?\.ts$/;
/** Only what wires reads the environment and the clock. */
const AMBIENT = /\bprocess\.env\b|\bDate\.now\s*\(|\bnew Date\(\s*\)|\bMath\.random\b/g;
const MAY_BE_AMBIENT =
  /^(?:pipeline\/(?:commands\/|cli\.ts)|examples\/|bench\/|test\/|plugins\/|[^/]+$)/;

/** Room of a file, or null for one that is in none. */
export function roomOf(path: string): string | null {
  const [top, second, third] = path.split("/");
  if (top === "schemas" || top === "test" || top === "examples" || top === "bench") return top;
  if (top === "plugins") return "plugins";
  if (top !== "pipeline" || second === undefined) return null;
  // Two leaves that everybody may import.
  if (second === "errors.ts" || second === "little-endian.ts") return "errors";
  if (second === "cli.ts") return "commands";
  if (second === "stages")
    return third === undefined || third.endsWith(".ts") ? null : `stage:${third}`;
  return second in MAY_IMPORT || second === "commands" ? second : null;
}

function mayImport(from: string, to: string, typeOnly: boolean): boolean {
  if (from === to || from === "test") return true;
  if (to === "test") return false;
  if (FREE.includes(from)) return true;
  const allowed = MAY_IMPORT[from.startsWith("stage:") ? "stage" : from] ?? [];
  return allowed.includes(to) || (typeOnly && allowed.includes(`types:${to}`));
}

/** Imports that the table does not allow. */
export function importViolations(files: Files): string[] {
  const violations: string[] = [];
  for (const [path, source] of files) {
    const from = roomOf(path);
    if (from === null) {
      if (path.includes("/")) violations.push(`${path} is in no room of the table`);
      continue;
    }
    for (const { target, isPackage, typeOnly } of importsOf(path, source)) {
      if (isPackage) continue;
      const to = roomOf(target);
      // Files outside the rooms (package.json, build/, node_modules/) are data.
      if (to !== null && !mayImport(from, to, typeOnly)) {
        violations.push(`${path} (${from}) must not import ${target} (${to})`);
      }
    }
  }
  return violations;
}

function namedViolations(path: string, source: string): string[] {
  return Object.entries(NAMED_SITES)
    .filter(([name, site]) => !site.test(path) && codeOf(source).includes(`"${name}`))
    .map(([name]) => `${path} must not name ${name}`);
}

/** Heavy libraries outside their import site; tests and benchmarks may look at them from outside. */
export function importSiteViolations(files: Files): string[] {
  const violations: string[] = [];
  const sites = new Map<string, Set<string>>();
  for (const [path, source] of files) {
    if (/^(?:test|bench)\//.test(path)) continue;
    for (const { target, isPackage } of importsOf(path, source)) {
      if (!isPackage) continue;
      const name = packageOf(target);
      const site = IMPORT_SITES[name];
      if (site !== undefined && !site.test(path))
        violations.push(`${path} must not import ${name}`);
      if (ONE_FILE.test(name)) sites.set(name, (sites.get(name) ?? new Set()).add(path));
    }
    violations.push(...namedViolations(path, source));
  }
  for (const [name, paths] of sites) {
    if (paths.size > 1) violations.push(`${name} is imported in ${[...paths].join(" and ")}`);
  }
  return violations;
}

/** Files that are too long, badly named, or do not say what they are. */
export function fileViolations(files: Files): string[] {
  const violations: string[] = [];
  for (const [path, source] of files) {
    const lines = source.trimEnd().split("\n").length;
    if (lines > MAX_FILE_LINES) violations.push(`${path} has ${lines} lines`);
    if (!KEBAB.test(path.split("/").at(-1) ?? "")) violations.push(`${path} is not kebab-case`);
    const opens = source.replace(/^#![^\n]*\n/, "").startsWith("/**");
    if (!opens && path.includes("/")) violations.push(`${path} does not open with what it is`);
  }
  return violations;
}

/** The environment, the clock or a weak random number outside the code that wires. */
export function ambientViolations(files: Files): string[] {
  const violations: string[] = [];
  for (const [path, source] of files) {
    if (MAY_BE_AMBIENT.test(path)) continue;
    for (const [found] of codeOf(source).matchAll(AMBIENT))
      violations.push(`${path} uses ${found}`);
  }
  return violations;
}

/** A line on which a function, a method or an arrow function with a name begins; group 1 is its indentation. */
const FUNCTION =
  /^(\s*)(?:export )?(?:async )?(?:function\*? ?([\w$]*)|(?:static |async |get |set )*([#\w$]+)\([^;]*$|const ([\w$]+) = (?:async )?\([^;]*$)/;
const NO_FUNCTIONS = new Set(["if", "for", "while", "switch", "catch", "return"]);

/**
 * Functions over the length that wants a reason. Relies on the formatter: a function ends at the first closing brace
 * on the indentation of its first line.
 */
export function longFunctions(files: Files): string[] {
  const found: string[] = [];
  for (const [path, source] of files) {
    const lines = source.split("\n");
    for (const [index, line] of lines.entries()) {
      const [, indent = "", plain, method, arrow] = FUNCTION.exec(line) ?? [];
      const name = plain ?? method ?? arrow;
      if (name === undefined || NO_FUNCTIONS.has(name)) continue;
      const end = lines.findIndex(
        (later, at) => at > index && later.startsWith(`${indent}}`) && !later.endsWith("{"),
      );
      const length = end - index + 1;
      if (length > MAX_FUNCTION_LINES)
        found.push(`${path}:${index + 1} ${name} has ${length} lines`);
    }
  }
  return found;
}

export interface Manifest {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly scripts?: Readonly<Record<string, string>>;
}

/** Used by the scripts or the test runner, not by an import. */
const TOOLS = [
  // Loaded by name, because users may do without (pipeline/stages/train/optional-packages.ts).
  "webgpu",
  "@tensorflow/tfjs-backend-webgpu",
  "typescript",
  "@biomejs/biome",
  "vitest",
  "node",
  "@types/node",
  "assemblyscript",
  "dclint",
];

/** Packages that nothing uses, that nothing declares, or that users would miss. */
export function dependencyViolations(files: Files, manifest: Manifest): string[] {
  const shipped = packagesOf(files, (path) => SHIPPED.test(path));
  const elsewhere = packagesOf(files, (path) => !SHIPPED.test(path));
  const names = (field: keyof Manifest): string[] => Object.keys(manifest[field] ?? {});
  const shippedWith = [...names("dependencies"), ...names("peerDependencies")];
  const declared = [...shippedWith, ...names("devDependencies")];
  const used = new Set([...shipped, ...elsewhere, ...TOOLS]);
  const violations = [
    [names("dependencies").filter((name) => !shipped.has(name)), "is not used by what is shipped"],
    [names("devDependencies").filter((name) => !used.has(name)), "is not used"],
    [[...shipped].filter((name) => !shippedWith.includes(name)), "is shipped, not a dependency"],
    [[...elsewhere].filter((name) => !declared.includes(name)), "is not declared"],
  ] as const;
  return violations.flatMap(([found, what]) => found.map((name) => `${name} ${what}`));
}

/** What a published package holds. */
const SHIPPED = /^(?:pipeline|schemas|bin)\//;

function packagesOf(files: Files, wanted: (path: string) => boolean): Set<string> {
  const names = new Set<string>();
  for (const [path, source] of files) {
    if (!wanted(path)) continue;
    for (const { target, isPackage } of importsOf(path, source)) {
      if (isPackage) names.add(packageOf(target));
    }
  }
  return names;
}
