/** What lies within reach of predict: every form of key file but its own is found, wherever it lies. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ckksSecretFile, createZoneKeys } from "../../pipeline/crypto/key-ceremony.ts";
import { assertNothingForbiddenInReach, writeKeyFiles } from "../../pipeline/crypto/key-store.ts";
import { isSealstreamError } from "../../pipeline/errors.ts";
import { utf8 } from "./fixtures.ts";

const { files } = createZoneKeys();
const all = [...files, ckksSecretFile(utf8("a serialized CKKS secret key"))];

let root = "";
beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), "sealstream-keys-"));
  await writeKeyFiles(root, all);
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const folderOf = (holder: string) => join(root, holder);
const fileOf = (holder: string, purpose: string) => join(root, holder, `${purpose}.key`);

/** Code and message of what `act` throws. */
async function thrown(act: () => unknown): Promise<{ code: string; message: string }> {
  try {
    await act();
  } catch (error) {
    if (isSealstreamError(error)) return { code: error.code, message: error.message };
    throw error;
  }
  return { code: "nothing", message: "" };
}

describe("assertNothingForbiddenInReach", () => {
  let alone = "";
  beforeEach(() => {
    alone = join(root, "host");
    mkdirSync(alone);
    execFileSync("cp", ["-rp", folderOf("predict"), alone]);
  });
  const check = (environment: Record<string, string | undefined> = {}) =>
    thrown(() => assertNothingForbiddenInReach({ folder: join(alone, "predict"), environment }));
  const plant = (path: string, source = fileOf("consumer", "ckks-secret")) => {
    mkdirSync(dirname(path), { recursive: true });
    copyFileSync(source, path);
  };

  test("is content when predict is alone", async () => {
    writeFileSync(join(alone, "unrelated.json"), '{"kind":"Secret","data":1}');
    mkdirSync(join(alone, "other"));
    writeFileSync(join(alone, "other", "binary"), Buffer.alloc(100_000, 7));
    symlinkSync(join(alone, "nowhere"), join(alone, "dangling"));
    const environment = { PATH: "/usr/bin", TOKEN: "a".repeat(60), EMPTY: "", GONE: undefined };
    expect((await check(environment)).code).toBe("nothing");
  });

  test("finds a CKKS secret in its folder, in a sibling, beside it, and under any name", async () => {
    for (const place of [
      "predict/ckks-secret.key",
      "predict/model.bin",
      "consumer/ckks-secret.key",
      "backup/old.json",
      "ckks-secret.key",
      "x.txt",
    ]) {
      plant(join(alone, place));
      const found = await check();
      expect(found.code, place).toBe("key-forbidden");
      expect(found.message).toContain(join(alone, place));
      rmSync(join(alone, place));
    }
    expect((await check()).code).toBe("nothing");
  });

  test("finds every key that is not on its list", async () => {
    for (const file of all) {
      const allowed = file.holder === "predict";
      plant(join(alone, "elsewhere", "it.key"), fileOf(file.holder, file.purpose));
      expect((await check()).code, file.purpose).toBe(allowed ? "nothing" : "key-forbidden");
    }
  });

  test("finds a key that is cut off, indented, in a list, or lies about itself", async () => {
    const key = readFileSync(fileOf("consumer", "ckks-secret"), "utf8");
    const parsed = JSON.parse(key);
    const own = readFileSync(fileOf("predict", "model-unwrap"), "utf8");
    const forms = [
      key.slice(0, -6),
      `\uFEFF  \n${JSON.stringify(parsed, null, 4)}`,
      `[${own},${key}]`,
      JSON.stringify({ ...parsed, purpose: "model-unwrap" }),
      JSON.stringify({ material: parsed.material, kind: parsed.kind }),
    ];
    for (const form of forms) {
      writeFileSync(join(alone, "odd"), form);
      expect((await check()).code, form.slice(0, 40)).toBe("key-forbidden");
    }
  });

  test("finds a key in the environment: as text, base64, hex or path", async () => {
    const path = fileOf("consumer", "ckks-secret");
    const key = readFileSync(path);
    const forms = [
      key.toString("utf8"),
      key.toString("base64"),
      key.toString("base64url"),
      key.toString("base64").replace(/(.{60})/g, "$1\n"),
      key.toString("hex"),
      path,
    ];
    for (const form of forms) {
      const found = await check({ FINE: "1", CONSUMER_KEY: form });
      expect(found.code).toBe("key-forbidden");
      expect(found.message).toMatch(/CONSUMER_KEY|ckks-secret\.key/);
      expect(found.message).not.toContain(key.toString("base64").slice(0, 40));
    }
    expect(
      (await check({ OWN: readFileSync(fileOf("predict", "model-unwrap"), "utf8") })).code,
    ).toBe("nothing");
  });

  test("a folder with too much around it is refused rather than half searched", async () => {
    const crowd = join(alone, "crowd");
    mkdirSync(crowd);
    for (let i = 0; i < 4200; i++) writeFileSync(join(crowd, `${i}`), "");
    expect((await check()).code).toBe("key-forbidden");
  });

  test("what Node's permission model denies is out of reach", async () => {
    plant(join(alone, "consumer", "ckks-secret.key"));
    const own = join(alone, "own-keys");
    execFileSync("mv", [join(alone, "predict"), own]);
    const repository = fileURLToPath(new URL("../../", import.meta.url));
    const script = `
      import { assertNothingForbiddenInReach } from ${JSON.stringify(
        new URL("../../pipeline/crypto/key-store.ts", import.meta.url).href,
      )};
      try {
        assertNothingForbiddenInReach({ folder: ${JSON.stringify(own)}, environment: {} });
        console.log("fine");
      } catch (error) { console.log(error.code); }`;
    const run = (readable: string) =>
      execFileSync(
        process.execPath,
        [
          "--permission",
          `--allow-fs-read=${repository}`,
          // It may be a link to another folder.
          `--allow-fs-read=${realpathSync(join(repository, "node_modules"))}`,
          `--allow-fs-read=${readable}`,
          "--input-type=module",
          "-e",
          script,
        ],
        { encoding: "utf8", env: {}, stdio: ["ignore", "pipe", "ignore"] },
      ).trim();
    expect(run(join(own, "*"))).toBe("fine");
    expect(run(join(alone, "*"))).toBe("key-forbidden");
    plant(join(own, "odd"));
    expect(run(join(own, "*"))).toBe("key-forbidden");
    rmSync(join(own, "odd"));
    // Listing denied, but the one file open: still within reach.
    expect(run(join(alone, "consumer", "ckks-secret.key"))).toBe("key-forbidden");
  });

  test.runIf(process.getuid?.() !== 0)(
    "what the operating system denies is out of reach",
    async () => {
      plant(join(alone, "consumer", "ckks-secret.key"));
      chmodSync(join(alone, "consumer"), 0o000);
      expect((await check()).code).toBe("nothing");
      chmodSync(join(alone, "consumer"), 0o700);
      expect((await check()).code).toBe("key-forbidden");
      expect(readdirSync(join(alone, "consumer")).length).toBe(1);
    },
  );
});
