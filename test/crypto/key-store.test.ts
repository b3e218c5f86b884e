/** Key folders: exactly a holder's keys, in files of the right kind and mode, and nothing beyond reach of predict. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { inspect } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  ckksSecretFile,
  createZoneKeys,
  publicEntries,
} from "../../pipeline/crypto/key-ceremony.ts";
import type { KeyHolder } from "../../pipeline/crypto/key-purposes.ts";
import {
  assertNothingForbiddenInReach,
  openKeyStore,
  readKeyFiles,
  STAGE_KEYS,
  writeKeyFiles,
} from "../../pipeline/crypto/key-store.ts";
import { isSealstreamError } from "../../pipeline/errors.ts";
import { utf8 } from "./fixtures.ts";

const { files, identities } = createZoneKeys();
const all = [...files, ckksSecretFile(utf8("a serialized CKKS secret key"))];

let root = "";
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "sealstream-keys-"));
  writeKeyFiles(root, all);
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const folderOf = (holder: string) => join(root, holder);
const fileOf = (holder: string, purpose: string) => join(root, holder, `${purpose}.key`);
const open = (holder: KeyHolder) => openKeyStore({ folder: folderOf(holder), holder });

/** Code and message of what `act` throws. */
function thrown(act: () => unknown): { code: string; message: string } {
  try {
    act();
  } catch (error) {
    if (isSealstreamError(error)) return { code: error.code, message: error.message };
    throw error;
  }
  return { code: "nothing", message: "" };
}

describe("writeKeyFiles", () => {
  test("writes folders 0700, files 0600, and never over a file", () => {
    for (const file of all) {
      expect(statSync(folderOf(file.holder)).mode & 0o777).toBe(0o700);
      expect(statSync(fileOf(file.holder, file.purpose)).mode & 0o777).toBe(0o600);
    }
    const before = readFileSync(fileOf("encrypt", "split"), "utf8");
    rmSync(fileOf("train", "train-signing"));
    const again = thrown(() => writeKeyFiles(root, createZoneKeys().files));
    expect(again.code).toBe("key-invalid");
    expect(readFileSync(fileOf("encrypt", "split"), "utf8")).toBe(before);
    expect(existsSync(fileOf("train", "train-signing"))).toBe(false);
  });

  test("key files hold what they say and show nothing", () => {
    const parsed: unknown = JSON.parse(readFileSync(fileOf("encrypt", "owner-signing"), "utf8"));
    expect(parsed).toEqual({
      version: 1,
      kind: "ed25519",
      purpose: "owner-signing",
      material: expect.stringMatching(/^[A-Za-z0-9+/]{43}=$/),
    });
    for (const file of all) {
      const { material }: { material: string } = JSON.parse(file.json);
      expect(inspect(file) + JSON.stringify(file) + JSON.stringify({ ...file })).not.toContain(
        material,
      );
    }
  });
});

