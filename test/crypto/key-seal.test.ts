/** Key files sealed with a passphrase or by a service: closed to everybody else, and to every change. */
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { argon2id } from "@noble/hashes/argon2.js";
import { scrypt } from "@noble/hashes/scrypt.js";
import { describe, expect, test } from "vitest";
import { createKeyFile, keyFileName } from "../../pipeline/crypto/key-file.ts";
import { verifySignature } from "../../pipeline/crypto/key-handles.ts";
import { createPassphrase } from "../../pipeline/crypto/key-seal.ts";
import type { KdfCost } from "../../pipeline/crypto/key-seal-form.ts";
import { readKeyFiles, writeKeyFiles } from "../../pipeline/crypto/key-store.ts";
import type { Kms } from "../../pipeline/crypto/kms/kms.ts";
import { SealstreamError } from "../../pipeline/errors.ts";
import { mutations, utf8 } from "./fixtures.ts";

import {
  ARGON2ID,
  fileOf,
  folder,
  open,
  root,
  SCRYPT,
  thrown,
  train,
  write,
} from "./key-folders.ts";

describe("files sealed with a passphrase", () => {
  test.each([SCRYPT, ARGON2ID])(
    "open with it, and hold nothing in the clear: $kdf",
    async (cost) => {
      await write(train, cost);
      const names = readdirSync(folder());
      expect(names).toEqual(["train-signing.key", "training-unwrap.key"]);
      for (const file of train) {
        const text = readFileSync(fileOf(keyFileName(file.purpose)), "utf8");
        expect(text).not.toContain(JSON.parse(file.json).material);
        expect(text).not.toContain("correct horse");
        expect(statSync(fileOf(keyFileName(file.purpose))).mode & 0o777).toBe(0o600);
      }
      const keys = await open({ passphrase: "correct horse" });
      const signer = keys.signing("train-signing");
      expect(verifySignature(signer.publicKey, utf8("m"), signer.sign(utf8("m")))).toBe(true);
      const read = await readKeyFiles(root, ["train"], { passphrase: "correct horse" });
      expect(read.map(({ json }) => json)).toEqual(train.map(({ json }) => json));
    },
  );

  test("are derived for once a process, however many files and stores", async () => {
    await write(train, SCRYPT);
    let asked = 0;
    const source = () => {
      asked += 1;
      return "correct horse";
    };
    const inner = createPassphrase(source);
    const salts = new Set<string>();
    const derived = new Set<unknown>();
    const passphrase = {
      ...inner,
      key(cost: KdfCost, salt: Uint8Array) {
        const made = inner.key(cost, salt);
        salts.add(Buffer.from(salt).toString("hex"));
        derived.add(made);
        return made;
      },
    };
    await open({ passphrase });
    await open({ passphrase });
    expect([asked, salts.size, derived.size]).toEqual([1, 1, 1]);
  });

  test("use the functions that others know by the same names", async () => {
    const salt = new Uint8Array(16).fill(5);
    const key = (cost: KdfCost) => createPassphrase("pässword").key(cost, salt);
    const s = scrypt("pässword", salt, { N: 2 ** 14, r: 8, p: 1, dkLen: 32 });
    expect((await key(SCRYPT)).export()).toEqual(Buffer.from(s));
    const a = argon2id("pässword", salt, { m: 8192, t: 1, p: 1, dkLen: 32 });
    expect((await key(ARGON2ID)).export()).toEqual(Buffer.from(a));
  });

  test("a wrong, an empty and a missing passphrase: what is wrong, and what to do", async () => {
    await write(train, SCRYPT);
    const wrong = await thrown(() => open({ passphrase: "wrong horse" }));
    expect(wrong.code).toBe("key-invalid");
    expect(wrong.message).toMatch(/train.*\.key does not open: the passphrase is not the one/);
    expect(wrong.message).not.toContain("horse");
    expect((await thrown(() => open({ passphrase: "" }))).code).toBe("key-invalid");
    const missing = await thrown(() => open());
    expect(missing.code).toBe("key-missing");
    expect(missing.message).toContain("SEALSTREAM_KEY_PASSPHRASE");
  });

  test("no byte of them can be changed, cut off or added", { timeout: 300_000 }, async () => {
    const [signing] = train;
    await write([signing!], SCRYPT);
    const path = fileOf("train-signing.key");
    const good = readFileSync(path);
    const passphrase = createPassphrase("correct horse");
    const sentences = new Set<string>();
    const survivors: string[] = [];
    for (const { what, bytes } of mutations(good)) {
      // Spaces around JSON say nothing.
      if (Buffer.from(bytes).toString("utf8").trim() === good.toString("utf8").trim()) continue;
      writeFileSync(path, bytes, { mode: 0o600 });
      const { code, message } = await thrown(() => readKeyFiles(root, ["train"], { passphrase }));
      if (code !== "key-invalid") survivors.push(`${what}: ${code}`);
      sentences.add(message.slice(path.length));
    }
    expect(survivors).toEqual([]);
    expect([...sentences].filter((one) => one.includes("does not open"))).toHaveLength(1);
    expect(sentences.size).toBeLessThan(10);
  });

  test("one cannot stand in for another: purpose, generation, kind and cost are bound", async () => {
    const pair = [
      train[0]!,
      createKeyFile("train-signing", new Uint8Array(32).fill(3), { generation: 2 }),
    ];
    await write(pair, SCRYPT);
    const passphrase = "correct horse";
    expect((await readKeyFiles(root, ["train"], { passphrase })).length).toBe(2);
    const first = JSON.parse(readFileSync(fileOf("train-signing.key"), "utf8"));
    const second = JSON.parse(readFileSync(fileOf("train-signing.2.key"), "utf8"));
    const { nonce, ciphertext } = second.sealed;
    const swaps = [
      { ...first, sealed: { ...first.sealed, nonce, ciphertext } },
      { ...first, purpose: "model-signing" },
      { ...first, generation: 3 },
      { ...first, sealed: { ...first.sealed, n: 2 ** 15 } },
      { ...first, sealed: { ...first.sealed, p: 2 } },
    ];
    for (const swap of swaps) {
      writeFileSync(fileOf("train-signing.key"), JSON.stringify(swap));
      expect((await thrown(() => readKeyFiles(root, ["train"], { passphrase }))).code).toBe(
        "key-invalid",
      );
    }
  });

  test("no cost fills the memory or the day, nor is it too low", async () => {
    await write([train[0]!], SCRYPT);
    const good = JSON.parse(readFileSync(fileOf("train-signing.key"), "utf8"));
    const { salt, nonce, ciphertext } = good.sealed;
    const box = { salt, nonce, ciphertext };
    const argon2 = { kdf: "argon2id", memoryKib: 65_536, passes: 3, lanes: 1, ...box };
    const costs = [
      ...[2 ** 21, 2 ** 13, 2 ** 14 + 1, -1, 1e99, "16384"].map((n) => ({ ...good.sealed, n })),
      { ...good.sealed, r: 1024 },
      { ...good.sealed, p: 1_000_000 },
      { ...argon2, memoryKib: 2 ** 21 },
      { ...argon2, memoryKib: 1024 },
      { ...argon2, passes: 1e6 },
      { ...argon2, lanes: 1000 },
      { ...argon2, kdf: "argon2i" },
      { ...good.sealed, salt: "AAAA" },
    ];
    const started = performance.now();
    for (const sealed of costs) {
      writeFileSync(fileOf("train-signing.key"), JSON.stringify({ ...good, sealed }));
      const { code } = await thrown(() => readKeyFiles(root, ["train"], { passphrase: "x" }));
      expect(code, JSON.stringify(sealed)).toBe("key-invalid");
    }
    expect(performance.now() - started).toBeLessThan(2_000);
  });
});

