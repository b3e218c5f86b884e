/** `keys rotate | grant | revoke | export`: what readers believe afterwards, and that no secret is ever printed. */
import { generateKeyPairSync } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import { parseKeyFile } from "../../pipeline/crypto/key-file.ts";
import type { Purpose } from "../../pipeline/crypto/key-purposes.ts";
import { readKeyFiles } from "../../pipeline/crypto/key-store.ts";
import { createUnwrapKeyOf } from "../../pipeline/crypto/wrap/key-wrap.ts";
import type { UnwrapKey } from "../../pipeline/crypto/wrap/types.ts";
import { hexOf } from "../crypto/fixtures.ts";
import { type KeysTopic, type KeysWorld, keysTopic, keysWorld } from "./keys-world.ts";

const kafka = vi.hoisted((): { topic: KeysTopic | null } => ({ topic: null }));
vi.mock("../../pipeline/stream/open-client.ts", () => ({
  openClient: () => Promise.resolve(kafka.topic?.client),
}));

const worlds: KeysWorld[] = [];
afterEach(() => {
  for (const world of worlds.splice(0)) world.remove();
});

async function created(zones?: readonly string[]): Promise<KeysWorld> {
  kafka.topic = keysTopic();
  const world = keysWorld(kafka.topic);
  worlds.push(world);
  await world.run("create", zones === undefined ? {} : { zone: zones });
  return world;
}

const NO_CONSUMER = ["owner", "training", "prediction"];
const opens = (world: KeysWorld, kid: Uint8Array, key: UnwrapKey): boolean =>
  world.directory([key]).findDataKey(kid, "examples") !== null;
const newest = async (world: KeysWorld, purpose: Purpose): Promise<UnwrapKey> =>
  (await world.unwrap(purpose))[0]!;

function reader(world: KeysWorld, type: "x25519" | "p-256" | "rsa" = "x25519") {
  const pair =
    type === "x25519"
      ? generateKeyPairSync("x25519")
      : type === "rsa"
        ? generateKeyPairSync("rsa", { modulusLength: 2048 })
        : generateKeyPairSync("ec", { namedCurve: "P-256" });
  const pem = join(world.folder, `${type}.pem`);
  writeFileSync(pem, pair.publicKey.export({ format: "pem", type: "spki" }));
  return { pem, key: createUnwrapKeyOf("reader", pair.privateKey) };
}

