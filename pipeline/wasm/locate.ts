/**
 * Where the built plugins lie: `build/wasm` of the repository, or of the published package beside this file.
 */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { SealstreamError } from "../errors.ts";

/**
 * Path of a built module.
 * @param name for example `desensitize` or `desensitize.debug`
 * @throws plugin-invalid when it has not been built
 */
export function wasmPath(name: string): string {
  // Both pipeline/wasm/ and dist/pipeline/wasm/ have build/wasm/ two folders up.
  const path = fileURLToPath(new URL(`../../build/wasm/${name}.wasm`, import.meta.url));
  if (!existsSync(path)) {
    throw new SealstreamError(
      "plugin-invalid",
      `the WebAssembly module ${name} is not built: run npm run build:wasm`,
    );
  }
  return path;
}
