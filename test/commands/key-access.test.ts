/** How commands get at keys: variables of a holder before those for all, secrets in tight files, and rotated keys. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import {
  keyAccess,
  keyAccessFiles,
  keyVariables,
  kmsFor,
  openHolderKeys,
  openStageKeys,
} from "../../pipeline/commands/key-access.ts";
import { createKeyRefresh } from "../../pipeline/commands/stages/key-refresh.ts";
import { createZoneKeys, publicEntries } from "../../pipeline/crypto/key-ceremony.ts";
import { createKeyFile } from "../../pipeline/crypto/key-file.ts";
import { createPassphrase } from "../../pipeline/crypto/key-seal.ts";
import { openKeyStore, writeKeyFiles } from "../../pipeline/crypto/key-store.ts";
import { startFakeVault, TOKEN } from "../lib/fake-vault.ts";
import { recordingContext } from "./recording-context.ts";

let root = "";
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "sealstream-access-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const contextOf = (environment: Record<string, string>) =>
  recordingContext({ environment }).context;
const { files } = createZoneKeys();
const train = files.filter(({ holder }) => holder === "train");

it("gives a stage its own variables before those for all, and no other's", () => {
  const environment = {
    SEALSTREAM_KEY_TRAIN_SIGNING: "a",
    SEALSTREAM_KEY_TRAIN_SIGNING_2: "b",
    SEALSTREAM_KEY_NOISE: "c",
    SEALSTREAM_KEY_PASSPHRASE: "d",
    SEALSTREAM_KEY_PASSPHRASE_TRAIN: "e",
    VAULT_ADDR: "f",
    VAULT_TOKEN: "g",
    VAULT_TOKEN_AGGREGATE: "h",
    BAO_SECRET_ID_FILE_TRAIN: "/i",
    OTHER: "j",
  };
  expect(keyVariables(environment, "train")).toEqual([
    "SEALSTREAM_KEY_TRAIN_SIGNING",
    "SEALSTREAM_KEY_TRAIN_SIGNING_2",
    "SEALSTREAM_KEY_PASSPHRASE_TRAIN",
    "BAO_SECRET_ID_FILE_TRAIN",
    "VAULT_ADDR",
    "VAULT_TOKEN",
  ]);
  expect(keyVariables(environment, "aggregate")).toContain("VAULT_TOKEN_AGGREGATE");
  expect(keyVariables(environment, "aggregate")).not.toContain("VAULT_TOKEN");
  expect(keyVariables(environment, "desensitize")).toEqual([]);
  expect(keyAccessFiles(environment, "train")).toEqual(["/i"]);
});

it("is as patient with a service as the environment says, for all or for one holder", async () => {
  const environment = {
    VAULT_ADDR: "http://127.0.0.1:9",
    VAULT_TOKEN: "x",
    SEALSTREAM_KMS_PATIENCE_MS: "60000",
    SEALSTREAM_KMS_PATIENCE_MS_TRAIN: "200",
  };
  expect(keyVariables(environment, "train")).toContain("SEALSTREAM_KMS_PATIENCE_MS_TRAIN");
  expect(keyVariables(environment, "predict")).toContain("SEALSTREAM_KMS_PATIENCE_MS");
  const ask = (more: Record<string, string>) =>
    kmsFor(contextOf({ ...environment, ...more }), "train")?.publicKey?.("vault:transit/keys/a");
  await expect(ask({})).rejects.toMatchObject({
    code: "kms-unavailable",
    message: expect.stringContaining("within 0.2 s"),
  });
  for (const text of ["99", "600001", "1e3", "-5", "forever"]) {
    const asked = ask({ SEALSTREAM_KMS_PATIENCE_MS_TRAIN: text });
    await expect(asked, text).rejects.toMatchObject({
      code: "usage",
      message: expect.stringContaining("SEALSTREAM_KMS_PATIENCE_MS_TRAIN"),
    });
  }
});

it("opens sealed keys with a passphrase out of a file that others cannot read", async () => {
  const seal = { passphrase: createPassphrase("from a file") };
  const cost = { kdf: "scrypt", n: 2 ** 14, r: 8, p: 1 } as const;
  await writeKeyFiles(root, train, { seal: { ...seal, cost } });
  const file = join(root, "passphrase");
  writeFileSync(file, "from a file\n", { mode: 0o600 });
  const context = contextOf({ SEALSTREAM_KEY_PASSPHRASE_FILE: file });
  const keys = await openStageKeys(context, join(root, "train"), "train");
  expect(keys.signing("train-signing").kid.length).toBe(16);
  chmodSync(file, 0o644);
  await expect(openStageKeys(context, join(root, "train"), "train")).rejects.toMatchObject({
    code: "key-invalid",
    message: expect.stringContaining("chmod 600"),
  });
});

it("refuses a stage another holder's key, and passes it over for a person's command", async () => {
  await writeKeyFiles(root, train);
  const noise = Buffer.from(createKeyFile("noise", new Uint8Array(32)).json).toString("base64");
  const context = contextOf({ SEALSTREAM_KEY_NOISE: noise });
  const folder = join(root, "train");
  await expect(openStageKeys(context, folder, "train")).rejects.toMatchObject({
    code: "key-forbidden",
  });
  expect((await openHolderKeys(context, folder, "train")).holder).toBe("train");
});

it("asks the service that the environment names, and looks at it only when a key needs it", async () => {
  const vault = await startFakeVault();
  const tokenFile = join(root, "token");
  writeFileSync(tokenFile, `${TOKEN}\n`, { mode: 0o600 });
  const kms = kmsFor(
    contextOf({ VAULT_ADDR: vault.address, VAULT_TOKEN_FILE: tokenFile }),
    "train",
  );
  const binding = new Uint8Array(1);
  expect(await kms?.wrap("vault:transit/keys/training", new Uint8Array(32), binding)).toBeDefined();
  await vault.stop();
  expect(keyAccess(contextOf({}), "train").kms).toBeUndefined();
  for (const [environment, code] of [
    [{ VAULT_ADDR: "http://vault:8200", VAULT_TOKEN: "t" }, "usage"],
    [{ VAULT_ADDR: "https://vault:8200" }, "key-missing"],
  ] as const) {
    const broken = keyAccess(contextOf({ ...environment }), "train").kms;
    const work = broken?.publicKey("vault:transit/keys/training");
    await expect(work).rejects.toMatchObject({ code });
  }
});

it("picks up a rotated key when keys tells of it, also when its file comes later, and no other's", async () => {
  await writeKeyFiles(root, train);
  const keys = await openKeyStore({ folder: join(root, "train"), holder: "train" });
  const refresh = vi.fn(keys.refresh);
  const second = createKeyFile("train-signing", new Uint8Array(32).fill(7), { generation: 2 });
  const identities = files.filter(({ holder }) => holder === "identities");
  const entriesOf = (of: typeof files) =>
    publicEntries({ pipeline: "p", files: [...identities, ...of] }).map(({ key }) => key);
  const waits: number[] = [];
  const added = Promise.withResolvers<void>();
  const told = createKeyRefresh({
    keys: { ...keys, refresh },
    // Because the refresh logs these two ways and no other.
    logger: { info: () => undefined, warn: () => undefined } as never,
    signal: new AbortController().signal,
    onAdded: added.resolve,
    wait: async (ms) => {
      waits.push(ms);
      if (waits.length === 2) await writeKeyFiles(root, [second]);
    },
  });
  for (const key of entriesOf(files)) told(key);
  told(null);
  expect(refresh).not.toHaveBeenCalled();
  const [entry] = entriesOf([second]);
  told(entry!);
  told(entry!);
  await added.promise;
  expect(keys.generation("train-signing")).toBe(2);
  expect(waits).toEqual([1_000, 2_000]);
  expect(refresh).toHaveBeenCalledTimes(3);
});
