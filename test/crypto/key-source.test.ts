/** Keys in PEM and in the environment: what the purpose allows, and nothing loose, weak or out of place. */
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { chmodSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { createKeyFile, parseKeyFile, takesKind } from "../../pipeline/crypto/key-file.ts";
import {
  isBoxPurpose,
  isPurpose,
  isUnwrap,
  PURPOSES,
  type Purpose,
} from "../../pipeline/crypto/key-purposes.ts";
import { writeKeyFiles } from "../../pipeline/crypto/key-store.ts";

import { folder, open, pem, pkcs8, root, rsa, thrown, train } from "./key-folders.ts";

describe("PKCS#8 files", () => {
  const signing = generateKeyPairSync("ed25519").privateKey;

  test("serve the purposes that their algorithm allows, encrypted or not", async () => {
    pem("train-signing.pem", pkcs8(signing, "correct horse"));
    const kinds: [string, KeyObject][] = [
      ["x25519", generateKeyPairSync("x25519").privateKey],
      ["p-256", generateKeyPairSync("ec", { namedCurve: "prime256v1" }).privateKey],
      ["rsa-oaep-256", rsa(2048)],
    ];
    for (const [algorithm, key] of kinds) {
      pem("training-unwrap.pem", pkcs8(key, "correct horse"));
      const keys = await open({ passphrase: "correct horse" });
      expect(keys.unwrap("training-unwrap").algorithm).toBe(algorithm);
      const wrong = await thrown(() => open({ passphrase: "wrong" }));
      expect(wrong.code).toBe("key-invalid");
      expect(wrong.message).toContain("the passphrase is not the one");
      expect((await thrown(() => open())).code).toBe("key-missing");
      pem("training-unwrap.pem", pkcs8(key));
      const plain = await open({ passphrase: "correct horse" });
      expect(plain.unwrap("training-unwrap").kid).toEqual(keys.unwrap("training-unwrap").kid);
    }
  });

  test("that are weak, unfit, of another form or loose are refused", async () => {
    pem("train-signing.pem", pkcs8(signing));
    const ec = generateKeyPairSync("ec", { namedCurve: "secp384r1" }).privateKey;
    const pss = generateKeyPairSync("rsa-pss", { modulusLength: 2048 }).privateKey;
    const strong = rsa(2048);
    const bad: [string, string][] = [
      ["1024 bits", pkcs8(rsa(1024))],
      ["P-384", pkcs8(ec)],
      ["RSA-PSS", pkcs8(pss)],
      ["Ed25519", pkcs8(signing)],
      ["PKCS#1", strong.export({ format: "pem", type: "pkcs1" }) as string],
      ["two keys", pkcs8(strong) + pkcs8(strong)],
      ["a text", "no key"],
      ["nothing", ""],
      ["half a key", pkcs8(strong).replace(/\n.{64}\n/, "\n")],
    ];
    for (const [what, text] of bad) {
      pem("training-unwrap.pem", text);
      const { code, message } = await thrown(() => open());
      expect(code, what).toBe("key-invalid");
      expect(message).toContain("training-unwrap.pem");
    }
    pem("training-unwrap.pem", pkcs8(strong));
    expect((await open()).unwrap("training-unwrap").algorithm).toBe("rsa-oaep-256");
    pem("training-unwrap.pem", pkcs8(strong), 0o640);
    expect((await thrown(() => open())).message).toContain("chmod 600");
  });

  test("a folder that others can enter is refused", async () => {
    await writeKeyFiles(root, train);
    for (const mode of [0o750, 0o705, 0o711, 0o755]) {
      chmodSync(folder(), mode);
      const { code, message } = await thrown(() => open());
      expect([code, message.includes("chmod 700")]).toEqual(["key-invalid", true]);
    }
  });
});

describe("the environment", () => {
  const environment = () => ({
    SEALSTREAM_KEY_TRAIN_SIGNING: Buffer.from(train[0]!.json).toString("base64"),
    SEALSTREAM_KEY_TRAINING_UNWRAP: pkcs8(rsa(2048)),
    SEALSTREAM_KEY_PASSPHRASE: "x",
    PATH: "/usr/bin",
  });

  test("holds keys where there is no folder", async () => {
    const keys = await open({ environment: environment() });
    expect(keys.signing("train-signing").publicKey.length).toBe(32);
    expect(keys.unwrap("training-unwrap").algorithm).toBe("rsa-oaep-256");
  });

  test("is refused when it holds another holder's key, no key, or one that is in the folder too", async () => {
    const noise = Buffer.from(createKeyFile("noise", new Uint8Array(32)).json).toString("base64");
    const other = await thrown(() =>
      open({ environment: { ...environment(), SEALSTREAM_KEY_NOISE: noise } }),
    );
    expect(other.code).toBe("key-forbidden");
    expect(other.message).toContain("SEALSTREAM_KEY_NOISE");
    expect(other.message).not.toContain(noise);
    const typo = { ...environment(), SEALSTREAM_KEY_TRAIN_UNWRAP: noise };
    expect((await thrown(() => open({ environment: typo }))).code).toBe("key-invalid");
    const junk = { ...environment(), SEALSTREAM_KEY_TRAINING_UNWRAP: "junk" };
    expect((await thrown(() => open({ environment: junk }))).code).toBe("key-invalid");
    await writeKeyFiles(root, train);
    const twice = await thrown(() => open({ environment: environment() }));
    expect(twice.code).toBe("key-invalid");
    expect(twice.message).toContain("both generation 1");
  });
});

test("a key to which values are sealed one by one is in no service: its file is refused, made or read", async () => {
  const uri = Buffer.from("vault:transit/keys/x");
  const local = (purpose: Purpose) =>
    [
      "consumer-unwrap",
      "owner-dead-letter",
      "training-dead-letter",
      "prediction-dead-letter",
    ].includes(purpose);
  for (const purpose of Object.keys(PURPOSES).filter(isPurpose).filter(isUnwrap)) {
    expect(isBoxPurpose(purpose), purpose).toBe(local(purpose));
    const { code, message } = await thrown(() => createKeyFile(purpose, uri, { kind: "kms" }));
    expect(code, purpose).toBe(local(purpose) ? "key-invalid" : "nothing");
    expect(message.includes("key management service"), purpose).toBe(local(purpose));
    const fields = { version: 2, kind: "kms", purpose, generation: 1, material: uri.toString() };
    const read = await thrown(() => parseKeyFile(JSON.stringify(fields), purpose, "the file"));
    expect(read.code, purpose).toBe(local(purpose) ? "key-invalid" : "nothing");
    expect(read.message.includes("the file cannot be in a key"), purpose).toBe(local(purpose));
    expect(takesKind(purpose, "p-256"), purpose).toBe(true);
  }
  for (const purpose of ["owner-signing", "split"] as const) {
    expect(isBoxPurpose(purpose)).toBe(false);
    expect(takesKind(purpose, "kms")).toBe(false);
  }
});
