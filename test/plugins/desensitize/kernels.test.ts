/**
 * The hash kernels of the desensitize plugin against NIST's and the RFC's vectors, node:crypto and @noble/hashes.
 *
 * Debug and release run through the same tests. The lanes are fed in every mixture of lengths and numbers, since what
 * can go wrong there is a queue, not the mathematics.
 */
import { createHmac, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { describe, expect, test } from "vitest";
import { createHmacKernel, createSha256Kernel } from "../../../bench/lib/wasm-hmac.ts";
import { wasmPath } from "../../../pipeline/wasm/locate.ts";

const VECTORS = join(import.meta.dirname, "..", "..", "vectors", "sha256");

/** `Name = value` groups of a CAVP-like file. */
function readVectors(file: string): Record<string, string>[] {
  const groups: Record<string, string>[] = [];
  for (const line of readFileSync(join(VECTORS, file), "utf8").split(/\r?\n/)) {
    const match = /^(\w+) = (\w+)$/.exec(line);
    if (match === null) continue;
    if (match[1] === "Len") groups.push({});
    groups.at(-1)![match[1]!] = match[2]!;
  }
  return groups;
}

/** Digits of each message, out of the kernel's one buffer. */
function digests(
  kernel: (m: readonly Uint8Array[]) => Uint8Array,
  messages: readonly Uint8Array[],
): string[] {
  const text = Buffer.from(kernel(messages)).toString("latin1");
  return messages.map((_, i) => text.slice(64 * i, 64 * i + 64));
}

function nodeHmac(key: Uint8Array, message: Uint8Array): string {
  return createHmac("sha256", key).update(message).digest("hex");
}

describe.each(["desensitize", "desensitize.debug"])("%s", (name) => {
  const wasm = readFileSync(wasmPath(name));

  test("SHA-256 answers NIST's short messages", () => {
    const kernel = createSha256Kernel(wasm);
    const vectors = readVectors("SHA256ShortMsg.rsp");
    expect(vectors.length).toBe(65);
    for (const { Len, Msg, MD } of vectors) {
      const message = Buffer.from(Msg!, "hex").subarray(0, Number(Len) / 8);
      expect(Buffer.from(kernel(message)).toString("hex")).toBe(MD);
    }
  });

  test("HMAC answers RFC 4231, keys longer than a block among them", () => {
    const vectors = readVectors("rfc-4231-sha256.txt");
    expect(vectors.length).toBe(6);
    expect(vectors.some(({ Key }) => Key!.length > 128)).toBe(true);
    for (const { Key, Msg, MD, Len } of vectors) {
      const message = Buffer.from(Msg!, "hex").subarray(0, Number(Len) / 8);
      const kernel = createHmacKernel(wasm, Buffer.from(Key!, "hex"));
      // One lane, and all four.
      expect(digests(kernel, [message])).toEqual([MD]);
      expect(digests(kernel, [message, message, message, message])).toEqual([MD, MD, MD, MD]);
    }
  });

  test("HMAC equals node:crypto and @noble/hashes for every length from 0 to 300", () => {
    const key = randomBytes(32);
    const kernel = createHmacKernel(wasm, key);
    const messages = Array.from({ length: 301 }, (_, length) => randomBytes(length));
    const ours = digests(kernel, messages);
    expect(ours).toEqual(messages.map((message) => nodeHmac(key, message)));
    expect(ours).toEqual(messages.map((message) => bytesToHex(hmac(sha256, key, message))));
  });

  test("four messages of one length each, so that every queue runs full", () => {
    const key = randomBytes(64);
    const kernel = createHmacKernel(wasm, key);
    const messages = Array.from({ length: 4 * 80 }, (_, i) => randomBytes(Math.floor(i / 4) * 7));
    expect(digests(kernel, messages)).toEqual(messages.map((message) => nodeHmac(key, message)));
  });

  test("around each number of blocks, and past the longest that is queued", () => {
    const key = randomBytes(65);
    const kernel = createHmacKernel(wasm, key);
    const edges = [55, 56, 63, 64, 119, 120, 439, 440, 503, 504, 505, 567, 568, 4096, 65_537];
    const messages = edges.flatMap((n) => [n - 1, n, n + 1]).map((n) => randomBytes(n));
    expect(digests(kernel, messages)).toEqual(messages.map((message) => nodeHmac(key, message)));
  });

  test("keys of 1 to 130 bytes", () => {
    const message = Buffer.from("leonard@example.com");
    for (let length = 1; length <= 130; length++) {
      const key = randomBytes(length);
      expect(digests(createHmacKernel(wasm, key), [message])).toEqual([nodeHmac(key, message)]);
    }
  });
});
