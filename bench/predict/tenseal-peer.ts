/**
 * TenSEAL (PyPI) in a Python process of its own that does what it is asked, a line of JSON each way.
 *
 * In a virtual environment that is made once, in an ignored folder. No Python, no registry: the peer is reported as
 * missing, with the reason. What it computes is for the caller to check: `open` answers with decrypted logits.
 */
import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import type { PeerLayer } from "./cases.ts";

export const TENSEAL_VERSION = "0.3.18";
const HOME = join(import.meta.dirname, "..", ".peers", "tenseal");
const PYTHON = join(HOME, "bin", "python");
const COMPLETE = join(HOME, `complete-${TENSEAL_VERSION}`);
const SCRIPT = join(import.meta.dirname, "seal-peer.py");
const INSTALL_TIMEOUT_MS = 300_000;
/** The wheels of this version are for these; the newest Python may have none. */
const INTERPRETERS = ["python3.11", "python3"];

const run = promisify(execFile);

/** What a network is evaluated on. */
export interface PeerInput {
  readonly layers: readonly PeerLayer[];
  /** Records in the clear; they repeat where a pack has more slots. */
  readonly rows: readonly (readonly number[])[];
}

export interface PeerOpened {
  /** Of the first records, out of a decrypted result; empty for operations with keys. */
  readonly logits: readonly (readonly number[])[];
  /** Records a run evaluates, or operations it does. */
  readonly units: number;
  /** Of a whole pack under the consumer's public key, as the library saves it. */
  readonly bytesIn: number;
  readonly bytesOut: number;
}

export interface PeerTurn {
  /** Of CPU time. */
  readonly perSecond: number;
  /** Milliseconds of a run. */
  readonly phases: Readonly<Record<string, number>>;
}

export interface Tenseal {
  /** Makes keys, encrypts, runs once and decrypts. @throws Error when the library refuses */
  open(id: string, job: object): Promise<PeerOpened>;
  turn(id: string, turnMs: number): Promise<PeerTurn>;
  /** Frees what a case holds. */
  drop(id: string): Promise<void>;
  /** Ends the process. */
  close(): void;
}

async function install(tell: (message: string) => void): Promise<void> {
  if (existsSync(COMPLETE)) return;
  tell(`installing tenseal ${TENSEAL_VERSION} (once)`);
  const timeout = INSTALL_TIMEOUT_MS;
  let failed: unknown = new Error("no Python");
  for (const interpreter of INTERPRETERS) {
    try {
      await run(interpreter, ["-m", "venv", "--clear", HOME], { timeout });
      const package_ = `tenseal==${TENSEAL_VERSION}`;
      await run(PYTHON, ["-m", "pip", "install", "--quiet", package_], { timeout });
      await run(PYTHON, ["-c", `import tenseal.sealapi; open(r"${COMPLETE}", "w")`]);
      return;
    } catch (error) {
      // Because the next interpreter may do.
      failed = error;
    }
  }
  throw failed;
}

/** The peer, or in words why it cannot be had. */
export async function openTenseal(tell: (message: string) => void): Promise<Tenseal | string> {
  try {
    await install(tell);
  } catch {
    // Because a peer that cannot be had is an outcome of a benchmark, told in its table.
    return `could not install tenseal ${TENSEAL_VERSION} with Python 3 and pip`;
  }
  const child = spawn(PYTHON, [SCRIPT], { stdio: ["pipe", "pipe", "ignore"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  // Because a child that ended answers nothing, which is told below.
  child.stdin.on("error", () => undefined);
  child.on("error", () => undefined);

  async function ask(request: object): Promise<unknown> {
    child.stdin.write(`${JSON.stringify(request)}\n`);
    const { value, done } = await lines.next();
    if (done === true) throw new Error("the process of tenseal ended");
    const answer: unknown = JSON.parse(value);
    if (typeof answer === "object" && answer !== null && "error" in answer)
      throw new Error(String(answer.error));
    return answer;
  }
  return {
    // Because the script answers nothing else.
    open: async (id, job) => (await ask({ op: "open", id, ...job })) as PeerOpened,
    turn: async (id, ms) => (await ask({ op: "turn", id, ms })) as PeerTurn,
    drop: async (id) => void (await ask({ op: "close", id })),
    close: () => child.stdin.end(),
  };
}
