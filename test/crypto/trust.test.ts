/** Who is believed when identities are replaced, keys are revoked, and old entries come again. */
import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { createDataKey, rewrapDataKey } from "../../pipeline/crypto/data-key.ts";
import { createKeyDirectory, type KeyDirectory } from "../../pipeline/crypto/directory.ts";
import { type KeyEntry, signEntry } from "../../pipeline/crypto/key-entries.ts";
import { createSigningKey, type SigningKey } from "../../pipeline/crypto/key-handles.ts";
import type { KeyPayload } from "../../pipeline/crypto/key-payload.ts";
import { createRecipient, createUnwrapKey } from "../../pipeline/crypto/wrap/key-wrap.ts";
import { createWorld, hexOf, PIPELINE } from "./fixtures.ts";

const world = createWorld();
const { signers } = world;

const entryOf = (payload: KeyPayload, signer: SigningKey): KeyEntry =>
  signEntry({ pipeline: PIPELINE, payload, signer });
const offer = (directory: KeyDirectory, ...entries: readonly KeyEntry[]) =>
  entries.map(({ key, value }) => directory.apply(key, value));
const identity = (zone: "owner" | "training") =>
  createSigningKey(`${zone}-identity`, randomBytes(32));
const introduce = (next: SigningKey, by: SigningKey, generation = 2) =>
  entryOf({ type: "identity", generation, zone: "owner", publicKey: next.publicKey }, by);
const certify = (key: SigningKey, by: SigningKey, generation = 2) =>
  entryOf({ type: "signer", generation, purpose: "owner-signing", publicKey: key.publicKey }, by);
const revoke = (kid: Uint8Array, zone: "owner" | "training", by: SigningKey) =>
  entryOf({ type: "revocation", generation: 1, zone, kid }, by);
const stageKey = () => createSigningKey("owner-signing", randomBytes(32));

describe("identities", () => {
  test("a trusted identity introduces the next, which certifies stage keys", () => {
    const directory = world.directory();
    const next = identity("owner");
    const stage = stageKey();
    expect(offer(directory, certify(stage, next))).toEqual(["refused"]);
    expect(offer(directory, introduce(next, signers.owner), certify(stage, next))).toEqual([
      "accepted",
      "accepted",
    ]);
    expect(directory.findSigner(stage.kid, ["owner-signing"])).not.toBeNull();
  });

  test("no other zone, stage key or stranger introduces one", () => {
    const next = identity("owner");
    for (const by of [signers.training, world.signing("owner-signing"), next]) {
      expect(offer(world.directory(), introduce(next, by))).toEqual(["refused"]);
    }
  });

  test("with a revoked identity fall those that it introduced and everything they certified", () => {
    const directory = world.directory();
    const [second, third] = [identity("owner"), identity("owner")];
    const stage = stageKey();
    offer(directory, introduce(second, signers.owner), introduce(third, second));
    offer(directory, certify(stage, third));
    expect(offer(directory, revoke(second.kid, "owner", second))).toEqual(["accepted"]);
    expect(directory.findSigner(stage.kid, ["owner-signing"])).toBeNull();
    expect(offer(directory, certify(stageKey(), third))).toEqual(["refused"]);
    // The pinned identity says it again, and it counts again.
    offer(directory, introduce(third, signers.owner, 3));
    expect(directory.findSigner(stage.kid, ["owner-signing"])).not.toBeNull();
  });

  test("identities that vouch for each other alone are not believed", () => {
    const directory = world.directory();
    const [a, b] = [identity("owner"), identity("owner")];
    offer(directory, introduce(a, signers.owner), introduce(b, a), introduce(a, b, 3));
    const owner = [b.publicKey];
    const other = createKeyDirectory({ pipeline: PIPELINE, zones: { ...world.zones, owner } });
    offer(other, introduce(a, b, 3), introduce(b, a));
    expect(other.findSigner(a.kid, ["owner-identity"])).not.toBeNull();
    const closed = createKeyDirectory({
      pipeline: PIPELINE,
      zones: world.zones,
      revoked: [hexOf(signers.owner.kid)],
    });
    offer(closed, introduce(a, signers.owner), introduce(b, a), introduce(a, b, 3));
    expect(closed.findSigner(a.kid, ["owner-identity"])).toBeNull();
  });

  test("a key that two identities certify outlives one of them, whichever entry comes last", () => {
    const next = identity("owner");
    const stage = stageKey();
    const said = [certify(stage, signers.owner), certify(stage, next)];
    for (const entries of [said, said.toReversed()]) {
      const directory = createKeyDirectory({
        pipeline: PIPELINE,
        zones: { ...world.zones, owner: [next.publicKey, ...world.zones.owner] },
      });
      offer(directory, ...entries, revoke(signers.owner.kid, "owner", signers.owner));
      expect(directory.findSigner(stage.kid, ["owner-signing"])).not.toBeNull();
    }
  });
});

