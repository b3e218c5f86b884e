/**
 * Numbers of the plugin ABI, version 1, as the host uses them. The normative text is plugins/ABI.md.
 *
 * Must hold constants and types only: every other file of this room, and the guests' tests, lean on it.
 */

export const ABI_VERSION = 1;

/** "SSB1", little-endian. */
export const BATCH_MAGIC = 0x31425353;
/** "SSR1", little-endian. */
export const RESULT_MAGIC = 0x31525353;

/** u32 magic, rows, columns, flags. */
export const BATCH_HEADER_BYTES = 16;
/** The batch header, then u32 inputRows, statusPtr, rowIndexPtr, reserved. */
export const RESULT_HEADER_BYTES = 32;
/** u32 type, validityPtr, offsetsPtr, dataPtr, dataLen, nullCount, 0, 0. */
export const COLUMN_BYTES = 32;

/** Bytes with a validity bitmap; the other type of version 1, UTF8 = 1, has the same layout. */
export const COLUMN_BINARY = 0;
export const COLUMN_UTF8 = 1;

/** Alignment of every buffer that the host allocates: one SIMD vector. */
export const BUFFER_ALIGN = 16;
/** Readable bytes after each data buffer, so that a guest may load a vector at its last byte. */
export const READABLE_AFTER = 64;
/** Most columns of a batch or result. */
export const MAX_COLUMNS = 16;
/** Most rows of a batch: far above any lane's bounds, and 4 bytes each still fit in a page-sized pointer table. */
export const MAX_ROWS = 1 << 20;

/**
 * What became of an input row, by status code. `ok` has output rows, every other status has none. `plugin-failed` is
 * also what the host itself says about a row that makes the guest fail.
 */
export const STATUS_NAMES = [
  "ok",
  "dropped",
  "tombstone",
  "too-large",
  "not-utf8",
  "not-json",
  "duplicate-field",
  "unknown-field",
  "missing-field",
  "wrong-type",
  "record-id",
  "schema",
  "plugin-failed",
] as const;

export type PluginStatus = (typeof STATUS_NAMES)[number];

export const STATUS_OK = 0;
export const STATUS_PLUGIN_FAILED = STATUS_NAMES.indexOf("plugin-failed");

/** Functions that a plugin must export. */
export const REQUIRED_FUNCTIONS = [
  "abi_version",
  "alloc",
  "configure",
  "reset",
  "transform",
  "last_error",
] as const;

/** Everything that a plugin may import, all of it functions. */
export const GRANTED_IMPORTS: readonly { readonly module: string; readonly name: string }[] = [
  { module: "env", name: "abort" },
  { module: "host", name: "log" },
];
