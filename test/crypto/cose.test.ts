/** Sign1, sealed boxes, key wrap and identities: refused whenever a byte, a place or a key is another. */
import { randomBytes } from "node:crypto";
import { inspect } from "node:util";
import { describe, expect, test } from "vitest";
import { decodeCbor, encodeCbor } from "../../pipeline/crypto/cbor.ts";
import { sign1, verify1 } from "../../pipeline/crypto/cose-sign1.ts";
import { formatIdentity, parseIdentity } from "../../pipeline/crypto/identity.ts";
import { createSecretHandle, createSigningKey } from "../../pipeline/crypto/key-handles.ts";
import { openSealed, sealTo } from "../../pipeline/crypto/sealed-box.ts";
import {
  createRecipient,
  createUnwrapKey,
  recipientsFromCbor,
  recipientsToCbor,
  wrapContentKey,
} from "../../pipeline/crypto/wrap/key-wrap.ts";
import { bytesOf, createWorld, freshSigner, hexOf, survivors, utf8 } from "./fixtures.ts";

const world = createWorld();

describe("COSE_Sign1", () => {
  const signer = world.signing("owner-signing");
  const payload = utf8("what was signed");
  const context = "sealstream/test/v1|digits";
  const message = sign1({ payload, signer, context });
  const verify = (bytes: Uint8Array, label = context) =>
    verify1({ message: bytes, context: label, findSigner: () => signer });

  test("verifies for every payload length around the head boundaries", () => {
    for (const length of [0, 1, 23, 24, 255, 256, 65_535, 65_536]) {
      const bytes = new Uint8Array(randomBytes(length));
      const verified = verify(sign1({ payload: bytes, signer, context }));
      expect(verified).toEqual({ status: "ok", payload: bytes, kid: signer.kid });
    }
  });

  test("refuses every flipped byte, truncation and extension", () => {
    expect(survivors(message, (bytes) => verify(bytes).status === "ok")).toEqual([]);
  });

  test("refuses another context, signer or payload, and says which kind of refusal it is", () => {
    expect(verify(message, "sealstream/test/v1|other")).toMatchObject({ reason: "bad-signature" });
    const other = verify1({ message, context, findSigner: () => world.signing("model-signing") });
    expect(other).toMatchObject({ reason: "bad-signature" });
    const unknown = verify1({ message, context, findSigner: () => null });
    expect(unknown).toMatchObject({ reason: "unknown-signer" });
    expect(verify(message.slice(1))).toMatchObject({ reason: "malformed" });
    expect(verify(new Uint8Array(0))).toMatchObject({ reason: "malformed" });
  });

  test("refuses another algorithm, an unprotected header and a long length form", () => {
    const header = (algorithm: number) =>
      encodeCbor(
        new Map<number, number | Uint8Array>([
          [1, algorithm],
          [4, signer.kid],
        ]),
      );
    const signature = message.slice(-64);
    const build = (protectedHeader: Uint8Array, unprotected: Map<number, number>) =>
      new Uint8Array([0xd2, ...encodeCbor([protectedHeader, unprotected, payload, signature])]);
    expect(verify(build(header(-8), new Map())).status).toBe("ok");
    for (const algorithm of [-7, -9, -19, -35, -37, 5]) {
      expect(verify(build(header(algorithm), new Map())).status, `${algorithm}`).toBe("refused");
    }
    expect(verify(build(header(-8), new Map([[1, -8]]))).status).toBe("refused");
    const text = hexOf(message);
    const long = text.replace(`a04f${hexOf(payload)}`, `a0580f${hexOf(payload)}`);
    expect(verify(bytesOf(long)).status).toBe("refused");
  });
});