describe("revocations", () => {
  test("are the zone's own to make, or the owner's, and nobody else's", () => {
    const kid = world.recipient("training-unwrap").kid;
    const makers: readonly (readonly [SigningKey, string])[] = [
      [signers.training, "accepted"],
      [signers.owner, "accepted"],
      [signers.prediction, "refused"],
      [signers.consumer, "refused"],
      [world.signing("train-signing"), "refused"],
    ];
    for (const [by, outcome] of makers) {
      const directory = world.directory();
      expect(offer(directory, revoke(kid, "training", by))).toEqual([outcome]);
      const found = directory.recipient("training-unwrap");
      expect(found === null).toBe(outcome === "accepted");
    }
  });

  test("claimed for another zone than the key's change nothing", () => {
    const directory = world.directory();
    const kid = world.signing("owner-signing").kid;
    expect(offer(directory, revoke(kid, "training", signers.training))).toEqual(["accepted"]);
    expect(directory.findSigner(kid, ["owner-signing"])).not.toBeNull();
  });

  test("cannot be undone by entries that come again, nor by a new certificate", () => {
    const directory = world.directory();
    const { kid } = world.signing("owner-signing");
    offer(directory, revoke(kid, "owner", signers.owner));
    offer(directory, ...world.entries, certify(world.signing("owner-signing"), signers.owner, 9));
    expect(directory.findSigner(kid, ["owner-signing"])).toBeNull();
  });

  test("of the pipeline file count though the topic has lost its own", () => {
    const { kid } = world.recipient("training-unwrap");
    const directory = createKeyDirectory({
      pipeline: PIPELINE,
      zones: world.zones,
      revoked: [hexOf(kid)],
    });
    offer(directory, ...world.entries);
    expect(directory.recipient("training-unwrap")).toBeNull();
    expect(directory.recipientsFor("examples")).toBeNull();
  });

  test("fall back to the recipient before, where there is one", () => {
    const directory = world.directory();
    const next = createUnwrapKey("training-unwrap", randomBytes(32));
    const payload = { type: "recipient", generation: 2, purpose: "training-unwrap" } as const;
    const { publicKey } = next;
    offer(directory, entryOf({ ...payload, algorithm: "x25519", publicKey }, signers.training));
    expect(directory.recipient("training-unwrap")?.kid).toEqual(next.kid);
    offer(directory, revoke(next.kid, "training", signers.owner));
    expect(directory.recipient("training-unwrap")).toEqual(world.recipient("training-unwrap"));
  });

  test("of a signer take away the data keys that it announced", async () => {
    const directory = world.directory(["training-unwrap"]);
    const { dataKey, entry } = await exampleKey();
    offer(directory, entry);
    expect(directory.findDataKey(dataKey.kid, "examples")).not.toBeNull();
    offer(directory, revoke(world.signing("owner-signing").kid, "owner", signers.owner));
    expect(directory.findDataKey(dataKey.kid, "examples")).toBeNull();
  });
});

const exampleKey = () =>
  createDataKey({
    pipeline: PIPELINE,
    topic: "examples",
    lane: 3,
    recipients: [world.recipient("training-unwrap"), world.recipient("owner-recovery")],
    signer: world.signing("owner-signing"),
  });

