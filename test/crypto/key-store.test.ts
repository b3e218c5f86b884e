/** Key folders: exactly a holder's keys, in files of the right kind and mode, and nothing beyond reach of predict. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  ckksSecretFile,
  createZoneKeys,
  publicEntries,
} from "../../pipeline/crypto/key-ceremony.ts";
import type { KeyHolder } from "../../pipeline/crypto/key-purposes.ts";
import {
  openKeyStore,
  readKeyFiles,
  STAGE_KEYS,
  writeKeyFiles,
} from "../../pipeline/crypto/key-store.ts";
import { isSealstreamError } from "../../pipeline/errors.ts";
import { utf8 } from "./fixtures.ts";

const { files, identities } = createZoneKeys();
const all = [...files, ckksSecretFile(utf8("a serialized CKKS secret key"))];

let root = "";
beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), "sealstream-keys-"));
  await writeKeyFiles(root, all);
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const folderOf = (holder: string) => join(root, holder);
const fileOf = (holder: string, purpose: string) => join(root, holder, `${purpose}.key`);
const open = (holder: KeyHolder) => openKeyStore({ folder: folderOf(holder), holder });

/** Code and message of what `act` throws. */
async function thrown(act: () => unknown): Promise<{ code: string; message: string }> {
  try {
    await act();
  } catch (error) {
    if (isSealstreamError(error)) return { code: error.code, message: error.message };
    throw error;
  }
  return { code: "nothing", message: "" };
}

describe("writeKeyFiles", () => {
  test("writes folders 0700, files 0600, and never over a file", async () => {
    for (const file of all) {
      expect(statSync(folderOf(file.holder)).mode & 0o777).toBe(0o700);
      expect(statSync(fileOf(file.holder, file.purpose)).mode & 0o777).toBe(0o600);
    }
    const before = readFileSync(fileOf("encrypt", "split"), "utf8");
    rmSync(fileOf("train", "train-signing"));
    const again = await thrown(() => writeKeyFiles(root, createZoneKeys().files));
    expect(again.code).toBe("key-invalid");
    expect(readFileSync(fileOf("encrypt", "split"), "utf8")).toBe(before);
    expect(existsSync(fileOf("train", "train-signing"))).toBe(false);
  });

  test("key files hold what they say and show nothing", async () => {
    const parsed: unknown = JSON.parse(readFileSync(fileOf("encrypt", "owner-signing"), "utf8"));
    expect(parsed).toEqual({
      version: 2,
      kind: "ed25519",
      purpose: "owner-signing",
      generation: 1,
      material: expect.stringMatching(/^[A-Za-z0-9+/]{43}=$/),
    });
    for (const file of all) {
      const { material }: { material: string } = JSON.parse(file.json);
      expect(inspect(file) + JSON.stringify(file) + JSON.stringify({ ...file })).not.toContain(
        material,
      );
    }
  });
});