describe("keys rotate", () => {
  test("gives an unwrapping key its next generation, and the data keys to it", async () => {
    const world = await created(NO_CONSUMER);
    const kid = await world.announce("examples", 2);
    const old = await newest(world, "training-unwrap");
    expect(opens(world, kid, old)).toBe(true);
    await world.run("rotate", {}, "training-unwrap");
    expect(existsSync(join(world.root, "train/training-unwrap.2.key"))).toBe(true);
    const next = await newest(world, "training-unwrap");
    expect(next.kid).not.toEqual(old.kid);
    expect(world.directory().recipient("training-unwrap")?.kid).toEqual(next.kid);
    expect([opens(world, kid, next), opens(world, kid, old)]).toEqual([true, false]);
    // Nothing is left to do, and the data keys are not wrapped a second time.
    const { printed } = await world.run("rotate", {}, "data-keys");
    expect(printed).toEqual(["0 data keys wrapped anew for the keys of now"]);
  });

  test("publishes the key that a ceremony left in the folder instead of making another", async () => {
    const world = await created(NO_CONSUMER);
    for (const purpose of ["training-unwrap", "owner-signing", "owner-dead-letter"] as const) {
      world.topic.failNext = true;
      await expect(world.run("rotate", {}, purpose)).rejects.toThrow("killed");
      const files = async () =>
        (await readKeyFiles(world.root)).filter((file) => file.purpose === purpose);
      const [left] = (await files()).filter(({ generation }) => generation === 2);
      await world.run("rotate", {}, purpose);
      expect((await files()).map(({ generation }) => generation).sort()).toEqual([1, 2]);
      expect((await files()).find(({ generation }) => generation === 2)?.json).toBe(left?.json);
      const { signers, recipients } = world.directory().list();
      const published = [...signers, ...recipients].filter(({ generation }) => generation === 2);
      expect(published.length).toBeGreaterThan(0);
      await world.run("rotate", {}, purpose);
      expect(await files()).toHaveLength(3);
    }
  });

  test("hands a zone over to its next identity, and what it said with it", async () => {
    const world = await created();
    const kid = await world.announce("examples", 0);
    await world.run("rotate", {}, "training-unwrap");
    const [old] = world.spec().zones!.owner;
    world.topic.failNext = true;
    await expect(world.run("rotate", { zone: "owner" }, "identity")).rejects.toThrow("killed");
    await world.run("rotate", { zone: "owner" }, "identity");
    const [next, ...others] = world.spec().zones!.owner;
    expect(others).toEqual([old]);
    expect(readFileSync(world.file, "utf8")).toMatch(/owner: \["ed25519:[^"]+", "ed25519:[^"]+"\]/);
    expect(existsSync(join(world.root, "identities/owner-identity.3.key"))).toBe(false);
    await world.run("rotate", { zone: "consumer" }, "identity");
    const oldKid = await import("../../pipeline/crypto/key-handles.ts").then(({ keyIdOf }) =>
      hexOf(keyIdOf(old!)),
    );
    await world.run("revoke", {}, oldKid);
    expect(world.spec().revoked).toEqual([oldKid]);
    const directory = world.directory([await newest(world, "training-unwrap")]);
    expect(directory.findDataKey(kid, "examples")).not.toBeNull();
    expect(directory.recipientsFor("examples")).toHaveLength(2);
    expect(directory.recipient("owner-dead-letter")).not.toBeNull();
    expect(next).not.toEqual(old);
    const { id } = directory.blob("ckks-public")!;
    expect(directory.consumerKeys(id)).not.toBeNull();
    // Stage keys that the first identity certified speak on.
    expect(await world.announce("examples", 1).then((key) => key.length)).toBe(16);
  });

  test("makes new CKKS keys and keeps the ones before", async () => {
    const world = await created(["consumer"]);
    const first = world.directory().blob("ckks-public")!;
    world.topic.failNext = true;
    await expect(world.run("rotate", {}, "ckks")).rejects.toThrow("killed");
    await world.run("rotate", {}, "ckks");
    expect(existsSync(join(world.root, "consumer/ckks-secret.3.key"))).toBe(false);
    const directory = world.directory();
    const second = directory.blob("ckks-public")!;
    expect([first.generation, second.generation]).toEqual([1, 2]);
    expect(directory.consumerKeys(first.id)).not.toBeNull();
    expect(directory.consumerKeys(second.id)?.evaluation.generation).toBe(2);
    const names = world.topic.log.map(({ key }) => Buffer.from(key ?? []).toString());
    expect(names.indexOf("blob/ckks-evaluation/2")).toBeLessThan(
      names.indexOf("blob/ckks-public/2"),
    );
  });

  test("refuses the noise key of a run and says why, and warns about the split", async () => {
    const world = await created();
    await world.run("rotate", {}, "noise");
    expect(existsSync(join(world.root, "aggregate/noise.2.key"))).toBe(true);
    world.topic.ledger.push({ key: null, value: Buffer.from("a ledger that nobody can read") });
    await expect(world.run("rotate", {}, "noise")).rejects.toThrow(/draw the same noise/);
    const { told } = await world.run("rotate", {}, "split");
    expect(told.join("\n")).toMatch(/change between train, validate and test/);
    const bound = readFileSync(world.file, "utf8")
      .replace("  subject: email", "  subject: email\n  partitioner: subject")
      .replace("delta: 1e-5 }", "delta: 1e-5, recordsPerSubject: 2 }");
    writeFileSync(world.file, bound);
    await expect(world.run("rotate", {}, "split")).rejects.toMatchObject({
      code: "key-forbidden",
      message: expect.stringMatching(/keeps its counts under it/),
    });
    expect(existsSync(join(world.root, "encrypt/split.3.key"))).toBe(false);
    await expect(world.run("rotate", {}, "owner-identity")).rejects.toMatchObject({
      code: "usage",
    });
  });
});

