/** Envelopes and data keys: the format to the byte, and every way of being refused. */
import { createSecretKey, randomBytes } from "node:crypto";
import { inspect } from "node:util";
import { describe, expect, test } from "vitest";
import { sealGcm } from "../../pipeline/crypto/aes-gcm.ts";
import { encodeCbor } from "../../pipeline/crypto/cbor.ts";
import { type DataKey, openingDataKey } from "../../pipeline/crypto/data-key.ts";
import {
  type EnvelopeContext,
  openEnvelope,
  sealEnvelope,
} from "../../pipeline/crypto/envelope.ts";
import { bytesOf, createWorld, dataKeyFor, hexOf, PIPELINE, survivors, utf8 } from "./fixtures.ts";

const world = createWorld();
const { dataKey } = await dataKeyFor(world);
const context: EnvelopeContext = {
  pipeline: PIPELINE,
  topic: "examples",
  lane: 0,
  recordId: utf8("record-1"),
  schemaVersion: 1,
  attributes: { split: "train" },
};
const plaintext = utf8("sixty-four pixels and a label");

function open(envelope: Uint8Array, changed: Partial<EnvelopeContext> = {}, key = dataKey) {
  return openEnvelope({ envelope, context: { ...context, ...changed }, findKey: () => key });
}

const SAME_KEY = createSecretKey(Buffer.alloc(32, 7));

/** The same key material under another scope, to reach the AAD behind the scope check. */
function sameKeyFor(changed: Partial<EnvelopeContext>): DataKey {
  const { pipeline, topic, lane } = { ...context, ...changed };
  return openingDataKey(SAME_KEY, { pipeline, topic, lane, kid: new Uint8Array(16) });
}

describe("the format", () => {
  test("is laid out as the grammar says", () => {
    const sequences: [number, string][] = [
      [0, "00"],
      [23, "17"],
      [24, "1818"],
      [256, "190100"],
      [65536, "1a00010000"],
      [2 ** 53 - 1, "1b001fffffffffffff"],
    ];
    for (const [sequence, encoded] of sequences) {
      const text = hexOf(sealEnvelope({ dataKey, plaintext, context, sequence }));
      const header = `a301030450${hexOf(dataKey.kid)}3a00011170${encoded}`;
      const length = (header.length / 2).toString(16);
      const start = `d08358${length}${header}a1054c`;
      expect(text.slice(0, start.length)).toBe(start);
      const afterIv = text.slice(start.length + 24);
      expect(afterIv.slice(0, 4)).toBe(`58${(plaintext.length + 16).toString(16)}`);
      expect(afterIv.length).toBe(4 + 2 * (plaintext.length + 16));
    }
  });

  test("the nonce is a random prefix and a counter", async () => {
    const fresh = (await dataKeyFor(world)).dataKey;
    const nonces = Array.from({ length: 300 }, () => hexOf(fresh.seal(plaintext, plaintext).iv));
    expect(new Set(nonces.map((nonce) => nonce.slice(0, 8))).size).toBe(1);
    expect(nonces.map((nonce) => Number.parseInt(nonce.slice(8), 16))).toEqual(
      nonces.map((_, i) => i),
    );
    const other = hexOf((await dataKeyFor(world)).dataKey.seal(plaintext, plaintext).iv);
    expect(other.slice(0, 8)).not.toBe(nonces[0]?.slice(0, 8));
  });

  test("attributes have one order whatever the object's", () => {
    const attributes = { zz: "1", b: "2", a: "3", "\u00e9": "4", "": "5" };
    const reversed = Object.fromEntries(Object.entries(attributes).reverse());
    const envelope = sealEnvelope({
      dataKey,
      plaintext,
      context: { ...context, attributes },
      sequence: 1,
    });
    expect(open(envelope, { attributes: reversed }).status).toBe("ok");
  });
});

