/** `keys` against a thief: what a stolen identity said is not made to last, and what is revoked is gone whatever the topic says. */
import { generateKeyPairSync } from "node:crypto";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import { signerOf } from "../../pipeline/crypto/key-ceremony-halves.ts";
import { signEntry } from "../../pipeline/crypto/key-entries.ts";
import type { KeyPayload } from "../../pipeline/crypto/key-payload.ts";
import type { Purpose } from "../../pipeline/crypto/key-purposes.ts";
import { readKeyFiles } from "../../pipeline/crypto/key-store.ts";
import { createRecipient } from "../../pipeline/crypto/wrap/key-wrap.ts";
import { freshSigner, hexOf } from "../crypto/fixtures.ts";
import { type KeysTopic, type KeysWorld, keysTopic, keysWorld } from "./keys-world.ts";

const kafka = vi.hoisted((): { topic: KeysTopic | null } => ({ topic: null }));
vi.mock("../../pipeline/stream/open-client.ts", () => ({
  openClient: () => Promise.resolve(kafka.topic?.client),
}));

const worlds: KeysWorld[] = [];
afterEach(() => {
  for (const world of worlds.splice(0)) world.remove();
});

async function created(zones: readonly string[]): Promise<KeysWorld> {
  kafka.topic = keysTopic();
  const world = keysWorld(kafka.topic);
  worlds.push(world);
  await world.run("create", { zone: zones });
  return world;
}

/** What somebody says who has a copy of an identity. */
async function thief(world: KeysWorld, purpose: Purpose) {
  const file = (await readKeyFiles(world.root)).find((one) => one.purpose === purpose)!;
  const signer = signerOf(file);
  const pipeline = world.spec().name;
  return {
    kid: hexOf(signer.kid),
    signer,
    say: (payload: KeyPayload) => world.append([signEntry({ pipeline, payload, signer })]),
  };
}

function reader(world: KeysWorld, name: string) {
  const { publicKey } = generateKeyPairSync("x25519");
  const pem = join(world.folder, `${name}.pem`);
  writeFileSync(pem, publicKey.export({ format: "pem", type: "spki" }));
  const raw = new Uint8Array(publicKey.export({ format: "der", type: "spki" }).subarray(-32));
  return { pem, raw, kid: createRecipient("reader", raw).kid };
}

describe("keys rotate identity", () => {
  test("says nothing again of what only the old identity vouches for, and tells each", async () => {
    const world = await created(["training"]);
    const stolen = await thief(world, "training-identity");
    const { raw, kid } = reader(world, "thief");
    const signer = freshSigner("model-signing");
    const key = { generation: 2, publicKey: raw } as const;
    stolen.say({ type: "recipient", purpose: "training-unwrap", algorithm: "x25519", ...key });
    const { publicKey } = signer;
    stolen.say({ type: "signer", generation: 2, purpose: "model-signing", publicKey });
    expect(hexOf(world.directory().recipient("training-unwrap")!.kid)).toBe(hexOf(kid));
    const own = await thief(world, "model-signing");
    const { printed, told } = await world.run("rotate", { zone: "training" }, "identity");
    const left = printed.filter((line) => line.startsWith("NOT KEPT"));
    expect(left).toHaveLength(2);
    expect(left.join("\n")).toContain(`training-unwrap, generation 2, ${hexOf(kid)}`);
    expect(left.join("\n")).toContain(`model-signing, generation 2, ${hexOf(signer.kid)}`);
    expect(told.join("\n")).toMatch(/only until the old identity is put away/);
    await world.run("revoke", {}, stolen.kid);
    const directory = world.directory();
    expect(directory.recipient("training-unwrap")).toBeNull();
    expect(directory.findSigner(signer.kid, ["model-signing"])).toBeNull();
    expect(directory.findSigner(own.signer.kid, ["model-signing"])).not.toBeNull();
    expect(directory.recipient("contribution-unwrap")).not.toBeNull();
    await world.run("rotate", {}, "training-unwrap");
    const [newest] = await world.unwrap("training-unwrap");
    expect(world.directory().recipient("training-unwrap")?.kid).toEqual(newest?.kid);
  });

  test("keeps grants, and keys elsewhere, when they are named", async () => {
    const world = await created(["owner"]);
    const [audit, lab] = [reader(world, "audit"), reader(world, "lab")];
    for (const [name, { pem }] of Object.entries({ audit, lab })) {
      await world.run("grant", { topic: "records", name, publicKey: pem });
    }
    const signing = await thief(world, "owner-signing");
    const old = (await thief(world, "owner-identity")).kid;
    rmSync(join(world.root, "encrypt/owner-signing.key"));
    const keep = { zone: "owner", keep: ["0123456789abcdef"] };
    await expect(world.run("rotate", keep, "identity")).rejects.toMatchObject({ code: "usage" });
    const named = { zone: "owner", keep: [hexOf(audit.kid).slice(0, 12), signing.kid] };
    const { printed } = await world.run("rotate", named, "identity");
    const left = printed.filter((line) => line.startsWith("NOT KEPT"));
    expect(left.map((line) => line.slice(0, 32))).toEqual(["NOT KEPT  records: lab, generati"]);
    await world.run("revoke", {}, old);
    expect(
      world
        .directory()
        .grants("records")
        .map(({ name }) => name),
    ).toEqual(["audit"]);
    expect(world.directory().findSigner(signing.signer.kid, ["owner-signing"])).not.toBeNull();
    const { printed: all } = await world.run("rotate", { zone: "owner", keep: "all" }, "identity");
    expect(all.join("\n")).not.toContain("NOT KEPT");
  });

  test("keeps data keys that an identity wrapped anew and a key here opens, and no others", async () => {
    const world = await created(["owner", "training"]);
    const kid = await world.announce("examples", 0);
    await world.run("rotate", {}, "training-unwrap");
    const stolen = await thief(world, "owner-identity");
    const made = world.directory().list().dataKeys[0]!.payload;
    stolen.say({
      ...made,
      kid: new Uint8Array(16),
      recipients: made.recipients.map((wrap) => ({ ...wrap, ciphertext: new Uint8Array(40) })),
    });
    const { printed } = await world.run("rotate", { zone: "owner" }, "identity");
    expect(printed.join("\n")).toMatch(/NOT KEPT {2}1 data keys of examples/);
    await world.run("revoke", {}, stolen.kid);
    const directory = world.directory(await world.unwrap("training-unwrap"));
    expect(directory.findDataKey(kid, "examples")).not.toBeNull();
    const trusted = directory.list().dataKeys.filter((one) => one.trusted);
    expect(trusted.map(({ payload }) => hexOf(payload.kid))).toEqual([hexOf(kid)]);
  });
});

