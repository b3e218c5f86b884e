/**
 * The detector kernel on its own (plugins/desensitize/assembly/detect/kernel.ts), in this thread.
 *
 * For benchmarks and tests; the pipeline reaches the detectors through redact rules only.
 */
import { readFileSync } from "node:fs";
import { type PackedBatch, packBatch } from "../../pipeline/wasm/columns.ts";
import { wasmPath } from "../../pipeline/wasm/locate.ts";
import { capMemory } from "../../pipeline/wasm/module-check.ts";

interface KernelExports {
  readonly memory: WebAssembly.Memory;
  alloc(size: number, align: number): number;
  reset(): void;
  configure_detectors(block: number, bytes: number): number;
  redact_growth(set: number): number;
  detect_column(set: number, rows: number, offsets: number, data: number, out: number): number;
  redact_column(
    set: number,
    rows: number,
    offsets: number,
    data: number,
    offsetsOut: number,
    out: number,
  ): number;
}

/** Bytes `start`..`end` of text `row` are of the type with that index. */
export interface Detection {
  readonly row: number;
  readonly start: number;
  readonly end: number;
  readonly type: number;
}

/** Where the guest has written redacted texts: their first byte, the ends of each (u32), and how many bytes they are. */
export interface Redacted {
  readonly out: number;
  readonly ends: number;
  readonly bytes: number;
}

export interface DetectKernel {
  /** Redacts a column; the result lies in the guest's memory until the next call. */
  redactPacked(batch: PackedBatch): Redacted;
  /** Detections in a column as the guest lists them: row, start, end, type of each. */
  detectPacked(batch: PackedBatch): Uint32Array;
  detect(texts: readonly (string | Uint8Array)[]): Detection[];
  redact(texts: readonly (string | Uint8Array)[]): string[];
}

const MEMORY_MAX_BYTES = 512 * 2 ** 20;
/** Readable bytes after data: plugins/ABI.md. */
const READABLE_AFTER = 64;

function bytesOf(texts: readonly (string | Uint8Array)[]): PackedBatch {
  return packBatch(
    [texts.map((text) => (typeof text === "string" ? Buffer.from(text) : text))],
    0,
    texts.length,
  );
}

/**
 * A set of detectors ready to run, or `null` when the guest refuses the block.
 * @param name `desensitize` or `desensitize.debug`
 */
export function createDetectKernel(name: string, block: Uint8Array): DetectKernel | null {
  const abort = (): never => {
    throw new Error("abort");
  };
  const module = new WebAssembly.Module(capMemory(readFileSync(wasmPath(name)), MEMORY_MAX_BYTES));
  // Because the module is ours and exports these functions; calling one that is not there fails.
  const guest = new WebAssembly.Instance(module, { env: { abort } })
    .exports as unknown as KernelExports;
  const put = (bytes: Uint8Array): number => {
    const at = guest.alloc(bytes.length + READABLE_AFTER, 16);
    new Uint8Array(guest.memory.buffer).set(bytes, at);
    return at;
  };
  const set = guest.configure_detectors(put(block), block.length);
  if (set === 0) return null;
  const putColumn = ({ columns }: PackedBatch) => {
    guest.reset();
    const [column] = columns;
    if (column === undefined) throw new Error("one column is wanted");
    const offsets = put(new Uint8Array(column.offsets.buffer));
    return { offsets, data: put(column.data), bytes: column.data.length };
  };
  const detectPacked = (batch: PackedBatch): Uint32Array => {
    const { offsets, data } = putColumn(batch);
    const out = guest.alloc(READABLE_AFTER, 16);
    const count = guest.detect_column(set, batch.rows, offsets, data, out);
    if (count < 0) throw new Error("out of memory");
    return new Uint32Array(guest.memory.buffer, out, count * 4).slice();
  };
  const redactPacked = (batch: PackedBatch): Redacted => {
    const { offsets, data, bytes } = putColumn(batch);
    const ends = guest.alloc(4 * batch.rows + 4, 16);
    const out = guest.alloc(bytes * guest.redact_growth(set) + READABLE_AFTER, 16);
    const end = guest.redact_column(set, batch.rows, offsets, data, ends, out);
    return { out, ends, bytes: end - out };
  };
  return {
    detectPacked,
    detect: (texts) => {
      const list = detectPacked(bytesOf(texts));
      return Array.from({ length: list.length / 4 }, (_, i) => {
        const [row, start, end, type] = list.subarray(4 * i, 4 * i + 4);
        return { row: row!, start: start!, end: end!, type: type! };
      });
    },
    redactPacked,
    redact: (texts) => {
      const { out, ends } = redactPacked(bytesOf(texts));
      const memory = Buffer.from(guest.memory.buffer);
      return texts.map((_, row) => {
        const from = row === 0 ? 0 : memory.readUInt32LE(ends + 4 * row - 4);
        return memory.toString("utf8", out + from, out + memory.readUInt32LE(ends + 4 * row));
      });
    },
  };
}
