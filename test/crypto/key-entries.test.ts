/** Payloads of key entries: to the byte, and nothing else is read. */
import { describe, expect, test } from "vitest";
import { encodeCbor } from "../../pipeline/crypto/cbor.ts";
import { sign1 } from "../../pipeline/crypto/cose-sign1.ts";
import { createKeyDirectory } from "../../pipeline/crypto/directory.ts";
import {
  type KeyEntry,
  keyNameOf,
  keysContext,
  signEntry,
} from "../../pipeline/crypto/key-entries.ts";
import { keyIdOf, type SigningKey } from "../../pipeline/crypto/key-handles.ts";
import {
  decodePayload,
  encodePayload,
  type KeyPayload,
} from "../../pipeline/crypto/key-payload.ts";
import { PURPOSES } from "../../pipeline/crypto/key-purposes.ts";
import { createWorld, hexOf, PIPELINE, utf8 } from "./fixtures.ts";

const world = createWorld();

function _sign(payload: KeyPayload, signer: SigningKey, pipeline = PIPELINE): KeyEntry {
  return signEntry({ pipeline, payload, signer });
}

const fresh = () =>
  createKeyDirectory({
    pipeline: PIPELINE,
    zones: world.zones,
    unwrapKeys: () => [world.unwrap("training-unwrap")],
  });

describe("payloads", () => {
  const signerPayload = {
    type: "signer",
    generation: 1,
    purpose: "owner-signing",
    publicKey: world.signing("owner-signing").publicKey,
  } as const;

  test("have the bytes of the grammar", () => {
    const publicKey = hexOf(signerPayload.publicKey);
    expect(hexOf(encodePayload(signerPayload))).toBe(
      [
        "a6",
        "617601",
        "6474797065667369676e6572",
        "647a6f6e65656f776e6572",
        "67707572706f73656d6f776e65722d7369676e696e67",
        `697075626c69634b65795820${publicKey}`,
        "6a67656e65726174696f6e01",
      ].join(""),
    );
    expect(keyNameOf(signerPayload)).toBe(
      `signer/owner-signing/${hexOf(keyIdOf(signerPayload.publicKey))}`,
    );
  });

  test("refuse a missing, additional or wrong field, and a version to come", () => {
    const zone = PURPOSES["owner-signing"].zone;
    const good = { v: 1, zone, ...signerPayload };
    expect(decodePayload(encodeCbor(good))).not.toBeNull();
    const bad = [
      { ...good, v: 2 },
      { ...good, more: 1 },
      { ...good, generation: -1 },
      { ...good, zone: "training" },
      { ...good, purpose: "split" },
      { ...good, publicKey: new Uint8Array(31) },
      { ...good, publicKey: new Uint8Array(32) },
      { ...good, type: "recipient" },
      { v: 1, zone, generation: 1, type: "signer", purpose: "owner-signing" },
      [],
      null,
    ];
    for (const one of bad) expect(decodePayload(encodeCbor(one))).toBeNull();
  });

  test("a signed payload of a future version is refused by the directory", () => {
    const payload = encodeCbor({ ...signerPayload, v: 2, zone: "owner" });
    const value = sign1({ payload, signer: world.signers.owner, context: keysContext(PIPELINE) });
    expect(fresh().apply(utf8(keyNameOf(signerPayload)), value)).toBe("refused");
  });

  test("a recipient of low order is refused, also from its zone's identity", () => {
    const payload = encodeCbor({
      v: 1,
      type: "recipient",
      generation: 1,
      zone: "training",
      purpose: "training-unwrap",
      publicKey: new Uint8Array(32),
    });
    const signer = world.signers.training;
    const value = sign1({ payload, signer, context: keysContext(PIPELINE) });
    const name = `recipient/training-unwrap/${hexOf(keyIdOf(new Uint8Array(32)))}`;
    expect(fresh().apply(utf8(name), value)).toBe("refused");
  });
});
