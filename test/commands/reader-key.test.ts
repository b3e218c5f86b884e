/** The private key of a downstream service: which files are taken, and what is said of the others. */
import { execFileSync } from "node:child_process";
import { createPrivateKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readReaderKey } from "../../pipeline/commands/reader-key.ts";
import { createRecipient } from "../../pipeline/crypto/wrap/key-wrap.ts";

const folder = mkdtempSync(join(tmpdir(), "sealstream-reader-"));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, content: string, mode = 0o600): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}

const x25519 = generateKeyPairSync("x25519");
const pem = x25519.privateKey.export({ format: "pem", type: "pkcs8" }).toString();

describe("a reader's key", () => {
  it("is read from PKCS#8 in PEM, for its own public half", () => {
    const key = readReaderKey(file("x25519.pem", pem));
    const raw = x25519.publicKey.export({ format: "der", type: "spki" }).subarray(-32);
    expect(Buffer.from(key.publicKey).equals(raw)).toBe(true);
    expect(key.kid).toEqual(createRecipient("reader", raw).kid);
    expect(key.purpose).toBe("reader");
    expect(createPrivateKey(pem).asymmetricKeyType).toBe("x25519");
  });

  it("may be of P-256 or RSA, as every recipient of a data key", () => {
    const p256 = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
    const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
    const weak = generateKeyPairSync("rsa", { modulusLength: 1024 }).privateKey;
    const named = (name: string, key: KeyObject) =>
      file(name, key.export({ format: "pem", type: "pkcs8" }).toString());
    expect(readReaderKey(named("p-256.pem", p256)).algorithm).toBe("p-256");
    expect(readReaderKey(named("rsa.pem", rsa)).algorithm).toBe("rsa-oaep-256");
    expect(() => readReaderKey(named("weak.pem", weak))).toThrow(
      expect.objectContaining({ code: "key-invalid" }),
    );
  });

  it("is not read when others could read it, when it is none, or when there is none", () => {
    const code = (path: unknown) => {
      try {
        readReaderKey(path);
      } catch (error) {
        expect(String(error)).not.toContain("MC4C");
        return (error as { code: string }).code;
      }
      return "read";
    };
    expect(code(undefined)).toBe("usage");
    expect(code(join(folder, "none.pem"))).toBe("key-missing");
    expect(code(file("loose.pem", pem, 0o640))).toBe("key-invalid");
    expect(code(file("junk.pem", "MC4C junk"))).toBe("key-invalid");
    expect(code(file("cut.pem", pem.slice(0, 60)))).toBe("key-invalid");
    const publicPem = x25519.publicKey.export({ format: "pem", type: "spki" }).toString();
    expect(code(file("public.pem", publicPem))).toBe("key-invalid");
    const signing = generateKeyPairSync("ed25519").privateKey;
    const signingPem = signing.export({ format: "pem", type: "pkcs8" }).toString();
    expect(code(file("ed25519.pem", signingPem))).toBe("key-invalid");
    const pipe = join(folder, "pipe.pem");
    execFileSync("mkfifo", ["-m", "600", pipe]);
    expect(code(pipe)).toBe("key-invalid");
  });
});
