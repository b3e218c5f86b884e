/** The door to node-seal: levels, handles, kept contexts, and errors without the text of the library. */
import { expect, test } from "vitest";
import { createParameters, DEFAULT_PARAMETERS } from "../../pipeline/ckks/parameters.ts";
import {
  guarded,
  openContext,
  type SealCiphertext,
  withHandles,
} from "../../pipeline/ckks/seal.ts";
import { isSealstreamError } from "../../pipeline/errors.ts";

function caught(call: () => unknown): { code: string; message: string } {
  try {
    guarded("do this", call);
  } catch (error) {
    if (isSealstreamError(error)) return { code: error.code, message: error.message };
  }
  throw new Error("nothing of ours was thrown");
}

test("levels and primes: what SEAL hashes and picks for the default set", async () => {
  const ckks = await openContext(DEFAULT_PARAMETERS);
  expect(ckks.primes).toEqual([1152921504606830593n, 1073643521n, 1073692673n, 1099511480321n]);
  const hex = (limbs: number) => Buffer.from(ckks.level(limbs).parmsId).toString("hex");
  expect(hex(3)).toBe("4f162f3904e114e575cdb616b67843b62e5ded7544546319c1dcdeb5415fa464");
  expect(new Set([1, 2, 3, 4].map(hex)).size).toBe(4);
  expect(() => ckks.level(5)).toThrow(expect.objectContaining({ code: "internal" }));
  ckks.close();
});

test("a thread keeps its first contexts, and makes the rest anew", async () => {
  const ids = [30, 31, 32, 33, 34].map((bits) => createParameters(4096, [46, 46, 17], bits));
  const first = await Promise.all(ids.map(openContext));
  const second = await Promise.all(ids.map(openContext));
  const shared = first.map((context, index) => context === second[index]);
  // The default set is kept since the test before.
  expect(shared).toEqual([true, true, true, false, false]);
  for (const context of [...first, ...second]) context.close();
  expect(first[0]!.context.isDeleted()).toBe(false);
  expect(first[4]!.context.isDeleted()).toBe(true);
});

test("handles are deleted last first, also when the work throws", () => {
  const deleted: number[] = [];
  const handle = (id: number) => ({ delete: () => void deleted.push(id) });
  expect(() =>
    withHandles((keep) => {
      keep(handle(1));
      keep(handle(2));
      throw new Error("stop");
    }),
  ).toThrow("stop");
  expect(deleted).toEqual([2, 1]);
});

test("what the library throws becomes a code, without its text", async () => {
  const ckks = await openContext(DEFAULT_PARAMETERS);
  const refused = caught(() =>
    withHandles((keep) => {
      const ciphertext = keep(new ckks.seal.Ciphertext());
      ciphertext.loadFromArray(ckks.context, new Uint8Array(10));
    }),
  );
  expect(refused).toEqual({
    code: "ciphertext-refused",
    message: "The CKKS library could not do this.",
  });
  const trap = () => {
    throw new WebAssembly.RuntimeError("unreachable: secret text");
  };
  expect(caught(trap)).toEqual({ code: "worker-died", message: "The CKKS library trapped." });
  const bug = () => {
    throw new TypeError("secret text");
  };
  expect(caught(bug).code).toBe("internal");
  expect(caught(bug).message).not.toContain("secret text");
});

test("out of memory is worker-died: the heap is not to be used again", async () => {
  // Reserves without writing: 4 GiB of addresses, not of memory. Last in this file, since the library is spent.
  const ckks = await openContext(DEFAULT_PARAMETERS);
  const held: SealCiphertext[] = [];
  const error = caught(() => {
    for (let index = 0; index < 2_000; index += 1) {
      const ciphertext = new ckks.seal.Ciphertext();
      held.push(ciphertext);
      ciphertext.reserve(ckks.context, 16);
    }
  });
  expect(error.code).toBe("worker-died");
});
