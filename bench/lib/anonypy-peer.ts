/**
 * anonypy (PyPI), in a virtual environment that is made once, in an ignored folder.
 *
 * No Python, no registry: the peer is reported as missing, with the reason.
 */
import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { promisify } from "node:util";

export const ANONYPY_VERSION = "0.2.1";
const PANDAS_VERSION = "2.3.3";
const HOME = join(import.meta.dirname, "..", ".peers", "anonypy");
const PYTHON = join(HOME, "bin", "python");
const COMPLETE = join(HOME, `complete-${ANONYPY_VERSION}`);
const SCRIPT = join(import.meta.dirname, "group-rows.py");
const INSTALL_TIMEOUT_MS = 300_000;
const RUN_TIMEOUT_MS = 400_000;

const run = promisify(execFile);

export interface AnonypyResult {
  /** Of each round. */
  readonly seconds: readonly number[];
  /** Rows of each group, of the last round. */
  readonly groups: readonly (readonly number[])[];
}

async function install(tell: (message: string) => void): Promise<void> {
  if (existsSync(COMPLETE)) return;
  tell(`installing anonypy ${ANONYPY_VERSION} (once)`);
  const timeout = INSTALL_TIMEOUT_MS;
  await run("python3", ["-m", "venv", "--clear", HOME], { timeout });
  const packages = [`anonypy==${ANONYPY_VERSION}`, `pandas==${PANDAS_VERSION}`];
  await run(PYTHON, ["-m", "pip", "install", "--quiet", ...packages], { timeout });
  await run(PYTHON, ["-c", `import anonypy, pathlib; pathlib.Path(r"${COMPLETE}").touch()`]);
}

/** What anonypy makes of the columns, or in words why it could not be run. */
export async function runAnonypy(
  job: { k: number; rounds: number; columns: Readonly<Record<string, readonly number[]>> },
  tell: (message: string) => void,
): Promise<AnonypyResult | string> {
  let doing = `install anonypy ${ANONYPY_VERSION} with Python 3 and pip`;
  try {
    await install(tell);
    doing = "run anonypy";
    const child = spawn(PYTHON, [SCRIPT], {
      stdio: ["pipe", "pipe", "ignore"],
      timeout: RUN_TIMEOUT_MS,
    });
    const answer = text(child.stdout);
    // Because a child that cannot start answers nothing, which is told below.
    child.stdin.on("error", () => {});
    child.on("error", () => {});
    child.stdin.end(JSON.stringify(job));
    // Because the script writes nothing else.
    return JSON.parse(await answer) as AnonypyResult;
  } catch {
    // Because a peer that cannot be had is an outcome of a benchmark, told in its table.
    return `could not ${doing}`;
  }
}
