/**
 * Google Tink (PyPI) in a Python process of its own: C++ underneath, called once a record.
 *
 * In a virtual environment that is made once, in an ignored folder. No Python, no registry: the peer is reported as
 * missing, with the reason.
 */
import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

export const TINK_VERSION = "1.16.1";
const HOME = join(import.meta.dirname, "..", ".peers", "tink");
const PYTHON = join(HOME, "bin", "python");
const COMPLETE = join(HOME, `complete-${TINK_VERSION}`);
const SCRIPT = join(import.meta.dirname, "tink-peer.py");
const INSTALL_TIMEOUT_MS = 300_000;

const run = promisify(execFile);

export interface TinkJob {
  readonly what: "seal" | "open";
  /** Bytes of a record and of its associated data. */
  readonly size: number;
  readonly aadBytes: number;
}

export interface Tink {
  /** Works for about that long; returns records per second. */
  turn(job: TinkJob, turnMs: number): Promise<number>;
  close(): void;
}

async function install(tell: (message: string) => void): Promise<void> {
  if (existsSync(COMPLETE)) return;
  tell(`installing tink ${TINK_VERSION} (once)`);
  const timeout = INSTALL_TIMEOUT_MS;
  await run("python3", ["-m", "venv", "--clear", HOME], { timeout });
  await run(PYTHON, ["-m", "pip", "install", "--quiet", `tink==${TINK_VERSION}`], { timeout });
  await run(PYTHON, ["-c", `from tink import aead; open(r"${COMPLETE}", "w")`]);
}

/** The peer, or in words why it cannot be had. */
export async function openTink(tell: (message: string) => void): Promise<Tink | string> {
  try {
    await install(tell);
  } catch {
    // Because a peer that cannot be had is an outcome of a benchmark, told in its table.
    return `could not install tink ${TINK_VERSION} with Python 3 and pip`;
  }
  const child = spawn(PYTHON, [SCRIPT], { stdio: ["pipe", "pipe", "ignore"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  // Because a child that ended answers nothing, which is told below.
  child.stdin.on("error", () => undefined);
  child.on("error", () => undefined);
  return {
    async turn({ what, size, aadBytes }, turnMs) {
      child.stdin.write(`${what} ${size} ${aadBytes} ${turnMs}\n`);
      const { value, done } = await lines.next();
      if (done === true) throw new Error("the process of tink ended");
      return Number(value);
    },
    close: () => child.stdin.end(),
  };
}