describe("openKeyStore", () => {
  test("gives every holder its keys and no other", () => {
    expect(open("encrypt").signing("owner-signing").publicKey.length).toBe(32);
    expect(open("encrypt").secret("split").hmac(utf8("x")).length).toBe(32);
    expect(open("train").unwrap("training-unwrap").publicKey.length).toBe(32);
    expect(open("aggregate").secret("noise").hkdf(utf8("x"), 64).length).toBe(64);
    expect(open("predict").signing("result-signing").purpose).toBe("result-signing");
    expect(open("consumer").blob("ckks-secret")).toEqual(utf8("a serialized CKKS secret key"));
    expect(open("identities").signing("owner-identity").publicKey).toEqual(identities.owner);
    expect(open("dead-letters").unwrap("owner-dead-letter").publicKey.length).toBe(32);
    expect(thrown(() => open("predict").unwrap("training-unwrap")).code).toBe("key-missing");
    expect(thrown(() => open("encrypt").secret("noise")).code).toBe("key-missing");
    expect(STAGE_KEYS.desensitize).toEqual([]);
  });

  test("a holder without keys needs no folder; an offline folder may hold a part", () => {
    expect(open("desensitize").holder).toBe("desensitize");
    rmSync(fileOf("identities", "training-identity"));
    const store = open("identities");
    expect(store.signing("owner-identity").publicKey).toEqual(identities.owner);
    expect(thrown(() => store.signing("training-identity")).code).toBe("key-missing");
  });

  test("a missing key or folder: named, with what to run", () => {
    rmSync(fileOf("aggregate", "noise"));
    const missing = thrown(() => open("aggregate"));
    expect(missing.code).toBe("key-missing");
    expect(missing.message).toContain(fileOf("aggregate", "noise"));
    expect(missing.message).toContain("restore it from a backup");
    rmSync(folderOf("train"), { recursive: true });
    const folder = thrown(() => open("train"));
    expect(folder.code).toBe("key-missing");
    expect(folder.message).toContain("sealstream keys create");
  });

  test("any extra entry: named and refused", () => {
    const extras: [KeyHolder, string][] = [
      ["predict", "ckks-secret.key"],
      ["predict", "notes.txt"],
      ["encrypt", "owner-identity.key"],
      ["desensitize", "split.key"],
      ["identities", "split.key"],
      ["consumer", ".hidden"],
    ];
    for (const [holder, name] of extras) {
      mkdirSync(folderOf(holder), { recursive: true });
      writeFileSync(join(folderOf(holder), name), "{}", { mode: 0o600 });
      const extra = thrown(() => open(holder));
      expect(extra.code).toBe("key-forbidden");
      expect(extra.message).toContain(name);
      rmSync(join(folderOf(holder), name));
    }
  });

  test.each([0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o777])("refuses mode %o", (mode) => {
    chmodSync(fileOf("train", "train-signing"), mode);
    const loose = thrown(() => open("train"));
    expect(loose.code).toBe("key-invalid");
    expect(loose.message).toContain("chmod 600");
  });

  test("takes a read-only key", () => {
    chmodSync(fileOf("train", "train-signing"), 0o400);
    expect(open("train").signing("train-signing").purpose).toBe("train-signing");
  });

  const good = { version: 1, kind: "ed25519", purpose: "train-signing" };
  const material = Buffer.alloc(32, 9).toString("base64");
  const wrong: [string, string][] = [
    ["empty", ""],
    ["no JSON", "not json"],
    ["cut off", JSON.stringify({ ...good, material }).slice(0, -5)],
    ["an array", "[]"],
    ["null", "null"],
    ["another version", JSON.stringify({ ...good, version: 2, material })],
    ["another purpose", JSON.stringify({ ...good, purpose: "model-signing", material })],
    ["another kind", JSON.stringify({ ...good, kind: "x25519", material })],
    ["no material", JSON.stringify(good)],
    ["material of another type", JSON.stringify({ ...good, material: 7 })],
    ["an additional field", JSON.stringify({ ...good, material, note: "x" })],
    ["short material", JSON.stringify({ ...good, material: material.slice(4) })],
    ["long material", JSON.stringify({ ...good, material: `AAAA${material}` })],
    ["base64 with a space", JSON.stringify({ ...good, material: ` ${material}` })],
    [
      "base64url",
      JSON.stringify({ ...good, material: Buffer.alloc(32, 255).toString("base64url") }),
    ],
  ];
  test.each(wrong)("refuses a file that is %s, without quoting it", (_, text) => {
    writeFileSync(fileOf("train", "train-signing"), text, { mode: 0o600 });
    const corrupt = thrown(() => open("train"));
    expect(corrupt.code).toBe("key-invalid");
    expect(corrupt.message).not.toContain(material.slice(4, 20));
  });

  test("refuses a folder and a named pipe in a key's place", () => {
    rmSync(fileOf("train", "train-signing"));
    mkdirSync(fileOf("train", "train-signing"));
    expect(thrown(() => open("train")).code).toBe("key-invalid");
    rmSync(fileOf("train", "train-signing"), { recursive: true });
    execFileSync("mkfifo", ["-m", "600", fileOf("train", "train-signing")]);
    expect(thrown(() => open("train")).code).toBe("key-invalid");
  });

  test("shows no secret", () => {
    const store = open("aggregate");
    const { material: noise }: { material: string } = JSON.parse(
      readFileSync(fileOf("aggregate", "noise"), "utf8"),
    );
    const raw = Buffer.from(noise, "base64");
    const shown = [store, store.secret("noise"), store.unwrap("contribution-unwrap")]
      .map(
        (one) => inspect(one, { depth: 9, showHidden: true }) + JSON.stringify(one) + String(one),
      )
      .join();
    expect(shown).not.toContain(noise);
    expect(shown).not.toContain(raw.toString("hex"));
    expect(shown).not.toContain([...raw.subarray(0, 6)].join(", "));
  });
});

