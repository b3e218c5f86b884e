/**
 * What a plugin in AssemblyScript imports. Its entry file also hands on the six functions of exports.ts.
 */
export { onConfigure, onRow } from "./exports";
export { columnBytes as written, put, putBytes, putText } from "./output";
export {
  DROPPED, DUPLICATE_FIELD, MISSING_FIELD, NOT_JSON, NOT_UTF8, OK, PLUGIN_FAILED, RECORD_ID, SCHEMA, TOMBSTONE,
  TOO_LARGE, UNKNOWN_FIELD, WRONG_TYPE,
} from "./status";
export { isUtf8, readText, remember } from "./text";
