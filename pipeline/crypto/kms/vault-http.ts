/**
 * One request to Vault or OpenBao, with patience, as whoever the credentials say.
 *
 * Says what became of it by status and by the few of the service's own sentences that decide between "refused" and "try
 * again". Must not: put what was sent or answered into a message, follow a redirect with the token, or read more of an
 * answer than an answer takes.
 */
import { SealstreamError } from "../../errors.ts";
import {
  type Attempt,
  createPatient,
  type Patience,
  type Patient,
  type RetryWorld,
  retryAfterMs,
} from "./patient.ts";

/** Who we are for the service: a token, or a role that gets one. */
export type VaultCredentials =
  | { readonly token: string }
  | { readonly roleId: string; readonly secretId: string; readonly mount?: string };

export interface VaultOptions {
  /** `https://host:8200`; `http:` only on this machine. */
  readonly address: string;
  readonly credentials: VaultCredentials;
  readonly namespace?: string | undefined;
  readonly fetch: typeof fetch;
  readonly world: RetryWorld;
  /** Milliseconds since the epoch, for Retry-After with a date. */
  readonly wallClock: () => number;
  readonly patience?: Partial<Patience> | undefined;
}

/** What the service made of a request. */
export type VaultAnswer =
  | { readonly status: "ok"; readonly data: Readonly<Record<string, unknown>> }
  /** 404, or its sentence for a key that does not exist. */
  | { readonly status: "missing" }
  /** It looked at what was sent and does not take it. */
  | { readonly status: "refused" };

export interface VaultHttp {
  /** @throws `access-denied`, `kms-unavailable` */
  ask(method: "GET" | "POST", path: string, body?: object): Promise<VaultAnswer>;
}

const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/;
const MAX_ANSWER_BYTES = 64 * 1024;
/**
 * What the service says of a ciphertext that is not of this key; whatever else has status 400 may come from a proxy, or
 * say nothing of the ciphertext, and a refusal is for good. The one of RSA keys has 500, as if the service had failed.
 */
const REFUSALS = [
  "message authentication failed",
  "invalid ciphertext",
  "missing ciphertext to decrypt",
  "version is disallowed by policy",
  "failed to RSA decrypt the ciphertext",
];
const NO_SUCH_KEY = ["encryption key not found"];
/** Of a role that cannot log in. */
const NO_SUCH_ROLE = ["invalid role", "invalid secret", "missing role_id", "missing secret_id"];

/** @throws `usage` for an address that is none, or would carry the token unencrypted */
export function createVaultHttp(options: VaultOptions): VaultHttp {
  const base = checkedAddress(options.address);
  const service = `The key management service at ${base.origin}`;
  const patient = createPatient({ service, world: options.world, patience: options.patience });
  const send = senderOf(options, base);
  const tokens = createTokens(options, service, send, patient);
  return {
    async ask(method, path, body) {
      for (let logins = 0; ; logins += 1) {
        const token = await tokens.current();
        const answer = await patient((signal) => send({ method, path, body, token, signal }));
        if (answer.status !== "denied") return answer;
        // A role's token may have ended since: it gets another one, once.
        if (logins > 0 || !tokens.forget(token)) {
          throw new SealstreamError(
            "access-denied",
            `${service} does not let these credentials use ${path}: check the token or role, its policy and the namespace.`,
          );
        }
      }
    },
  };
}

interface Request {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly body?: object | undefined;
  /** Null while logging in. */
  readonly token: string | null;
  readonly signal: AbortSignal;
}

type Answered = VaultAnswer | { readonly status: "denied" };
type Send = (request: Request) => Promise<Attempt<Answered>>;

const again = (reason: string, afterMs: number | null = null) =>
  ({ status: "again", reason, afterMs }) as const;

function senderOf(options: VaultOptions, base: URL): Send {
  return async (request) => {
    try {
      const response = await options.fetch(new URL(`v1/${request.path}`, base), {
        ...initOf(request, options.namespace),
        method: request.method,
        redirect: "error",
        signal: request.signal,
      });
      const text = await readText(response);
      if (text === null) return again("an answer of impossible size");
      const afterMs = retryAfterMs(response.headers.get("retry-after"), options.wallClock());
      return judge(response.status, text, afterMs);
    } catch {
      // Because what the network says may name addresses that are not ours to tell.
      return again(request.signal.aborted ? "no answer in time" : "no connection");
    }
  };
}

