/**
 * The npm packages that train can use and does not need: found by name, without loading anything.
 *
 * Supervisors ask whether train will load an addon, because Node's permission model must then allow it; they must not
 * load TensorFlow.js for the question.
 */
import { createRequire } from "node:module";
import path from "node:path";
import type { BackendChoice } from "../../spec/training-spec.ts";

/** Where optional packages may lie beside the program's own `node_modules`. */
export interface PackageFolders {
  /** Folders with a `node_modules`. */
  readonly packages?: readonly string[] | undefined;
}

/** What each backend that loads an addon consists of. */
export const ADDON_PACKAGES = {
  "tfjs-node-gpu": ["@tensorflow/tfjs-node-gpu"],
  "tfjs-node": ["@tensorflow/tfjs-node"],
  webgpu: ["webgpu", "@tensorflow/tfjs-backend-webgpu"],
} as const satisfies Partial<Record<BackendChoice, readonly string[]>>;

/** The main file of a package; null when it is not installed. */
export function findPackage(name: string, { packages = [] }: PackageFolders = {}): string | null {
  const from = [import.meta.url, ...packages.map((folder) => path.join(path.resolve(folder), "x"))];
  for (const place of from) {
    try {
      return createRequire(place).resolve(name);
    } catch {
      // Not here: perhaps in the next folder.
    }
  }
  return null;
}

/** Whether a train stage of this choice loads an addon, as far as what is installed lets it. */
export function loadsAddon(choice: BackendChoice): boolean {
  return Object.entries(ADDON_PACKAGES).some(
    ([name, packages]) =>
      (choice === "auto" || choice === name) && packages.every((own) => findPackage(own) !== null),
  );
}
