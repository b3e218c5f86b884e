/**
 * Nothing survives a change: every bit of a wrapped key and of the message around it, every truncation and one to three
 * bytes more, for every algorithm. Refused means refused: no exception either.
 */
import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { decodeCbor, encodeCbor } from "../../pipeline/crypto/cbor.ts";
import { createDataKey } from "../../pipeline/crypto/data-key.ts";
import { createKeyDirectory } from "../../pipeline/crypto/directory.ts";
import { openEnvelope, sealEnvelope } from "../../pipeline/crypto/envelope.ts";
import { openSealed, sealTo } from "../../pipeline/crypto/sealed-box.ts";
import {
  createRecipient,
  createRemoteUnwrapKey,
  recipientsFromCbor,
  recipientsToCbor,
  wrapContentKey,
  wrapContentKeyFor,
} from "../../pipeline/crypto/wrap/key-wrap.ts";
import { bytesOf, createWorld, PIPELINE, utf8 } from "./fixtures.ts";
import { createMemoryKms, freshPair, KMS_URI, LOCAL_ALGORITHMS } from "./wrap-fixtures.ts";

interface Mutant {
  readonly what: string;
  readonly bytes: Uint8Array;
}

const TAILS = ["00", "f6", "ff", "0000", "f6f6", "000000", "a0a0a0", "0000f6"].map(bytesOf);

/** Every bit flipped, every truncation, one to three bytes after it and before it. */
function* mutants(bytes: Uint8Array): Generator<Mutant> {
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const copy = new Uint8Array(bytes);
    copy[bit >> 3]! ^= 1 << (bit & 7);
    yield { what: `bit ${bit}`, bytes: copy };
  }
  for (let i = 0; i < bytes.length; i++) {
    yield { what: `cut to ${i}`, bytes: bytes.slice(0, i) };
    yield { what: `cut from ${i + 1}`, bytes: bytes.slice(i + 1) };
  }
  for (const tail of TAILS) {
    yield { what: `${tail} after it`, bytes: new Uint8Array([...bytes, ...tail]) };
    yield { what: `${tail} before it`, bytes: new Uint8Array([...tail, ...bytes]) };
  }
}

/** What `accepts` let through, and what made it throw: both must be nothing. */
function accepted(bytes: Uint8Array, accepts: (bytes: Uint8Array) => boolean): string[] {
  const found: string[] = [];
  let count = 0;
  for (const mutant of mutants(bytes)) {
    count += 1;
    try {
      if (accepts(mutant.bytes)) found.push(mutant.what);
    } catch (error) {
      found.push(`${mutant.what} threw ${error}`);
    }
  }
  expect(count).toBe(bytes.length * 10 + 2 * TAILS.length);
  return found;
}

const world = createWorld();
const binding = utf8("what it is for");