describe("keys grant", () => {
  test.each(["x25519", "p-256", "rsa"] as const)(
    "gives a %s reader what was sealed before, and is no other key the second time",
    async (type) => {
      const world = await created(["owner", "training"]);
      const kid = await world.announce("examples", 0);
      const { pem, key } = reader(world, type);
      const options = { topic: "examples", name: "audit", publicKey: pem };
      const { printed } = await world.run("grant", options);
      expect(printed.join("\n")).toMatch(/1 data keys wrapped for it/);
      expect(opens(world, kid, key)).toBe(true);
      await world.run("grant", options);
      expect(world.directory().grants("examples")).toHaveLength(1);
      expect(opens(world, await world.announce("examples", 0), key)).toBe(true);
      expect(opens(world, kid, await newest(world, "training-unwrap"))).toBe(true);
    },
  );

  test("from now on gives nothing of before, also when a key is rotated later", async () => {
    const world = await created(["owner", "training"]);
    const kid = await world.announce("examples", 0);
    const { pem, key } = reader(world);
    await world.run("grant", { topic: "examples", name: "audit", publicKey: pem, fromNow: true });
    const later = await world.announce("examples", 1);
    await world.run("rotate", {}, "training-unwrap");
    expect([opens(world, kid, key), opens(world, later, key)]).toEqual([false, true]);
  });

  test("refuses what nothing should be wrapped for", async () => {
    const world = await created(["owner"]);
    const path = join(world.folder, "other.pem");
    const weak = generateKeyPairSync("rsa", { modulusLength: 1024 });
    const edwards = generateKeyPairSync("ed25519");
    const p384 = generateKeyPairSync("ec", { namedCurve: "P-384" });
    const spki = { format: "pem", type: "spki" } as const;
    const texts = [
      weak.publicKey.export(spki),
      edwards.publicKey.export(spki),
      p384.publicKey.export(spki),
      edwards.privateKey.export({ format: "pem", type: "pkcs8" }),
      "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
      "vault:transit/keys/audit",
    ];
    for (const text of texts) {
      writeFileSync(path, text);
      const options = { topic: "examples", name: "audit", publicKey: path };
      await expect(world.run("grant", options), String(text)).rejects.toMatchObject({
        code: "key-invalid",
      });
    }
    expect(world.directory().grants("examples")).toEqual([]);
  });
});

describe("keys revoke", () => {
  test("takes a reader away from the data keys, in the file and in the topic", async () => {
    const world = await created(["owner", "training"]);
    const kid = await world.announce("examples", 0);
    const { pem, key } = reader(world);
    await world.run("grant", { topic: "examples", name: "audit", publicKey: pem });
    const { told } = await world.run("revoke", { name: "audit", topic: "examples" });
    expect(told.join("\n")).toMatch(/kept the old wraps can still open/);
    expect(world.spec().revoked).toEqual([hexOf(key.kid)]);
    expect(opens(world, kid, key)).toBe(false);
    expect(opens(world, kid, await newest(world, "training-unwrap"))).toBe(true);
    expect(world.directory().grants("examples")).toEqual([]);
    const options = { topic: "examples", name: "audit", publicKey: pem };
    await expect(world.run("grant", options)).rejects.toThrow(/was revoked/);
    await world.run("revoke", { name: "audit", topic: "examples" });
    expect(world.spec().revoked).toHaveLength(1);
  });

  test("refuses data keys of a revoked signer, and its last identity to go", async () => {
    const world = await created(["owner", "training"]);
    const kid = await world.announce("examples", 0);
    const signer = world
      .directory()
      .list()
      .signers.find(({ purpose }) => purpose === "owner-signing")!;
    const { told } = await world.run("revoke", {}, signer.kid.slice(0, 8));
    expect(told.join("\n")).toMatch(/owner-signing signed is refused/);
    expect(opens(world, kid, await newest(world, "training-unwrap"))).toBe(false);
    await expect(world.run("revoke", { zone: "owner" })).rejects.toThrow(/only identity of owner/);
    await world.run("revoke", { zone: "training" });
    expect(world.directory().recipient("training-unwrap")).toBeNull();
    await expect(world.run("revoke", {}, "0123")).rejects.toMatchObject({ code: "usage" });
  });
});

