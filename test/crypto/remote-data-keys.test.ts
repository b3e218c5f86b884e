/** Data keys that a service unwraps, and those for keys that a stage loads later. */
import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { createDataKey } from "../../pipeline/crypto/data-key.ts";
import { createKeyDirectory } from "../../pipeline/crypto/directory.ts";
import { type KeyEntry, signEntry } from "../../pipeline/crypto/key-entries.ts";
import type { Kms } from "../../pipeline/crypto/kms/kms.ts";
import {
  createRecipient,
  createRemoteUnwrapKey,
  createUnwrapKey,
} from "../../pipeline/crypto/wrap/key-wrap.ts";
import type { AnyUnwrapKey } from "../../pipeline/crypto/wrap/types.ts";
import { createWorld, PIPELINE } from "./fixtures.ts";

const world = createWorld();
const URI = "vault:transit/keys/training";
const recipient = createRecipient("training-unwrap", Buffer.from(URI), "kms");

/** A service that keeps what it wrapped, and answers when it is let. */
function slowService(answer: (key: Uint8Array) => Promise<Uint8Array | null>): Kms {
  let kept = new Uint8Array(0);
  return {
    schemes: ["vault"],
    wrap: async (_uri, key) => {
      kept = Uint8Array.from(key);
      return new Uint8Array([1, 2, 3]);
    },
    unwrap: () => answer(Uint8Array.from(kept)),
    publicKey: async () => null,
  };
}

const published = (generation: number, to: typeof recipient): KeyEntry =>
  signEntry({
    pipeline: PIPELINE,
    payload: {
      type: "recipient",
      purpose: "training-unwrap",
      generation,
      algorithm: to.algorithm,
      publicKey: to.publicKey,
    },
    signer: world.signers.training,
  });

const announce = (recipients: (typeof recipient)[], kms?: Kms) =>
  createDataKey({
    pipeline: PIPELINE,
    topic: "examples",
    lane: 0,
    recipients,
    signer: world.signing("owner-signing"),
    kms,
  });

test("a data key in a service is there once it has answered, and until then is told from one that is not there", async () => {
  const gate = Promise.withResolvers<void>();
  const kms = slowService((key) => gate.promise.then(() => key));
  const told: string[] = [];
  const directory = createKeyDirectory({
    pipeline: PIPELINE,
    zones: world.zones,
    unwrapKeys: () => [createRemoteUnwrapKey("training-unwrap", URI, kms)],
    onUnwrapped: () => told.push("unwrapped"),
    onUnwrapFailed: () => told.push("failed"),
  });
  const { dataKey, entry } = await announce([recipient], kms);
  for (const { key, value } of [...world.entries, entry]) directory.apply(key, value);
  expect(directory.isBusy()).toBe(false);
  expect(directory.findDataKey(dataKey.kid, "examples")).toBeNull();
  expect(directory.findDataKey(dataKey.kid, "examples")).toBeNull();
  expect(directory.isBusy()).toBe(true);
  const before = directory.version;
  gate.resolve();
  await expect.poll(() => told).toEqual(["unwrapped"]);
  expect(directory.isBusy()).toBe(false);
  expect(directory.version).toBeGreaterThan(before);
  expect(directory.findDataKey(dataKey.kid, "examples")?.kid).toEqual(dataKey.kid);
});

test("a service that is away is told, and asked again when somebody looks again", async () => {
  let answers = 0;
  const kms = slowService(async (key) => {
    answers += 1;
    if (answers === 1) throw new Error("away");
    return key;
  });
  const told: string[] = [];
  const directory = createKeyDirectory({
    pipeline: PIPELINE,
    zones: world.zones,
    unwrapKeys: () => [createRemoteUnwrapKey("training-unwrap", URI, kms)],
    onUnwrapped: () => told.push("unwrapped"),
    onUnwrapFailed: () => told.push("failed"),
  });
  const { dataKey, entry } = await announce([recipient], kms);
  for (const { key, value } of [...world.entries, entry]) directory.apply(key, value);
  expect(directory.findDataKey(dataKey.kid, "examples")).toBeNull();
  await expect.poll(() => told).toContain("failed");
  expect(directory.findDataKey(dataKey.kid, "examples")).toBeNull();
  await expect.poll(() => directory.findDataKey(dataKey.kid, "examples")).not.toBeNull();
});

test("a data key for a key of ours that is not loaded yet opens once it is", async () => {
  const next = createUnwrapKey("training-unwrap", randomBytes(32));
  const to = createRecipient("training-unwrap", next.publicKey);
  let ours: AnyUnwrapKey[] = [world.unwrap("training-unwrap")];
  const directory = createKeyDirectory({
    pipeline: PIPELINE,
    zones: world.zones,
    unwrapKeys: () => ours,
  });
  const { dataKey, entry } = await announce([to]);
  const unknown = createUnwrapKey("training-unwrap", randomBytes(32)).publicKey;
  const stranger = await announce([createRecipient("training-unwrap", unknown)]);
  for (const { key, value } of [...world.entries, published(2, to), entry, stranger.entry]) {
    expect(directory.apply(key, value)).toBe("accepted");
  }
  expect(directory.findDataKey(dataKey.kid, "examples")).toBeNull();
  ours = [next, ...ours];
  directory.keysAdded();
  expect(directory.findDataKey(dataKey.kid, "examples")?.kid).toEqual(dataKey.kid);
  expect(directory.findDataKey(stranger.dataKey.kid, "examples")).toBeNull();
});
