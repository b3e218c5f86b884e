/**
 * A transit engine in memory behind real HTTP, for what a real server does not do on demand: being slow, throttling,
 * being away, answering garbage. Its answers are those that OpenBao 2.4.0 gave (test/integration/openbao.test.ts asks it).
 */
import {
  constants,
  createCipheriv,
  createDecipheriv,
  generateKeyPairSync,
  privateDecrypt,
  randomBytes,
} from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export const TOKEN = "a-token-that-no-message-shows";
export const SECRET_ID = "a-secret-id-that-no-message-shows";

/** What a request is answered with instead; null for the engine's own answer. */
export type Interference = (
  request: { readonly path: string; readonly number: number },
  response: ServerResponse,
) => boolean;

export async function startFakeVault() {
  const aead = randomBytes(32);
  const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const weak = generateKeyPairSync("rsa", { modulusLength: 1024 });
  const state = {
    interfere: (() => false) as Interference,
    requests: [] as { path: string; body: string; headers: IncomingMessage["headers"] }[],
    open: 0,
    mostOpen: 0,
    tokens: new Set([TOKEN]),
    logins: 0,
  };

  const pem = (key: typeof rsa) => key.publicKey.export({ format: "pem", type: "spki" });
  const shapes: Record<string, object> = {
    training: { type: "aes256-gcm96", latest_version: 1, keys: { 1: 0 } },
    rsa: { type: "rsa-2048", latest_version: 1, keys: { 1: { public_key: pem(rsa) } } },
    weak: { type: "rsa-2048", latest_version: 1, keys: { 1: { public_key: pem(weak) } } },
    signing: { type: "ed25519", latest_version: 1, keys: { 1: { public_key: "x" } } },
  };

  type Answer = readonly [status: number, body: object];
  const encrypt = (body: Record<string, string>): Answer => {
    const nonce = randomBytes(12);
    const cipher = createCipheriv("aes-256-gcm", aead, nonce);
    cipher.setAAD(Buffer.from(body["associated_data"] ?? "", "base64"));
    const sealed = Buffer.concat([
      nonce,
      cipher.update(Buffer.from(body["plaintext"] ?? "", "base64")),
      cipher.final(),
      cipher.getAuthTag(),
    ]);
    return [200, { data: { ciphertext: `vault:v1:${sealed.toString("base64")}` } }];
  };
  const decrypt = (name: string, body: Record<string, string>): Answer => {
    const [, version, text] = /^vault:v(\d+):(.*)$/.exec(body["ciphertext"] ?? "") ?? [];
    if (text === undefined) return [400, { errors: ["invalid ciphertext: no prefix"] }];
    if (version !== "1") return [400, { errors: ["invalid ciphertext: version is too new"] }];
    const bytes = Buffer.from(text, "base64");
    try {
      if (name === "rsa") {
        const padding = constants.RSA_PKCS1_OAEP_PADDING;
        const plain = privateDecrypt({ key: rsa.privateKey, padding, oaepHash: "sha256" }, bytes);
        return [200, { data: { plaintext: plain.toString("base64") } }];
      }
      const decipher = createDecipheriv("aes-256-gcm", aead, bytes.subarray(0, 12));
      decipher.setAAD(Buffer.from(body["associated_data"] ?? "", "base64"));
      decipher.setAuthTag(bytes.subarray(-16));
      const plain = Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()]);
      return [200, { data: { plaintext: plain.toString("base64") } }];
    } catch {
      return name === "rsa"
        ? [500, { errors: ["1 error occurred:\n\t* failed to RSA decrypt the ciphertext: x\n\n"] }]
        : [400, { errors: ["cipher: message authentication failed"] }];
    }
  };
  const login = (secretId: unknown): Answer => {
    if (secretId !== SECRET_ID) return [400, { errors: ["invalid role or secret ID"] }];
    state.logins += 1;
    const made = `login-${state.logins}`;
    state.tokens.add(made);
    return [200, { auth: { client_token: made, lease_duration: 60 } }];
  };
  const answer = (path: string, text: string, token: unknown): Answer => {
    const body = text === "" ? {} : JSON.parse(text);
    if (path === "/v1/auth/approle/login") return login(body.secret_id);
    if (typeof token !== "string" || !state.tokens.has(token)) {
      return [403, { errors: ["permission denied"] }];
    }
    const [, action, name = ""] =
      /^\/v1\/transit\/(keys|encrypt|decrypt)\/([a-z-]+)$/.exec(path) ?? [];
    if (action === undefined) return [404, { errors: ["no handler for route"] }];
    if (action === "keys") return name in shapes ? [200, { data: shapes[name] }] : [404, {}];
    if (!(name in shapes)) return [400, { errors: ["encryption key not found"] }];
    return action === "encrypt" ? encrypt(body) : decrypt(name, body);
  };

  const server = createServer((request, response) => {
    state.open += 1;
    state.mostOpen = Math.max(state.mostOpen, state.open);
    response.on("close", () => {
      state.open -= 1;
    });
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      const path = request.url ?? "";
      const body = Buffer.concat(parts).toString();
      state.requests.push({ path, body, headers: request.headers });
      if (state.interfere({ path, number: state.requests.length }, response)) return;
      const [status, json] = answer(path, body, request.headers["x-vault-token"]);
      response.writeHead(status, { "content-type": "application/json" });
      response.end(JSON.stringify(json));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    address: `http://127.0.0.1:${port}`,
    state,
    rsa,
    stop: () =>
      new Promise<void>((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

export type FakeVault = Awaited<ReturnType<typeof startFakeVault>>;
