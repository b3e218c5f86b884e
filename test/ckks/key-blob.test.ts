/** Evaluation keys as they are published: the exact grammar, every header bit, and an expansion that equals the library's. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { areSteps, MAX_STEPS } from "../../pipeline/ckks/evaluation-key-form.ts";
import {
  checkEvaluationKeys,
  checkGaloisKeys,
  checkRelinKeys,
  evaluationKeysBytes,
  expandEvaluationKeys,
  expandedKeysBytes,
  galoisElement,
} from "../../pipeline/ckks/key-blob.ts";
import { createConsumerKeys, createPublicKeys } from "../../pipeline/ckks/keys.ts";
import { type CkksParameters, createParameters } from "../../pipeline/ckks/parameters.ts";
import {
  type CkksContext,
  openContext,
  saveUncompressed,
  withHandles,
} from "../../pipeline/ckks/seal.ts";

const PARAMETERS = createParameters(4096, [40, 33, 36], 30);
const STEPS = [-3, 1, 2, 64];
/** magic, version, relin, count of steps, steps. */
const HEAD = 8 + 4 * STEPS.length;
/** Bytes of a seeded key: header, one polynomial over three primes, seed. */
const KEY = 113 + 3 * 4096 * 8 + 81;
const RELIN = 64 + 2 * KEY;

let ckks: CkksContext;
let keys: Awaited<ReturnType<typeof createConsumerKeys>>;

beforeAll(async () => {
  ckks = await openContext(PARAMETERS);
  keys = await createConsumerKeys(PARAMETERS, { steps: [1, 2, -3, 64] });
});
afterAll(() => ckks.close());

function changed(blob: Uint8Array, change: (copy: Uint8Array, view: DataView) => void): Uint8Array {
  const copy = blob.slice();
  change(copy, new DataView(copy.buffer));
  return copy;
}

function verdict(blob: Uint8Array): string {
  const check = checkEvaluationKeys(ckks, blob);
  return check.status === "ok" ? "ok" : check.fault;
}

function checked(blob = keys.evaluationKeys) {
  const check = checkEvaluationKeys(ckks, blob);
  if (check.status === "refused") throw new Error(check.fault);
  return check.keys;
}

test("what is published, byte for byte where nothing is random", () => {
  const blob = keys.evaluationKeys;
  const hex = (from: number, to: number) => Buffer.from(blob.subarray(from, to)).toString("hex");
  expect(hex(0, HEAD)).toBe("5353454b01010400fdffffff010000000200000040000000");
  const parmsId = Buffer.from(ckks.level(3).parmsId).toString("hex");
  // Written by node-seal 7.0.0; the grammar is in key-blob.ts.
  expect(hex(HEAD, HEAD + 72)).toBe(
    `5ea1100401000000${"c401030000000000"}${parmsId}${"0100000000000000"}${"0200000000000000"}${"5ea1100401000000"}`,
  );
  const seed = HEAD + 64 + 113 + 3 * 4096 * 8;
  expect(hex(seed, seed + 17)).toBe("5ea1100401000000510000000000000001");
  const form = { relin: true, steps: STEPS };
  expect(blob.length).toBe(evaluationKeysBytes(PARAMETERS, form));
  expect(blob.length).toBe(HEAD + RELIN + 56 + 8 * 4096 + STEPS.length * 2 * KEY);
  expect(checked().form).toEqual(form);
  // Half of what the expanded keys take, but for what says which are there.
  expect(expandedKeysBytes(PARAMETERS, form) / blob.length).toBeGreaterThan(1.94);
});

