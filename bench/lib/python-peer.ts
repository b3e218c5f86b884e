/**
 * A peer written in Python: packages out of PyPI in a virtual environment of their own, made once in an ignored folder,
 * and a script that does what it is asked, a line of JSON each way.
 *
 * No Python, no registry: the peer is reported as missing, with the reason. Must not know what is measured.
 */
import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

const PEERS = join(import.meta.dirname, "..", ".peers");
/** Some peers bring a gigabyte of libraries. */
const INSTALL_TIMEOUT_MS = 1_800_000;
/** The newest Python may have no wheels yet. */
const INTERPRETERS = ["python3.11", "python3"];

const run = promisify(execFile);

export interface PythonRecipe {
  /** Folder below `bench/.peers`. */
  readonly folder: string;
  /** Exact versions by name, of what is asked for by name. */
  readonly packages: Readonly<Record<string, string>>;
  /** Module whose import shows that the installation works. */
  readonly module: string;
  /** Path of the script. */
  readonly script: string;
  /** Begins the command line of the peer: `taskset -c 1`, say. */
  readonly prefix?: readonly string[];
}

export interface PythonPeer {
  /** @throws Error with the script's own words when it refuses or has ended */
  ask(request: object): Promise<unknown>;
  /** Ends the process. */
  close(): void;
}

async function install(recipe: PythonRecipe, tell: (message: string) => void): Promise<string> {
  const home = join(PEERS, recipe.folder);
  const python = join(home, "bin", "python");
  const wanted = Object.entries(recipe.packages).map(([name, version]) => `${name}==${version}`);
  const complete = join(home, `complete-${wanted.join("-")}`);
  if (existsSync(complete)) return python;
  tell(`installing ${wanted.join(", ")} with pip (once)`);
  const timeout = INSTALL_TIMEOUT_MS;
  let failed: unknown = new Error("no Python");
  for (const interpreter of INTERPRETERS) {
    try {
      await run(interpreter, ["-m", "venv", "--clear", home], { timeout });
      const args = ["-m", "pip", "install", "--quiet", "--no-cache-dir", ...wanted];
      await run(python, args, { timeout });
      await run(python, ["-c", `import ${recipe.module}; open(r"${complete}", "w")`]);
      return python;
    } catch (error) {
      // Because the next interpreter may do.
      failed = error;
    }
  }
  throw failed;
}

/** The peer, or in words why it cannot be had. */
export async function openPythonPeer(
  recipe: PythonRecipe,
  tell: (message: string) => void,
): Promise<PythonPeer | string> {
  let python: string;
  try {
    python = await install(recipe, tell);
  } catch {
    // Because a peer that cannot be had is an outcome of a benchmark, told in its table.
    return `could not install ${recipe.folder} with Python 3 and pip`;
  }
  const [command = python, ...args] = [...(recipe.prefix ?? []), python, recipe.script];
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "ignore"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  // Because a child that ended answers nothing, which is told below.
  child.stdin.on("error", () => undefined);
  child.on("error", () => undefined);
  return {
    async ask(request) {
      child.stdin.write(`${JSON.stringify(request)}\n`);
      const { value, done } = await lines.next();
      if (done === true) throw new Error(`the process of ${recipe.folder} ended`);
      const answer: unknown = JSON.parse(value);
      if (typeof answer === "object" && answer !== null && "error" in answer) {
        throw new Error(String(answer.error));
      }
      return answer;
    },
    close: () => child.stdin.end(),
  };
}
