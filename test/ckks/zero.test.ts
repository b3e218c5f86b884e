/** Fresh encryptions of zero: over as many primes as asked, never the same twice, and zero to who has the key. */
import { expect, test } from "vitest";
import { CIPHERTEXT_POLYS, ciphertextBytes } from "../../pipeline/ckks/parameters.ts";
import { openTools } from "../../pipeline/ckks/seal.ts";
import { createZeroEncryptor } from "../../pipeline/ckks/zero.ts";
import { keysFor, SMALL } from "./fixtures.ts";

test("a zero at any level is a new ciphertext of that many primes that decrypts to noise", async () => {
  const { publicKey, secretKey } = await keysFor(SMALL);
  const { ckks, tools, close } = await openTools(SMALL, "load the keys", (opened, keep) => {
    const { seal, context } = opened;
    const publicHandle = keep(new seal.PublicKey());
    publicHandle.loadFromArray(context, publicKey);
    const secretHandle = keep(new seal.SecretKey());
    secretHandle.loadFromArray(context, secretKey);
    const encryptor = keep(new seal.Encryptor(context, publicHandle));
    return {
      encryptZero: createZeroEncryptor(opened, encryptor, keep),
      decryptor: keep(new seal.Decryptor(context, secretHandle)),
      encoder: keep(new seal.CKKSEncoder(context)),
      ciphertext: keep(new seal.Ciphertext()),
      plaintext: keep(new seal.Plaintext()),
    };
  });
  const { encryptZero, decryptor, encoder, ciphertext, plaintext } = tools;
  const most = ckks.primes.length - 1;
  const seen = new Set<string>();
  for (const limbs of [1, most, 1, 1]) {
    const zero = encryptZero(limbs);
    expect(zero.length).toBe(ciphertextBytes(SMALL, limbs, CIPHERTEXT_POLYS));
    seen.add(Buffer.from(zero).toString("base64"));
    ciphertext.loadFromArray(ckks.context, zero);
    decryptor.decrypt(ciphertext, plaintext);
    const slots = encoder.decodeFloat64(plaintext) as Float64Array;
    // Noise at scale 1: some thousands, where a wrong level would give numbers as large as a prime.
    expect(Math.max(...slots.map(Math.abs))).toBeLessThan(2 ** 20);
    expect(Math.max(...slots.map(Math.abs))).toBeGreaterThan(0);
  }
  expect(seen.size).toBe(4);
  close();
});
