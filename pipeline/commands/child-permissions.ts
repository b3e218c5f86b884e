/**
 * What a supervised stage process may do: read the program, its own key folder and the pipeline file; nothing else.
 *
 * Node's permission model (`--permission`) holds it: another zone's keys on the same disk are out of its reach, and it
 * can write no file and start no program. Source: https://nodejs.org/api/permissions.html.
 */
import { existsSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Folders of this package that hold program, not data; those that exist are readable. */
const PROGRAM = ["pipeline", "schemas", "plugins", "dist", "build/wasm", "bin", "package.json"];

/** Root of the package: two folders above this file in the repository, three in a built package. */
function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "package.json"))) {
    folder = dirname(folder);
  }
  return realpathSync(folder);
}

/** Every `node_modules` from the package root upwards: dependencies may be hoisted. */
function moduleFolders(root: string): string[] {
  const folders: string[] = [];
  for (let folder = root; ; folder = dirname(folder)) {
    if (folder.endsWith("/node_modules")) {
      folders.push(folder);
    } else if (existsSync(join(folder, "node_modules"))) {
      folders.push(join(folder, "node_modules"));
    }
    if (dirname(folder) === folder) {
      return folders;
    }
  }
}

/**
 * Arguments for the Node process of a stage.
 * @param readable files and folders beside the program
 * @param addons whether it may load native code, which these permissions do not hold: only what lies in a readable folder
 */
export function permissionArguments(readable: readonly string[], addons: boolean): string[] {
  const root = packageRoot();
  const paths = [
    ...PROGRAM.map((name) => join(root, name)),
    ...moduleFolders(root),
    ...readable,
  ].filter((path) => existsSync(path));
  // Workers inherit these permissions, so the general warning about --allow-worker says nothing here.
  return [
    "--permission",
    "--allow-worker",
    "--disable-warning=PERM0006",
    // As of workers: that addons are beyond these permissions is said in SECURITY.md.
    ...(addons ? ["--allow-addons", "--disable-warning=PERM0001"] : []),
    ...paths.map((path) => `--allow-fs-read=${path}`),
  ];
}

/** The `sealstream` program itself. */
export function programPath(): string {
  return join(packageRoot(), "bin", "sealstream.js");
}