describe("sealed boxes", () => {
  const aad = utf8("where it belongs");
  const plaintext = utf8("a dead letter");
  const consumer = world.unwrap("consumer-unwrap");
  const owner = world.unwrap("owner-dead-letter");
  const recipients = [world.recipient("consumer-unwrap"), world.recipient("owner-dead-letter")];
  const message = sealTo({ recipients, plaintext, aad });
  const open = (bytes: Uint8Array, unwrapKey = consumer, label = aad) =>
    openSealed({ message: bytes, unwrapKey, aad: label });

  test("open for each recipient and for nobody else", () => {
    expect(open(message)).toEqual({ status: "ok", plaintext });
    expect(open(message, owner)).toEqual({ status: "ok", plaintext });
    expect(open(message, world.unwrap("training-unwrap")).status).toBe("refused");
    expect(open(message, consumer, utf8("elsewhere")).status).toBe("refused");
  });

  test("are laid out as the grammar says", () => {
    const [one] = recipients;
    const text = hexOf(sealTo({ recipients: [one!], plaintext, aad }));
    const start = "d8608443a10103a1054c";
    expect(text.slice(0, start.length)).toBe(start);
    const afterIv = text.slice(start.length + 24);
    expect(afterIv.slice(0, 4)).toBe(`58${(plaintext.length + 16).toString(16)}`);
    const recipient = afterIv.slice(4 + 2 * (plaintext.length + 16));
    expect(recipient.slice(0, 14)).toBe("818344a101381e");
    expect(recipient.slice(14, 14 + 4 + 2 + 32)).toBe(`a2045${`0${hexOf(one!.kid)}`}`.slice(0, 38));
    expect(recipient.slice(14 + 38, 14 + 38 + 16)).toBe("20a3010120042158");
    expect(recipient.length).toBe(14 + 38 + 16 + 2 + 64 + 4 + 80);
  });

  test("refuse every flipped byte, truncation and extension, for every recipient", () => {
    expect(survivors(message, (bytes) => open(bytes).status === "ok")).toEqual([]);
    expect(survivors(message, (bytes) => open(bytes, owner).status === "ok")).toEqual([]);
  });

  test("refuse a recipient list that was reordered or shortened", () => {
    const body = decodeCbor(message.subarray(2));
    // Because the message was made above, its shape is known.
    const [header, unprotected, sealed, list] = body as [never, never, never, never[]];
    const rebuilt = (given: never[]) =>
      new Uint8Array([0xd8, 0x60, ...encodeCbor([header, unprotected, sealed, given])]);
    expect(open(rebuilt(list)).status).toBe("ok");
    expect(open(rebuilt([...list].reverse())).status).toBe("refused");
    expect(open(rebuilt(list.slice(0, 1))).status).toBe("refused");
    expect(open(rebuilt([])).status).toBe("refused");
  });

  test("need 1 to 32 recipients", () => {
    const internal = expect.objectContaining({ code: "internal" });
    expect(() => sealTo({ recipients: [], plaintext, aad })).toThrow(internal);
    const many = Array.from({ length: 33 }, () => recipients[0]!);
    expect(() => sealTo({ recipients: many, plaintext, aad })).toThrow(internal);
    expect(open(sealTo({ recipients: many.slice(1), plaintext, aad })).status).toBe("ok");
  });
});

