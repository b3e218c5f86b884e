/**
 * The peer of the detectors: Presidio's pattern recognizers in a Python process of their own, without an NLP model.
 *
 * Installed from PyPI into an ignored folder on first use. Its telephone recognizer is no pattern and slower, so it can be
 * left out: the peer then does less than we do.
 */
import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

export const PRESIDIO = "presidio-analyzer";
export const PRESIDIO_VERSION = "2.2.366";
const FOLDER = join(import.meta.dirname, "..", ".peers", PRESIDIO);
const PIP_TIMEOUT_MS = 600_000;
const ANSWER_TIMEOUT_MS = 120_000;

/** Reads a JSON list of texts, then a word a line: `run` searches all texts, `spans` prints what was found where. */
const PROGRAM = `
import json, sys
sys.path.insert(0, sys.argv[1])
from presidio_analyzer.predefined_recognizers import (
    CreditCardRecognizer, DateRecognizer, DeTaxIdRecognizer, EmailRecognizer, IbanRecognizer, IpRecognizer,
    MacAddressRecognizer, PhoneRecognizer, UrlRecognizer, UsSsnRecognizer)
few = [EmailRecognizer(), CreditCardRecognizer(), UsSsnRecognizer()]
more = [DateRecognizer(), IbanRecognizer(), IpRecognizer(), UrlRecognizer(), MacAddressRecognizer(), DeTaxIdRecognizer()]
recognizers = few if sys.argv[2] == "few" else few + more
if sys.argv[3] == "phone": recognizers = recognizers + [PhoneRecognizer()]
texts = json.loads(sys.stdin.readline())
def once(text):
    return [r for one in recognizers for r in (one.analyze(text, one.supported_entities, None) or [])]
for line in sys.stdin:
    found = [once(text) for text in texts]
    spans = line.strip() == "spans"
    print(json.dumps([[[r.start, r.end] for r in one] for one in found] if spans else sum(map(len, found))), flush=True)
`;

export interface Presidio {
  /** Searches all texts. */
  run(): Promise<void>;
  /** Start and end in characters of what was found, by text. */
  spans(): Promise<(readonly (readonly [start: number, end: number])[])[]>;
  stop(): void;
}

async function install(): Promise<void> {
  if (existsSync(FOLDER)) return;
  await mkdir(FOLDER, { recursive: true });
  const what = `${PRESIDIO}==${PRESIDIO_VERSION}`;
  try {
    await promisify(execFile)("python3", ["-m", "pip", "install", "-q", "--target", FOLDER, what], {
      timeout: PIP_TIMEOUT_MS,
    });
  } catch (error) {
    await rm(FOLDER, { recursive: true, force: true });
    throw error;
  }
}

/** @throws when there is no Python, no registry or no wheel for this machine */
export async function startPresidio(
  texts: readonly string[],
  types: "few" | "all",
  withPhone: boolean,
): Promise<Presidio> {
  await install();
  const child = spawn("python3", ["-c", PROGRAM, FOLDER, types, withPhone ? "phone" : ""], {
    stdio: ["pipe", "pipe", "ignore"],
  });
  const waiting: { resolve(line: string): void; reject(error: Error): void }[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => waiting.shift()?.resolve(line));
  const fail = () => {
    for (const one of waiting.splice(0)) one.reject(new Error(`${PRESIDIO} ended`));
  };
  child.once("error", fail).once("close", fail);
  child.stdin.on("error", fail);
  child.stdin.write(`${JSON.stringify(texts)}\n`);
  const ask = async (word: string): Promise<string> => {
    if (child.exitCode !== null) throw new Error(`${PRESIDIO} ended`);
    const late = setTimeout(() => child.kill("SIGKILL"), ANSWER_TIMEOUT_MS);
    try {
      return await new Promise((resolve, reject) => {
        waiting.push({ resolve, reject });
        child.stdin.write(`${word}\n`);
      });
    } finally {
      clearTimeout(late);
    }
  };
  await ask("run");
  return {
    run: async () => void (await ask("run")),
    // Because the program above prints it.
    spans: async () => JSON.parse(await ask("spans")),
    stop: () => child.stdin.end(),
  };
}
