/** Vault's transit engine as a Kms: the contract, and a service that is slow, throttles, is away or answers nonsense. */
import { constants, privateDecrypt } from "node:crypto";
import type { ServerResponse } from "node:http";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { Kms } from "../../../pipeline/crypto/kms/kms.ts";
import type { Patience } from "../../../pipeline/crypto/kms/patient.ts";
import { kmsOf } from "../../../pipeline/crypto/kms/registry.ts";
import { createVaultKms } from "../../../pipeline/crypto/kms/vault.ts";
import type { VaultCredentials } from "../../../pipeline/crypto/kms/vault-http.ts";
import { isSealstreamError } from "../../../pipeline/errors.ts";
import { type FakeVault, SECRET_ID, startFakeVault, TOKEN } from "../../lib/fake-vault.ts";
import { kmsContract } from "./contract.ts";

const URI = "vault:transit/keys/training";
const KEY = new Uint8Array(32).fill(7);
const BINDING = new Uint8Array(Buffer.from("a binding"));

let vault: FakeVault;
beforeAll(async () => {
  vault = await startFakeVault();
});
afterAll(() => vault.stop());
afterEach(() => {
  vault.state.interfere = () => false;
});

/** A client whose time passes as fast as it is waited for. */
function client(
  patience: Partial<Patience> = {},
  credentials: VaultCredentials = { token: TOKEN },
  namespace?: string,
) {
  const slept: number[] = [];
  let skippedMs = 0;
  const kms = createVaultKms({
    address: vault.address,
    credentials,
    namespace,
    fetch,
    wallClock: () => 0,
    world: {
      clock: () => performance.now() + skippedMs,
      sleep: async (ms) => {
        slept.push(ms);
        skippedMs += ms;
      },
      random: () => 0.5,
    },
    patience,
  });
  return { kms, slept };
}

async function failure(work: Promise<unknown>): Promise<{ code: string; message: string }> {
  try {
    await work;
  } catch (error) {
    if (isSealstreamError(error)) return { code: error.code, message: error.message };
    throw error;
  }
  return { code: "nothing", message: "" };
}

const wrap = (kms: Kms) => kms.wrap(URI, KEY, BINDING);

describe("against the fake server", () => {
  kmsContract(async () => ({
    kms: client().kms,
    symmetric: URI,
    asymmetric: "vault:transit/keys/rsa",
    missing: "vault:transit/keys/nobody",
    stranger: client({}, { token: "wrong" }).kms,
  }));
});

