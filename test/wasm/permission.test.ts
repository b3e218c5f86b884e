/**
 * The plugin host under Node's permission model: it needs to read the repository and to start workers, nothing else.
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";

const ROOT = join(import.meta.dirname, "..", "..");
const MAIN = join(import.meta.dirname, "permission-main.ts");

function runWith(...permissions: string[]) {
  return spawnSync(
    process.execPath,
    ["--permission", `--allow-fs-read=${ROOT}`, ...permissions, MAIN],
    {
      encoding: "utf8",
      env: {},
    },
  );
}

test("runs with leave to read the repository and to start workers", () => {
  const { stdout, stderr, status } = runWith("--allow-worker");
  expect({ stdout, stderr, status }).toMatchObject({ stdout: '{"id":"a1"}\n', status: 0 });
});

test("without leave to start workers it says what is missing", () => {
  const { stderr, status } = runWith();
  expect(status).not.toBe(0);
  expect(stderr).toContain("--allow-worker");
});
