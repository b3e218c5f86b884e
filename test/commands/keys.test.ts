/** `keys create` and `keys list`: zone by zone, cut off and gone on, and what is said of keys that are gone. */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import { type KeysTopic, type KeysWorld, keysTopic, keysWorld } from "./keys-world.ts";

const kafka = vi.hoisted((): { topic: KeysTopic | null } => ({ topic: null }));
vi.mock("../../pipeline/stream/open-client.ts", () => ({
  openClient: () => Promise.resolve(kafka.topic?.client),
}));

const worlds: KeysWorld[] = [];
afterEach(() => {
  for (const world of worlds.splice(0)) world.remove();
});

function newWorld(environment?: Record<string, string>): KeysWorld {
  kafka.topic = keysTopic();
  const world = keysWorld(kafka.topic, environment);
  worlds.push(world);
  return world;
}

const lost = async (world: KeysWorld): Promise<string[]> => {
  const { printed } = await world.run("list", { json: true });
  return (JSON.parse(printed.join("\n")) as { lost: string[] }).lost;
};

describe("keys create", () => {
  test("zone by zone makes, pins and publishes what the zone has, and says who is missing", async () => {
    const world = newWorld();
    const first = await world.run("create", { zone: "owner" });
    expect(first.told.join("\n")).toMatch(/still missing: training/);
    expect(readdirSync(join(world.root, "identities"))).toEqual(["owner-identity.key"]);
    expect(readdirSync(join(world.root, "train"))).toEqual([]);
    expect(world.spec().zones).toMatchObject({ training: [], prediction: [], consumer: [] });
    expect(world.directory().recipient("owner-recovery")).not.toBeNull();
    expect(world.directory().recipient("training-unwrap")).toBeNull();
    await world.run("create", { zone: ["training", "prediction"] });
    const last = await world.run("create", { zone: "consumer" });
    expect(last.told.join("\n")).not.toMatch(/still missing/);
    const directory = world.directory();
    for (const topic of ["examples", "contributions", "models"] as const) {
      expect(directory.recipientsFor(topic)).not.toBeNull();
    }
    const { id } = directory.blob("ckks-public")!;
    expect(directory.consumerKeys(id)).not.toBeNull();
    expect(await lost(world)).toEqual([]);
    await expect(world.run("create")).rejects.toThrow(/nothing was overwritten/);
  });

  test("makes no CKKS keys for a file that predicts nothing, and misses none", async () => {
    const world = newWorld();
    const text = readFileSync(world.file, "utf8");
    writeFileSync(world.file, text.replace("packing: auto", "encrypted: false"));
    const { told, printed } = await world.run("create");
    expect([...told, ...printed].join("\n")).not.toMatch(/CKKS|still missing/);
    expect(existsSync(join(world.root, "consumer/ckks-secret.key"))).toBe(false);
    expect(existsSync(join(world.root, "consumer/consumer-unwrap.key"))).toBe(true);
    expect(world.directory().blob("ckks-public")).toBeNull();
    for (const topic of ["examples", "contributions", "models"] as const) {
      expect(world.directory().recipientsFor(topic)).not.toBeNull();
    }
    await expect(world.run("create")).rejects.toThrow(/nothing was overwritten/);
    await expect(world.run("rotate", {}, "ckks")).rejects.toMatchObject({
      code: "usage",
      message: expect.stringMatching(/There are no CKKS keys: predict.encrypted is false/),
    });
  });

  test("goes on where it was cut off, with the same keys", async () => {
    const world = newWorld();
    world.topic.failNext = true;
    await expect(world.run("create", { zone: ["owner", "consumer"] })).rejects.toThrow("killed");
    expect(world.topic.log).toEqual([]);
    const before = readFileSync(join(world.root, "consumer/ckks-secret.key"), "utf8");
    rmSync(join(world.root, "recovery/owner-recovery.key"));
    await world.run("create", { zone: ["owner", "consumer"] });
    expect(readFileSync(join(world.root, "consumer/ckks-secret.key"), "utf8")).toBe(before);
    expect(world.directory().blob("ckks-evaluation")?.generation).toBe(1);
    expect(world.directory().recipient("owner-recovery")).not.toBeNull();
    expect(world.topic.commits()).toBe(1);
    expect(await lost(world)).toEqual([]);
  });

  test("makes no secret a second time, which nobody could tell from the lost one", async () => {
    const world = newWorld();
    await world.run("create", { zone: ["owner", "training"] });
    const gone = ["aggregate/noise.key", "encrypt/split.key", "recovery/owner-recovery.key"];
    for (const path of gone) rmSync(join(world.root, path));
    await expect(world.run("create", { zone: ["owner", "training"] })).rejects.toThrow(
      /nothing was overwritten/,
    );
    for (const path of gone) expect(existsSync(join(world.root, path))).toBe(false);
  });

  test("makes nothing for a zone whose identity is elsewhere", async () => {
    const world = newWorld();
    await world.run("create", { zone: "owner" });
    rmSync(join(world.root, "identities"), { recursive: true });
    await expect(world.run("create", { zone: "owner" })).rejects.toMatchObject({
      code: "key-missing",
    });
    expect(existsSync(join(world.root, "identities"))).toBe(false);
  });

  test("seals key files with a passphrase, and opens them again", async () => {
    const world = newWorld({ SEALSTREAM_KEY_PASSPHRASE: "a staple of horses" });
    await world.run("create", { zone: "prediction", seal: "passphrase" });
    const text = readFileSync(join(world.root, "predict/model-unwrap.key"), "utf8");
    expect(JSON.parse(text)).not.toHaveProperty("material");
    expect(await lost(world)).toEqual([]);
  });

  test("seals with no passphrase that can be guessed, and writes nothing then", async () => {
    const world = newWorld({ SEALSTREAM_KEY_PASSPHRASE: "short" });
    await expect(
      world.run("create", { zone: "prediction", seal: "passphrase" }),
    ).rejects.toMatchObject({ code: "key-invalid", message: expect.stringContaining("12") });
    expect(existsSync(join(world.root, "predict"))).toBe(false);
  });

  test("says which folder cannot be made", async () => {
    const world = newWorld();
    const keys = join(world.file, "keys");
    await expect(world.run("create", { zone: "prediction", keys })).rejects.toMatchObject({
      code: "key-invalid",
      message: expect.stringMatching(/key folder .*keys.* cannot be (made|read) \(ENOTDIR\)/),
    });
  });

  test("refuses a zone that there is not", async () => {
    await expect(newWorld().run("create", { zone: "gouvernement" })).rejects.toMatchObject({
      code: "usage",
    });
  });
});

