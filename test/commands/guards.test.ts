/** Dead letters of every size and shape can be sealed; a changelog is believed from its own stage and lane only. */
import { createHmac, randomBytes } from "node:crypto";
import { describe, expect, it } from "vitest";
import { createChangelogGuard } from "../../pipeline/commands/changelog-guard.ts";
import {
  createDeadLetterSealer,
  deadLetterAad,
} from "../../pipeline/commands/dead-letter-sealer.ts";
import { decodeCbor } from "../../pipeline/crypto/cbor.ts";
import type { KeyDirectory } from "../../pipeline/crypto/directory.ts";
import { createSecretHandle, createSigningKey } from "../../pipeline/crypto/key-handles.ts";
import type { KeyStore } from "../../pipeline/crypto/key-store.ts";
import { openSealed } from "../../pipeline/crypto/sealed-box.ts";
import { createUnwrapKey } from "../../pipeline/crypto/wrap/key-wrap.ts";

const zoneKey = createUnwrapKey("owner-dead-letter", randomBytes(32));
// Because these two parts of a directory and a key store are all that is asked of them here.
const directory = { recipient: () => zoneKey, findSigner: () => null } as unknown as KeyDirectory;
const storeOf = (signer: unknown) =>
  ({ signing: () => signer, signingAll: () => [signer] }) as unknown as KeyStore;

describe("dead letters", () => {
  const seal = createDeadLetterSealer(directory, "encrypt");
  const where = {
    pipeline: "p",
    stage: "encrypt",
    topic: "p.desensitized",
    partition: 2,
    reason: "schema",
  } as const;
  const record = { offset: 9, timestampMs: 5, key: null, value: new Uint8Array(3), headers: {} };

  function open(message: Uint8Array): unknown {
    const opened = openSealed({
      message,
      unwrapKeys: [zoneKey],
      aad: deadLetterAad("p", "p.desensitized", 2, 9),
    });
    return opened.status === "ok" ? decodeCbor(opened.plaintext) : null;
  }

  it("hold the whole record", () => {
    const headers = { h: Uint8Array.of(1) };
    expect(open(seal({ ...where, record: { ...record, headers } }))).toMatchObject({
      v: 1,
      key: null,
      headers,
      timestampMs: 5,
      reason: "schema",
    });
  });

  it("name a record that is too large for a message of its own, and stay below the limit", () => {
    const letter = seal({ ...where, record: { ...record, value: randomBytes(3_000_000) } });
    expect(letter.byteLength).toBeLessThan(1_000);
    expect(open(letter)).toMatchObject({ value: { bytes: 3_000_000 } });
    const largest = seal({ ...where, record: { ...record, value: randomBytes(900 * 1024) } });
    expect(largest.byteLength).toBeLessThan(1_000_000);
  });

  it("take any timestamp a producer may claim", () => {
    for (const timestampMs of [Number("9223372036854775807"), -9e18, Number.NaN]) {
      expect(open(seal({ ...where, record: { ...record, timestampMs } }))).toMatchObject({
        timestampMs: 0,
      });
    }
  });

  it("need their zone's key at the start", () => {
    const none = { recipient: () => null } as unknown as KeyDirectory;
    expect(() => createDeadLetterSealer(none, "train")).toThrow(/training-dead-letter/);
  });
});

