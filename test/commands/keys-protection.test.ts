/** `keys rotate` and `keys grant`: a next key protects no less than the one before, and a reader's key is a reader's alone. */
import { generateKeyPairSync } from "node:crypto";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import { createFreshKey } from "../../pipeline/crypto/key-ceremony.ts";
import { publicHalfOf, publicPem } from "../../pipeline/crypto/key-ceremony-halves.ts";
import { createKeyFile } from "../../pipeline/crypto/key-file.ts";
import type { Purpose } from "../../pipeline/crypto/key-purposes.ts";
import { openKeyStore, readKeyFiles, writeKeyFiles } from "../../pipeline/crypto/key-store.ts";
import { type KeysTopic, type KeysWorld, keysTopic, keysWorld } from "./keys-world.ts";

const kafka = vi.hoisted((): { topic: KeysTopic | null } => ({ topic: null }));
vi.mock("../../pipeline/stream/open-client.ts", () => ({
  openClient: () => Promise.resolve(kafka.topic?.client),
}));

const PASSPHRASE = "a long one, for this test alone";
const worlds: KeysWorld[] = [];
afterEach(() => {
  for (const world of worlds.splice(0)) world.remove();
});

/** A world in which `training-unwrap` was replaced by hand before anything was published. */
async function withKey(place: (world: KeysWorld) => Promise<void> | void): Promise<KeysWorld> {
  kafka.topic = keysTopic();
  const world = keysWorld(kafka.topic, { SEALSTREAM_KEY_PASSPHRASE: PASSPHRASE });
  worlds.push(world);
  world.topic.failNext = true;
  await expect(world.run("create", { zone: ["owner", "training"] })).rejects.toThrow("killed");
  rmSync(join(world.root, "train/training-unwrap.key"));
  await place(world);
  await world.run("create", { zone: ["owner", "training"] });
  return world;
}

const second = (world: KeysWorld): unknown =>
  JSON.parse(readFileSync(join(world.root, "train/training-unwrap.2.key"), "utf8"));

describe("keys rotate", () => {
  test("seals the key beside an encrypted PEM with the passphrase", async () => {
    const { privateKey } = generateKeyPairSync("x25519");
    const world = await withKey(({ root }) => {
      const pem = privateKey.export({
        format: "pem",
        type: "pkcs8",
        cipher: "aes-256-cbc",
        passphrase: PASSPHRASE,
      });
      writeFileSync(join(root, "train/training-unwrap.pem"), pem, { mode: 0o600 });
    });
    await world.run("rotate", {}, "training-unwrap");
    expect(second(world)).toMatchObject({ sealed: { kdf: "scrypt" } });
  });

  test.each([
    ["p-256", generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey, "p-256"],
    ["rsa", generateKeyPairSync("rsa", { modulusLength: 2560 }).privateKey, "rsa-oaep-256"],
  ] as const)("follows a %s key with one of its kind", async (kind, privateKey, algorithm) => {
    const world = await withKey(async ({ root }) => {
      const der = privateKey.export({ format: "der", type: "pkcs8" });
      await writeKeyFiles(root, [createKeyFile("training-unwrap", der, { kind })]);
    });
    const first = world.directory().recipient("training-unwrap")!;
    const kid = await world.announce("examples", 0);
    await world.run("rotate", {}, "training-unwrap");
    expect(second(world)).toMatchObject({ kind, generation: 2 });
    const next = world.directory().recipient("training-unwrap")!;
    expect([first.algorithm, next.algorithm]).toEqual([algorithm, algorithm]);
    expect(next.kid).not.toEqual(first.kid);
    expect(next.publicKey).toHaveLength(first.publicKey.length);
    const [key] = await world.unwrap("training-unwrap");
    expect(world.directory([key!]).findDataKey(kid, "examples")).not.toBeNull();
  });

  test("puts no open key into the place of one in a service", async () => {
    const uri = "vault:transit/keys/training";
    const purpose: Purpose = "training-unwrap";
    const world = await withKey(async ({ root }) => {
      await writeKeyFiles(root, [createKeyFile(purpose, Buffer.from(uri), { kind: "kms" })]);
    });
    expect(world.directory().recipient(purpose)?.algorithm).toBe("kms");
    await expect(world.run("rotate", {}, purpose)).rejects.toThrow(/--seal/);
    rmSync(join(world.root, "train/training-unwrap.key"));
    await expect(world.run("rotate", {}, purpose)).rejects.toMatchObject({ code: "key-forbidden" });
    expect(existsSync(join(world.root, "train/training-unwrap.2.key"))).toBe(false);
    await world.run("rotate", { seal: "passphrase" }, purpose);
    expect(second(world)).toMatchObject({ kind: "x25519", sealed: { kdf: "scrypt" } });
  });
});

test("a key file that was cut off while it was written is told as that, and made again", async () => {
  const world = await withKey(({ root }) =>
    writeKeyFiles(root, [createFreshKey("training-unwrap")]),
  );
  const path = join(world.root, "train/training-unwrap.2.key");
  for (const text of ["", '{"version":2,"kind":"x25519","mater']) {
    writeFileSync(path, text, { mode: 0o600 });
    const opened = openKeyStore({ folder: join(world.root, "train"), holder: "train" });
    await expect(opened).rejects.toThrow(
      /2\.key is unfinished.*remove it and run the command again/,
    );
    await expect(world.run("rotate", {}, "training-unwrap")).rejects.toThrow(/unfinished/);
    rmSync(path);
  }
  await world.run("rotate", {}, "training-unwrap");
  expect(second(world)).toMatchObject({ generation: 2 });
});

describe("keys grant", () => {
  const given = async (world: KeysWorld, name: string, topic: string, purpose: Purpose | null) => {
    const pem = join(world.folder, `${name}.pem`);
    const file = (await readKeyFiles(world.root)).find((one) => one.purpose === purpose);
    const half = file === undefined ? null : publicHalfOf(file);
    const fresh = generateKeyPairSync("x25519").publicKey;
    if (half !== null) writeFileSync(pem, publicPem(half)!);
    else if (!existsSync(pem)) writeFileSync(pem, fresh.export({ format: "pem", type: "spki" }));
    return { topic, name, publicKey: pem };
  };

  test("refuses a key that is published for anything else", async () => {
    const world = await withKey(({ root }) =>
      writeKeyFiles(root, [createFreshKey("training-unwrap")]),
    );
    for (const purpose of ["owner-dead-letter", "training-unwrap", "model-unwrap"] as const) {
      if (purpose === "model-unwrap") await world.run("create", { zone: "prediction" });
      const options = await given(world, "mallory", "records", purpose);
      await expect(world.run("grant", options)).rejects.toThrow(/ask mallory for one/);
      rmSync(join(world.folder, "mallory.pem"));
    }
    await world.run("grant", await given(world, "support", "records", null));
    await world.run("grant", await given(world, "support", "examples", null));
    const taken = { ...(await given(world, "support", "examples", null)), name: "mallory" };
    await expect(world.run("grant", taken)).rejects.toThrow(/the key of support already/);
    expect(
      world
        .directory()
        .grants("records")
        .map(({ name }) => name),
    ).toEqual(["support"]);
    expect(world.directory().grants("examples")).toHaveLength(1);
  });
});