describe.each(LOCAL_ALGORITHMS)("%s", (algorithm) => {
  const { recipient, unwrapKey } = freshPair(algorithm);

  test("a wrapped key and its COSE_recipient", () => {
    const wrapped = wrapContentKey(new Uint8Array(randomBytes(32)), recipient, binding);
    const encoded = encodeCbor(recipientsToCbor([wrapped]));
    const opens = (bytes: Uint8Array) => {
      const list = recipientsFromCbor(decodeCbor(bytes) ?? undefined) ?? [];
      return list.some((one) => unwrapKey.unwrap(one, binding) !== null);
    };
    expect(opens(encoded)).toBe(true);
    expect(accepted(encoded, opens)).toEqual([]);
    for (const field of ["kid", "ephemeral", "ciphertext"] as const) {
      const changed = accepted(wrapped[field], (bytes) => {
        return unwrapKey.unwrap({ ...wrapped, [field]: bytes }, binding) !== null;
      });
      expect(changed, field).toEqual([]);
    }
  });

  test("a sealed box", () => {
    const aad = utf8("where it belongs");
    const message = sealTo({ recipients: [recipient], plaintext: utf8("letter"), aad });
    const opens = (bytes: Uint8Array) => {
      return openSealed({ message: bytes, unwrapKeys: [unwrapKey], aad }).status === "ok";
    };
    expect(opens(message)).toBe(true);
    expect(accepted(message, opens)).toEqual([]);
  });

  test("what is for somebody else in a sealed box", () => {
    const aad = utf8("where it belongs");
    const recipients = [freshPair("x25519").recipient, recipient];
    const message = sealTo({ recipients, plaintext: utf8("letter"), aad });
    const [first] = recipients;
    const at = Buffer.from(message).indexOf(first!.kid);
    const others = message.subarray(at, at + 100);
    const survived = accepted(others, (bytes) => {
      const changed = new Uint8Array([
        ...message.subarray(0, at),
        ...bytes,
        ...message.subarray(at + 100),
      ]);
      return openSealed({ message: changed, unwrapKeys: [unwrapKey], aad }).status === "ok";
    });
    expect(survived).toEqual([]);
  });

  test("a data-key entry and its record key", async () => {
    const signer = world.signing("owner-signing");
    const recipients = [recipient];
    const scope = { pipeline: PIPELINE, topic: "examples", lane: 0 } as const;
    const { dataKey, entry } = await createDataKey({ ...scope, recipients, signer });
    const context = { ...scope, recordId: utf8("id"), schemaVersion: 1 };
    const plaintext = utf8("secret");
    const envelope = sealEnvelope({ dataKey, plaintext, context, sequence: 1 });
    const fresh = () => {
      const { zones } = world;
      const directory = createKeyDirectory({
        pipeline: PIPELINE,
        zones,
        unwrapKeys: () => [unwrapKey],
      });
      for (const { key, value } of world.entries) directory.apply(key, value);
      return directory;
    };
    const directory = fresh();
    const opens = () => {
      const findKey = (kid: Uint8Array) => directory.findDataKey(kid, "examples");
      return openEnvelope({ envelope, context, findKey }).status === "ok";
    };
    const changedValues = accepted(entry.value, (bytes) => {
      return directory.apply(entry.key, bytes) === "accepted" || opens();
    });
    expect(changedValues).toEqual([]);
    const changedKeys = accepted(entry.key, (bytes) => {
      return directory.apply(bytes, entry.value) === "accepted" || opens();
    });
    expect(changedKeys).toEqual([]);
    expect(directory.apply(entry.key, entry.value)).toBe("accepted");
    expect(opens()).toBe(true);
    const changedEnvelopes = accepted(envelope, (bytes) => {
      const findKey = (kid: Uint8Array) => directory.findDataKey(kid, "examples");
      return openEnvelope({ envelope: bytes, context, findKey }).status === "ok";
    });
    expect(changedEnvelopes).toEqual([]);
  });
});

test("kms: a wrapped key and its COSE_recipient", async () => {
  const kms = createMemoryKms();
  const recipient = createRecipient("training-unwrap", utf8(KMS_URI), "kms");
  const key = createRemoteUnwrapKey("training-unwrap", KMS_URI, kms);
  const contentKey = new Uint8Array(randomBytes(32));
  const wrapped = await wrapContentKeyFor({ contentKey, recipient, binding, kms });
  const encoded = encodeCbor(recipientsToCbor([wrapped]));
  const opens = async (bytes: Uint8Array) => {
    const list = recipientsFromCbor(decodeCbor(bytes) ?? undefined) ?? [];
    const keys = await Promise.all(list.map((one) => key.unwrapRemotely(one, binding)));
    return keys.some((one) => one !== null);
  };
  expect(await opens(encoded)).toBe(true);
  const survived: string[] = [];
  for (const mutant of mutants(encoded)) {
    if (await opens(mutant.bytes)) survived.push(mutant.what);
  }
  expect(survived).toEqual([]);
  for (const bytes of [...mutants(wrapped.ciphertext)].map((one) => one.bytes)) {
    expect(await key.unwrapRemotely({ ...wrapped, ciphertext: bytes }, binding)).toBeNull();
  }
});