describe("a service in trouble", () => {
  const statuses = [429, 500, 502, 503, 504];
  test.each(statuses)("is asked again after status %i", async (status) => {
    const { kms, slept } = client();
    const wrapped = await wrap(kms);
    let left = 3;
    vault.state.interfere = (_, response) => {
      if (left === 0) return false;
      left -= 1;
      response.writeHead(status).end('{"errors":["a-secret"]}');
      return true;
    };
    expect(await kms.unwrap(URI, wrapped, BINDING)).toEqual(KEY);
    // Full jitter with a random number of one half: half of 100, 200 and 400 ms.
    expect(slept).toEqual([50, 100, 200]);
  });

  test.each([429, 503])("waits as long as Retry-After says with status %i", async (status) => {
    const { kms, slept } = client();
    let left = 1;
    vault.state.interfere = (_, response) => {
      if (left === 0) return false;
      left -= 1;
      response.writeHead(status, { "retry-after": "7" }).end("{}");
      return true;
    };
    await wrap(kms);
    expect(slept).toEqual([7000]);
  });

  test("does not wait for a Retry-After beyond the limit", async () => {
    const { kms, slept } = client();
    vault.state.interfere = (_, response) => {
      response.writeHead(503, { "retry-after": "3600" }).end("{}");
      return true;
    };
    expect((await failure(wrap(kms))).code).toBe("kms-unavailable");
    expect(slept).toEqual([]);
  });

  test("ends with kms-unavailable after its limit, says what to do, quotes nothing", async () => {
    const { kms, slept } = client();
    vault.state.interfere = (_, response) => {
      response.writeHead(503).end('{"errors":["a-secret-of-the-service"]}');
      return true;
    };
    const { code, message } = await failure(wrap(kms));
    expect(code).toBe("kms-unavailable");
    expect(message).toContain(new URL(vault.address).host);
    expect(message).toContain("status 503");
    expect(message).toContain("is unsealed");
    expect(message).not.toContain("a-secret");
    expect(message).not.toContain(TOKEN);
    const total = slept.reduce((sum, ms) => sum + ms, 0);
    expect(total).toBeGreaterThan(40_000);
    expect(total).toBeLessThan(60_000);
  });

  test("that does not answer is given up on, attempt by attempt", async () => {
    const { kms } = client({ requestTimeoutMs: 50, totalMs: 300 });
    const before = vault.state.requests.length;
    vault.state.interfere = () => true;
    const { code, message } = await failure(wrap(kms));
    expect(code).toBe("kms-unavailable");
    expect(message).toContain("no answer in time");
    expect(vault.state.requests.length - before).toBeGreaterThan(1);
  });

  test("that is slow but within the limit is waited for", async () => {
    const { kms, slept } = client();
    vault.state.interfere = (_, response) => slowly(response, 200);
    expect((await wrap(kms)).length).toBeGreaterThan(0);
    expect(slept).toEqual([]);
  });

  test("that is away", async () => {
    const { code, message } = await failure(
      createVaultKms({
        address: "http://127.0.0.1:1",
        credentials: { token: TOKEN },
        fetch,
        wallClock: () => 0,
        world: { clock: () => performance.now(), sleep: async () => undefined, random: () => 0 },
        patience: { totalMs: 200 },
      }).wrap(URI, KEY, BINDING),
    );
    expect(code).toBe("kms-unavailable");
    expect(message).toContain("no connection");
  });

  const garbage: [string, string][] = [
    ["HTML", "<html>login</html>"],
    ["a number", "7"],
    ["no data", "{}"],
    ["nothing", ""],
    ["256 KiB", `{"data":{"x":"${"a".repeat(256 * 1024)}"}}`],
  ];
  test.each(garbage)("that answers %s is not believed", async (_, text) => {
    const { kms } = client({ totalMs: 500 });
    vault.state.interfere = (_request, response) => {
      response.writeHead(200).end(text);
      return true;
    };
    expect((await failure(wrap(kms))).code).toBe("kms-unavailable");
  });

  test.each([{}, { ciphertext: 7 }, { ciphertext: "plain" }, { ciphertext: "vault:v0:AAAA" }])(
    "that wraps to %j is not believed",
    async (data) => {
      const { kms } = client();
      vault.state.interfere = ({ path }, response) => {
        if (!path.includes("/encrypt/")) return false;
        response.writeHead(200).end(JSON.stringify({ data }));
        return true;
      };
      expect((await failure(wrap(kms))).code).toBe("key-invalid");
    },
  );

  const foreign: [string, string][] = [
    ["HTML", "<html>400 Bad Request: invalid ciphertext</html>"],
    ["nothing", ""],
    ["another object", '{"error":"invalid ciphertext"}'],
    ["errors that are no list", '{"errors":"invalid ciphertext"}'],
    ["errors that are no texts", '{"errors":[{"x":"invalid ciphertext"}]}'],
    ["a sentence that says nothing of the ciphertext", '{"errors":["a-secret"]}'],
  ];
  test.each(foreign)("or a proxy, whose status 400 with %s is no refusal", async (_, text) => {
    const { kms } = client();
    const wrapped = await wrap(kms);
    let left = 1;
    vault.state.interfere = ({ path }, response) => {
      if (left === 0 || !path.includes("/decrypt/")) return false;
      left -= 1;
      response.writeHead(400).end(text);
      return true;
    };
    expect(await kms.unwrap(URI, wrapped, BINDING)).toEqual(KEY);
    left = Number.POSITIVE_INFINITY;
    const { code, message } = await failure(kms.unwrap(URI, wrapped, BINDING));
    expect(code).toBe("kms-unavailable");
    expect(message).toContain("status 400");
    expect(message).not.toContain("a-secret");
  });

  // As OpenBao 2.4.0 answered, each to a ciphertext that was changed in another way.
  const refusals: [number, string][] = [
    [400, "cipher: message authentication failed"],
    [400, "chacha20poly1305: message authentication failed"],
    [400, "invalid ciphertext length"],
    [400, "invalid ciphertext: could not decode base64"],
    [400, "invalid ciphertext: version is too new"],
    [400, "ciphertext or signature version is disallowed by policy (too old)"],
    [
      500,
      "1 error occurred:\n\t* failed to RSA decrypt the ciphertext: crypto/rsa: decryption error\n\n",
    ],
  ];
  test.each(refusals)("is told from one that refuses: %i %s", async (status, error) => {
    const { kms, slept } = client();
    const wrapped = await wrap(kms);
    vault.state.interfere = ({ path }, response) => {
      if (!path.includes("/decrypt/")) return false;
      response.writeHead(status).end(JSON.stringify({ errors: [error] }));
      return true;
    };
    expect(await kms.unwrap(URI, wrapped, BINDING)).toBeNull();
    expect(slept).toEqual([]);
  });

  test("that redirects does not get the token elsewhere", async () => {
    const { kms } = client({ totalMs: 300 });
    const elsewhere = await startFakeVault();
    vault.state.interfere = ({ path }, response) => {
      response.writeHead(307, { location: `${elsewhere.address}${path}` }).end();
      return true;
    };
    expect((await failure(wrap(kms))).code).toBe("kms-unavailable");
    expect(elsewhere.state.requests).toEqual([]);
    await elsewhere.stop();
  });

  test("sees so many requests at a time; more wait, and one too many is refused at once", async () => {
    const { kms } = client({ inFlight: 2, waiting: 3 });
    await wrap(kms);
    vault.state.mostOpen = 0;
    vault.state.interfere = (_, response) => slowly(response, 50);
    const many = await Promise.all(
      Array.from({ length: 7 }, () => failure(kms.unwrap(URI, ciphertext(), BINDING))),
    );
    expect(many.filter(({ code }) => code === "kms-unavailable")).toHaveLength(2);
    expect(vault.state.mostOpen).toBe(2);
    expect((await wrap(kms)).length).toBeGreaterThan(0);
  });
});

