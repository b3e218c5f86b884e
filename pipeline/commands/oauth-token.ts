/**
 * Access tokens for SASL/OAUTHBEARER by OAuth 2.0 client credentials (RFC 6749, section 4.4), kept until they expire.
 *
 * The client secret goes to the named endpoint only, over HTTPS unless the endpoint is this machine, and no redirect is
 * followed. Must not log a token, nor what an endpoint says in its errors.
 */
import { SealstreamError } from "../errors.ts";
import type { Clock } from "../stream/port.ts";

const ANSWER_TIMEOUT_MS = 10_000;
/** Clients authenticate anew 5 s before a token ends (kafkajs-connection.ts) and must then get another one. */
const SPARE_MS = 10_000;
/** A token that lives shorter would be renewed all the time: Kafka allows that once in a second. */
const SHORTEST_LIFETIME_MS = 15_000;
/** What RFC 6749 leaves to the server when `expires_in` is missing: ask anew after this. */
const ASSUMED_LIFETIME_MS = 300_000;
const LOOPBACK = /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/;

export interface TokenRequest {
  readonly endpoint: string;
  readonly clientId: string;
  readonly clientSecret: string;
  readonly scope: string | null;
  readonly clock: Clock;
}

interface Token {
  readonly value: string;
  readonly usableUntilMs: number;
}

function checkedEndpoint(endpoint: string): URL {
  const url = new URL(endpoint);
  if (url.protocol !== "https:" && !(url.protocol === "http:" && LOOPBACK.test(url.hostname))) {
    throw new SealstreamError(
      "spec-invalid",
      `kafka.sasl.tokenEndpoint ${url.origin} would carry the client secret unencrypted: use https.`,
    );
  }
  return url;
}

/** RFC 6749, section 2.3.1: both halves are form-encoded before they are joined. */
function basicAuthorization({ clientId, clientSecret }: TokenRequest): string {
  const encode = (text: string): string => new URLSearchParams([["", text]]).toString().slice(1);
  const pair = `${encode(clientId)}:${encode(clientSecret)}`;
  return `Basic ${Buffer.from(pair).toString("base64")}`;
}

async function ask(url: URL, request: TokenRequest): Promise<Response> {
  try {
    return await fetch(url, {
      method: "POST",
      redirect: "error",
      signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
      headers: {
        authorization: basicAuthorization(request),
        accept: "application/json",
      },
      body: new URLSearchParams({
        grant_type: "client_credentials",
        ...(request.scope === null ? {} : { scope: request.scope }),
      }),
    });
  } catch (error) {
    throw new SealstreamError(
      "broker-unavailable",
      `The token endpoint ${url.origin} does not answer: check kafka.sasl.tokenEndpoint.`,
      { cause: error },
    );
  }
}

async function fetchToken(url: URL, request: TokenRequest): Promise<Token> {
  const askedMs = request.clock();
  const answer = await ask(url, request);
  if (answer.status >= 500) {
    throw new SealstreamError(
      "broker-unavailable",
      `The token endpoint ${url.origin} answers with status ${answer.status}.`,
    );
  }
  // Because the two fields are checked before they are used.
  const body = (await answer.json().catch(() => null)) as {
    access_token?: unknown;
    expires_in?: unknown;
  } | null;
  const value = body?.access_token;
  if (!answer.ok || typeof value !== "string" || value === "") {
    throw new SealstreamError(
      "access-denied",
      `The token endpoint ${url.origin} gives ${request.clientId} no token (status ${answer.status}): check kafka.sasl and the client secret in the environment.`,
    );
  }
  const seconds = Number(body?.expires_in);
  const livesMs = seconds > 0 ? seconds * 1_000 : ASSUMED_LIFETIME_MS;
  if (livesMs < SHORTEST_LIFETIME_MS) {
    throw new SealstreamError(
      "access-denied",
      `The token endpoint ${url.origin} gives tokens that live only ${livesMs / 1_000} s: Sealstream needs ${SHORTEST_LIFETIME_MS / 1_000} s or more.`,
    );
  }
  return { value, usableUntilMs: askedMs + livesMs - Math.min(SPARE_MS, livesMs / 2) };
}

/**
 * A source of tokens that are valid now. Requests at the same time share one answer.
 * @throws SealstreamError `spec-invalid` when the endpoint is not HTTPS; the source throws `access-denied` when the
 *   endpoint refuses and `broker-unavailable` when it does not answer
 */
export function createTokenSource(request: TokenRequest): () => Promise<string> {
  const url = checkedEndpoint(request.endpoint);
  let current: Token | null = null;
  let asking: Promise<Token> | null = null;
  return async () => {
    if (current === null || request.clock() >= current.usableUntilMs) {
      asking ??= fetchToken(url, request).finally(() => {
        asking = null;
      });
      current = await asking;
    }
    return current.value;
  };
}
