/**
 * The plugin host: runs an untrusted WASM plugin with a memory maximum, a deadline and no authority.
 *
 * The plugin runs in a worker thread, a second worker stands by. A batch that takes too long costs its worker its
 * life and the standby takes over; a trap costs only the instance. Either way the batch is halved until the rows at
 * fault are known, and only they are refused. The guest can do nothing but compute on what it is handed.
 */
import { SealstreamError } from "../errors.ts";
import { type InputColumn, type PluginResult, packBatch } from "./columns.ts";
import { runIsolated } from "./isolate.ts";
import { compilePlugin } from "./module-check.ts";
import { createWorkerSlot, type WorkerSlot } from "./worker-slot.ts";

export interface PluginLimits {
  /** Most memory of the guest, written into the module as its maximum; whole pages of 64 KiB. */
  readonly memoryMaxBytes: number;
  /** Most time for one batch, from handing it over to having its result. */
  readonly deadlineMs: number;
  /** Most bytes of all output columns of one batch. */
  readonly maxOutputBytes: number;
}

export interface PluginHostOptions {
  /** The WASM module, as built. */
  readonly module: Uint8Array;
  /** Handed to the plugin's `configure`; may hold keys. Copied; the copy is wiped by `close`. */
  readonly config: Uint8Array;
  readonly limits: PluginLimits;
}

export interface PluginHost {
  /**
   * Runs a batch; calls may overlap, they are answered in order.
   * @param columns a value or null per row; read until the promise settles, also after a failure, to try parts again
   * @param rows number of rows
   * @returns a status per row; rows that make the plugin fail have status plugin-failed and no output
   * @throws plugin-failed when the plugin fails on an empty batch too, plugin-invalid when it does not start any more,
   * worker-died after `close`
   */
  transform(columns: readonly InputColumn[], rows: number): Promise<PluginResult>;
  /** Ends both workers; a batch under way rejects. */
  close(): Promise<void>;
}

/**
 * Starts a plugin in a worker of its own, with another one standing by.
 * @throws plugin-invalid when the module is not a plugin, asks for what is not granted or refuses its configuration
 */
export async function createPluginHost(options: PluginHostOptions): Promise<PluginHost> {
  const { limits } = options;
  const setup = {
    module: compilePlugin(options.module, limits.memoryMaxBytes),
    config: options.config.slice(),
    limits: { maxOutputBytes: limits.maxOutputBytes },
  };
  let closed = false;
  let active = createWorkerSlot(setup);
  await active.ready;
  let standby = createWorkerSlot(setup);
  let last: Promise<unknown> = Promise.resolve();

  const livingSlot = async (): Promise<WorkerSlot> => {
    if (closed) throw new SealstreamError("worker-died", "the plugin host is closed");
    if (active.isDead()) {
      // A standby that died meanwhile, say of memory pressure, is no reason to fail: start one more.
      active = standby.isDead() ? createWorkerSlot(setup) : standby;
      standby = createWorkerSlot(setup);
    }
    await active.ready;
    return active;
  };
  const run = async (columns: readonly InputColumn[], rows: number): Promise<PluginResult> => {
    const result = await runIsolated(rows, limits.deadlineMs, async (from, to, deadlineMs) => {
      const slot = await livingSlot();
      return slot.run(packBatch(columns, from, to), deadlineMs);
    });
    // Rows that failed because of close() are not at fault.
    if (closed) throw new SealstreamError("worker-died", "the plugin host is closed");
    return result;
  };

  return {
    transform(columns, rows) {
      const result = last.then(() => run(columns, rows));
      // The next batch waits for this one, whatever becomes of it; its owner sees the rejection.
      last = result.catch(() => {});
      return result;
    },
    async close() {
      closed = true;
      await Promise.all([active.end(), standby.end()]);
      setup.config.fill(0);
    },
  };
}
