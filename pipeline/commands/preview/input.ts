/** The first lines of an NDJSON file, or of standard input, as `produce` takes them. */
import { addAbortSignal } from "node:stream";
import { MAX_LINE_BYTES, splitLines } from "../../client/produce.ts";
import { isSealstreamError, SealstreamError } from "../../errors.ts";
import { openInput } from "../produce.ts";

/**
 * Reads until there are enough lines, the input ends, or the process is asked to end: then what there is.
 * @throws SealstreamError `usage` when there is no such file or it cannot be read, `limit-exceeded` for a line that no
 *   Kafka record may hold
 */
export async function readLines(
  input: string,
  count: number,
  signal: AbortSignal,
): Promise<Uint8Array[]> {
  const lines: Uint8Array[] = [];
  const stream = addAbortSignal(signal, openInput(input));
  try {
    for await (const line of splitLines(stream, MAX_LINE_BYTES)) {
      // A copy, since the line is a view of the chunk that it came in.
      lines.push(Uint8Array.from(line));
      if (lines.length === count) break;
    }
  } catch (error) {
    if (isSealstreamError(error)) throw error;
    if (!signal.aborted) {
      throw new SealstreamError("usage", `${input} cannot be read.`, { cause: error });
    }
  }
  return lines;
}
