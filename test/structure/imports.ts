/**
 * What a TypeScript file imports, found by regular expressions: static and dynamic imports, re-exports and
 * `new URL(..., import.meta.url)`, which is how workers and modules are named.
 *
 * Relies on the formatter: a static import begins a line. Text in comments and template literals does not count.
 */
import { posix } from "node:path";

export interface Import {
  /** A package name with its subpath, or a path from the repository's root. */
  readonly target: string;
  readonly isPackage: boolean;
  /** Gone at run time: `import type`, or every name marked `type`. */
  readonly typeOnly: boolean;
}

const STRING_OR_COMMENT =
  /("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|`(?:\\[\s\S]|[^`\\])*`|\/\*[\s\S]*?\*\/|(?<![:\\/])\/\/[^\n]*/g;
/** Group 1: what is imported; it ends at the first sign that no import clause has, so that the search stays linear. */
const STATIC = /^(?:import|export)\b([\w$*\s,{}]*?)\bfrom\s*["']([^"'\n]+)["']/gm;
const BARE = /^import\s*["']([^"']+)["']/gm;
const DYNAMIC = /\bimport\(\s*["']([^"']+)["']/g;
const BY_URL = /\bnew URL\(\s*["']([^"']+)["']\s*,\s*import\.meta\.url/g;

/** Source without comments and with empty template literals. */
export function codeOf(source: string): string {
  return source.replace(STRING_OR_COMMENT, (whole, string?: string) => {
    if (string !== undefined) return string;
    return whole.startsWith("`") ? "``" : " ";
  });
}

/** Imports of a file. @param path from the repository's root, with `/` */
export function importsOf(path: string, source: string): Import[] {
  const code = codeOf(source);
  const found: Import[] = [];
  const add = (target: string, typeOnly: boolean): void => {
    if (target.startsWith("node:")) return;
    const isPackage = !target.startsWith(".");
    const resolved = isPackage ? target : posix.join(posix.dirname(path), target);
    found.push({ target: resolved, isPackage, typeOnly });
  };
  for (const [, clause, target] of code.matchAll(STATIC)) {
    add(target ?? "", /^\s+type\s/.test(clause ?? "") || onlyTypes(clause ?? ""));
  }
  for (const pattern of [BARE, DYNAMIC, BY_URL]) {
    for (const [, target] of code.matchAll(pattern)) {
      // Because `new URL("./x")` without a leading dot means the same as with one.
      const relative = pattern === BY_URL && !/^(?:\.|[a-z]+:)/.test(target ?? "");
      add(relative ? `./${target}` : (target ?? ""), false);
    }
  }
  return found;
}

function onlyTypes(names: string): boolean {
  const inside = /^\s*\{([^}]*)\}\s*$/.exec(names)?.[1];
  if (inside === undefined) return false;
  const parts = inside.split(",").map((part) => part.trim());
  return parts.filter((part) => part !== "").every((part) => part.startsWith("type "));
}

/** `@scope/name/sub` and `name/sub` without the subpath. */
export function packageOf(target: string): string {
  return target.split("/", target.startsWith("@") ? 2 : 1).join("/");
}
