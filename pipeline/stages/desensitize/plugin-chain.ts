/**
 * The user's own plugins, which raw record values pass one after the other before the rules.
 *
 * Each runs in a host of its own. One column goes in, one comes out, with exactly one row for each row that was accepted.
 * What comes out is a raw value like any other: size limit, record schema, allow-list and rules are still before it, so no
 * plugin can let a field out that no rule names. Must not build an outgoing record.
 */
import { createHash } from "node:crypto";
import { SealstreamError } from "../../errors.ts";
import type { Reason } from "../../stream/contract.ts";
import { STATUS_NAMES } from "../../wasm/abi.ts";
import { type PluginResult, valueAt } from "../../wasm/columns.ts";
import { createPluginHost, type PluginHost } from "../../wasm/host.ts";

/** A plugin of the user's: its bytes, and what they must be. */
export interface ChainedPlugin {
  readonly wasm: Uint8Array;
  /** SHA-256 that the pipeline file pins, 64 lowercase hexadecimal digits. */
  readonly sha256: string;
  /** Handed to `configure`. */
  readonly config: string;
  readonly memoryMaxBytes: number;
  readonly deadlineMs: number;
}

/** A value that goes on, or why it does not; `dropped`: taken out on purpose, without a dead letter. */
export type ChainedValue = Uint8Array | Reason;

export interface PluginChain {
  /**
   * Takes values through all plugins.
   * @param values null where the record is refused already; those stay null
   * @throws what a host throws whose plugin fails on nothing, or does not start any more
   */
  run(values: readonly (Uint8Array | null)[]): Promise<readonly (ChainedValue | null)[]>;
  close(): Promise<void>;
}

/** A batch of the lane's bounds is 4 MiB; a plugin that makes sixteen times as much of it is done in parts. */
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

/** Why a row has no value. Statuses are reasons by name; one that has a value cannot be without, nor is an unknown one. */
export function reasonOf(code: number): Reason {
  const name = STATUS_NAMES[code] ?? "plugin-failed";
  return name === "ok" ? "plugin-failed" : name;
}

/** @throws plugin-invalid when the bytes are not those that are pinned */
export function assertPinned(wasm: Uint8Array, sha256: string, what: string): void {
  const actual = createHash("sha256").update(wasm).digest("hex");
  if (actual === sha256) return;
  throw new SealstreamError(
    "plugin-invalid",
    `expected sha256: ${sha256} of ${what}, the file has ${actual}: run "sealstream check" on the pipeline file`,
  );
}

/** What a plugin made of its rows: a value each, or why there is none. */
function readRows({ status, rowIndex, columns }: PluginResult): ChainedValue[] {
  const rows: ChainedValue[] = Array.from(status, reasonOf);
  const [column, ...more] = columns;
  // Without the one column that is asked for, no row has a value.
  if (column === undefined || more.length > 0) return rows;
  const found = new Uint8Array(rows.length);
  rowIndex.forEach((row, i) => {
    found[row] = Math.min(2, (found[row] ?? 0) + 1);
    const value = valueAt(column, i);
    // A second row of the same record would be a record that nobody sent.
    rows[row] = value === null || found[row] !== 1 ? "plugin-failed" : value;
  });
  return rows;
}

/** Takes the values that still are values through one plugin. */
async function runOne(
  host: PluginHost,
  values: readonly (ChainedValue | null)[],
): Promise<(ChainedValue | null)[]> {
  const rows = values.filter((value) => value instanceof Uint8Array);
  if (rows.length === 0) return [...values];
  const made = readRows(await host.transform([rows], rows.length)).values();
  return values.map((value) =>
    value instanceof Uint8Array ? (made.next().value ?? "plugin-failed") : value,
  );
}

/**
 * Starts the plugins, each in its own host.
 * @param maxBytes most bytes of a value, before and after each plugin
 * @throws plugin-invalid when a module is not the pinned one, is no plugin or refuses its configuration
 */
export async function startPlugins(
  plugins: readonly ChainedPlugin[],
  maxBytes: number,
): Promise<PluginChain> {
  for (const [i, { wasm, sha256 }] of plugins.entries()) {
    assertPinned(wasm, sha256, `plugins[${i}]`);
  }
  const hosts: PluginHost[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(hosts.map((host) => host.close()));
  };
  try {
    for (const { wasm, config, memoryMaxBytes, deadlineMs } of plugins) {
      const limits = { memoryMaxBytes, deadlineMs, maxOutputBytes: MAX_OUTPUT_BYTES };
      hosts.push(
        await createPluginHost({ module: wasm, config: new TextEncoder().encode(config), limits }),
      );
    }
  } catch (error) {
    await close();
    throw error;
  }
  const inBounds = (value: ChainedValue | null): ChainedValue | null =>
    value instanceof Uint8Array && value.length > maxBytes ? "too-large" : value;
  return {
    async run(values) {
      let current: readonly (ChainedValue | null)[] = values;
      for (const host of hosts) current = (await runOne(host, current)).map(inBounds);
      return current;
    },
    close,
  };
}
