/**
 * Key bytes in the guest: configure() must leave none behind, neither as they are nor padded, in any part of memory.
 *
 * Calls the guest without the host of pipeline/wasm, which wipes its copy of the configuration too.
 */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { encodePluginConfig } from "../../../pipeline/stages/desensitize/plugin-config.ts";
import { readRecordSchema } from "../../../pipeline/stages/desensitize/record-schema.ts";
import { wasmPath } from "../../../pipeline/wasm/locate.ts";
import { BUILDS, specOf } from "./guest.ts";

interface Guest {
  readonly memory: WebAssembly.Memory;
  alloc(size: number, align: number): number;
  configure(at: number, bytes: number): number;
}

/** A configuration with one HMAC key. */
function configWith(key: Uint8Array): Uint8Array {
  const schema = { type: "object", properties: { id: {} } };
  const spec = specOf({
    id: "id",
    schema,
    rules: [{ field: "id", action: "pseudonymize", key: { env: "K" } }],
  });
  return encodePluginConfig(spec, readRecordSchema(schema), () => key);
}

test.each(BUILDS.flatMap((build) => [32, 64, 200].map((bytes) => [build, bytes] as const)))(
  "%s forgets a key of %i bytes",
  (build, bytes) => {
    const key = randomBytes(bytes);
    const module = new WebAssembly.Module(readFileSync(wasmPath(build)));
    const instance = new WebAssembly.Instance(module, { env: { abort() {} } });
    // Because the desensitize plugin exports these functions; calling one that is not there fails.
    const guest = instance.exports as unknown as Guest;
    const config = configWith(key);
    const at = guest.alloc(config.length + 64, 16);
    new Uint8Array(guest.memory.buffer).set(config, at);
    expect(Buffer.from(guest.memory.buffer).includes(key)).toBe(true);
    expect(guest.configure(at, config.length)).toBe(0);
    const memory = Buffer.from(guest.memory.buffer);
    // Sixteen bytes of it are enough to find it by; the pads of RFC 2104 are the key in disguise.
    for (const pad of [0x00, 0x36, 0x5c, 0x36 ^ 0x5c]) {
      for (let from = 0; from + 16 <= bytes; from += 16) {
        const part = Buffer.from(key.subarray(from, from + 16).map((byte) => byte ^ pad));
        expect(memory.includes(part), `pad ${pad}, from byte ${from}`).toBe(false);
        // SHA-256 reads a message as big-endian words; a schedule holds them turned round.
        expect(memory.includes(part.swap32()), `pad ${pad}, words from ${from}`).toBe(false);
      }
    }
  },
);
