/**
 * Numbers of plugins/ABI.md, version 1, as a guest needs them. Constants only.
 */
export const ABI_VERSION: i32 = 1;

/** "SSB1" and "SSR1", little-endian. */
export const BATCH_MAGIC: u32 = 0x31425353;
export const RESULT_MAGIC: u32 = 0x31525353;

export const BATCH_HEADER_BYTES: usize = 16;
export const RESULT_HEADER_BYTES: usize = 32;
export const COLUMN_BYTES: usize = 32;
export const COLUMN_BINARY: u32 = 0;
export const COLUMN_UTF8: u32 = 1;

/** Most bytes of a column. */
export const MAX_COLUMN_BYTES: u64 = 0x7fffffff;
