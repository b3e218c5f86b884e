/** What the confluent client makes of the options: librdkafka's settings for TLS and SASL, tokens, missing codecs. */
import { describe, expect, it } from "vitest";
import {
  checkCompression,
  connectionSettings,
  readToken,
} from "../../pipeline/stream/confluent-config.ts";
import type { ConfluentLibrary } from "../../pipeline/stream/confluent-library.ts";
import { isFenced, toSealstreamError } from "../../pipeline/stream/confluent-library.ts";
import type { ClientOptions } from "../../pipeline/stream/open-client.ts";
import { silentLogger } from "../lib/kafka.ts";

const OPTIONS: ClientOptions = {
  brokers: ["a:1", "b:2"],
  clientId: "me",
  compression: "none",
  sessionTimeoutMs: 6_000,
  transactionTimeoutMs: 15_000,
  logger: silentLogger,
};
const TLS = { ca: "CA", certificate: null, privateKey: null };

describe("connectionSettings", () => {
  it("is plain unless told otherwise", () => {
    const settings = connectionSettings(OPTIONS);
    expect(settings).toMatchObject({
      "bootstrap.servers": "a:1,b:2",
      "client.id": "me",
      "security.protocol": "plaintext",
    });
    expect(Object.keys(settings).filter((name) => /^(?:ssl|sasl)/.test(name))).toEqual([]);
  });

  it("maps TLS, with and without a certificate of our own", () => {
    const trusting = connectionSettings({ ...OPTIONS, tls: TLS });
    expect(trusting).toMatchObject({ "security.protocol": "ssl", "ssl.ca.pem": "CA" });
    expect(trusting).not.toHaveProperty(["ssl.key.pem"]);
    const tls = { ca: null, certificate: "CERT", privateKey: "KEY" };
    const known = connectionSettings({ ...OPTIONS, tls });
    expect(known).toMatchObject({ "ssl.certificate.pem": "CERT", "ssl.key.pem": "KEY" });
    expect(known).not.toHaveProperty(["ssl.ca.pem"]);
  });

  it.each([
    ["plain", "PLAIN"],
    ["scram-sha-256", "SCRAM-SHA-256"],
    ["scram-sha-512", "SCRAM-SHA-512"],
  ] as const)("maps SASL %s", (mechanism, name) => {
    const sasl = { mechanism, username: "u", password: "p" };
    expect(connectionSettings({ ...OPTIONS, sasl })).toMatchObject({
      "security.protocol": "sasl_plaintext",
      "sasl.mechanism": name,
      "sasl.username": "u",
      "sasl.password": "p",
    });
    expect(connectionSettings({ ...OPTIONS, sasl, tls: TLS })).toMatchObject({
      "security.protocol": "sasl_ssl",
    });
  });

  it("asks for a token whenever librdkafka does", async () => {
    const claims = Buffer.from(JSON.stringify({ sub: "stage", exp: 2_000_000_000 }));
    const token = `e30.${claims.toString("base64url")}.x`;
    const settings = connectionSettings({
      ...OPTIONS,
      sasl: { mechanism: "oauthbearer", token: () => Promise.resolve(token) },
    });
    expect(settings["sasl.mechanism"]).toBe("OAUTHBEARER");
    const refresh = settings["oauthbearer_token_refresh_cb"] as () => Promise<unknown>;
    expect(await refresh()).toEqual({
      tokenValue: token,
      principal: "stage",
      lifetime: 2_000_000_000_000,
    });
  });
});

describe("readToken", () => {
  it.each(["opaque", "a.b.c", "a.bnVsbA.c", "a.e30.c", "a.eyJleHAiOiJzb29uIn0.c"])(
    "assumes a lifetime for %s",
    (token) => {
      expect(readToken(token, 1_000)).toEqual({ principal: "", lifetime: 301_000 });
    },
  );
});

describe("checkCompression", () => {
  it("names a codec that the build lacks", () => {
    // Because only the list of features is looked at.
    const library = { features: ["gzip"] } as unknown as ConfluentLibrary;
    checkCompression(library, { ...OPTIONS, compression: "gzip" });
    checkCompression(library, OPTIONS);
    expect(() => checkCompression(library, { ...OPTIONS, compression: "zstd" })).toThrow(/zstd/);
  });
});

describe("toSealstreamError", () => {
  it.each([
    [{ code: 90 }, "fenced"],
    [{ code: 47 }, "fenced"],
    [{ code: -144 }, "fenced"],
    [{ code: -150 }, "fenced"],
    [{ code: 51, isFatal: true }, "fenced"],
    [{ code: 53, isFatal: true }, "access-denied"],
    [{ code: 29 }, "access-denied"],
    [{ code: 58 }, "access-denied"],
    [{ code: -195 }, "kafka-failed"],
    [new Error("something"), "kafka-failed"],
  ])("tells what %o means", (error, code) => {
    expect(toSealstreamError(error, "Committing")).toMatchObject({ code });
    expect(isFenced(error)).toBe(code === "fenced");
  });
});