test("expanded key by key, they are what the library makes of the whole", () => {
  const { relin, galois } = checked();
  const expanded = expandEvaluationKeys(ckks, checked());
  if (typeof expanded === "string") throw new Error(expanded);
  withHandles((keep) => {
    const wholeRelin = keep(new ckks.seal.RelinKeys());
    wholeRelin.loadFromArray(ckks.context, relin!);
    expect(Buffer.compare(saveUncompressed(ckks, wholeRelin), expanded.relinKeys!)).toBe(0);
    const wholeGalois = keep(new ckks.seal.GaloisKeys());
    wholeGalois.loadFromArray(ckks.context, galois!);
    expect(Buffer.compare(saveUncompressed(ckks, wholeGalois), expanded.galoisKeys!)).toBe(0);
    for (const step of STEPS) expect(wholeGalois.hasKey(galoisElement(step, 4096))).toBe(true);
    expect(wholeGalois.hasKey(galoisElement(3, 4096))).toBe(false);
  });
  expect(checkRelinKeys(ckks, expanded.relinKeys!, false)).toBeNull();
  expect(checkGaloisKeys(ckks, expanded.galoisKeys!, { steps: STEPS, seeded: false })).toBeNull();
});

test("keys of exactly the steps that are said, and of no others", () => {
  const { galois } = checked();
  const judge = (steps: readonly number[]) =>
    checkGaloisKeys(ckks, galois!, { steps, seeded: true });
  expect(judge(STEPS)).toBeNull();
  expect(judge([-3, 1, 2, 63])).toBe("shape");
  expect(judge([-3, 1, 2])).toBe("length");
});

test("relinearization alone: new keys without steps, and old ones without a container", async () => {
  const alone = await createPublicKeys(PARAMETERS, keys.secretKey);
  expect(checked(alone.evaluationKeys).form).toEqual({ relin: true, steps: [] });
  const expanded = expandEvaluationKeys(ckks, checked(alone.evaluationKeys));
  if (typeof expanded === "string") throw new Error(expanded);
  expect(expanded.galoisKeys).toBeNull();
  const old = checked(expanded.relinKeys!);
  expect(old).toMatchObject({ form: { relin: true, steps: [] }, seeded: false });
  expect(expandEvaluationKeys(ckks, old)).toMatchObject({ relinKeys: expanded.relinKeys });
  expect(verdict(changed(expanded.relinKeys!, (copy) => copy.set([2], 48)))).toBe("shape");
  expect(verdict(expanded.relinKeys!.subarray(0, RELIN))).toBe("length");
});

