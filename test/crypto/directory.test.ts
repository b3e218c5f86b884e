/** The key directory: only what the pinned identities vouch for, in whatever order and however often it comes. */
import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { encodeCbor } from "../../pipeline/crypto/cbor.ts";
import { verify1 } from "../../pipeline/crypto/cose-sign1.ts";
import { createKeyDirectory } from "../../pipeline/crypto/directory.ts";
import { openEnvelope, sealEnvelope } from "../../pipeline/crypto/envelope.ts";
import { blobEntries, createFreshKey, publicEntries } from "../../pipeline/crypto/key-ceremony.ts";
import { type KeyEntry, keysContext, signEntry } from "../../pipeline/crypto/key-entries.ts";
import { keyIdOf, type SigningKey } from "../../pipeline/crypto/key-handles.ts";
import {
  type DataKeyPayload,
  decodePayload,
  type KeyPayload,
} from "../../pipeline/crypto/key-payload.ts";
import type { SigningPurpose } from "../../pipeline/crypto/key-purposes.ts";
import {
  createWorld,
  dataKeyFor,
  freshSigner,
  hexOf,
  PIPELINE,
  survivors,
  utf8,
} from "./fixtures.ts";

const world = createWorld();

function sign(payload: KeyPayload, signer: SigningKey, pipeline = PIPELINE): KeyEntry {
  return signEntry({ pipeline, payload, signer });
}

const fresh = () =>
  createKeyDirectory({
    pipeline: PIPELINE,
    zones: world.zones,
    unwrapKeys: () => [world.unwrap("training-unwrap")],
  });

