/** What is known of any error: a name that may be logged, and whether it is Kafka's trouble. */
import kafkajs from "kafkajs";
import { describe, expect, it } from "vitest";
import { SealstreamError } from "../../pipeline/errors.ts";
import { errorName, isClientTrouble } from "../../pipeline/stream/error-name.ts";

const protocolError = Object.assign(new Error("about a record"), {
  name: "KafkaJSProtocolError",
  type: "NOT_LEADER_FOR_PARTITION",
});

describe("the name of an error", () => {
  it("is its code, its type or its class, and never its text", () => {
    expect(errorName(new SealstreamError("fenced", "text"))).toBe("fenced");
    expect(errorName(protocolError)).toBe("NOT_LEADER_FOR_PARTITION");
    expect(errorName(new TypeError("text"))).toBe("TypeError");
    expect(errorName({})).toBe("unknown");
  });
});

describe("a client's trouble", () => {
  it("is every error of kafkajs", () => {
    expect(isClientTrouble(protocolError)).toBe(true);
    expect(isClientTrouble(new kafkajs.KafkaJSError("text"))).toBe(true);
    expect(isClientTrouble(new kafkajs.KafkaJSConnectionError("text"))).toBe(true);
    expect(isClientTrouble(new kafkajs.KafkaJSNonRetriableError("text"))).toBe(true);
    expect(
      isClientTrouble(
        new kafkajs.KafkaJSNumberOfRetriesExceeded("text", {
          retryCount: 1,
          retryTime: 1,
        }),
      ),
    ).toBe(true);
  });

  it("is no error of ours, no bug, and nothing that was merely called so", () => {
    expect(isClientTrouble(new SealstreamError("kafka-failed", "KafkaJS"))).toBe(false);
    expect(isClientTrouble(new TypeError("KafkaJS is undefined"))).toBe(false);
    expect(isClientTrouble({ name: "KafkaJSError" })).toBe(false);
    expect(isClientTrouble("KafkaJSError")).toBe(false);
    expect(isClientTrouble(null)).toBe(false);
  });
});
