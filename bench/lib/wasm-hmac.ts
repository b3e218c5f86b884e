/**
 * The HMAC kernel of the desensitize plugin on its own, through the exports that it has beside the plugin ABI.
 *
 * For benchmarks and vector tests; the pipeline reaches the kernel through the plugin host only.
 */
import { packBatch } from "../../pipeline/wasm/columns.ts";
import { compilePlugin } from "../../pipeline/wasm/module-check.ts";

interface KernelExports {
  readonly memory: WebAssembly.Memory;
  alloc(size: number, align: number): number;
  reset(): void;
  hmac_key_bytes(): number;
  hmac_key(key: number, bytes: number, out: number): void;
  hmac_column(key: number, rows: number, offsets: number, data: number, out: number): void;
  sha256(data: number, bytes: number, out: number): void;
}

const MEMORY_MAX_BYTES = 256 * 2 ** 20;
/** Readable bytes after data: plugins/ABI.md. */
const READABLE_AFTER = 64;
const HEX_BYTES = 64;

function instantiate(wasm: Uint8Array): KernelExports {
  const module = compilePlugin(wasm, MEMORY_MAX_BYTES);
  const abort = (): never => {
    throw new Error("abort");
  };
  // Because the desensitize plugin exports these functions beside the ABI; calling one that is not there fails.
  return new WebAssembly.Instance(module, { env: { abort } }).exports as unknown as KernelExports;
}

function put(guest: KernelExports, bytes: Uint8Array): number {
  const at = guest.alloc(bytes.length + READABLE_AFTER, 16);
  new Uint8Array(guest.memory.buffer).set(bytes, at);
  return at;
}

/** HMAC-SHA-256 under one key of a list of messages, as 64 hexadecimal digits each in one buffer. */
export function createHmacKernel(
  wasm: Uint8Array,
  key: Uint8Array,
): (messages: readonly Uint8Array[]) => Uint8Array {
  const guest = instantiate(wasm);
  return (messages) => {
    guest.reset();
    const { columns, rows } = packBatch([messages], 0, messages.length);
    const state = guest.alloc(guest.hmac_key_bytes(), 16);
    guest.hmac_key(put(guest, key), key.length, state);
    const { data, offsets } = columns[0]!;
    const offsetsAt = put(guest, new Uint8Array(offsets.buffer));
    const dataAt = put(guest, data);
    const out = guest.alloc(rows * HEX_BYTES, 16);
    guest.hmac_column(state, rows, offsetsAt, dataAt, out);
    return new Uint8Array(guest.memory.buffer, out, rows * HEX_BYTES).slice();
  };
}

/** SHA-256 of one message at a time. */
export function createSha256Kernel(wasm: Uint8Array): (message: Uint8Array) => Uint8Array {
  const guest = instantiate(wasm);
  return (message) => {
    guest.reset();
    const out = guest.alloc(32, 16);
    guest.sha256(put(guest, message), message.length, out);
    return new Uint8Array(guest.memory.buffer, out, 32).slice();
  };
}
