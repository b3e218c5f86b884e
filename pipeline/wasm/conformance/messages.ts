/**
 * What the conformance suite and its probe worker say to each other. Types only.
 */
import type { PackedBatch, PluginResult } from "../columns.ts";
import type { FaultKind } from "../fault.ts";
import type { ResultLimits } from "../result.ts";

/** What is done to the guest's copy of its configuration: zeros is what every host does. */
export type Wipe = "zeros" | "noise" | "nothing";

/** Handed to a probe worker when it is made. */
export interface ProbeSetup {
  readonly module: WebAssembly.Module;
  readonly config: Uint8Array;
  readonly limits: ResultLimits;
  readonly wipe: Wipe;
}

/** A rule that was broken, or why the worker ended. */
export interface ProbeFault {
  readonly kind: FaultKind | "deadline" | "died";
  readonly message: string;
}

/** A batch to run, this often. */
export interface ProbeRequest {
  readonly batch: PackedBatch;
  readonly times: number;
}

/** Worker to suite: once after it started, then once for each request. */
export type ProbeReply =
  | { readonly type: "ready"; readonly memoryBytes: number }
  | {
      readonly type: "answer";
      /** Of the last time. */
      readonly result: PluginResult;
      /** Bytes of the guest's memory half-way through the times, and after the last. */
      readonly memoryBytes: readonly [halfWay: number, after: number];
    }
  | {
      readonly type: "fault";
      readonly fault: ProbeFault;
      readonly memoryBytes: number;
    };
