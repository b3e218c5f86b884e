/**
 * Peers out of the npm registry, installed once into an ignored folder: no dependency of this project.
 *
 * No registry: they are reported as missing, with the reason. Install scripts are not run.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";

const PEERS = join(import.meta.dirname, "..", ".peers");
const INSTALL_TIMEOUT_MS = 300_000;

export interface NpmPeers {
  /** The module of an installed package. */
  load(name: string): Promise<unknown>;
}

/**
 * @param packages exact versions by name
 * @returns in words why they cannot be had, where they cannot
 */
export async function openNpmPeers(
  folder: string,
  packages: Readonly<Record<string, string>>,
  tell: (message: string) => void,
): Promise<NpmPeers | string> {
  const wanted = Object.entries(packages).map(([name, version]) => `${name}@${version}`);
  const home = join(PEERS, folder);
  const complete = join(home, `complete-${wanted.join("-").replaceAll("/", "_")}`);
  if (!existsSync(complete)) {
    tell(`installing ${wanted.join(", ")} with npm (once)`);
    try {
      await rm(home, { recursive: true, force: true });
      await mkdir(home, { recursive: true });
      await writeFile(join(home, "package.json"), '{ "private": true }\n');
      const args = ["install", "--no-audit", "--no-fund", "--ignore-scripts", ...wanted];
      await promisify(execFile)("npm", args, { cwd: home, timeout: INSTALL_TIMEOUT_MS });
      await writeFile(complete, "");
    } catch {
      // Because a peer that cannot be had is an outcome of a benchmark, told in its table.
      return `could not install ${wanted.join(", ")} with npm`;
    }
  }
  const require = createRequire(join(home, "package.json"));
  return { load: (name) => import(pathToFileURL(require.resolve(name)).href) };
}