describe("refused with the field that is wrong", () => {
  const key = HEAD + 64;
  const galois = HEAD + RELIN;
  const entries = STEPS.map((step) => (galoisElement(step, 4096) - 1) / 2);
  const galoisKey = galois + 56 + 8 * (Math.min(...entries) + 1);
  test.each<[string, string, (copy: Uint8Array, view: DataView) => void]>([
    ["magic", "seal-header", (b) => b.set([0x54], 0)],
    ["version", "seal-header", (b) => b.set([2], 4)],
    ["no relin keys", "length", (b) => b.set([0], 5)],
    ["relin 2", "shape", (b) => b.set([2], 5)],
    ["fewer steps", "length", (b) => b.set([3], 6)],
    ["more steps than there may be", "shape", (_, v) => v.setUint16(6, 0xffff, true)],
    ["step 0", "steps", (_, v) => v.setInt32(12, 0, true)],
    ["steps that do not rise", "steps", (_, v) => v.setInt32(12, 2, true)],
    ["a step beyond the slots", "steps", (_, v) => v.setInt32(20, 2048, true)],
    ["another step", "shape", (_, v) => v.setInt32(20, 65, true)],
    ["zstd of all", "seal-header", (b) => b.set([2], HEAD + 5)],
    ["declared size", "seal-header", (_, v) => v.setBigUint64(HEAD + 8, 2n ** 40n, true)],
    ["other parameters", "parms-id", (b) => b.set([b[HEAD + 16]! ^ 1], HEAD + 16)],
    ["two relin keys", "shape", (b) => b.set([2], HEAD + 48)],
    ["a billion digits", "shape", (_, v) => v.setBigUint64(HEAD + 56, 10n ** 9n, true)],
    ["zstd of a key", "seal-header", (b) => b.set([2], key + 5)],
    ["a key's level", "parms-id", (b) => b.set(ckks.level(2).parmsId, key + 16)],
    ["a key's size", "shape", (_, v) => v.setBigUint64(key + 49, 3n, true)],
    ["a key's scale NaN", "shape", (_, v) => v.setFloat64(key + 73, Number.NaN, true)],
    ["a key's count", "array-header", (_, v) => v.setBigUint64(key + 105, 24_576n, true)],
    ["residue = q", "residue", (_, v) => v.setBigUint64(key + 113, ckks.primes[0]!, true)],
    ["a zero limb", "transparent", (b) => b.fill(0, key + 113, key + 113 + 4096 * 8)],
    ["the seed's header", "seed", (b) => b.set([80], key + KEY - 81 + 8)],
    ["the seed's compression", "seed", (b) => b.set([2], key + KEY - 81 + 5)],
    ["the seed's generator", "seed", (b) => b.set([2], key + KEY - 81 + 16)],
    ["Galois: declared size", "seal-header", (b) => b.set([1], galois + 14)],
    ["Galois: entries", "shape", (_, v) => v.setBigUint64(galois + 48, 2n ** 40n, true)],
    ["Galois: a key that is too much", "shape", (b) => b.set([2], galois + 56)],
    ["Galois: residue", "residue", (b) => b.fill(255, galoisKey + 113, galoisKey + 121)],
    ["Galois: a seed's generator", "seed", (b) => b.set([0], galoisKey + KEY - 81 + 16)],
  ])("%s", (_, expected, change) => {
    expect(verdict(changed(keys.evaluationKeys, change))).toBe(expected);
  });

  test("every other length", () => {
    const blob = keys.evaluationKeys;
    for (const length of [0, 1, 5, 8, 12, HEAD, HEAD + RELIN, blob.length - 1]) {
      expect(verdict(blob.subarray(0, length))).not.toBe("ok");
    }
    const longer = new Uint8Array(blob.length + 1);
    longer.set(blob);
    expect(verdict(longer)).toBe("length");
  });

  test("every bit of the headers of container, relin keys and seed", () => {
    const bits = (from: number, to: number) =>
      Array.from({ length: 8 * (to - from) }, (_, bit) => 8 * from + bit);
    const seed = key + KEY - 81;
    for (const bit of [...bits(0, key + 113), ...bits(seed, seed + 17)]) {
      const blob = changed(keys.evaluationKeys, (copy) => {
        copy[bit >> 3]! ^= 1 << (bit & 7);
      });
      expect(checkEvaluationKeys(ckks, blob).status, `bit ${bit}`).toBe("refused");
    }
  });
});

test("keys of other parameters, and steps that are none", async () => {
  const other = createParameters(4096, [40, 34, 35], 30);
  const theirs = await createConsumerKeys(other);
  expect(verdict(theirs.evaluationKeys)).toBe("parms-id");
  for (const steps of [[0], [2048], [1, 1], [1, -2047], [1.5]]) {
    await expect(createPublicKeys(PARAMETERS, keys.secretKey, { steps })).rejects.toMatchObject({
      code: "limit-exceeded",
    });
  }
  const many = Array.from({ length: MAX_STEPS + 1 }, (_, index) => index + 1);
  expect(areSteps(PARAMETERS, many)).toBe(false);
  expect(areSteps(PARAMETERS, many.slice(1))).toBe(true);
});

test("sizes of sets in use: eleven rotations at N = 8192 in 5 MB, depth 4 at N = 16384 in 64 MiB", () => {
  const steps = Array.from({ length: 11 }, (_, index) => 2 ** index);
  const bytes = (parameters: CkksParameters) =>
    evaluationKeysBytes(parameters, { relin: true, steps });
  expect(bytes(createParameters(8192, [48, 40, 48], 40))).toBe(4_788_956);
  expect(bytes(createParameters(16384, [48, 40, 40, 40, 40, 48], 40))).toBeLessThan(64 * 2 ** 20);
});
