/**
 * What every client is opened with, as librdkafka's settings: brokers, TLS, SASL, sizes.
 *
 * Source: librdkafka's CONFIGURATION.md. Secrets pass through to the library's memory and nowhere else; must not be
 * logged.
 */
import { SealstreamError } from "../errors.ts";
import type { ConfluentLibrary, LibraryClient, LibrarySettings } from "./confluent-library.ts";
import type { ClientOptions, SaslOptions, TlsOptions } from "./open-client.ts";
import type { Logger } from "./port.ts";

/** librdkafka reconnects after 100 ms at first; capped, so that a restarted broker is found soon. */
const RECONNECT_MOST_MS = 1_000;
/** Syslog's `critical`: the library's own words go to our logger or nowhere. */
const LOG_LEVEL = 2;
/** How long a token without an expiry of its own is used. */
const TOKEN_LIFETIME_MS = 300_000;

/** Milliseconds since the epoch; librdkafka wants a token's expiry as such. */
const nowMs = (): number => performance.timeOrigin + performance.now();

/** Subject and expiry of a JWT (RFC 7519, section 4.1); of any other token an assumption. */
export function readToken(token: string, now: number): { principal: string; lifetime: number } {
  const assumed = { principal: "", lifetime: Math.floor(now + TOKEN_LIFETIME_MS) };
  const payload = token.split(".")[1];
  if (payload === undefined) {
    return assumed;
  }
  try {
    // Because only the two fields looked at below are used, and only if they are of the right type.
    const claims = JSON.parse(Buffer.from(payload, "base64url").toString("utf8")) as {
      sub?: unknown;
      exp?: unknown;
    };
    return {
      principal: typeof claims.sub === "string" ? claims.sub : assumed.principal,
      lifetime: typeof claims.exp === "number" ? claims.exp * 1_000 : assumed.lifetime,
    };
  } catch {
    // Because a token that is not a JWT is the broker's to judge.
    return assumed;
  }
}

function tlsSettings(tls: TlsOptions | null): LibrarySettings {
  if (tls === null) {
    return {};
  }
  return {
    ...(tls.ca === null ? {} : { "ssl.ca.pem": tls.ca }),
    ...(tls.certificate === null ? {} : { "ssl.certificate.pem": tls.certificate }),
    ...(tls.privateKey === null ? {} : { "ssl.key.pem": tls.privateKey }),
  };
}

function saslSettings(sasl: SaslOptions | null): LibrarySettings {
  if (sasl === null) {
    return {};
  }
  if (sasl.mechanism === "oauthbearer") {
    const { token } = sasl;
    return {
      "sasl.mechanism": "OAUTHBEARER",
      oauthbearer_token_refresh_cb: async () => {
        const tokenValue = await token();
        return { tokenValue, ...readToken(tokenValue, nowMs()) };
      },
    };
  }
  return {
    "sasl.mechanism": sasl.mechanism.toUpperCase(),
    "sasl.username": sasl.username,
    "sasl.password": sasl.password,
  };
}

/** Settings that every handle of one client shares. */
export function connectionSettings(options: ClientOptions): LibrarySettings {
  const tls = options.tls ?? null;
  const sasl = options.sasl ?? null;
  const encrypted = tls === null ? "plaintext" : "ssl";
  return {
    "bootstrap.servers": options.brokers.join(","),
    "client.id": options.clientId,
    "security.protocol": sasl === null ? encrypted : `sasl_${encrypted}`,
    "reconnect.backoff.max.ms": RECONNECT_MOST_MS,
    log_level: LOG_LEVEL,
    ...tlsSettings(tls),
    ...saslSettings(sasl),
  };
}

/** @throws SealstreamError `backend-unavailable` when the library was built without the codec */
export function checkCompression(library: ConfluentLibrary, options: ClientOptions): void {
  const { compression } = options;
  if (compression !== "none" && !library.features.includes(compression)) {
    throw new SealstreamError(
      "backend-unavailable",
      `kafka.compression: ${compression} is not in this build of the confluent client: use gzip or none, or build it with ${compression}.`,
    );
  }
}

/** Lets a handle say where it is in trouble: the kind of event and librdkafka's code, never its text. */
export function bridgeLogs<C extends LibraryClient>(client: C, logger: Logger): C {
  const tell = (code: number): void => {
    logger.debug({ client: "confluent", code }, "librdkafka reports an error");
  };
  client.on("event.error", ({ code }) => tell(code));
  // Because an emitter without a listener for `error` throws; the same trouble fails the connection and is seen there.
  client.on("error", ({ code }) => tell(code ?? 0));
  return client;
}
