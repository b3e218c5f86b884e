/** The headers of a dead letter, written and read back: Kafka Connect's names, and nothing that a stranger wrote. */
import { describe, expect, it } from "vitest";
import type { Headers, StreamRecord } from "../../pipeline/stream/contract.ts";
import {
  deadLetterRecord,
  REPLAYS_HEADER,
  readLetterHeaders,
  replaysOf,
} from "../../pipeline/stream/dead-letter.ts";

const bytes = (value: string): Uint8Array => new TextEncoder().encode(value);
const text = new TextDecoder();
const PLACE = { stage: "desensitize", topic: "digits.raw", partition: 3 } as const;

function letterOf(headers: Headers = {}) {
  const record: StreamRecord = {
    offset: 12,
    timestampMs: 0,
    key: bytes("secret key"),
    value: bytes("secret value"),
    headers: { trace: bytes("secret header"), ...headers },
  };
  return deadLetterRecord({
    ...PLACE,
    pipeline: "digits",
    record,
    reason: "not-json",
    seal: () => bytes("sealed"),
  });
}

describe("a dead letter's headers", () => {
  it("are exactly those of Kafka Connect's DeadLetterQueueReporter, with nothing of the record", () => {
    const { key, value, headers } = letterOf();
    expect(key).toBeNull();
    expect(text.decode(value!)).toBe("sealed");
    expect(
      Object.fromEntries(Object.entries(headers!).map(([name, of]) => [name, text.decode(of)])),
    ).toEqual({
      "__connect.errors.topic": "digits.raw",
      "__connect.errors.partition": "3",
      "__connect.errors.offset": "12",
      "__connect.errors.connector.name": "digits",
      "__connect.errors.task.id": "3",
      "__connect.errors.stage": "desensitize",
      "__connect.errors.class.name": "desensitize",
      "__connect.errors.exception.class.name": "not-json",
      "__connect.errors.exception.message": "redacted",
      "__connect.errors.exception.stacktrace": "redacted",
    });
  });

  it("are read back", () => {
    expect(readLetterHeaders(letterOf().headers!, PLACE)).toEqual({
      ...PLACE,
      offset: 12,
      reason: "not-json",
      replays: 0,
    });
  });

  it("count replays, but take no other number from a raw header", () => {
    const replayed = letterOf({ [REPLAYS_HEADER]: bytes("2") });
    expect(readLetterHeaders(replayed.headers!, PLACE)?.replays).toBe(2);
    for (const hostile of [
      "",
      "-1",
      "1e3",
      "007",
      "1000",
      "0x1",
      " 1",
      "\u001b[2J",
      "9".repeat(500),
    ]) {
      expect(replaysOf({ [REPLAYS_HEADER]: bytes(hostile) })).toBe(0);
      expect(letterOf({ [REPLAYS_HEADER]: bytes(hostile) }).headers).not.toHaveProperty(
        REPLAYS_HEADER,
      );
    }
  });

  it("of another place, another spelling or out of a stranger's hand are none", () => {
    const { headers } = letterOf();
    const hostile: Record<string, string[]> = {
      topic: ["digits.desensitized", "digits.raw ", "\u001b[2J", ""],
      partition: ["4", "03", "3.0", ""],
      offset: ["-1", "1.5", "9007199254740993", "0x10", "", "12\n"],
      stage: ["encrypt", "Desensitize", "\u001b]0;x\u0007"],
      "exception.class.name": ["secret value", "java.lang.Error", "constructor", "__proto__", ""],
    };
    for (const [name, values] of Object.entries(hostile)) {
      for (const value of values) {
        const edited = { ...headers!, [`__connect.errors.${name}`]: bytes(value) };
        expect(readLetterHeaders(edited, PLACE), `${name}=${value}`).toBeNull();
      }
      const { [`__connect.errors.${name}`]: _, ...without } = headers!;
      expect(readLetterHeaders(without, PLACE), name).toBeNull();
    }
    expect(readLetterHeaders({}, PLACE)).toBeNull();
  });
});