describe("signers and recipients", () => {
  test("the ceremony's entries are accepted and found", () => {
    const directory = fresh();
    for (const { key, value } of world.entries)
      expect(directory.apply(key, value)).toBe("accepted");
    expect(directory.version).toBe(world.entries.length);
    const owner = world.signing("owner-signing");
    expect(directory.findSigner(owner.kid, ["owner-signing"])).toEqual({
      publicKey: owner.publicKey,
      purpose: "owner-signing",
    });
    expect(directory.findSigner(owner.kid, ["model-signing"])).toBeNull();
    expect(directory.findSigner(new Uint8Array(16), ["owner-signing"])).toBeNull();
    const identity = keyIdOf(world.zones.owner[0]);
    expect(directory.findSigner(identity, ["owner-identity"])?.publicKey).toEqual(
      world.zones.owner[0],
    );
    for (const purpose of ["training-unwrap", "consumer-unwrap", "owner-dead-letter"] as const) {
      expect(directory.recipient(purpose)).toEqual(world.recipient(purpose));
    }
  });

  test("keeps no view of what it was given", () => {
    const directory = fresh();
    for (const { key, value } of world.entries) {
      const buffer = new Uint8Array(value);
      directory.apply(key, buffer);
      buffer.fill(0);
    }
    expect(directory.recipient("model-unwrap")).toEqual(world.recipient("model-unwrap"));
    const signer = world.signing("model-signing");
    expect(directory.findSigner(signer.kid, ["model-signing"])?.publicKey).toEqual(
      signer.publicKey,
    );
  });

  test("refuses every flipped byte of every kind of entry", async () => {
    const { entry } = await dataKeyFor(world);
    const blob = blobEntries({
      pipeline: PIPELINE,
      purpose: "ckks-public",
      bytes: utf8("key"),
      parameters: "p",
      identity: world.signers.consumer,
    });
    for (const { key, value } of [world.entries[0]!, world.entries.at(-1)!, entry, ...blob]) {
      // Each mutation against a directory that knows the signers, which a refused entry leaves as it is.
      const directory = world.directory(["training-unwrap"]);
      const before = directory.version;
      const apply = (k: Uint8Array, v: Uint8Array) => directory.apply(k, v) === "accepted";
      expect(survivors(value, (bytes) => apply(key, bytes))).toEqual([]);
      expect(survivors(key, (bytes) => apply(bytes, value))).toEqual([]);
      expect(directory.version).toBe(before);
    }
  });

  test("refuses entries of other pipelines, tombstones and empty records", () => {
    const directory = fresh();
    const other = publicEntries({ pipeline: "other", files: world.files });
    for (const { key, value } of other) expect(directory.apply(key, value)).toBe("refused");
    const [entry] = world.entries;
    directory.apply(entry!.key, entry!.value);
    expect(directory.apply(entry!.key, null)).toBe("refused");
    expect(directory.apply(null, entry!.value)).toBe("refused");
    expect(directory.apply(new Uint8Array(0), new Uint8Array(0))).toBe("refused");
    expect(directory.version).toBe(1);
  });

  test("refuses an entry signed by another zone, by a stage key or by an unpinned identity", () => {
    const newSigner = freshSigner("owner-signing");
    const stranger = freshSigner("owner-identity");
    const wrong = [
      world.signers.training,
      world.signers.prediction,
      world.signers.consumer,
      world.signing("owner-signing"),
      stranger,
    ];
    for (const signer of wrong) {
      const directory = world.directory();
      const { publicKey } = newSigner;
      const certificate = {
        type: "signer",
        generation: 9,
        purpose: "owner-signing",
        publicKey,
      } as const;
      const { key, value } = sign(certificate, signer);
      expect(directory.apply(key, value)).toBe("refused");
      expect(directory.findSigner(newSigner.kid, ["owner-signing"])).toBeNull();
      const recipient = {
        type: "recipient",
        generation: 9,
        purpose: "owner-dead-letter",
        algorithm: "x25519",
        publicKey: world.recipient("model-unwrap").publicKey,
      } as const;
      const swapped = sign(recipient, signer);
      expect(directory.apply(swapped.key, swapped.value)).toBe("refused");
      expect(directory.recipient("owner-dead-letter")).toEqual(
        world.recipient("owner-dead-letter"),
      );
    }
  });

  test("a zone cannot certify a purpose of another zone, nor an identity", () => {
    const directory = fresh();
    const key = freshSigner("x");
    for (const purpose of ["train-signing", "model-signing", "result-signing"] as const) {
      const entry = sign(
        { type: "signer", generation: 1, purpose, publicKey: key.publicKey },
        world.signers.owner,
      );
      expect(directory.apply(entry.key, entry.value)).toBe("refused");
    }
    const payload = encodeCbor({
      v: 1,
      type: "signer",
      generation: 1,
      zone: "owner",
      purpose: "owner-identity",
      publicKey: key.publicKey,
    });
    expect(decodePayload(payload)).toBeNull();
    // The zone that the entry claims counts as little as its key's name.
    const claimed = encodeCbor({
      v: 1,
      type: "signer",
      generation: 1,
      zone: "owner",
      purpose: "model-signing",
      publicKey: key.publicKey,
    });
    expect(decodePayload(claimed)).toBeNull();
  });

  test("a key certified for one purpose keeps it, whatever else it is certified for", () => {
    const directory = world.directory();
    const { publicKey } = world.signing("train-signing");
    const entry = sign(
      { type: "signer", generation: 5, purpose: "model-signing", publicKey },
      world.signers.training,
    );
    expect(directory.apply(entry.key, entry.value)).toBe("accepted");
    const purposeAs = (purpose: SigningPurpose) =>
      directory.findSigner(keyIdOf(publicKey), [purpose])?.purpose;
    expect(purposeAs("train-signing")).toBe("train-signing");
    expect(purposeAs("model-signing")).toBe("model-signing");
    expect(purposeAs("owner-signing")).toBeUndefined();
  });

  test("the newest recipient wins, also after compaction, and an old one cannot come back", () => {
    const training = (generation: number) => {
      const identity = world.files.find((file) => file.purpose === "training-identity")!;
      const unwrap = createFreshKey("training-unwrap", generation);
      return publicEntries({ pipeline: PIPELINE, files: [identity, unwrap] });
    };
    const [second] = training(2);
    const [third] = training(3);
    const first = world.entries.find(({ key }) =>
      hexOf(key).startsWith(hexOf(utf8("recipient/training-unwrap/"))),
    )!;
    const orders = [
      [first, second!, third!],
      [third!, second!, first],
      [first, third!, first, second!],
      [third!],
      [second!, third!],
    ];
    const found = orders.map((entries) => {
      const directory = fresh();
      for (const { key, value } of entries) directory.apply(key, value);
      return hexOf(directory.recipient("training-unwrap")!.publicKey);
    });
    expect(new Set(found).size).toBe(1);
    expect(found[0]).not.toBe(hexOf(world.recipient("training-unwrap").publicKey));
    const directory = fresh();
    directory.apply(third!.key, third!.value);
    expect(directory.apply(first.key, first.value)).toBe("refused");
    // A generation belongs to the key that claimed it first.
    const [other] = training(3);
    expect(directory.apply(other!.key, other!.value)).toBe("refused");
    expect(hexOf(directory.recipient("training-unwrap")!.publicKey)).toBe(found[0]);
  });
});

