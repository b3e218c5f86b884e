/**
 * The calls of the ABI, one by one: what instance.ts runs plugins with, and what the conformance suite probes them with.
 *
 * Every pointer that the host writes to is checked here, every answer in result.ts. A guest that trapped is in an unknown
 * state: throw it away. Must not be imported by those who only want to run a plugin.
 */
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
import { PluginFault } from "./fault.ts";
import { type ResultLimits, readResult } from "./result.ts";

/** What a plugin exports; nothing that it answers can be believed. */
export interface GuestExports {
  readonly memory: WebAssembly.Memory;
  abi_version(): number;
  alloc(size: number, align: number): number;
  configure(ptr: number, len: number): number;
  reset(): void;
  transform(batch: number): number;
  last_error(): number;
}

/** Guest pointers are i32 in JavaScript and may be negative above 2 GiB; a guest of another signature answers bigints. */
export function pointer(value: unknown): number {
  return Number(value) >>> 0;
}

/** Calls the guest; a trap becomes an error without the guest's own text. */
export function call<T>(what: string, run: () => T): T {
  try {
    return run();
  } catch (cause) {
    throw new PluginFault("trap", `the plugin trapped in ${what}`, { cause });
  }
}

/** Makes a guest with nothing but the granted imports. @throws a fault when its start function traps */
export function instantiate(module: WebAssembly.Module): GuestExports {
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
  if (at === 0) throw new PluginFault("alloc", "the plugin has no memory left");
  if (at % BUFFER_ALIGN !== 0 || at + bytes > guest.memory.buffer.byteLength) {
    throw new PluginFault("alloc", "the plugin handed out memory that it does not have");
  }
  return at;
}

/** @throws a fault when the guest speaks another version of the ABI */
export function checkVersion(guest: GuestExports): void {
  const version = call("abi_version", () => guest.abi_version());
  if (version !== ABI_VERSION) {
    throw new PluginFault(
      "version",
      `the plugin speaks version ${version} of the ABI, this host speaks ${ABI_VERSION}: build it anew`,
    );
  }
}

/**
 * Hands over the configuration, once.
 * @param wipe what is done to the guest's copy afterwards: it may hold keys, so only probes do anything but zeros
 * @throws a fault when the guest refuses it
 */
export function configure(
  guest: GuestExports,
  config: Uint8Array,
  wipe: (copy: Uint8Array) => void = (copy) => copy.fill(0),
): void {
  const at = allocate(guest, config.length + READABLE_AFTER);
  new Uint8Array(guest.memory.buffer, at, config.length).set(config);
  const code = call("configure", () => guest.configure(at, config.length));
  // The configuration may hold keys: the guest has what it needs of them.
  wipe(new Uint8Array(guest.memory.buffer, at, config.length));
  if (code !== 0) {
    throw new PluginFault("configuration", `the plugin refused its configuration (code ${code})`);
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

/** Runs one batch. @throws a fault by the guest's doing */
export function runBatch(
  guest: GuestExports,
  batch: PackedBatch,
  limits: ResultLimits,
): PluginResult {
  call("reset", () => guest.reset());
  const at = writeBatch(guest, batch);
  const result = pointer(call("transform", () => guest.transform(at)));
  if (result === 0) throw new PluginFault("refused-batch", "the plugin failed a batch");
  return readResult(guest.memory.buffer, result, batch.rows, limits);
}
