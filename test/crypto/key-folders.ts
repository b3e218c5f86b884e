/** A train key folder that tests fill, and what they ask of it. Must not: be a test. */
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach } from "vitest";
import { createZoneKeys } from "../../pipeline/crypto/key-ceremony.ts";
import type { KeyFile } from "../../pipeline/crypto/key-file.ts";
import { createPassphrase } from "../../pipeline/crypto/key-seal.ts";
import type { KdfCost } from "../../pipeline/crypto/key-seal-form.ts";
import {
  type KeyStoreOptions,
  openKeyStore,
  writeKeyFiles,
} from "../../pipeline/crypto/key-store.ts";
import { isSealstreamError } from "../../pipeline/errors.ts";

export const SCRYPT: KdfCost = { kdf: "scrypt", n: 2 ** 14, r: 8, p: 1 };
export const ARGON2ID: KdfCost = { kdf: "argon2id", memoryKib: 8192, passes: 1, lanes: 1 };

export let root = "";
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "sealstream-sources-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

export const train = createZoneKeys({ zones: ["training"] }).files.filter(
  (one) => one.holder === "train",
);
export const folder = () => join(root, "train");
export const fileOf = (name: string) => join(folder(), name);
export const open = (options: Partial<KeyStoreOptions> = {}) =>
  openKeyStore({ folder: folder(), holder: "train", ...options });
export const write = (files: readonly KeyFile[], cost: KdfCost, passphrase = "correct horse") =>
  writeKeyFiles(root, files, { seal: { passphrase: createPassphrase(passphrase), cost } });

export async function thrown(work: () => unknown): Promise<{ code: string; message: string }> {
  try {
    await work();
  } catch (error) {
    if (isSealstreamError(error)) return { code: error.code, message: error.message };
    throw error;
  }
  return { code: "nothing", message: "" };
}

export const pkcs8 = (key: KeyObject, passphrase?: string) =>
  key.export({
    format: "pem",
    type: "pkcs8",
    ...(passphrase === undefined ? {} : { cipher: "aes-256-cbc", passphrase }),
  }) as string;
export const rsa = (bits: number) => generateKeyPairSync("rsa", { modulusLength: bits }).privateKey;

export function pem(name: string, text: string, mode = 0o600): void {
  mkdirSync(folder(), { recursive: true, mode: 0o700 });
  rmSync(fileOf(name), { force: true });
  writeFileSync(fileOf(name), text, { mode });
  chmodSync(fileOf(name), mode);
}