describe("readKeyFiles", () => {
  test("reads back what was written, and the ceremony can publish it", () => {
    const read = readKeyFiles(root);
    expect(read.map((file) => file.purpose).sort()).toEqual(all.map((f) => f.purpose).sort());
    const published = publicEntries({ pipeline: "digits", files: read });
    expect(published.map((entry) => Buffer.from(entry.key).toString()).sort()).toEqual(
      publicEntries({ pipeline: "digits", files: all })
        .map((entry) => Buffer.from(entry.key).toString())
        .sort(),
    );
    expect(published.length).toBe(4 + 9);
    expect(readKeyFiles(join(root, "nothing"))).toEqual([]);
  });

  test("a zone can hold its ceremony alone, but not without its identity", () => {
    const { files: mine, identities: pinned } = createZoneKeys({ zones: ["prediction"] });
    expect(Object.keys(pinned)).toEqual(["prediction"]);
    expect(mine.map((file) => file.purpose).sort()).toEqual([
      "model-unwrap",
      "prediction-dead-letter",
      "prediction-identity",
      "result-signing",
    ]);
    const alone = mine.filter((file) => file.purpose !== "prediction-identity");
    const failure = thrown(() => publicEntries({ pipeline: "digits", files: alone }));
    expect(failure.code).toBe("key-missing");
  });

  test("refuses a key in another holder's folder", () => {
    copyFileSync(fileOf("aggregate", "noise"), fileOf("predict", "noise"));
    expect(thrown(() => readKeyFiles(root)).code).toBe("key-forbidden");
  });
});

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

  test("is content when predict is alone", () => {
    writeFileSync(join(alone, "unrelated.json"), '{"kind":"Secret","data":1}');
    mkdirSync(join(alone, "other"));
    writeFileSync(join(alone, "other", "binary"), Buffer.alloc(100_000, 7));
    symlinkSync(join(alone, "nowhere"), join(alone, "dangling"));
    const environment = { PATH: "/usr/bin", TOKEN: "a".repeat(60), EMPTY: "", GONE: undefined };
    expect(check(environment).code).toBe("nothing");
  });

  test("finds a CKKS secret in its folder, in a sibling, beside it, and under any name", () => {
    for (const place of [
      "predict/ckks-secret.key",
      "predict/model.bin",
      "consumer/ckks-secret.key",
      "backup/old.json",
      "ckks-secret.key",
      "x.txt",
    ]) {
      plant(join(alone, place));
      const found = check();
      expect(found.code, place).toBe("key-forbidden");
      expect(found.message).toContain(join(alone, place));
      rmSync(join(alone, place));
    }
    expect(check().code).toBe("nothing");
  });

  test("finds every key that is not on its list", () => {
    for (const file of all) {
      const allowed = file.holder === "predict";
      plant(join(alone, "elsewhere", "it.key"), fileOf(file.holder, file.purpose));
      expect(check().code, file.purpose).toBe(allowed ? "nothing" : "key-forbidden");
    }
  });

  test("finds a key that is cut off, indented, in a list, or lies about itself", () => {
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
      expect(check().code, form.slice(0, 40)).toBe("key-forbidden");
    }
  });

  test("finds a key in the environment: as text, base64, hex or path", () => {
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
      const found = check({ FINE: "1", CONSUMER_KEY: form });
      expect(found.code).toBe("key-forbidden");
      expect(found.message).toMatch(/CONSUMER_KEY|ckks-secret\.key/);
      expect(found.message).not.toContain(key.toString("base64").slice(0, 40));
    }
    expect(check({ OWN: readFileSync(fileOf("predict", "model-unwrap"), "utf8") }).code).toBe(
      "nothing",
    );
  });

  test("a folder with too much around it is refused rather than half searched", () => {
    const crowd = join(alone, "crowd");
    mkdirSync(crowd);
    for (let i = 0; i < 4200; i++) writeFileSync(join(crowd, `${i}`), "");
    expect(check().code).toBe("key-forbidden");
  });

  test("what Node's permission model denies is out of reach", () => {
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

  test.runIf(process.getuid?.() !== 0)("what the operating system denies is out of reach", () => {
    plant(join(alone, "consumer", "ckks-secret.key"));
    chmodSync(join(alone, "consumer"), 0o000);
    expect(check().code).toBe("nothing");
    chmodSync(join(alone, "consumer"), 0o700);
    expect(check().code).toBe("key-forbidden");
    expect(readdirSync(join(alone, "consumer")).length).toBe(1);
  });
});