test("generations that a thief used up do not count once he is not believed", async () => {
  const world = await created(["training"]);
  const identity = await thief(world, "training-identity");
  const evil = freshSigner("training-identity");
  const { publicKey } = evil;
  identity.say({ type: "identity", generation: 2, zone: "training", publicKey });
  const pipeline = world.spec().name;
  const key = { algorithm: "x25519", publicKey: reader(world, "thief").raw } as const;
  const purpose = "training-unwrap" as const;
  const payload = { type: "recipient", purpose, generation: 999_999_999, ...key } as const;
  world.append([signEntry({ pipeline, payload, signer: evil })]);
  expect(world.directory().recipient(purpose)?.publicKey).toEqual(key.publicKey);
  await expect(world.run("rotate", {}, purpose)).rejects.toThrow();
  // In the topic alone, as the file of another zone has it.
  identity.say({ type: "revocation", generation: 1, zone: "training", kid: evil.kid });
  await world.run("rotate", {}, purpose);
  const [newest] = await world.unwrap(purpose);
  expect(world.directory().recipient(purpose)?.kid).toEqual(newest?.kid);
  const files = await readKeyFiles(world.root);
  const own = files.filter((file) => file.purpose === purpose);
  expect(own.map(({ generation }) => generation).toSorted()).toEqual([1, 2]);
});

describe("keys revoke", () => {
  test("writes the file also when the topic cannot be written, and finishes with the same command", async () => {
    const world = await created(["owner"]);
    const { kid } = await thief(world, "owner-signing");
    world.topic.failNext = true;
    const { code, told } = await world.run("revoke", {}, kid);
    expect([code, world.spec().revoked]).toEqual([1, [kid]]);
    expect(told.join("\n")).toMatch(/still to be published/);
    const inTopic = () => world.topic.log.some((one) => String(one.key) === `revocation/${kid}`);
    expect(inTopic()).toBe(false);
    const again = await world.run("revoke", {}, kid);
    expect([again.code, world.spec().revoked, inTopic()]).toEqual([0, [kid], true]);
    expect(again.told.join("\n")).toMatch(
      /owner-signing signed is refused.*receipts.*state of lanes/,
    );
  });

  test("takes a whole key id when the topic cannot even be read, or does not know it", async () => {
    const world = await created(["owner"]);
    const [stranger, other] = ["ab".repeat(16), "cd".repeat(16)];
    expect((await world.run("revoke", {}, stranger)).code).toBe(0);
    expect(world.topic.log.some((one) => String(one.key).startsWith("revocation/"))).toBe(false);
    const { describeTopics } = world.topic.client;
    const down = () => Promise.reject(new Error("down"));
    Object.assign(world.topic.client, { describeTopics: down });
    await expect(world.run("revoke", { zone: "owner" })).rejects.toThrow("down");
    expect((await world.run("revoke", {}, other)).code).toBe(1);
    Object.assign(world.topic.client, { describeTopics });
    expect([...world.spec().revoked].sort()).toEqual([stranger, other]);
  });

  test("revokes a zone that a thief filled with more keys than a file can name", async () => {
    const world = await created(["owner", "training"]);
    const stolen = await thief(world, "training-identity");
    const generation = 2;
    const introduced = freshSigner("training-identity");
    const { publicKey: next } = introduced;
    stolen.say({ type: "identity", generation, zone: "training", publicKey: next });
    for (let index = 0; index < 1030; index += 1) {
      const { publicKey } = freshSigner("model-signing");
      stolen.say({ type: "signer", generation, purpose: "model-signing", publicKey });
    }
    const { code, told } = await world.run("revoke", { zone: "training" });
    expect(code).toBe(0);
    expect(told.join("\n")).toMatch(/room for 1024 of 10\d\d keys/);
    const { revoked } = world.spec();
    expect(revoked).toHaveLength(1024);
    expect(revoked).toEqual(expect.arrayContaining([stolen.kid, hexOf(introduced.kid)]));
    const { signers, recipients } = world.directory().list();
    const left = [...signers, ...recipients].filter((one) => one.zone === "training");
    expect(left.filter(({ trusted }) => trusted)).toEqual([]);
    expect(readFileSync(world.file, "utf8")).toContain(stolen.kid);
  }, 60_000);
});
