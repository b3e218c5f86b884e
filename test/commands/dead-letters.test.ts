/** What `dead-letters` makes of words and bytes, without a broker. */
import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import {
  createDeadLetterSealer,
  deadLetterAad,
} from "../../pipeline/commands/dead-letter-sealer.ts";
import { letterName } from "../../pipeline/commands/dead-letters/letter-options.ts";
import { openLetter } from "../../pipeline/commands/dead-letters/open-letter.ts";
import { isoTime, safeJson, shown } from "../../pipeline/commands/dead-letters/text.ts";
import type { KeyDirectory } from "../../pipeline/crypto/directory.ts";
import { createRecipient, createUnwrapKey } from "../../pipeline/crypto/wrap/key-wrap.ts";
import type { StreamRecord } from "../../pipeline/stream/contract.ts";
import type { LetterHeaders } from "../../pipeline/stream/dead-letter.ts";

const bytes = (value: string): Uint8Array => new TextEncoder().encode(value);
const key = createUnwrapKey("owner-dead-letter", Buffer.alloc(32, 7));
const stranger = createUnwrapKey("owner-dead-letter", Buffer.alloc(32, 8));
const recipient = createRecipient("owner-dead-letter", key.publicKey);
// Because a sealer asks its directory for the recipient and nothing else.
const seal = createDeadLetterSealer(
  { recipient: () => recipient } as unknown as KeyDirectory,
  "encrypt",
);
const headers: LetterHeaders = {
  stage: "encrypt",
  topic: "digits.desensitized",
  partition: 1,
  offset: 9,
  reason: "schema",
  replays: 0,
};

function sealed(record: Partial<StreamRecord> = {}): Uint8Array {
  return seal({
    pipeline: "digits",
    stage: "encrypt",
    topic: headers.topic,
    partition: headers.partition,
    reason: headers.reason,
    record: {
      offset: headers.offset,
      timestampMs: 5,
      key: bytes("id"),
      value: bytes("{}"),
      headers: { trace: Uint8Array.of(0, 255) },
      ...record,
    },
  });
}

describe("opening a letter", () => {
  const open = (value: Uint8Array | null, more: Partial<LetterHeaders> = {}, with_ = key) =>
    openLetter({ pipeline: "digits", headers: { ...headers, ...more }, value, key: with_ });

  it("gives the record back, byte for byte", () => {
    expect(open(sealed())).toEqual({
      status: "whole",
      reason: "schema",
      record: {
        offset: 9,
        timestampMs: 5,
        key: bytes("id"),
        value: bytes("{}"),
        headers: Object.assign(Object.create(null), { trace: Uint8Array.of(0, 255) }),
      },
    });
    expect(open(sealed({ key: null, value: null, headers: {} }))).toMatchObject({
      record: { key: null, value: null, headers: {} },
    });
  });

  it("gives digests of a record that was too large", () => {
    const value = Buffer.alloc(1_000_000, 1);
    expect(open(sealed({ value }))).toEqual({
      status: "digest",
      reason: "schema",
      timestampMs: 5,
      key: { bytes: 2, sha256: new Uint8Array(createHash("sha256").update("id").digest()) },
      value: {
        bytes: 1_000_000,
        sha256: new Uint8Array(createHash("sha256").update(value).digest()),
      },
    });
  });

  it("refuses another place, another reason, another key, and every flipped byte", () => {
    const message = sealed();
    const refused = { status: "refused" };
    expect(open(message, { offset: 10 })).toEqual(refused);
    expect(open(message, { partition: 0 })).toEqual(refused);
    expect(open(message, { topic: "digits.raw" })).toEqual(refused);
    expect(open(message, { reason: "tombstone" })).toEqual(refused);
    expect(open(message, {}, stranger)).toEqual(refused);
    expect(openLetter({ pipeline: "other", headers, value: message, key })).toEqual(refused);
    expect(open(null)).toEqual(refused);
    for (let at = 0; at < message.length; at += 1) {
      const flipped = Uint8Array.from(message);
      flipped[at]! ^= 1;
      expect(open(flipped)).toEqual(refused);
    }
  });

  it("binds a letter to pipeline, topic, partition and offset", () => {
    expect(new TextDecoder().decode(deadLetterAad("p", "p.raw", 1, 2))).toBe(
      "sealstream/dead-letter/v1|p|p.raw|1|2",
    );
  });
});

describe("text for a terminal", () => {
  it("has no character that a terminal acts on, and loses nothing", () => {
    const hostile =
      "\u0000\u001b[31m\r\n\t\u007f\u009b\u00ad\u200e\u202e\u2028\u2066\ufeff\ud800 ok é 手 🙂";
    const json = safeJson({ hostile }, 2);
    expect(json.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
    expect(json).toContain(" ok é 手 🙂");
    expect(JSON.parse(json)).toEqual({ hostile });
  });

  it("is base64 for what is not UTF-8", () => {
    expect(shown(Uint8Array.of(0xc3, 0x28))).toEqual({ base64: "wyg=" });
    expect(shown(Uint8Array.of(0xef, 0xbb, 0xbf))).toEqual({ text: "\ufeff" });
    expect(shown(null)).toBeNull();
    expect(shown(new Uint8Array())).toEqual({ text: "" });
  });

  it("has no time for what is no time", () => {
    expect(isoTime(0)).toBe("1970-01-01T00:00:00.000Z");
    for (const made of [Number.NaN, 8.65e15, -8.65e15, 2 ** 62]) expect(isoTime(made)).toBeNull();
  });
});

describe("the name of a letter", () => {
  it("is what list prints", () => {
    expect(letterName("encrypt/0/12")).toEqual({ stage: "encrypt", partition: 0, offset: 12 });
  });

  it.each([
    undefined,
    "",
    "encrypt",
    "encrypt/0",
    "seal/0/1",
    "encrypt/-1/2",
    "encrypt/0/1/2",
    "encrypt/0/1e3",
  ])("is not %s", (word) => {
    expect(() => letterName(word)).toThrow(/STAGE\/PARTITION\/OFFSET/);
  });
});
