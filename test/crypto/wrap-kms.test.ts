/** Wraps by a key management service, and data keys for recipients of every kind: nothing is left when one fails. */
import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { verify1 } from "../../pipeline/crypto/cose-sign1.ts";
import { createDataKey } from "../../pipeline/crypto/data-key.ts";
import { createKeyDirectory } from "../../pipeline/crypto/directory.ts";
import { openEnvelope, sealEnvelope } from "../../pipeline/crypto/envelope.ts";
import { dataKeyBinding, type KeyEntry, keysContext } from "../../pipeline/crypto/key-entries.ts";
import { decodePayload } from "../../pipeline/crypto/key-payload.ts";
import {
  createRecipient,
  createRemoteUnwrapKey,
  wrapContentKey,
  wrapContentKeyFor,
} from "../../pipeline/crypto/wrap/key-wrap.ts";
import type { Recipient, WrappedKey } from "../../pipeline/crypto/wrap/types.ts";
import { SealstreamError } from "../../pipeline/errors.ts";
import { createWorld, hexOf, PIPELINE, utf8 } from "./fixtures.ts";
import {
  createMemoryKms,
  freshPair,
  KMS_URI,
  kmsAway,
  LOCAL_ALGORITHMS,
  type MemoryKms,
} from "./wrap-fixtures.ts";

const PURPOSE = "training-unwrap";
const world = createWorld();
const binding = utf8("what it is for");
const code = (name: string) => expect.objectContaining({ code: name });
const remote = createRecipient(PURPOSE, utf8(KMS_URI), "kms");
const isWiped = (bytes: Uint8Array) => bytes.every((byte) => byte === 0);

function dataKey(recipients: readonly Recipient[], kms?: MemoryKms, lane = 3) {
  const signer = world.signing("owner-signing");
  return createDataKey({ pipeline: PIPELINE, topic: "examples", lane, recipients, signer, kms });
}

/** The wrapped keys of an entry, and what they are bound to. */
function wrapsOf(entry: KeyEntry, kid: Uint8Array, lane = 3) {
  const signer = world.signing("owner-signing");
  const context = keysContext(PIPELINE);
  const verified = verify1({ message: entry.value, context, findSigner: () => signer });
  const payload = verified.status === "ok" ? decodePayload(verified.payload) : null;
  if (payload?.type !== "data-key") throw new Error("no data key");
  const scope = { pipeline: PIPELINE, topic: "examples" as const, lane, kid };
  return { wraps: payload.recipients, binding: dataKeyBinding(scope) };
}

describe("a key in a service", () => {
  const kms = createMemoryKms();
  const key = createRemoteUnwrapKey(PURPOSE, KMS_URI, kms);
  const contentKey = new Uint8Array(randomBytes(32));
  const wrap = () => wrapContentKeyFor({ contentKey, recipient: remote, binding, kms });

  test("gives the content key back, for its binding only", async () => {
    const wrapped = await wrap();
    expect(wrapped).toMatchObject({ algorithm: "kms", kid: key.kid, ephemeral: new Uint8Array(0) });
    expect(hexOf((await key.unwrapRemotely(wrapped, binding))!.export())).toBe(hexOf(contentKey));
    expect(await key.unwrapRemotely(wrapped, utf8("elsewhere"))).toBeNull();
    const other = createRemoteUnwrapKey(PURPOSE, `${KMS_URI}-2`, kms);
    expect(await other.unwrapRemotely({ ...wrapped, kid: other.kid }, binding)).toBeNull();
  });

  test("is not asked about what cannot be its own", async () => {
    const wrapped = await wrap();
    const strangers: WrappedKey[] = [
      { ...wrapped, kid: new Uint8Array(16) },
      { ...wrapped, algorithm: "rsa-oaep-256" },
      { ...wrapped, ephemeral: new Uint8Array(1) },
      { ...wrapped, ciphertext: new Uint8Array(0) },
      { ...wrapped, ciphertext: new Uint8Array(1025) },
    ];
    const { calls } = kms;
    for (const one of strangers) expect(await key.unwrapRemotely(one, binding)).toBeNull();
    expect(kms.calls).toBe(calls);
  });

  test("leaves no copy of what the service hands out, also when it is no key", async () => {
    const wrapped = await wrap();
    await key.unwrapRemotely(wrapped, binding);
    const out = kms.handed.at(-1)!;
    expect(out).not.toBe(contentKey);
    expect(isWiped(out)).toBe(true);
    for (const length of [0, 16, 31, 33]) {
      const raw = new Uint8Array(randomBytes(length));
      const odd = { ...kms, unwrap: async () => raw };
      const oddKey = createRemoteUnwrapKey(PURPOSE, KMS_URI, odd);
      expect(await oddKey.unwrapRemotely(wrapped, binding)).toBeNull();
      expect(isWiped(raw)).toBe(true);
    }
  });

  test("says when the service is away, which is no refusal", async () => {
    const wrapped = await wrap();
    kms.failure = kmsAway();
    await expect(key.unwrapRemotely(wrapped, binding)).rejects.toThrow(code("kms-unavailable"));
    await expect(wrap()).rejects.toThrow(code("kms-unavailable"));
    kms.failure = null;
  });

  test("needs a service for its scheme, and an address of known form", async () => {
    expect(() => createRemoteUnwrapKey(PURPOSE, "vault:transit/keys/a", kms)).toThrow(
      code("key-missing"),
    );
    expect(() => createRemoteUnwrapKey(PURPOSE, "memory:a?token=b", kms)).toThrow(
      code("key-invalid"),
    );
    const without = wrapContentKeyFor({ contentKey, recipient: remote, binding });
    await expect(without).rejects.toThrow(code("key-missing"));
    const recipient = createRecipient(PURPOSE, utf8("vault:transit/keys/a"), "kms");
    const foreign = wrapContentKeyFor({ contentKey, recipient, binding, kms });
    await expect(foreign).rejects.toThrow(code("key-missing"));
    expect(() => wrapContentKey(contentKey, remote, binding)).toThrow(code("key-invalid"));
  });

  test.each([0, 1025])("that answers with %i bytes is refused", async (length) => {
    const odd = { ...kms, wrap: async () => new Uint8Array(length) };
    const wrapped = wrapContentKeyFor({ contentKey, recipient: remote, binding, kms: odd });
    await expect(wrapped).rejects.toThrow(code("key-invalid"));
  });
});