describe("keys list", () => {
  test("says what is lost with each key that is gone", async () => {
    const world = newWorld();
    await world.run("create");
    for (const lane of [0, 1, 3]) await world.announce("examples", lane);
    await world.announce("models", 0);
    expect(await lost(world)).toEqual([]);
    const { printed } = await world.run("list");
    expect(printed.join("\n")).toContain(
      "examples lane 3: 1 data keys; opened by training-unwrap 1, owner-recovery 1; here 1",
    );
    const gone: readonly (readonly [string, RegExp])[] = [
      ["train/training-unwrap", /3 data keys of examples \(lanes 0-1, 3\).*owner-recovery is here/],
      ["consumer/ckks-secret", /predictions under it are lost/],
      ["consumer/consumer-unwrap", /predictions under it are lost/],
      ["dead-letters/owner-dead-letter", /dead letters sealed to it/],
      ["encrypt/split", /change between train, validate and test/],
      ["aggregate/noise", /noise must repeat on a retry/],
      ["predict/result-signing", /predict cannot start and sign/],
      ["identities/training-identity", /training can publish, rotate and revoke nothing/],
    ];
    for (const [path] of gone) rmSync(join(world.root, `${path}.key`));
    const said = await lost(world);
    for (const [path, pattern] of gone) {
      const about = said.filter((line) => line.startsWith(path.split("/")[1]!));
      expect(about.join("\n"), path).toMatch(pattern);
    }
    rmSync(join(world.root, "recovery/owner-recovery.key"));
    expect((await lost(world)).join("\n")).toMatch(
      /3 data keys of examples \(lanes 0-1, 3\) open for no private key here/,
    );
  });

  test("misses nothing of zones that are elsewhere", async () => {
    const world = newWorld();
    await world.run("create");
    for (const holder of ["identities", "recovery", "dead-letters", "train", "aggregate"]) {
      rmSync(join(world.root, holder), { recursive: true });
    }
    expect(await lost(world)).toEqual([]);
  });
});