describe("files sealed by a service", () => {
  /** Wraps by doing nothing but remembering the binding. */
  const honest: Kms = {
    schemes: ["test"],
    wrap: async (_, key, binding) => new Uint8Array([...key, ...binding]),
    unwrap: async (_, wrapped, binding) =>
      Buffer.compare(wrapped.slice(32), binding) === 0 ? wrapped.slice(0, 32) : null,
    publicKey: async () => null,
  };
  const failing = (error: SealstreamError): Kms => ({
    ...honest,
    wrap: () => Promise.reject(error),
    unwrap: () => Promise.reject(error),
  });

  test("open with it; away, it says which file waits for it", async () => {
    await writeKeyFiles(root, train, { seal: { kms: honest, uri: "test:key" } });
    expect((await open({ kms: honest })).signing("train-signing").kid.length).toBe(16);
    const none = await thrown(() => open());
    expect(none.code).toBe("key-missing");
    expect(none.message).toContain("test:key");
    for (const code of ["kms-unavailable", "access-denied", "key-missing"] as const) {
      const kms = failing(new SealstreamError(code, "Unseal it."));
      const away = await thrown(() => open({ kms }));
      expect(away.code).toBe(code);
      expect(away.message).toMatch(/train.*\.key does not open: Unseal it\./);
    }
    const refusing = { ...honest, unwrap: async () => null };
    expect((await thrown(() => open({ kms: refusing }))).code).toBe("key-invalid");
  });

  test("nothing is written when it cannot be sealed", async () => {
    const kms = failing(new SealstreamError("kms-unavailable", "Away."));
    const { code } = await thrown(() =>
      writeKeyFiles(root, train, { seal: { kms, uri: "test:key" } }),
    );
    expect(code).toBe("kms-unavailable");
    expect(readdirSync(root)).toEqual([]);
  });
});
