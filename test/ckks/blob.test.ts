/** Checks of untrusted CKKS blobs: everything the library writes passes, every change of a header, length or bound is refused. */
import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type BlobCheck,
  checkInputCiphertext,
  checkOutputCiphertext,
  checkPublicKey,
  checkSecretKey,
  writeCiphertext,
} from "../../pipeline/ckks/blob.ts";
import type { ConsumerKeys } from "../../pipeline/ckks/keys.ts";
import { encryptPack } from "../../pipeline/ckks/pack.ts";
import {
  CIPHERTEXT_HEADER_BYTES,
  DEFAULT_PARAMETERS,
  SECRET_KEY_HEADER_BYTES,
} from "../../pipeline/ckks/parameters.ts";
import { type CkksContext, openContext, withHandles } from "../../pipeline/ckks/seal.ts";
import { keysFor, SMALL } from "./fixtures.ts";

let ckks: CkksContext;
let keys: ConsumerKeys;
let good: Uint8Array;

beforeAll(async () => {
  ckks = await openContext(SMALL);
  keys = await keysFor(SMALL);
  const pack = { publicKey: keys.publicKey, parameters: SMALL, rows: 5, features: 1 };
  [good] = (await encryptPack({ ...pack, at: () => 0.25 })) as [Uint8Array];
});
afterAll(() => ckks.close());

function changed(blob: Uint8Array, change: (copy: Uint8Array, view: DataView) => void): Uint8Array {
  const copy = blob.slice();
  change(copy, new DataView(copy.buffer));
  return copy;
}

function fault(check: BlobCheck): string {
  return check.status === "ok" ? "ok" : check.fault;
}

test("the header of a ciphertext, byte for byte", () => {
  // Written by node-seal 7.0.0 for ckks-4096-46.46.17 at scale 2^30; the grammar is in blob.ts.
  const hex = Buffer.from(good.subarray(0, CIPHERTEXT_HEADER_BYTES)).toString("hex");
  expect(hex).toBe(
    [
      "5ea11004010000007100020000000000",
      "49a0bbe2a2fb413a0deb606df3e202c4ff1cae35586bf6fb99448c53a5932c2f",
      "01",
      "020000000000000000100000000000000200000000000000",
      "000000000000d041",
      "0100000000000000",
      "5ea110040100000018000200000000000040000000000000",
    ].join(""),
  );
});

test("what the library writes is accepted, and its residues are returned", () => {
  const check = checkInputCiphertext(ckks, good);
  expect(fault(check)).toBe("ok");
  if (check.status !== "ok") return;
  const shape = { limbs: 2, polys: 2, scale: check.scale };
  expect(Buffer.compare(writeCiphertext(ckks, shape, check.residues), good)).toBe(0);
  expect(fault(checkPublicKey(ckks, keys.publicKey))).toBe("ok");
  expect(fault(checkSecretKey(ckks, keys.secretKey))).toBe("ok");
});

test("a view into a larger, unaligned buffer is judged alike", () => {
  const around = new Uint8Array(good.length + 9);
  around.set(good, 3);
  expect(fault(checkInputCiphertext(ckks, around.subarray(3, 3 + good.length)))).toBe("ok");
  expect(fault(checkInputCiphertext(ckks, around.subarray(2, 2 + good.length)))).not.toBe("ok");
});

describe("refused with the field that is wrong", () => {
  const first = CIPHERTEXT_HEADER_BYTES;
  test.each<[string, string, (copy: Uint8Array, view: DataView) => void]>([
    ["magic", "seal-header", (b) => b.set([0], 0)],
    ["version", "seal-header", (b) => b.set([5], 3)],
    ["zlib compression", "seal-header", (b) => b.set([1], 5)],
    ["zstd compression", "seal-header", (b) => b.set([2], 5)],
    ["reserved bytes", "seal-header", (b) => b.set([1], 6)],
    ["declared size", "seal-header", (_, v) => v.setBigUint64(8, 2n ** 40n, true)],
    ["level", "parms-id", (b) => b.set([b[16]! ^ 1], 16)],
    ["key level", "parms-id", (b) => b.set(ckks.level(3).parmsId, 16)],
    ["coefficient form", "ntt-form", (b) => b.set([0], 48)],
    ["three polynomials", "shape", (_, v) => v.setBigUint64(49, 3n, true)],
    ["a billion polynomials", "shape", (_, v) => v.setBigUint64(49, 10n ** 9n, true)],
    ["degree", "shape", (_, v) => v.setBigUint64(57, 8192n, true)],
    ["limbs", "shape", (_, v) => v.setBigUint64(65, 1n, true)],
    ["scale 2^31", "scale", (_, v) => v.setFloat64(73, 2 ** 31, true)],
    ["scale NaN", "scale", (_, v) => v.setFloat64(73, Number.NaN, true)],
    ["scale infinite", "scale", (_, v) => v.setFloat64(73, Number.POSITIVE_INFINITY, true)],
    ["scale 0", "scale", (_, v) => v.setFloat64(73, 0, true)],
    ["correction", "correction", (b) => b.set([2], 81)],
    ["inner size", "array-header", (_, v) => v.setBigUint64(97, 2n ** 33n, true)],
    ["inner compression", "array-header", (b) => b.set([2], 94)],
    ["count", "array-header", (_, v) => v.setBigUint64(105, 1n, true)],
    ["first residue = q", "residue", (_, v) => v.setBigUint64(first, ckks.primes[0]!, true)],
    ["last residue = q", "residue", (b, v) => v.setBigUint64(b.length - 8, ckks.primes[1]!, true)],
    ["residue 2^64 - 1", "residue", (_, v) => v.setBigUint64(first + 80, 2n ** 64n - 1n, true)],
    ["transparent", "transparent", (b) => b.fill(0, first + 2 * 4096 * 8)],
    ["half transparent", "transparent", (b) => b.fill(0, first + 3 * 4096 * 8)],
  ])("%s", (_, expected, change) => {
    expect(fault(checkInputCiphertext(ckks, changed(good, change)))).toBe(expected);
  });
});