describe("grants", () => {
  const reader = createUnwrapKey("reader", randomBytes(32));
  const grant = (by: SigningKey, topic: "examples" | "records" = "examples", name = "audit") => {
    const payload = { type: "grant", generation: 1, topic, name, algorithm: "x25519" } as const;
    return entryOf({ ...payload, publicKey: reader.publicKey }, by);
  };

  test("add a third party to the recipients of new data keys, by the owner's word only", () => {
    const directory = world.directory();
    expect(offer(directory, grant(signers.training))).toEqual(["refused"]);
    expect(offer(directory, grant(world.signing("owner-signing")))).toEqual(["refused"]);
    expect(directory.grants("examples")).toEqual([]);
    expect(offer(directory, grant(signers.owner))).toEqual(["accepted"]);
    const recipient = createRecipient("reader", reader.publicKey);
    expect(directory.grants("examples")).toEqual([{ name: "audit", recipient }]);
    expect(directory.grants("records")).toEqual([]);
    expect(directory.recipientsFor("examples")).toEqual([
      world.recipient("training-unwrap"),
      world.recipient("owner-recovery"),
      recipient,
    ]);
    offer(directory, revoke(reader.kid, "owner", signers.owner));
    expect(directory.grants("examples")).toEqual([]);
  });

  test("name the audience of a topic; a name without a grant gives nobody", () => {
    const directory = world.directory();
    expect(directory.recipientsFor("records", ["audit"])).toBeNull();
    offer(directory, grant(signers.owner, "records"));
    expect(directory.recipientsFor("records", ["audit"])?.map(({ purpose }) => purpose)).toEqual([
      "owner-recovery",
      "reader",
    ]);
    expect(directory.recipientsFor("records", ["audit", "support"])).toBeNull();
    expect(directory.recipientsFor("records", [])).toEqual([world.recipient("owner-recovery")]);
  });

  test("a data key is wrapped anew for the recipients of now, and nothing is sealed again", async () => {
    const { dataKey, entry } = await exampleKey();
    const seals = dataKey.seal(Buffer.from("an example"), Buffer.from("aad"));
    const unwrapKeys = () => [world.unwrap("owner-recovery")];
    const options = { pipeline: PIPELINE, zones: world.zones, keepsAllDataKeys: true };
    const ceremony = createKeyDirectory({ ...options, unwrapKeys });
    offer(ceremony, ...world.entries, entry, grant(signers.owner));
    const [listed] = ceremony.list().dataKeys;
    const renewed = await rewrapDataKey({
      pipeline: PIPELINE,
      announced: listed!.payload,
      unwrapKey: world.unwrap("owner-recovery"),
      recipients: ceremony.recipientsFor("examples")!,
      signer: signers.owner,
    });
    const audit = createKeyDirectory({ ...options, unwrapKeys: () => [reader] });
    offer(audit, ...world.entries, entry);
    expect(audit.findDataKey(dataKey.kid, "examples")).toBeNull();
    expect(offer(audit, renewed!)).toEqual(["accepted"]);
    const sealed = Buffer.concat([seals.ciphertext, seals.tag]);
    const opened = audit
      .findDataKey(dataKey.kid, "examples")
      ?.open(seals.iv, sealed, Buffer.from("aad"));
    expect(Buffer.from(opened ?? []).toString()).toBe("an example");
    // Once it is wrapped anew, the older entry does not come back.
    expect(offer(audit, entry)).toEqual(["refused"]);
    const strange = createUnwrapKey("owner-recovery", randomBytes(32));
    const announced = listed!.payload;
    const recipients = ceremony.recipientsFor("examples")!;
    const signer = signers.owner;
    expect(
      await rewrapDataKey({
        pipeline: PIPELINE,
        announced,
        unwrapKey: strange,
        recipients,
        signer,
      }),
    ).toBeNull();
  });
});