describe("opening", () => {
  const envelope = sealEnvelope({ dataKey, plaintext, context, sequence: 12_345 });

  test("gives plaintext, sequence and kid", () => {
    expect(open(envelope)).toEqual({
      status: "ok",
      plaintext,
      sequence: 12_345,
      kid: dataKey.kid,
    });
  });

  test("works for every length around the head boundaries, from a Buffer within a larger one", () => {
    for (const length of [0, 1, 6, 7, 8, 239, 240, 241, 65_519, 65_520, 70_000]) {
      const bytes = new Uint8Array(randomBytes(length));
      const sealed = sealEnvelope({ dataKey, plaintext: bytes, context, sequence: length });
      const inside = Buffer.concat([Buffer.alloc(3), sealed, Buffer.alloc(5)]);
      const opened = open(inside.subarray(3, 3 + sealed.length));
      expect(opened.status === "ok" && Buffer.compare(opened.plaintext, bytes)).toBe(0);
    }
  });

  test("refuses every flipped byte, truncation and extension", () => {
    const survived = survivors(envelope, (bytes) => open(bytes).status !== "refused");
    expect(survived).toEqual([]);
    const small = sealEnvelope({ dataKey, plaintext: new Uint8Array(0), context, sequence: 0 });
    expect(survivors(small, (bytes) => open(bytes).status !== "refused")).toEqual([]);
  });

  test("refuses a sequence that was changed along with its length", () => {
    const kid = hexOf(dataKey.kid);
    const text = hexOf(sealEnvelope({ dataKey, plaintext, context, sequence: 5 }));
    const longer = text.replace(
      `d083581ba301030450${kid}3a0001117005`,
      `d083581ca301030450${kid}3a000111701818`,
    );
    expect(longer.length).toBe(text.length + 2);
    expect(open(bytesOf(longer)).status).toBe("refused");
  });

  test.each([
    ["recordId", { recordId: utf8("record-2") }],
    ["empty recordId", { recordId: new Uint8Array(0) }],
    ["schemaVersion", { schemaVersion: 2 }],
    ["attribute", { attributes: { split: "test" } }],
    ["attribute name", { attributes: { splits: "train" } }],
    ["no attributes", { attributes: undefined }],
    ["lane", { lane: 1 }],
    ["topic", { topic: "models" }],
    ["pipeline", { pipeline: "other" }],
  ] as [string, Partial<EnvelopeContext>][])("refuses another %s", (_, changed) => {
    expect(open(envelope, changed).status).toBe("refused");
  });

  test.each([
    ["lane", { lane: 1 }],
    ["topic", { topic: "contributions" }],
    ["pipeline", { pipeline: "other" }],
  ] as [string, Partial<EnvelopeContext>][])(
    "the AAD alone refuses another %s, even under the same key",
    (_, changed) => {
      const base = sameKeyFor({});
      const iv = new Uint8Array(12);
      const sealing: DataKey = {
        ...base,
        seal: (text, aad) => ({ iv, ...sealGcm(SAME_KEY, iv, aad, text) }),
      };
      const sealed = sealEnvelope({ dataKey: sealing, plaintext, context, sequence: 1 });
      expect(open(sealed, {}, base).status).toBe("ok");
      expect(open(sealed, changed, sameKeyFor(changed)).status).toBe("refused");
    },
  );

  test("a key of another lane is refused, even where the AAD would agree", () => {
    const iv = new Uint8Array(12);
    const elsewhere = sameKeyFor({ lane: 1 });
    const sealing: DataKey = {
      ...elsewhere,
      seal: (text, aad) => ({ iv, ...sealGcm(SAME_KEY, iv, aad, text) }),
    };
    const there = { ...context, lane: 1 };
    const sealed = sealEnvelope({ dataKey: sealing, plaintext, context: there, sequence: 1 });
    expect(open(sealed, there, elsewhere).status).toBe("ok");
    expect(open(sealed, there, sameKeyFor({ lane: 0 })).status).toBe("refused");
  });

  test("says unknown-key, with the kid, and refuses another key under the same kid", async () => {
    const unknown = openEnvelope({ envelope, context, findKey: () => null });
    expect(unknown).toEqual({ status: "unknown-key", kid: dataKey.kid });
    expect(open(envelope, {}, (await dataKeyFor(world)).dataKey).status).toBe("refused");
  });

  test.each([
    ["A128GCM", 1],
    ["A192GCM", 2],
    ["AES-CCM-16-64-128", 10],
    ["direct", -6],
  ])("refuses %s before a key is asked for", (_, algorithm) => {
    const header = encodeCbor(
      new Map<number, number | Uint8Array>([
        [1, algorithm],
        [4, dataKey.kid],
        [-70001, 1],
      ]),
    );
    const body = encodeCbor([header, new Map([[5, new Uint8Array(12)]]), new Uint8Array(40)]);
    const findKey = () => expect.unreachable();
    const downgraded = new Uint8Array([0xd0, ...body]);
    expect(openEnvelope({ envelope: downgraded, context, findKey }).status).toBe("refused");
  });
});

