/**
 * FF1 and the AES below it: NIST's sample vectors, node:crypto's AES, and the FF1 of @noble/ciphers.
 *
 * Source of the samples: NIST, "FF1samples.pdf", cryptographic standards and guidelines, examples with intermediate
 * values, the nine samples for SP 800-38G.
 */
import { createCipheriv, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { FF1 } from "@noble/ciphers/ff1.js";
import { describe, expect, test } from "vitest";
import { wasmPath } from "../../../pipeline/wasm/locate.ts";
import { BUILDS, type Build } from "./guest.ts";
import { createRandom } from "./random.ts";

interface Kernel {
  readonly memory: WebAssembly.Memory;
  alloc(size: number, align: number): number;
  reset(): void;
  ff1(...numbers: readonly number[]): number;
}

function createKernel(build: Build) {
  const module = new WebAssembly.Module(readFileSync(wasmPath(build)));
  const { exports } = new WebAssembly.Instance(module, { env: { abort() {} } });
  // Because the desensitize plugin exports these functions; calling one that is not there fails.
  const guest = exports as unknown as Kernel;
  const put = (bytes: Uint8Array): number => {
    const at = guest.alloc(bytes.length + 64, 16);
    new Uint8Array(guest.memory.buffer).set(bytes, at);
    return at;
  };
  const take = (at: number, bytes: number) =>
    new Uint8Array(guest.memory.buffer, at, bytes).slice();
  return {
    encrypt(key: Uint8Array, radix: number, tweak: Uint8Array, numerals: readonly number[]) {
      guest.reset();
      const at = put(Uint8Array.from(numerals));
      const code = guest.ff1(
        put(key),
        key.length,
        radix,
        at,
        numerals.length,
        put(tweak),
        tweak.length,
      );
      return code === 0 ? [...take(at, numerals.length)] : code;
    },
    block(key: Uint8Array, block: Uint8Array) {
      guest.reset();
      const at = put(block);
      const code = guest.ff1(put(key), key.length, 10, 0, 0, at, 16);
      return code === 0 ? Buffer.from(take(at, 16)) : code;
    },
  };
}

const KEY_128 = "2b7e151628aed2a6abf7158809cf4f3c";
const KEY_192 = `${KEY_128}ef4359d8d580aa4f`;
const KEY_256 = `${KEY_192}7f036d6f04fc6a94`;
const DIGITS = "0123456789";
const LONG = "0123456789abcdefghi";
const TWEAK = "39383736353433323130";
const TWEAK_36 = "3737373770717273373737";
const SAMPLES = [
  [1, KEY_128, 10, "", DIGITS, "2433477484"],
  [2, KEY_128, 10, TWEAK, DIGITS, "6124200773"],
  [3, KEY_128, 36, TWEAK_36, LONG, "a9tv40mll9kdu509eum"],
  [4, KEY_192, 10, "", DIGITS, "2830668132"],
  [5, KEY_192, 10, TWEAK, DIGITS, "2496655549"],
  [6, KEY_192, 36, TWEAK_36, LONG, "xbj3kv35jrawxv32ysr"],
  [7, KEY_256, 10, "", DIGITS, "6657667009"],
  [8, KEY_256, 10, TWEAK, DIGITS, "1001623463"],
  [9, KEY_256, 36, TWEAK_36, LONG, "xs8a0azh2avyalyzuwd"],
] as const;

const numeralsOf = (text: string): number[] => [...text].map((one) => Number.parseInt(one, 36));
const textOf = (numerals: unknown): string =>
  Array.isArray(numerals) ? numerals.map((one: number) => one.toString(36)).join("") : "refused";

describe.each(BUILDS)("%s", (build) => {
  const kernel = createKernel(build);

  test.each(SAMPLES)("NIST's FF1 sample %i", (...[, key, radix, tweak, plain, cipher]) => {
    const out = kernel.encrypt(
      Buffer.from(key, "hex"),
      radix,
      Buffer.from(tweak, "hex"),
      numeralsOf(plain),
    );
    expect(textOf(out)).toBe(cipher);
  });

  test.each([16, 24, 32])("AES with keys of %i bytes is that of node:crypto", (bytes) => {
    for (let round = 0; round < 200; round++) {
      const key = randomBytes(bytes);
      const block = randomBytes(16);
      const cipher = createCipheriv(`aes-${bytes * 8}-ecb`, key, null).setAutoPadding(false);
      const about = `key ${key.toString("hex")}, block ${block.toString("hex")}`;
      expect(kernel.block(key, block), about).toEqual(cipher.update(block));
    }
  });

  test("FF1 is that of @noble/ciphers, for every radix and every length that both take", () => {
    const random = createRandom();
    for (let radix = 2; radix <= 36; radix++) {
      for (let round = 0; round < 30; round++) {
        const least = Math.ceil(Math.log(1_000_000) / Math.log(radix));
        const length = round === 0 ? 128 : least + random.int(128 - least);
        const key = randomBytes(random.pick([16, 24, 32]));
        const tweak = randomBytes(random.int(40));
        // All zeros and all ones carry the most, or nothing, through the sums.
        const numerals = Array.from({ length }, () =>
          round === 1 ? radix - 1 : round === 2 ? 0 : random.int(radix),
        );
        const expected = FF1(radix, key, tweak).encrypt(numerals);
        const about = `seed ${random.seed}, radix ${radix}, length ${length}, round ${round}`;
        expect(kernel.encrypt(key, radix, tweak, numerals), about).toEqual([...expected]);
      }
    }
  });

  test("keys and lengths that there are not are refused", () => {
    const six = [1, 2, 3, 4, 5, 6];
    const none = Buffer.alloc(0);
    for (const bytes of [0, 15, 17, 31, 33]) {
      expect(kernel.encrypt(Buffer.alloc(bytes), 10, none, six)).toBe(1);
    }
    const key = Buffer.alloc(16);
    expect(kernel.encrypt(key, 1, none, six)).toBe(1);
    expect(kernel.encrypt(key, 37, none, six)).toBe(1);
    expect(kernel.encrypt(key, 10, none, [1])).toBe(1);
    expect(kernel.encrypt(key, 10, none, new Array(129).fill(1))).toBe(1);
    expect(kernel.encrypt(key, 10, Buffer.alloc(1025), six)).toBe(1);
  });
});
