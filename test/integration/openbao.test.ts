/**
 * A real OpenBao server: the contract of every Kms, RSA keys, roles, rotation and sealing there, and sealed key files.
 *
 * Skipped by name where the server is not built (see test/lib/openbao.ts).
 */
import { createPublicKey, publicEncrypt } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createZoneKeys } from "../../pipeline/crypto/key-ceremony.ts";
import { createKeyFile } from "../../pipeline/crypto/key-file.ts";
import { openKeyStore, readKeyFiles, writeKeyFiles } from "../../pipeline/crypto/key-store.ts";
import type { Patience } from "../../pipeline/crypto/kms/patient.ts";
import { createVaultKms } from "../../pipeline/crypto/kms/vault.ts";
import type { VaultCredentials } from "../../pipeline/crypto/kms/vault-http.ts";
import { createRecipient, wrapContentKeyFor } from "../../pipeline/crypto/wrap/key-wrap.ts";
import { kmsContract } from "../crypto/kms/contract.ts";
import { openbaoIsMissing, ROOT_TOKEN, startOpenbao } from "../lib/openbao.ts";

const why = openbaoIsMissing();
if (why !== null) console.warn(`SKIPPED: the key management service OpenBao (${why})`);

const AEAD = "vault:transit/keys/training";
const RSA = "vault:transit/keys/training-rsa";
const KEY = new Uint8Array(32).fill(9);
const BINDING = new Uint8Array(Buffer.from("a binding"));

