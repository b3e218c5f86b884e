/**
 * One plugin instance in this thread: hands it batches and reads what comes back.
 *
 * The worker runs plugins through this, and so do benchmarks and tests that need no isolation. A guest that trapped
 * or answered something impossible is in an unknown state: throw the instance away and make another. A guest in this
 * thread can run for ever; whoever runs one that is not trusted uses host.ts.
 */
import type { PackedBatch, PluginResult } from "./columns.ts";
import { checkVersion, configure, instantiate, runBatch } from "./guest.ts";
import type { ResultLimits } from "./result.ts";

export interface PluginInstance {
  /**
   * Runs a batch.
   * @throws plugin-failed after a trap, a refusal of the whole batch or an impossible answer; limit-exceeded when the
   * output is too large. Do not use the instance after any of them.
   */
  transform(batch: PackedBatch): PluginResult;
}

export interface InstanceOptions {
  /** Compiled by compilePlugin of module-check.ts. */
  readonly module: WebAssembly.Module;
  /** Handed to `configure`, once; the copy inside the guest is wiped afterwards, the caller's is not. */
  readonly config: Uint8Array;
  readonly limits: ResultLimits;
}

/**
 * Instantiates and configures a plugin.
 * @throws plugin-invalid when its ABI version is another or it refuses the configuration, plugin-failed on a trap
 */
export function createInstance({ module, config, limits }: InstanceOptions): PluginInstance {
  const guest = instantiate(module);
  checkVersion(guest);
  configure(guest, config);
  return { transform: (batch) => runBatch(guest, batch, limits) };
}