describe("data keys", async () => {
  const context = {
    pipeline: PIPELINE,
    topic: "examples",
    lane: 3,
    recordId: utf8("id"),
    schemaVersion: 1,
  } as const;
  const { dataKey, entry } = await dataKeyFor(world, { lane: 3 });
  const envelope = sealEnvelope({ dataKey, plaintext: utf8("secret"), context, sequence: 1 });

  test("open what was sealed, for the recipient and topic they are for", () => {
    const directory = world.directory(["contribution-unwrap", "training-unwrap"]);
    expect(directory.findDataKey(dataKey.kid, "examples")).toBeNull();
    expect(directory.apply(entry.key, entry.value)).toBe("accepted");
    const findKey = (kid: Uint8Array) => directory.findDataKey(kid, "examples");
    const opened = openEnvelope({ envelope, context, findKey });
    expect(opened).toMatchObject({ status: "ok", plaintext: utf8("secret") });
    expect(directory.findDataKey(dataKey.kid, "examples")).toBe(findKey(dataKey.kid));
    expect(directory.findDataKey(dataKey.kid, "models")).toBeNull();
    const moved = openEnvelope({ envelope, context: { ...context, lane: 2 }, findKey });
    expect(moved.status).toBe("refused");
  });

  test("stay shut for everybody else", () => {
    const directory = world.directory(["model-unwrap", "contribution-unwrap", "consumer-unwrap"]);
    expect(directory.apply(entry.key, entry.value)).toBe("accepted");
    expect(directory.findDataKey(dataKey.kid, "examples")).toBeNull();
  });

  test("wait for their signer, and are used when it comes", () => {
    const directory = fresh();
    expect(directory.apply(entry.key, entry.value)).toBe("pending");
    expect(directory.findDataKey(dataKey.kid, "examples")).toBeNull();
    expect(directory.version).toBe(0);
    for (const { key, value } of world.entries) directory.apply(key, value);
    expect(directory.findDataKey(dataKey.kid, "examples")).not.toBeNull();
    expect(directory.version).toBe(world.entries.length + 1);
  });

  test("waiting entries are bounded and the oldest gives way", () => {
    const directory = fresh();
    directory.apply(entry.key, entry.value);
    const stranger = freshSigner("owner-signing");
    const junk = () =>
      sign({ ...payloadOf(entry), kid: new Uint8Array(randomBytes(16)) }, stranger);
    const { value } = junk();
    for (let i = 0; i < 16_384; i++) {
      const key = Buffer.from(`data-key/${hexOf(randomBytes(16))}`);
      expect(directory.apply(key, value)).toBe("pending");
    }
    for (const { key, value } of world.entries) directory.apply(key, value);
    expect(directory.findDataKey(dataKey.kid, "examples")).toBeNull();
    expect(directory.apply(entry.key, entry.value)).toBe("accepted");
    expect(directory.findDataKey(dataKey.kid, "examples")).not.toBeNull();
  });

  test("are refused from another stage's key or another zone's identity", () => {
    for (const signer of [
      world.signing("train-signing"),
      world.signing("model-signing"),
      world.signing("result-signing"),
      world.signers.training,
    ]) {
      const directory = world.directory(["training-unwrap"]);
      const forged = sign(payloadOf(entry), signer);
      expect(directory.apply(forged.key, forged.value)).toBe("refused");
      expect(directory.findDataKey(dataKey.kid, "examples")).toBeNull();
    }
  });

  test("cannot be moved to another lane, topic or kid by their own signer", () => {
    const directory = world.directory(["training-unwrap"]);
    directory.apply(entry.key, entry.value);
    const signer = world.signing("owner-signing");
    const moved = sign({ ...payloadOf(entry), lane: 4, generation: 2 }, signer);
    expect(directory.apply(moved.key, moved.value)).toBe("refused");
    // Under a name of its own the entry is well-formed, but its wrap is bound to the first one.
    const kid = new Uint8Array(randomBytes(16));
    const renamed = sign({ ...payloadOf(entry), kid }, signer);
    expect(directory.apply(renamed.key, renamed.value)).toBe("accepted");
    expect(directory.findDataKey(kid, "examples")).toBeNull();
    expect(directory.findDataKey(dataKey.kid, "examples")).not.toBeNull();
  });

  test("are re-wrapped by a newer generation only", () => {
    const directory = world.directory(["training-unwrap"]);
    const signer = world.signing("owner-signing");
    const second = sign({ ...payloadOf(entry), generation: 2 }, signer);
    expect(directory.apply(second.key, second.value)).toBe("accepted");
    expect(directory.apply(entry.key, entry.value)).toBe("refused");
    expect(directory.findDataKey(dataKey.kid, "examples")).not.toBeNull();
  });
});

/** The payload inside an entry of `dataKeyFor`. */
function payloadOf(entry: KeyEntry): DataKeyPayload {
  const verified = verify1({
    message: entry.value,
    context: keysContext(PIPELINE),
    findSigner: () => world.signing("owner-signing"),
  });
  const payload = verified.status === "ok" ? decodePayload(verified.payload) : null;
  if (payload?.type !== "data-key") throw new Error("not a data-key entry");
  return payload;
}
