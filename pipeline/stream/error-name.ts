/** The one thing about an error that may be logged here: its name. Its text may quote a record. */
import { isSealstreamError } from "../errors.ts";

/** Name of an error for a log line: its code or class, never its text, which may quote a record. */
export function errorName(error: unknown): string {
  if (isSealstreamError(error)) {
    return error.code;
  }
  // Because kafkajs's protocol errors have a `type` that says more than their class.
  const { name, type } = error as { name?: string; type?: string };
  return type ?? name ?? "unknown";
}
