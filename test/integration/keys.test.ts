/** The `keys` command on the real broker: zone by zone, through rotations and a revocation, as operators type it. */
import { generateKeyPairSync } from "node:crypto";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { runProgram } from "../../examples/digits/demo/program.ts";
import { createFreshKey } from "../../pipeline/crypto/key-ceremony.ts";
import { writeKeyFiles } from "../../pipeline/crypto/key-store.ts";
import { makePipeline, type TestPipeline } from "../lib/pipeline.ts";

interface Listed {
  readonly keys: readonly {
    readonly purpose: string;
    readonly generation: number;
    readonly state: string;
    readonly kid: string;
  }[];
  readonly lost: readonly string[];
}

let pipeline: TestPipeline;
let runs = 0;

beforeAll(async () => {
  pipeline = await makePipeline(inject("brokers"), (text) =>
    text.replace("partitions: 4", "partitions: 1"),
  );
});

afterAll(() => pipeline?.remove());

function keys(action: string, ...args: string[]): Promise<string> {
  runs += 1;
  return pipeline.run(`keys-${runs}`, ["keys", action, pipeline.file, ...args]);
}

async function fails(...args: string[]): Promise<{ code: number | null; err: string }> {
  const { code, err } = await runProgram(pipeline.program, "failing", args);
  expect(err.trim().split("\n"), err).toHaveLength(1);
  return { code, err };
}

const list = async () => JSON.parse(await keys("list", "--json")) as Listed;
const generations = (listed: Listed, purpose: string) =>
  listed.keys
    .filter((one) => one.purpose === purpose)
    .map(({ generation, state }) => `${generation} ${state}`)
    .sort();

describe("sealstream keys", () => {
  it("finds everything that create published, and makes nothing twice", async () => {
    expect((await list()).lost).toEqual([]);
    const { code, err } = await fails("keys", "create", pipeline.file);
    expect([code, err]).toEqual([1, expect.stringContaining("nothing was overwritten")]);
  });

  it("makes a zone anew, alone, when the file no longer names it and its keys are put away", async () => {
    const text = readFileSync(pipeline.file, "utf8");
    writeFileSync(pipeline.file, text.replace(/^ {2}prediction: .*\n/m, ""));
    const { code, err } = await fails("ledger", pipeline.file);
    expect([code, err]).toEqual([1, expect.stringContaining("--zone prediction")]);
    for (const path of [
      "identities/prediction-identity",
      "predict/result-signing",
      "predict/model-unwrap",
      "dead-letters/prediction-dead-letter",
    ]) {
      rmSync(join(pipeline.keys, `${path}.key`));
    }
    await keys("create", "--zone", "prediction");
    expect((await list()).lost).toEqual([]);
  });

  it("rotates a key, and finishes what a killed ceremony left", async () => {
    await keys("rotate", "training-unwrap");
    expect(generations(await list(), "training-unwrap")).toEqual(["1 previous", "2 current"]);
    await writeKeyFiles(pipeline.keys, [createFreshKey("result-signing", 2)]);
    await keys("rotate", "result-signing");
    expect(generations(await list(), "result-signing")).toEqual(["1 previous", "2 current"]);
    expect(existsSync(join(pipeline.keys, "predict/result-signing.3.key"))).toBe(false);
    await keys("rotate", "identity", "--zone", "owner");
    expect(pipeline.spec().zones?.owner).toHaveLength(2);
  });

  it("grants, revokes and exports", async () => {
    const pem = join(pipeline.folder, "audit.pem");
    const { publicKey } = generateKeyPairSync("x25519");
    writeFileSync(pem, publicKey.export({ format: "pem", type: "spki" }));
    await keys("grant", "--topic", "examples", "--name", "audit", "--public-key", pem);
    const granted = (await list()).keys.find(({ purpose }) => purpose === "reader");
    expect(granted?.state).toBe("current");
    await keys("revoke", String(granted?.kid));
    expect(pipeline.spec().revoked).toEqual([granted?.kid]);
    expect(generations(await list(), "reader")).toEqual(["1 revoked"]);
    expect(await keys("export", "--zone", "owner")).toContain("-----BEGIN PUBLIC KEY-----");
    const { code, err } = await fails("keys", "export", pipeline.file, "--secret", "owner-signing");
    expect([code, err]).toEqual([2, expect.stringContaining("to a terminal alone")]);
  });
});