describe("key wrap", () => {
  const raw = bytesOf("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
  const unwrapKey = createUnwrapKey("training-unwrap", raw);
  const recipient = createRecipient("training-unwrap", unwrapKey.publicKey);
  const binding = utf8("what it is for");
  const contentKey = new Uint8Array(randomBytes(32));
  const wrapped = wrapContentKey(contentKey, recipient, binding);

  test("gives back the content key", () => {
    const key = unwrapKey.unwrap(wrapped, binding);
    expect(key && hexOf(key.export())).toBe(hexOf(contentKey));
  });

  test("refuses every flipped byte of a wrapped key, and another binding", () => {
    for (const field of ["kid", "ephemeral", "ciphertext"] as const) {
      const survived = survivors(
        wrapped[field],
        (bytes) => unwrapKey.unwrap({ ...wrapped, [field]: bytes }, binding) !== null,
      );
      expect(survived, field).toEqual([]);
    }
    expect(unwrapKey.unwrap(wrapped, utf8("something else"))).toBeNull();
  });

  test("refuses every flipped byte of its encoding", () => {
    const encoded = encodeCbor(recipientsToCbor([wrapped]));
    const unwrap = (bytes: Uint8Array) => {
      const list = recipientsFromCbor(decodeCbor(bytes) ?? undefined);
      return list?.length === 1 && unwrapKey.unwrap(list[0]!, binding) !== null;
    };
    expect(unwrap(encoded)).toBe(true);
    expect(survivors(encoded, (bytes) => unwrap(bytes) === true)).toEqual([]);
  });

  // The points of low order on Curve25519 and their other spellings (RFC 7748 section 7).
  const lowOrder = [
    "00".repeat(32),
    `01${"00".repeat(31)}`,
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    `ec${"ff".repeat(30)}7f`,
    `ed${"ff".repeat(30)}7f`,
    `ee${"ff".repeat(30)}7f`,
    `${"00".repeat(31)}80`,
  ];
  test.each(lowOrder)("refuses the public key %s", (point) => {
    const ephemeral = bytesOf(point);
    expect(unwrapKey.unwrap({ ...wrapped, ephemeral }, binding)).toBeNull();
    const invalid = expect.objectContaining({ code: "key-invalid" });
    expect(() => createRecipient("training-unwrap", ephemeral)).toThrow(invalid);
    const weak = { ...recipient, publicKey: ephemeral };
    expect(() => wrapContentKey(contentKey, weak, binding)).toThrow(invalid);
  });
});

describe("identities", () => {
  test("are read back, and in one spelling only", () => {
    const { publicKey } = freshSigner("owner-identity");
    const text = formatIdentity(publicKey);
    expect(text).toMatch(/^ed25519:[A-Za-z0-9_-]{43}$/);
    expect(parseIdentity(text)).toEqual(publicKey);
    const last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const index = last.indexOf(text.at(-1)!);
    const sameBytes = text.slice(0, -1) + last[index ^ 1];
    expect(Buffer.from(sameBytes.slice(8), "base64url")).toEqual(Buffer.from(publicKey));
    expect(parseIdentity(sameBytes)).toBeNull();
  });

  test.each([
    ["empty", ""],
    ["prefix only", "ed25519:"],
    ["other prefix", `x25519:${"A".repeat(43)}`],
    ["padding", `ed25519:${"A".repeat(43)}=`],
    ["short", `ed25519:${"A".repeat(42)}`],
    ["long", `ed25519:${"A".repeat(44)}`],
    ["plain base64", `ed25519:${"+".repeat(43)}`],
    ["space", ` ed25519:${"A".repeat(43)}`],
    ["order 4", `ed25519:${"A".repeat(43)}`],
    ["order 1", `ed25519:AQ${"A".repeat(41)}`],
    ["no point", `ed25519:Ag${"A".repeat(41)}`],
  ])("refuse %s", (_, text) => {
    expect(parseIdentity(text)).toBeNull();
  });

  test("of small order are not formatted either", () => {
    expect(() => formatIdentity(new Uint8Array(32))).toThrow(
      expect.objectContaining({ code: "key-invalid" }),
    );
  });
});

test("handles show no secret", () => {
  const raw = Buffer.alloc(32, 0xa7);
  const handles = [
    createSigningKey("owner-signing", raw),
    createUnwrapKey("training-unwrap", raw),
    createSecretHandle("noise", raw),
  ];
  for (const handle of handles) {
    const shown =
      inspect(handle, { depth: 9, showHidden: true, getters: true }) +
      JSON.stringify(handle) +
      String(handle);
    for (const form of [raw.toString("hex"), raw.toString("base64"), "167, 167", "a7 a7"]) {
      expect(shown).not.toContain(form);
    }
    expect(shown).not.toContain("KeyObject");
    expect(Object.isFrozen(handle)).toBe(true);
  }
});