describe.skipIf(why !== null)("OpenBao", () => {
  let bao: Awaited<ReturnType<typeof startOpenbao>>;
  let root = "";
  beforeAll(async () => {
    root = mkdtempSync(join(tmpdir(), "sealstream-openbao-keys-"));
    bao = await startOpenbao();
    await bao.ask("POST", "transit/keys/training", { type: "aes256-gcm96" });
    await bao.ask("POST", "transit/keys/training-rsa", { type: "rsa-3072" });
    await bao.ask("POST", "transit/keys/chacha", { type: "chacha20-poly1305" });
    await bao.ask("POST", "transit/keys/signing", { type: "ed25519" });
    await bao.ask("POST", "transit/keys/derived", { type: "aes256-gcm96", derived: true });
    await bao.ask("POST", "sys/policies/acl/training", {
      policy:
        'path "transit/keys/training" { capabilities = ["read"] }\npath "transit/decrypt/training" { capabilities = ["update"] }',
    });
    await bao.ask("POST", "auth/approle/role/training", {
      token_policies: "training",
      token_ttl: "2s",
      token_max_ttl: "2s",
    });
  });
  afterAll(async () => {
    await bao?.stop();
    rmSync(root, { recursive: true, force: true });
  });

  const client = (
    credentials: VaultCredentials = { token: ROOT_TOKEN },
    patience: Partial<Patience> = {},
  ) =>
    createVaultKms({
      address: bao.address,
      credentials,
      fetch,
      wallClock: Date.now,
      world: { clock: () => performance.now(), sleep: (ms) => sleep(ms), random: Math.random },
      patience,
    });

  describe("as a Kms", () => {
    kmsContract(async () => ({
      kms: client(),
      symmetric: AEAD,
      asymmetric: RSA,
      missing: "vault:transit/keys/nobody",
      stranger: client({ token: "wrong" }),
    }));
  });

  it("takes ChaCha20-Poly1305 keys, and refuses those that cannot wrap", async () => {
    const kms = client();
    const wrapped = await kms.wrap("vault:transit/keys/chacha", KEY, BINDING);
    expect(await kms.unwrap("vault:transit/keys/chacha", wrapped, BINDING)).toEqual(KEY);
    for (const name of ["signing", "derived"]) {
      const work = kms.wrap(`vault:transit/keys/${name}`, KEY, BINDING);
      await expect(work).rejects.toMatchObject({ code: "key-invalid" });
    }
    const nowhere = kms.wrap("vault:nowhere/keys/training", KEY, BINDING);
    await expect(nowhere).rejects.toMatchObject({ code: "key-missing" });
  });

  it("opens RSAES-OAEP with SHA-256 and an empty label, as anybody writes it, only when it is bound", async () => {
    const kms = client();
    const der = await kms.publicKey(RSA);
    const key = createPublicKey({ key: Buffer.from(der!), format: "der", type: "spki" });
    const bare = publicEncrypt({ key, oaepHash: "sha256" }, KEY).toString("base64");
    const { data } = await bao.ask("POST", "transit/decrypt/training-rsa", {
      ciphertext: `vault:v1:${bare}`,
    });
    expect(data?.["plaintext"]).toBe(Buffer.from(KEY).toString("base64"));
    const unbound = new Uint8Array(Buffer.from(`vault:v1:${bare}`));
    expect(await kms.unwrap(RSA, unbound, BINDING)).toBeNull();
  });

  it("rotates keys without anything becoming unreadable", async () => {
    const kms = client();
    for (const uri of [AEAD, RSA]) {
      const before = await kms.wrap(uri, KEY, BINDING);
      await bao.ask("POST", `${uri.slice("vault:".length)}/rotate`, {});
      const after = await kms.wrap(uri, KEY, BINDING);
      expect(Buffer.from(before).toString()).toMatch(/^vault:v1:/);
      expect(Buffer.from(after).toString()).toMatch(/^vault:v2:/);
      for (const wrapped of [before, after]) {
        expect(await kms.unwrap(uri, wrapped, BINDING)).toEqual(KEY);
      }
    }
  });

  it("gives a role what its policy says, and a new token when the old one has ended", async () => {
    const { data: role } = await bao.ask("GET", "auth/approle/role/training/role-id");
    const { data: secret } = await bao.ask("POST", "auth/approle/role/training/secret-id", {});
    const roleId = String(role?.["role_id"]);
    const secretId = String(secret?.["secret_id"]);
    const kms = client({ roleId, secretId });
    const wrapped = await client().wrap(AEAD, KEY, BINDING);
    expect(await kms.unwrap(AEAD, wrapped, BINDING)).toEqual(KEY);
    await sleep(2_500);
    expect(await kms.unwrap(AEAD, wrapped, BINDING)).toEqual(KEY);
    await expect(kms.wrap(AEAD, KEY, BINDING)).rejects.toMatchObject({ code: "access-denied" });
  });

  it("seals key files, and holds the key of a purpose itself", async () => {
    const kms = client();
    const files = createZoneKeys({ zones: ["training"] }).files.filter(
      ({ holder, purpose }) => holder === "train" && purpose !== "training-unwrap",
    );
    const remote = createKeyFile("training-unwrap", Buffer.from(RSA), { kind: "kms" });
    await writeKeyFiles(root, [...files, remote], { seal: { kms, uri: AEAD } });
    const text = readFileSync(join(root, "train", "train-signing.key"), "utf8");
    expect(text).toContain('"wrapped"');
    expect(text).not.toContain('"material"');
    const keys = await openKeyStore({ folder: join(root, "train"), holder: "train", kms });
    const [signing] = await readKeyFiles(root, ["train"], { kms });
    expect(JSON.parse(signing!.json)).toEqual(JSON.parse(files[0]!.json));
    expect(keys.signing("train-signing").sign(BINDING).length).toBe(64);
    const [unwrap] = keys.unwrapAll("training-unwrap");
    expect(unwrap?.algorithm).toBe("kms");
    const recipient = createRecipient("training-unwrap", Buffer.from(RSA), "kms");
    const wrapped = await wrapContentKeyFor({ contentKey: KEY, recipient, binding: BINDING, kms });
    if (unwrap?.algorithm !== "kms") throw new Error("not in the service");
    expect((await unwrap.unwrapRemotely(wrapped, BINDING))?.export()).toEqual(Buffer.from(KEY));
    expect(await unwrap.unwrapRemotely(wrapped, KEY)).toBeNull();
    const away = client({ token: "wrong" });
    await expect(
      openKeyStore({ folder: join(root, "train"), holder: "train", kms: away }),
    ).rejects.toMatchObject({
      code: "access-denied",
      message: expect.stringContaining("train-signing.key"),
    });
  });

  it("that is sealed again is waited for, then given up on with what to do", async () => {
    const kms = client(undefined, { totalMs: 1_500 });
    await bao.ask("PUT", "sys/seal");
    await expect(kms.wrap(AEAD, KEY, BINDING)).rejects.toMatchObject({
      code: "kms-unavailable",
      message: expect.stringContaining("is unsealed"),
    });
  });
});