/** Lets the engine answer, later. */
function slowly(response: ServerResponse, ms: number): false {
  const end = response.end.bind(response);
  // Because `end` has overloads, of which the fake server calls one.
  response.end = ((text: string) => {
    setTimeout(() => end(text), ms);
    return response;
  }) as typeof response.end;
  return false;
}

const ciphertext = () => new Uint8Array(Buffer.from(`vault:v1:${"A".repeat(80)}`));

describe("credentials", () => {
  test("go into headers, with the namespace", async () => {
    const { kms } = client({}, { token: TOKEN }, "team/a");
    await wrap(kms);
    const { headers } = vault.state.requests.at(-1)!;
    expect(headers["x-vault-token"]).toBe(TOKEN);
    expect(headers["x-vault-namespace"]).toBe("team/a");
  });

  test("of a role get a token once, and another when it has ended", async () => {
    const { kms } = client({}, { roleId: "r", secretId: SECRET_ID });
    const before = vault.state.logins;
    await Promise.all([wrap(kms), wrap(kms), wrap(kms)]);
    expect(vault.state.logins - before).toBe(1);
    vault.state.tokens.delete(`login-${vault.state.logins}`);
    await Promise.all([wrap(kms), wrap(kms)]);
    expect(vault.state.logins - before).toBe(2);
  });

  test("that are wrong are said to be, and not shown", async () => {
    const role = client({}, { roleId: "r", secretId: "a-wrong-secret-id" });
    const refused = await failure(wrap(role.kms));
    expect(refused.code).toBe("access-denied");
    expect(refused.message).not.toContain("a-wrong-secret-id");
    const token = await failure(wrap(client({}, { token: "a-wrong-token" }).kms));
    expect(token.code).toBe("access-denied");
    expect(token.message).not.toContain("a-wrong-token");
    expect(role.slept).toEqual([]);
  });

  test("do not go out unencrypted, or to an address with a user", () => {
    for (const address of [
      "http://vault.example:8200",
      "vault:8200",
      "",
      "https://a:b@c",
      "ftp://c",
    ]) {
      expect(() =>
        createVaultKms({
          address,
          credentials: { token: TOKEN },
          fetch,
          wallClock: () => 0,
          world: { clock: () => 0, sleep: async () => undefined, random: () => 0 },
        }),
      ).toThrowError(expect.objectContaining({ code: "usage" }));
    }
  });
});

describe("keys", () => {
  test("that cannot wrap are refused by name", async () => {
    for (const name of ["signing", "weak"]) {
      const uri = `vault:transit/keys/${name}`;
      const { code, message } = await failure(client().kms.wrap(uri, KEY, BINDING));
      expect(code).toBe("key-invalid");
      expect(message).toContain(uri);
    }
  });

  test("of RSA wrap here: the service never sees the content key on its way in", async () => {
    const before = vault.state.requests.length;
    const wrapped = await client().kms.wrap("vault:transit/keys/rsa", KEY, BINDING);
    expect(vault.state.requests.slice(before).map(({ path }) => path)).toEqual([
      "/v1/transit/keys/rsa",
    ]);
    const bytes = Buffer.from(Buffer.from(wrapped).toString().slice("vault:v1:".length), "base64");
    const padding = constants.RSA_PKCS1_OAEP_PADDING;
    const plain = privateDecrypt({ key: vault.rsa.privateKey, padding, oaepHash: "sha256" }, bytes);
    expect(plain.length).toBe(64);
    expect(new Uint8Array(plain.subarray(0, 32))).toEqual(KEY);
  });
});

describe("several services", () => {
  const named = (scheme: string): Kms => ({
    schemes: [scheme],
    wrap: async () => new Uint8Array(Buffer.from(scheme)),
    unwrap: async () => null,
    publicKey: async () => null,
  });

  test("are told apart by scheme", async () => {
    const kms = kmsOf([named("vault"), named("aws")]);
    expect(kms.schemes).toEqual(["vault", "aws"]);
    expect(Buffer.from(await kms.wrap("aws:a", KEY, BINDING)).toString()).toBe("aws");
    const unknown = await failure(kms.wrap("gcp:a", KEY, BINDING));
    expect(unknown.code).toBe("key-invalid");
    expect(unknown.message).toContain('"gcp"');
    expect(unknown.message).toContain("aws, vault");
    expect(() => kmsOf([named("aws"), named("aws")])).toThrow("aws");
  });
});