describe("changelog guard", () => {
  const signer = createSigningKey("train-signing", randomBytes(32));
  const guardOf = (stage: "train" | "encrypt", pipeline = "p") =>
    createChangelogGuard({ pipeline, stage, keys: storeOf(signer), directory });
  const value = randomBytes(40);
  const message = guardOf("train").protect(value, 3);

  it("opens what this stage signed for this lane", () => {
    expect(Buffer.from(guardOf("train").open(message, 3) ?? [])).toEqual(value);
  });

  it("opens what the key before a rotation signed, when the lane comes back to the same process", () => {
    const next = createSigningKey("train-signing", randomBytes(32));
    let newest = signer;
    const live = {
      get kid() {
        return newest.kid;
      },
      get publicKey() {
        return newest.publicKey;
      },
      sign: (bytes: Uint8Array) => newest.sign(bytes),
    };
    const known = { findSigner: () => signer } as unknown as KeyDirectory;
    const guard = createChangelogGuard({
      ...{ pipeline: "p", stage: "train", keys: storeOf(live), directory: known },
    });
    newest = next;
    expect(Buffer.from(guard.open(message, 3) ?? [])).toEqual(value);
    expect(guard.open(guard.protect(value, 3), 3)).not.toBeNull();
  });

  it("refuses another lane, stage, pipeline, signer, and any changed byte", () => {
    const other = createChangelogGuard({
      pipeline: "p",
      stage: "train",
      keys: storeOf(createSigningKey("train-signing", randomBytes(32))),
      directory,
    });
    expect(guardOf("train").open(message, 4)).toBeNull();
    expect(guardOf("encrypt").open(message, 3)).toBeNull();
    expect(guardOf("train", "q").open(message, 3)).toBeNull();
    expect(other.open(message, 3)).toBeNull();
    expect(guardOf("train").open(value, 3)).toBeNull();
    for (let index = 0; index < message.byteLength; index += 1) {
      const changed = Uint8Array.from(message);
      changed[index] = (changed[index] ?? 0) ^ 1;
      expect(guardOf("train").open(changed, 3)).toBeNull();
    }
  });
});

describe("guard of changelog entries", () => {
  const signer = createSigningKey("owner-signing", randomBytes(32));
  const bytes = randomBytes(32);
  const guardOf = (secret = bytes, pipeline = "p", stage: "train" | "encrypt" = "encrypt") =>
    createChangelogGuard({
      ...{ pipeline, stage, keys: storeOf(signer), directory },
      entrySecret: createSecretHandle("split", secret),
    });
  const key = Uint8Array.of(1, 2, 3);
  const value = Uint8Array.of(4, 5);
  const protectedValue = guardOf().protectEntry({ key, value }, 3);
  const open = (change: Partial<{ key: Uint8Array; protectedValue: Uint8Array }>, lane = 3) =>
    guardOf().openEntry({ key, protectedValue, ...change }, lane);

  it("opens what this stage wrote for this lane and key, and is the value and a MAC of 16 bytes", () => {
    expect(Buffer.from(open({}) ?? [])).toEqual(Buffer.from(value));
    const message = Buffer.concat([
      Buffer.from("sealstream/changelog-entry/v1|p|encrypt|3|"),
      ...[Buffer.of(3), key, value],
    ]);
    const mac = createHmac("sha256", bytes).update(message).digest().subarray(0, 16);
    expect(Buffer.from(protectedValue)).toEqual(Buffer.concat([value, mac]));
  });

  it("refuses another lane, key, stage, pipeline and secret, any changed byte and what is too short", () => {
    expect(open({}, 4)).toBeNull();
    expect(open({ key: Uint8Array.of(1, 2, 4) })).toBeNull();
    for (const other of [
      guardOf(randomBytes(32)),
      guardOf(bytes, "q"),
      guardOf(bytes, "p", "train"),
    ]) {
      expect(other.openEntry({ key, protectedValue }, 3)).toBeNull();
    }
    for (let index = 0; index < protectedValue.length; index += 1) {
      const changed = Uint8Array.from(protectedValue);
      changed[index] = (changed[index] ?? 0) ^ 1;
      expect(open({ protectedValue: changed })).toBeNull();
    }
    // A byte moved from the key to the value is another entry.
    expect(
      open({
        key: Uint8Array.of(1, 2),
        protectedValue: Buffer.concat([Buffer.of(3), protectedValue]),
      }),
    ).toBeNull();
    expect(open({ protectedValue: new Uint8Array(15) })).toBeNull();
  });

  it("is not there for a stage without a secret", () => {
    const none = createChangelogGuard({
      pipeline: "p",
      stage: "train",
      keys: storeOf(signer),
      directory,
    });
    expect(() => none.protectEntry({ key, value }, 3)).toThrow(/no secret/);
    expect(none.openEntry({ key, protectedValue }, 3)).toBeNull();
  });
});
