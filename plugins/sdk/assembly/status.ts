/**
 * What may become of a row: the status codes of plugins/ABI.md.
 */

/** What was written is the row's value. With any other code it is thrown away. */
export const OK: i32 = 0;
/** Taken out on purpose: no dead letter. */
export const DROPPED: i32 = 1;
export const TOMBSTONE: i32 = 2;
export const TOO_LARGE: i32 = 3;
export const NOT_UTF8: i32 = 4;
export const NOT_JSON: i32 = 5;
export const DUPLICATE_FIELD: i32 = 6;
export const UNKNOWN_FIELD: i32 = 7;
export const MISSING_FIELD: i32 = 8;
export const WRONG_TYPE: i32 = 9;
export const RECORD_ID: i32 = 10;
export const SCHEMA: i32 = 11;
/** The plugin could not do this row. */
export const PLUGIN_FAILED: i32 = 12;