describe("a zone whose identity was stolen", () => {
  const thief = signers.prediction;
  const resultKey = (by: SigningKey, publicKey: Uint8Array) => {
    const payload = {
      type: "signer",
      generation: 2,
      purpose: "result-signing",
      publicKey,
    } as const;
    return entryOf(payload, by);
  };

  test("cannot keep the owner from revoking it, nor other zones from new keys, by filling what is kept", () => {
    const directory = world.directory();
    for (let i = 0; i < 2100; i += 1) {
      const kid = new Uint8Array(randomBytes(16));
      const junk = { type: "revocation", generation: 1, zone: "prediction", kid } as const;
      offer(directory, entryOf(junk, thief), resultKey(thief, stageKey().publicKey));
    }
    expect(offer(directory, certify(stageKey(), signers.owner))).toEqual(["accepted"]);
    const revocation = entryOf(
      { type: "revocation", generation: 1, zone: "prediction", kid: thief.kid },
      signers.owner,
    );
    expect(offer(directory, revocation)).toEqual(["accepted"]);
    expect(directory.findSigner(thief.kid, ["prediction-identity"])).toBeNull();
  }, 120_000);

  test("cannot make a revocation cost more than what there is to look at", () => {
    const directory = world.directory();
    const chain = Array.from({ length: 24 }, () => identity("owner"));
    for (const one of chain) {
      for (const other of [signers.owner, ...chain]) {
        if (other !== one) offer(directory, introduce(one, other));
      }
    }
    const before = performance.now();
    offer(directory, revoke(signers.owner.kid, "owner", signers.owner));
    for (const one of chain) expect(directory.findSigner(one.kid, ["owner-identity"])).toBeNull();
    // Milliseconds; along every path from one to another it would be years.
    expect(performance.now() - before).toBeLessThan(10_000);
  });

  test("cannot claim another zone's key first, so that its own certificate is refused", () => {
    const directory = createKeyDirectory({ pipeline: PIPELINE, zones: world.zones });
    const mine = world.signing("owner-signing");
    offer(directory, resultKey(thief, mine.publicKey), ...world.entries);
    expect(directory.findSigner(mine.kid, ["owner-signing"])).not.toBeNull();
  });

  test("cannot use up the generations", () => {
    const payload = { type: "signer", purpose: "result-signing" } as const;
    const { publicKey } = stageKey();
    for (const generation of [1_000_000_000, 2 ** 53 - 1]) {
      const entry = entryOf({ ...payload, generation, publicKey }, thief);
      expect(offer(world.directory(), entry)).toEqual(["refused"]);
    }
  });
});

test("data keys before the certificate of their signer are all found, if not at first then at second reading", async () => {
  const junk = stageKey();
  const directory = createKeyDirectory({
    pipeline: PIPELINE,
    zones: world.zones,
    unwrapKeys: () => [world.unwrap("training-unwrap")],
  });
  const { dataKey, entry } = await exampleKey();
  const noise = Array.from({ length: 16_400 }, () => {
    const kid = new Uint8Array(randomBytes(16));
    return { key: Buffer.from(`data-key/${hexOf(kid)}`), value: certify(junk, junk).value };
  });
  const log = [entry, ...noise, ...world.entries];
  offer(directory, ...log);
  expect(directory.findDataKey(dataKey.kid, "examples")).toBeNull();
  expect(directory.takeMissed()).toBe(true);
  offer(directory, ...log);
  expect(directory.findDataKey(dataKey.kid, "examples")?.kid).toEqual(dataKey.kid);
  directory.takeMissed();
  expect(directory.takeMissed()).toBe(false);
});

test("names whose keys are revoked leave room for others", () => {
  const directory = world.directory();
  for (let i = 0; i < 30; i += 1) {
    const reader = createUnwrapKey("reader", randomBytes(32));
    const payload = { type: "grant", generation: 1, topic: "examples", name: `r${i}` } as const;
    const granted = { ...payload, algorithm: "x25519", publicKey: reader.publicKey } as const;
    expect(offer(directory, entryOf(granted, signers.owner))).toEqual(["accepted"]);
    offer(directory, revoke(reader.kid, "owner", signers.owner));
  }
  expect(directory.grants("examples")).toEqual([]);
});
