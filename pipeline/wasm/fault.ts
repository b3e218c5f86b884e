/**
 * What is wrong with a plugin, by kind: for those who judge plugins, where an error's text is for those who run them.
 *
 * Must not hold anything of a batch.
 */
import { type ErrorCode, SealstreamError } from "../errors.ts";

/** Each kind is a rule of plugins/ABI.md that was broken. */
export type FaultKind =
  /** No WebAssembly module, or its memory is not one of its own that is plain and small enough. */
  | "module"
  | "imports"
  | "exports"
  | "version"
  | "alloc"
  /** It refused its configuration. */
  | "configuration"
  | "trap"
  /** `transform` answered 0. */
  | "refused-batch"
  /** What came back is no result: its magic, flags, counts, columns or null counts. */
  | "result"
  /** A pointer outside its memory, or not aligned. */
  | "pointers"
  | "offsets"
  /** Statuses and row numbers that do not fit together. */
  | "rows"
  | "output-size";

const CODES: Readonly<Partial<Record<FaultKind, ErrorCode>>> = {
  module: "plugin-invalid",
  imports: "plugin-invalid",
  exports: "plugin-invalid",
  version: "plugin-invalid",
  configuration: "plugin-invalid",
  "output-size": "limit-exceeded",
};

/** An error by a plugin's doing: plugin-invalid, plugin-failed or limit-exceeded, by its kind. */
export class PluginFault extends SealstreamError {
  readonly kind: FaultKind;

  constructor(kind: FaultKind, message: string, options?: { cause?: unknown }) {
    super(CODES[kind] ?? "plugin-failed", message, options);
    this.kind = kind;
  }
}