test("residue q - 1 is accepted, q is not, in every limb of every polynomial", () => {
  for (const [index, limb] of [0, 1, 0, 1].entries()) {
    const at = CIPHERTEXT_HEADER_BYTES + index * 4096 * 8 + 8 * 17;
    const prime = ckks.primes[limb]!;
    const put = (value: bigint) => changed(good, (_, view) => view.setBigUint64(at, value, true));
    expect(fault(checkInputCiphertext(ckks, put(prime - 1n)))).toBe("ok");
    expect(fault(checkInputCiphertext(ckks, put(prime)))).toBe("residue");
  }
});

test("every other length is refused: cut, extended, empty", () => {
  const longer = new Uint8Array(good.length + 8);
  longer.set(good);
  for (const blob of [
    new Uint8Array(0),
    good.subarray(0, CIPHERTEXT_HEADER_BYTES),
    good.subarray(0, good.length - 1),
    longer.subarray(0, good.length + 1),
    longer,
  ]) {
    expect(fault(checkInputCiphertext(ckks, blob))).toBe("length");
    expect(fault(checkOutputCiphertext(ckks, blob))).toBe("length");
  }
});

test("every single bit of the header counts", () => {
  for (let bit = 0; bit < CIPHERTEXT_HEADER_BYTES * 8; bit += 1) {
    const blob = changed(good, (copy) => {
      copy[bit >> 3]! ^= 1 << (bit & 7);
    });
    expect(checkInputCiphertext(ckks, blob).status).toBe("refused");
  }
});

test("random bytes of the right length are refused", () => {
  for (let round = 0; round < 20; round += 1) {
    expect(checkInputCiphertext(ckks, randomBytes(good.length)).status).toBe("refused");
  }
});

test("keys: every bit of their headers counts, and every residue", () => {
  const cases = [
    [checkPublicKey, keys.publicKey, CIPHERTEXT_HEADER_BYTES],
    [checkSecretKey, keys.secretKey, SECRET_KEY_HEADER_BYTES],
  ] as const;
  for (const [check, blob, headerBytes] of cases) {
    for (let bit = 0; bit < headerBytes * 8; bit += 3) {
      const flipped = changed(blob, (copy) => {
        copy[bit >> 3]! ^= 1 << (bit & 7);
      });
      expect(check(ckks, flipped).status).toBe("refused");
    }
    const large = changed(blob, (_, view) =>
      view.setBigUint64(blob.length - 8, ckks.primes[2]!, true),
    );
    expect(fault(check(ckks, large))).toBe("residue");
    expect(fault(check(ckks, blob.subarray(1)))).toBe("length");
  }
});

test("a result may have any scale 2^k of the range, and no other", async () => {
  const parameters = DEFAULT_PARAMETERS;
  const context = await openContext(parameters);
  const residues = new Uint32Array(2 * 2 * 8192).fill(7);
  const at = (scale: number) =>
    fault(
      checkOutputCiphertext(
        context,
        writeCiphertext(context, { limbs: 1, polys: 2, scale }, residues),
      ),
    );
  expect([2 ** 24, 2 ** 47, 2 ** 56].map(at)).toEqual(["ok", "ok", "ok"]);
  for (const scale of [2 ** 23, 2 ** 57, 2 ** 47 + 1, 3 * 2 ** 40, -(2 ** 40), Number.NaN, 0])
    expect(at(scale)).toBe("scale");
  context.close();
});

test("why this file exists: the library itself accepts a transparent ciphertext and a NaN scale", () => {
  const accepts = (blob: Uint8Array): boolean =>
    withHandles((keep) => {
      const ciphertext = keep(new ckks.seal.Ciphertext());
      try {
        ciphertext.loadFromArray(ckks.context, blob);
        return true;
      } catch {
        return false;
      }
    });
  const transparent = changed(good, (b) => b.fill(0, CIPHERTEXT_HEADER_BYTES + 2 * 4096 * 8));
  expect(accepts(transparent)).toBe(true);
  expect(accepts(changed(good, (_, v) => v.setFloat64(73, Number.NaN, true)))).toBe(true);
});