describe("data keys", () => {
  test.each(LOCAL_ALGORITHMS)("open for a recipient of %s through the directory", async (name) => {
    const { recipient, unwrapKey } = freshPair(name);
    const { dataKey: sealing, entry } = await dataKey([recipient]);
    const zones = world.zones;
    const directory = createKeyDirectory({
      pipeline: PIPELINE,
      zones,
      unwrapKeys: () => [unwrapKey],
    });
    for (const { key, value } of [...world.entries, entry]) directory.apply(key, value);
    const context = {
      pipeline: PIPELINE,
      topic: "examples",
      lane: 3,
      recordId: utf8("id"),
      schemaVersion: 1,
    } as const;
    const plaintext = utf8("secret");
    const envelope = sealEnvelope({ dataKey: sealing, plaintext, context, sequence: 1 });
    const findKey = (kid: Uint8Array) => directory.findDataKey(kid, "examples");
    expect(openEnvelope({ envelope, context, findKey })).toMatchObject({ status: "ok", plaintext });
  });

  test("are wrapped for every recipient in order, in one entry", async () => {
    const kms = createMemoryKms();
    const pairs = LOCAL_ALGORITHMS.map((name) => freshPair(name));
    const recipients = [remote, ...pairs.map((one) => one.recipient)];
    const made = await dataKey(recipients, kms);
    const { wraps, binding: bound } = wrapsOf(made.entry, made.dataKey.kid);
    expect(wraps.map((one) => hexOf(one.kid))).toEqual(recipients.map((one) => hexOf(one.kid)));
    const keys = pairs.map(({ unwrapKey }, i) => unwrapKey.unwrap(wraps[i + 1]!, bound)!.export());
    const unwrapped = await createRemoteUnwrapKey(PURPOSE, KMS_URI, kms).unwrapRemotely(
      wraps[0]!,
      bound,
    );
    expect(new Set([...keys, unwrapped!.export()].map(hexOf)).size).toBe(1);
  });

  test("leave no raw bytes when they are made", async () => {
    const kms = createMemoryKms();
    await dataKey([remote, freshPair("x25519").recipient], kms);
    expect(kms.handed).toHaveLength(1);
    expect(kms.handed.every(isWiped)).toBe(true);
  });

  test("leave no raw bytes when a service fails, nor any key", async () => {
    const kms = createMemoryKms();
    kms.failure = kmsAway();
    const made = dataKey([freshPair("x25519").recipient, remote], kms);
    await expect(made).rejects.toThrow(code("kms-unavailable"));
    expect(kms.handed).toHaveLength(1);
    expect(kms.handed.every(isWiped)).toBe(true);
  });

  test("are not wiped under a service that is still being asked", async () => {
    const kms = createMemoryKms();
    const seen: boolean[] = [];
    let answer = () => {};
    const slow: MemoryKms = {
      ...kms,
      async wrap(uri, contentKey, bound) {
        if (!uri.endsWith("slow")) throw kmsAway();
        await new Promise<void>((resolve) => {
          answer = resolve;
        });
        seen.push(isWiped(contentKey));
        return kms.wrap(uri, contentKey, bound);
      },
    };
    const late = createRecipient(PURPOSE, utf8("memory:slow"), "kms");
    const made = dataKey([remote, late], slow);
    made.catch(() => {});
    await new Promise((resolve) => setImmediate(resolve));
    answer();
    await expect(made).rejects.toThrow(code("kms-unavailable"));
    expect(seen).toEqual([false]);
    expect(kms.handed.every(isWiped)).toBe(true);
  });

  test("are not made without the service, nor for a recipient of another purpose", async () => {
    await expect(dataKey([remote])).rejects.toThrow(code("key-missing"));
    const stranger = createRecipient("model-unwrap", utf8(KMS_URI), "kms");
    const kms = createMemoryKms();
    await expect(dataKey([stranger], kms)).rejects.toThrow(code("key-forbidden"));
    expect(kms.calls).toBe(0);
  });
});

test("a message about a service quotes no key", async () => {
  const contentKey = new Uint8Array(32).fill(0xa7);
  const failed = await wrapContentKeyFor({ contentKey, recipient: remote, binding }).catch(
    (error: unknown) => error,
  );
  expect(failed).toBeInstanceOf(SealstreamError);
  expect(String(failed)).not.toMatch(/a7a7|167/);
});
