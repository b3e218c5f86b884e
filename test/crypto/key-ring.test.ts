/** Rings of generations: they grow without a restart, and predict reaches none of another zone. */
import { execFileSync } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { readdirSync, realpathSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { createZoneKeys } from "../../pipeline/crypto/key-ceremony.ts";
import { createKeyFile } from "../../pipeline/crypto/key-file.ts";
import { verifySignature } from "../../pipeline/crypto/key-handles.ts";
import { assertNothingForbiddenInReach, writeKeyFiles } from "../../pipeline/crypto/key-store.ts";
import { utf8 } from "./fixtures.ts";

import {
  fileOf,
  folder,
  open,
  pem,
  pkcs8,
  root,
  rsa,
  SCRYPT,
  thrown,
  train,
  write,
} from "./key-folders.ts";

describe("rings", () => {
  const second = createKeyFile("train-signing", new Uint8Array(32).fill(7), { generation: 2 });
  const third = createKeyFile("training-unwrap", new Uint8Array(32).fill(8), { generation: 3 });

  test("sign with the newest, open with all, and grow without a restart", async () => {
    await writeKeyFiles(root, train);
    const keys = await open();
    const signer = keys.signing("train-signing");
    const before = signer.kid;
    expect(await keys.refresh()).toBe(false);
    await writeKeyFiles(root, [second, third]);
    expect(readdirSync(folder())).toContain("train-signing.2.key");
    expect(await Promise.all([keys.refresh(), keys.refresh()])).toEqual([true, true]);
    expect(signer.kid).not.toEqual(before);
    expect(verifySignature(signer.publicKey, utf8("m"), signer.sign(utf8("m")))).toBe(true);
    expect([keys.generation("train-signing"), keys.generation("training-unwrap")]).toEqual([2, 3]);
    const [newest, oldest, ...rest] = keys.unwrapAll("training-unwrap");
    expect(rest).toEqual([]);
    expect(newest).toEqual(keys.unwrap("training-unwrap"));
    expect(keys.holds("training-unwrap", oldest!.kid)).toBe(true);
    expect(keys.holds("train-signing", before)).toBe(true);
    expect(keys.holds("train-signing", oldest!.kid)).toBe(false);
    rmSync(fileOf("train-signing.2.key"));
    expect(await keys.refresh()).toBe(false);
    expect(keys.generation("train-signing")).toBe(2);
  });

  test("that cannot be read again stay as they are", async () => {
    await writeKeyFiles(root, train);
    const keys = await open();
    await writeKeyFiles(root, [second]);
    writeFileSync(fileOf("training-unwrap.2.key"), "{", { mode: 0o600 });
    expect((await thrown(() => keys.refresh())).code).toBe("key-invalid");
    expect(keys.generation("train-signing")).toBe(1);
    rmSync(fileOf("training-unwrap.2.key"));
    expect(await keys.refresh()).toBe(true);
  });

  test("have one key a generation, under the name of that generation", async () => {
    await writeKeyFiles(root, [...train, second]);
    renameSync(fileOf("train-signing.2.key"), fileOf("train-signing.4.key"));
    expect((await thrown(() => open())).message).toContain("rename it");
    rmSync(fileOf("train-signing.4.key"));
    pem("train-signing.pem", pkcs8(generateKeyPairSync("ed25519").privateKey));
    expect((await thrown(() => open())).message).toContain("both generation 1");
  });

  test("grow in a stage's process too, under Node's permission model", async () => {
    await writeKeyFiles(root, train);
    const repository = fileURLToPath(new URL("../../", import.meta.url));
    await writeKeyFiles(join(root, "later"), [second]);
    const script = `
      import { openKeyStore } from ${JSON.stringify(new URL("../../pipeline/crypto/key-store.ts", import.meta.url).href)};
      const keys = await openKeyStore({ folder: ${JSON.stringify(folder())}, holder: "train" });
      process.stdin.once("data", async () => {
        console.log(await keys.refresh(), keys.generation("train-signing"));
        process.exit();
      });
      console.error("ready");`;
    const shell = `"$@" 2> >(while read line; do [ "$line" = ready ] && mv "$LATER" "$FOLDER"/ ; done) < <(sleep 3; echo go)`;
    const output = execFileSync(
      "bash",
      [
        ...["-c", shell, "-", process.execPath, "--permission"],
        `--allow-fs-read=${repository}`,
        `--allow-fs-read=${realpathSync(join(repository, "node_modules"))}`,
        `--allow-fs-read=${folder()}`,
        ...["--input-type=module", "-e", script],
      ],
      {
        encoding: "utf8",
        env: {
          PATH: "/usr/bin:/bin",
          LATER: join(root, "later/train/train-signing.2.key"),
          FOLDER: folder(),
        },
        stdio: ["ignore", "pipe", "ignore"],
      },
    );
    expect(output.trim()).toBe("true 2");
  });
});

describe("what predict must not reach", () => {
  const predict = createZoneKeys({ zones: ["prediction"] }).files.filter(
    ({ holder }) => holder === "predict",
  );
  const check = (environment: Record<string, string> = {}) =>
    thrown(() => assertNothingForbiddenInReach({ folder: join(root, "predict"), environment }));

  test("includes other zones' keys in every new form, and not its own", async () => {
    await write(predict, SCRYPT);
    expect((await check()).code).toBe("nothing");
    const unwrap = createKeyFile("training-unwrap", utf8("test:key"), {
      kind: "kms",
      generation: 9,
    });
    for (const files of [[train[0]!], [unwrap]]) {
      await write(files, SCRYPT);
      expect((await check()).code).toBe("key-forbidden");
      rmSync(folder(), { recursive: true });
    }
    pem("training-unwrap.2.pem", pkcs8(rsa(2048)));
    expect((await check()).message).toContain("training-unwrap.2.pem");
    rmSync(folder(), { recursive: true });
    pem("tls.pem", pkcs8(rsa(2048)));
    expect((await check()).code).toBe("nothing");
    const own = pkcs8(generateKeyPairSync("ed25519").privateKey);
    expect((await check({ SEALSTREAM_KEY_RESULT_SIGNING: own })).code).toBe("nothing");
    expect((await check({ SEALSTREAM_KEY_TRAIN_SIGNING: own })).code).toBe("key-forbidden");
    expect((await check({ SEALSTREAM_KEY_CKKS_SECRET: "anything" })).code).toBe("key-forbidden");
  });
});
