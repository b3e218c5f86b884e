/**
 * What the plugin host and its worker say to each other. Types only.
 */
import type { ErrorCode } from "../errors.ts";
import type { PackedBatch, PluginResult } from "./columns.ts";
import type { ResultLimits } from "./result.ts";

/** Handed to a worker when it is made. */
export interface WorkerSetup {
  readonly module: WebAssembly.Module;
  readonly config: Uint8Array;
  readonly limits: ResultLimits;
}

/** Host to worker: run this batch. Its buffers are moved, not copied. */
export type Request = PackedBatch;

/** Worker to host: once after it started, then once for each request. */
export type Reply =
  | { readonly type: "ready" }
  | { readonly type: "result"; readonly result: PluginResult }
  | { readonly type: "failed"; readonly code: ErrorCode; readonly message: string };