describe("openKeyStore", () => {
  test("gives every holder its keys and no other", async () => {
    expect((await open("encrypt")).signing("owner-signing").publicKey.length).toBe(32);
    expect((await open("encrypt")).secret("split").hmac(utf8("x")).length).toBe(32);
    expect((await open("train")).unwrap("training-unwrap").publicKey.length).toBe(32);
    expect((await open("aggregate")).secret("noise").hkdf(utf8("x"), 64).length).toBe(64);
    expect((await open("predict")).signing("result-signing").purpose).toBe("result-signing");
    expect((await open("consumer")).blob("ckks-secret")).toEqual(
      utf8("a serialized CKKS secret key"),
    );
    expect((await open("identities")).signing("owner-identity").publicKey).toEqual(
      identities.owner,
    );
    expect((await open("dead-letters")).unwrap("owner-dead-letter").publicKey.length).toBe(32);
    expect((await thrown(async () => (await open("predict")).unwrap("training-unwrap"))).code).toBe(
      "key-missing",
    );
    expect((await thrown(async () => (await open("encrypt")).secret("noise"))).code).toBe(
      "key-missing",
    );
    expect(STAGE_KEYS.desensitize).toEqual([]);
  });

  test("a holder without keys needs no folder; an offline folder may hold a part", async () => {
    expect((await open("desensitize")).holder).toBe("desensitize");
    rmSync(fileOf("identities", "training-identity"));
    const store = await open("identities");
    expect(store.signing("owner-identity").publicKey).toEqual(identities.owner);
    expect((await thrown(() => store.signing("training-identity"))).code).toBe("key-missing");
  });

  test("a missing key or folder: named, with what to run", async () => {
    rmSync(fileOf("aggregate", "noise"));
    const missing = await thrown(() => open("aggregate"));
    expect(missing.code).toBe("key-missing");
    expect(missing.message).toContain(fileOf("aggregate", "noise"));
    expect(missing.message).toContain("restore it from a backup");
    rmSync(folderOf("train"), { recursive: true });
    const folder = await thrown(() => open("train"));
    expect(folder.code).toBe("key-missing");
    expect(folder.message).toContain("sealstream keys create");
  });

  test("any extra entry: named and refused", async () => {
    const extras: [KeyHolder, string][] = [
      ["predict", "ckks-secret.key"],
      ["predict", "notes.txt"],
      ["encrypt", "owner-identity.key"],
      ["desensitize", "split.key"],
      ["identities", "split.key"],
      ["consumer", ".hidden"],
    ];
    for (const [holder, name] of extras) {
      mkdirSync(folderOf(holder), { recursive: true });
      writeFileSync(join(folderOf(holder), name), "{}", { mode: 0o600 });
      const extra = await thrown(() => open(holder));
      expect(extra.code).toBe("key-forbidden");
      expect(extra.message).toContain(name);
      rmSync(join(folderOf(holder), name));
    }
  });

  test.each([0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o777])(
    "refuses mode %o",
    async (mode) => {
      chmodSync(fileOf("train", "train-signing"), mode);
      const loose = await thrown(() => open("train"));
      expect(loose.code).toBe("key-invalid");
      expect(loose.message).toContain("chmod 600");
    },
  );

  test("takes a read-only key", async () => {
    chmodSync(fileOf("train", "train-signing"), 0o400);
    expect((await open("train")).signing("train-signing").purpose).toBe("train-signing");
  });

  const good = { version: 1, kind: "ed25519", purpose: "train-signing" };
  const material = Buffer.alloc(32, 9).toString("base64");
  const wrong: [string, string][] = [
    ["empty", ""],
    ["no JSON", "not json"],
    ["cut off", JSON.stringify({ ...good, material }).slice(0, -5)],
    ["an array", "[]"],
    ["null", "null"],
    ["another version", JSON.stringify({ ...good, version: 2, material })],
    ["another purpose", JSON.stringify({ ...good, purpose: "model-signing", material })],
    ["another kind", JSON.stringify({ ...good, kind: "x25519", material })],
    ["no material", JSON.stringify(good)],
    ["material of another type", JSON.stringify({ ...good, material: 7 })],
    ["an additional field", JSON.stringify({ ...good, material, note: "x" })],
    ["short material", JSON.stringify({ ...good, material: material.slice(4) })],
    ["long material", JSON.stringify({ ...good, material: `AAAA${material}` })],
    ["base64 with a space", JSON.stringify({ ...good, material: ` ${material}` })],
    [
      "base64url",
      JSON.stringify({ ...good, material: Buffer.alloc(32, 255).toString("base64url") }),
    ],
  ];
  test.each(wrong)("refuses a file that is %s, without quoting it", async (_, text) => {
    writeFileSync(fileOf("train", "train-signing"), text, { mode: 0o600 });
    const corrupt = await thrown(() => open("train"));
    expect(corrupt.code).toBe("key-invalid");
    expect(corrupt.message).not.toContain(material.slice(4, 20));
  });

  test("refuses a folder and a named pipe in a key's place", async () => {
    rmSync(fileOf("train", "train-signing"));
    mkdirSync(fileOf("train", "train-signing"));
    expect((await thrown(() => open("train"))).code).toBe("key-invalid");
    rmSync(fileOf("train", "train-signing"), { recursive: true });
    execFileSync("mkfifo", ["-m", "600", fileOf("train", "train-signing")]);
    expect((await thrown(() => open("train"))).code).toBe("key-invalid");
  });

  test("shows no secret", async () => {
    const store = await open("aggregate");
    const { material: noise }: { material: string } = JSON.parse(
      readFileSync(fileOf("aggregate", "noise"), "utf8"),
    );
    const raw = Buffer.from(noise, "base64");
    const shown = [store, store.secret("noise"), store.unwrap("contribution-unwrap")]
      .map(
        (one) => inspect(one, { depth: 9, showHidden: true }) + JSON.stringify(one) + String(one),
      )
      .join();
    expect(shown).not.toContain(noise);
    expect(shown).not.toContain(raw.toString("hex"));
    expect(shown).not.toContain([...raw.subarray(0, 6)].join(", "));
  });
});

describe("readKeyFiles", () => {
  test("reads back what was written, and the ceremony can publish it", async () => {
    const read = await readKeyFiles(root);
    expect(read.map((file) => file.purpose).sort()).toEqual(all.map((f) => f.purpose).sort());
    const published = publicEntries({ pipeline: "digits", files: read });
    expect(published.map((entry) => Buffer.from(entry.key).toString()).sort()).toEqual(
      publicEntries({ pipeline: "digits", files: all })
        .map((entry) => Buffer.from(entry.key).toString())
        .sort(),
    );
    expect(published.length).toBe(4 + 9);
    expect(await readKeyFiles(join(root, "nothing"))).toEqual([]);
  });

  test("a zone can hold its ceremony alone, but not without its identity", async () => {
    const { files: mine, identities: pinned } = createZoneKeys({ zones: ["prediction"] });
    expect(Object.keys(pinned)).toEqual(["prediction"]);
    expect(mine.map((file) => file.purpose).sort()).toEqual([
      "model-unwrap",
      "prediction-dead-letter",
      "prediction-identity",
      "result-signing",
    ]);
    const alone = mine.filter((file) => file.purpose !== "prediction-identity");
    const failure = await thrown(() => publicEntries({ pipeline: "digits", files: alone }));
    expect(failure.code).toBe("key-missing");
  });

  test("refuses a key in another holder's folder", async () => {
    copyFileSync(fileOf("aggregate", "noise"), fileOf("predict", "noise"));
    expect((await thrown(() => readKeyFiles(root))).code).toBe("key-forbidden");
  });
});