describe("data keys", () => {
  test("count their uses and are spent at the limit", async () => {
    const { dataKey: limited } = await dataKeyFor(world, { limit: 3 });
    for (let i = 0; i < 3; i++) sealEnvelope({ dataKey: limited, plaintext, context, sequence: i });
    expect(limited.uses).toBe(3);
    expect(() => sealEnvelope({ dataKey: limited, plaintext, context, sequence: 3 })).toThrow(
      expect.objectContaining({ code: "key-spent" }),
    );
    expect(limited.uses).toBe(3);
    expect(dataKey.limit).toBe(2 ** 32);
  });

  test("a key that was unwrapped cannot seal", async () => {
    const { dataKey: made, entry } = await dataKeyFor(world);
    const directory = world.directory(["training-unwrap"]);
    expect(directory.apply(entry.key, entry.value)).toBe("accepted");
    const opened = directory.findDataKey(made.kid, "examples")!;
    expect(() => opened.seal(plaintext, plaintext)).toThrow(
      expect.objectContaining({ code: "internal" }),
    );
  });

  test("are refused to the wrong signer or recipient", async () => {
    const forbidden = expect.objectContaining({ code: "key-forbidden" });
    const model = { ...world, recipient: () => world.recipient("model-unwrap") };
    await expect(dataKeyFor(model)).rejects.toThrow(forbidden);
    const signer = { ...world, signing: () => world.signing("model-signing") };
    await expect(dataKeyFor(signer)).rejects.toThrow(forbidden);
  });

  test("throw internal for a context or sequence that is not theirs", () => {
    const internal = expect.objectContaining({ code: "internal" });
    const seal = (changed: Partial<EnvelopeContext>, sequence = 1) =>
      sealEnvelope({ dataKey, plaintext, context: { ...context, ...changed }, sequence });
    expect(() => seal({ lane: 1 })).toThrow(internal);
    expect(() => seal({ topic: "models" })).toThrow(internal);
    expect(() => seal({ pipeline: "other" })).toThrow(internal);
    expect(() => seal({}, -1)).toThrow(internal);
    expect(() => seal({}, 1.5)).toThrow(internal);
    expect(() => seal({}, 2 ** 53)).toThrow(internal);
    expect(() => seal({ schemaVersion: -1 })).toThrow(internal);
  });

  test("show no secret", () => {
    const secret = Buffer.alloc(32, 0xa7);
    const handle = openingDataKey(createSecretKey(secret), { ...dataKey, kid: new Uint8Array(16) });
    const shown =
      inspect(handle, { depth: 9, showHidden: true }) + JSON.stringify(handle) + String(handle);
    for (const form of [secret.toString("hex"), secret.toString("base64"), "167, 167", "a7 a7"]) {
      expect(shown).not.toContain(form);
    }
    expect(
      Object.values(handle).some((value) => value?.constructor?.name.endsWith("KeyObject")),
    ).toBe(false);
  });
});
