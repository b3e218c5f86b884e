/**
 * Numbers of the plugin ABI, version 1, as this guest uses them.
 *
 * The normative text is plugins/ABI.md; pipeline/wasm/abi.ts holds the same numbers for the host. Constants only.
 */

export const ABI_VERSION: i32 = 1;

/** "SSB1", little-endian: a batch that the host hands in. */
export const BATCH_MAGIC: u32 = 0x31425353;
/** "SSR1", little-endian: a result that the guest hands back. */
export const RESULT_MAGIC: u32 = 0x31525353;

/** u32 magic, rows, columns, flags. */
export const BATCH_HEADER_BYTES: usize = 16;
/** The batch header, then u32 inputRows, statusPtr, rowIndexPtr, reserved. */
export const RESULT_HEADER_BYTES: usize = 32;
/** u32 type, validityPtr, offsetsPtr, dataPtr, dataLen, nullCount, 0, 0. */
export const COLUMN_BYTES: usize = 32;

export const COLUMN_BINARY: u32 = 0;
export const COLUMN_UTF8: u32 = 1;

/** Readable bytes that follow every data buffer, so that a SIMD load may start at its last byte. */
export const READABLE_AFTER: usize = 64;

export const STATUS_OK: u32 = 0;
export const STATUS_TOMBSTONE: u32 = 2;
export const STATUS_TOO_LARGE: u32 = 3;
export const STATUS_NOT_UTF8: u32 = 4;
export const STATUS_NOT_JSON: u32 = 5;
export const STATUS_DUPLICATE_FIELD: u32 = 6;
export const STATUS_UNKNOWN_FIELD: u32 = 7;
export const STATUS_MISSING_FIELD: u32 = 8;
export const STATUS_WRONG_TYPE: u32 = 9;
export const STATUS_RECORD_ID: u32 = 10;