function initOf({ body, token }: Request, namespace: string | undefined) {
  const headers = {
    "content-type": "application/json",
    // What keeps a forged request of a browser away from agents; servers ignore it.
    "x-vault-request": "true",
    ...(token === null ? {} : { "x-vault-token": token }),
    ...(namespace === undefined ? {} : { "x-vault-namespace": namespace }),
  };
  return body === undefined ? { headers } : { headers, body: JSON.stringify(body) };
}

function judge(status: number, text: string, afterMs: number | null): Attempt<Answered> {
  const done = (value: Answered) => ({ status: "done", value }) as const;
  const data = status === 200 ? dataOf(text) : null;
  if (data !== null) return done({ status: "ok", data });
  if (status === 403) return done({ status: "denied" });
  if (status === 404) return done({ status: "missing" });
  const errors = status === 400 || status === 500 ? errorsOf(text) : [];
  const says = (sentences: readonly string[]) =>
    errors.some((error) => sentences.some((sentence) => error.includes(sentence)));
  if (says(NO_SUCH_KEY)) return done({ status: "missing" });
  if (says(NO_SUCH_ROLE)) return done({ status: "denied" });
  if (says(REFUSALS)) return done({ status: "refused" });
  return again(status === 200 ? "an answer of unknown form" : `status ${status}`, afterMs);
}

/** Text of an answer within its limit, else null. */
async function readText(response: Response): Promise<string | null> {
  if (response.body === null) return "";
  const parts: Uint8Array[] = [];
  let bytes = 0;
  const reader: ReadableStreamDefaultReader<Uint8Array> = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return Buffer.concat(parts).toString("utf8");
    bytes += value.length;
    if (bytes > MAX_ANSWER_BYTES) {
      await reader.cancel();
      return null;
    }
    parts.push(value);
  }
}

/** `data` (or `auth`) of an answer, else null. */
function dataOf(text: string): Readonly<Record<string, unknown>> | null {
  const { data, auth } = objectOf(text);
  return isRecord(data) ? data : isRecord(auth) ? auth : null;
}

/** What the service says is wrong; none when somebody else answered. */
function errorsOf(text: string): readonly string[] {
  const { errors } = objectOf(text);
  return Array.isArray(errors) ? errors.filter((error) => typeof error === "string") : [];
}

/** The object that an answer is; an empty one for anything else. */
function objectOf(text: string): Readonly<Record<string, unknown>> {
  try {
    const parsed: unknown = JSON.parse(text);
    return isRecord(parsed) ? parsed : {};
  } catch {
    // Because a proxy may answer in place of the service, with anything.
    return {};
  }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The token to send. */
function createTokens(options: VaultOptions, service: string, send: Send, patient: Patient) {
  const { credentials } = options;
  if ("token" in credentials) {
    return { current: async () => credentials.token, forget: () => false };
  }
  const { roleId, secretId, mount = "approle" } = credentials;
  let asked: Promise<string> | null = null;
  let known: string | null = null;
  const login = async (): Promise<string> => {
    const path = `auth/${mount}/login`;
    const body = { role_id: roleId, secret_id: secretId };
    const answer = await patient((signal) =>
      send({ method: "POST", path, body, token: null, signal }),
    );
    const token = answer.status === "ok" ? answer.data["client_token"] : null;
    if (typeof token === "string" && token !== "") return token;
    throw new SealstreamError(
      "access-denied",
      `${service} gives this role no token: check VAULT_ROLE_ID, VAULT_SECRET_ID and the namespace.`,
    );
  };
  return {
    async current(): Promise<string> {
      // Requests at the same time share one login.
      asked ??= login();
      try {
        known = await asked;
        return known;
      } catch (error) {
        asked = null;
        throw error;
      }
    },
    /** Drops a token that was refused, unless another one is there already. */
    forget(token: string): boolean {
      if (token === known) {
        asked = null;
        known = null;
      }
      return true;
    },
  };
}

function checkedAddress(address: string): URL {
  const url = URL.canParse(address) ? new URL(address) : null;
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== "" || url.search !== "") {
    throw new SealstreamError(
      "usage",
      "The address of Vault or OpenBao is not of the form https://host:8200: correct VAULT_ADDR.",
    );
  }
  if (url.protocol === "http:" && !LOOPBACK.test(url.hostname)) {
    throw new SealstreamError(
      "usage",
      `VAULT_ADDR ${url.origin} would carry keys and the token unencrypted: use https.`,
    );
  }
  return new URL(url.pathname.endsWith("/") ? url : `${url.href}/`);
}
