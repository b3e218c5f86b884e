/**
 * One plugin instance in this thread: hands it batches and reads what comes back.
 *
 * The worker runs plugins through this, and so do benchmarks and tests that need no isolation. A guest that trapped
 * or answered something impossible is in an unknown state: throw the instance away and make another. A guest in this
 * thread can run for ever; whoever runs one that is not trusted uses host.ts.
 */
import { SealstreamError } from "../errors.ts";
import {
  ABI_VERSION,
  BATCH_HEADER_BYTES,
  BATCH_MAGIC,
  BUFFER_ALIGN,
  COLUMN_BINARY,
  COLUMN_BYTES,
  READABLE_AFTER,
} from "./abi.ts";
import type { PackedBatch, PackedColumn, PluginResult } from "./columns.ts";
import { type ResultLimits, readResult } from "./result.ts";

interface GuestExports {
  readonly memory: WebAssembly.Memory;
  abi_version(): number;
  alloc(size: number, align: number): number;
  configure(ptr: number, len: number): number;
  reset(): void;
  transform(batch: number): number;
  last_error(): number;
}

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

/** Guest pointers are i32 in JavaScript and may be negative above 2 GiB. */
function pointer(value: number): number {
  return value >>> 0;
}

/** Calls the guest; a trap becomes an error without the guest's own text. */
function call<T>(what: string, run: () => T): T {
  try {
    return run();
  } catch (cause) {
    throw new SealstreamError("plugin-failed", `the plugin trapped in ${what}`, { cause });
  }
}

function instantiate(module: WebAssembly.Module): GuestExports {
  const abort = (): never => {
    throw new Error("abort");
  };
  // Log lines could hold record content, so they go nowhere.
  const log = (): void => {};
  const { exports } = call(
    "its start function",
    () => new WebAssembly.Instance(module, { env: { abort }, host: { log } }),
  );
  // Because compilePlugin has checked that each of these exists with this kind; their results are checked on use.
  return exports as unknown as GuestExports;
}

/** Takes memory of the guest for the host to write to. */
function allocate(guest: GuestExports, bytes: number): number {
  const at = pointer(call("alloc", () => guest.alloc(bytes, BUFFER_ALIGN)));
  if (at === 0) throw new SealstreamError("plugin-failed", "the plugin has no memory left");
  if (at % BUFFER_ALIGN !== 0 || at + bytes > guest.memory.buffer.byteLength) {
    throw new SealstreamError(
      "plugin-failed",
      "the plugin handed out memory that it does not have",
    );
  }
  return at;
}

function configure(guest: GuestExports, config: Uint8Array): void {
  const version = call("abi_version", () => guest.abi_version());
  if (version !== ABI_VERSION) {
    throw new SealstreamError(
      "plugin-invalid",
      `the plugin speaks version ${version} of the ABI, this host speaks ${ABI_VERSION}: build it anew`,
    );
  }
  const at = allocate(guest, config.length + READABLE_AFTER);
  new Uint8Array(guest.memory.buffer, at, config.length).set(config);
  const code = call("configure", () => guest.configure(at, config.length));
  // The configuration may hold keys: the guest has what it needs of them.
  new Uint8Array(guest.memory.buffer, at, config.length).fill(0);
  if (code !== 0) {
    throw new SealstreamError(
      "plugin-invalid",
      `the plugin refused its configuration (code ${code})`,
    );
  }
}

/** Where the buffers of a column were put in guest memory. */
interface PlacedColumn {
  readonly column: PackedColumn;
  readonly validityAt: number;
  readonly offsetsAt: number;
  readonly dataAt: number;
}

function placeColumn(guest: GuestExports, column: PackedColumn): PlacedColumn {
  return {
    column,
    validityAt: column.validity === null ? 0 : allocate(guest, column.validity.length),
    offsetsAt: allocate(guest, column.offsets.byteLength),
    dataAt: allocate(guest, column.data.length + READABLE_AFTER),
  };
}

/** Copies a batch into guest memory; returns the pointer for `transform`. */
function writeBatch(guest: GuestExports, batch: PackedBatch): number {
  const headerBytes = BATCH_HEADER_BYTES + batch.columns.length * COLUMN_BYTES;
  const at = allocate(guest, headerBytes);
  const placed = batch.columns.map((column) => placeColumn(guest, column));
  // Only now: allocating may have grown the memory, which detaches every view of it.
  const { buffer } = guest.memory;
  const header = new Uint32Array(buffer, at, headerBytes / 4);
  header.set([BATCH_MAGIC, batch.rows, batch.columns.length, 0]);
  placed.forEach(({ column, validityAt, offsetsAt, dataAt }, i) => {
    const { data, offsets, validity, nullCount } = column;
    if (validity !== null) new Uint8Array(buffer, validityAt, validity.length).set(validity);
    new Uint32Array(buffer, offsetsAt, offsets.length).set(offsets);
    new Uint8Array(buffer, dataAt, data.length).set(data);
    header.set(
      [COLUMN_BINARY, validityAt, offsetsAt, dataAt, data.length, nullCount, 0, 0],
      (BATCH_HEADER_BYTES + i * COLUMN_BYTES) / 4,
    );
  });
  return at;
}

/**
 * Instantiates and configures a plugin.
 * @throws plugin-invalid when its ABI version is another or it refuses the configuration, plugin-failed on a trap
 */
export function createInstance({ module, config, limits }: InstanceOptions): PluginInstance {
  const guest = instantiate(module);
  configure(guest, config);
  return {
    transform(batch) {
      call("reset", () => guest.reset());
      const at = writeBatch(guest, batch);
      const result = pointer(call("transform", () => guest.transform(at)));
      if (result === 0) throw new SealstreamError("plugin-failed", "the plugin failed a batch");
      return readResult(guest.memory.buffer, result, batch.rows, limits);
    },
  };
}