test("keys export prints public halves, and a private one to a terminal alone", async () => {
  const world = await created(["owner"]);
  const { printed } = await world.run("export", { json: true });
  const halves = JSON.parse(printed.join("")) as { purpose: string; publicKey: string }[];
  const pinned = halves.find(({ purpose }) => purpose === "owner-identity")?.publicKey;
  expect(readFileSync(world.file, "utf8")).toContain(`owner: "${pinned}"`);
  expect(halves.find(({ purpose }) => purpose === "owner-recovery")?.publicKey).toMatch(
    /^-----BEGIN PUBLIC KEY-----/,
  );
  const secret = { secret: "owner-recovery" };
  await expect(world.run("export", secret)).rejects.toMatchObject({ code: "usage" });
  const shown = await world.run("export", { ...secret, terminal: true });
  expect(shown.printed.join("")).toMatch(/^-----BEGIN PRIVATE KEY-----/);
});

/** 32 bytes in hex, base64 and base64url, wherever they begin in a longer text: without what their neighbours decide. */
function spellings(secret: Buffer): string[] {
  const shifted = [0, 1, 2].map((shift) => Buffer.concat([Buffer.alloc(shift), secret]));
  const inner = (text: string) => text.slice(4, -4);
  return [
    secret.toString("hex"),
    ...shifted.map((bytes) => inner(bytes.toString("base64").replaceAll("=", ""))),
    ...shifted.map((bytes) => inner(bytes.toString("base64url"))),
  ];
}

test("the search for secrets finds one in PKCS#8 too", async () => {
  const world = await created(["owner"]);
  await world.run("export", { secret: "owner-recovery", terminal: true });
  const file = (await readKeyFiles(world.root)).find(({ purpose }) => purpose === "owner-recovery");
  const { material } = parseKeyFile(file!.json, "owner-recovery", "it");
  const all = world.output.join("\n");
  expect(spellings(material).some((form) => all.includes(form))).toBe(true);
});

test("no subcommand prints a secret in base64, base64url or hex", async () => {
  const world = await created();
  await world.announce("examples", 0);
  const { pem } = reader(world);
  await world.run("list");
  await world.run("list", { json: true });
  for (const purpose of ["training-unwrap", "owner-signing", "ckks", "split", "data-keys"]) {
    await world.run("rotate", {}, purpose);
  }
  await world.run("rotate", { zone: "owner" }, "identity");
  await world.run("grant", { topic: "examples", name: "audit", publicKey: pem });
  await world.run("revoke", { name: "audit", topic: "examples" });
  await world.run("export");
  await world.run("export", { json: true });
  await expect(world.run("export", { secret: "split", terminal: true })).rejects.toThrow(
    /no PKCS#8/,
  );
  await expect(world.run("create")).rejects.toThrow();
  const all = world.output.join("\n");
  expect(all.length).toBeGreaterThan(5_000);
  const secrets = (await readKeyFiles(world.root)).map((file) => {
    const { material } = parseKeyFile(file.json, file.purpose, file.purpose);
    // Of a long one, as the CKKS secret, its end.
    return material.subarray(-32);
  });
  expect(secrets.length).toBeGreaterThan(20);
  for (const secret of secrets) {
    for (const form of spellings(secret)) expect(all.includes(form)).toBe(false);
  }
}, 60_000);
