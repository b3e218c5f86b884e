/**
 * How fast free text is searched for personal data: the detectors against one combined RegExp and Presidio's patterns.
 *
 * The same texts, the same ten types; the RegExp is made of the very shapes of the detectors, joined by `|`, with word
 * boundaries and without their checks, so it does less. Two kinds of text: support tickets, where every line has
 * something to find, and prose with something in every twentieth line. Presidio runs its pattern recognizers without an
 * NLP model, in a Python of its own; its folder is ignored by git.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { faker } from "@faker-js/faker";
import { BUILTIN_SHAPES, BUILTIN_TYPES } from "../pipeline/stages/desensitize/detect/builtin.ts";
import { compileDetectors } from "../pipeline/stages/desensitize/detect/compile.ts";
import { encodeDetectors } from "../pipeline/stages/desensitize/detect/encode.ts";
import { packBatch } from "../pipeline/wasm/columns.ts";
import { type BenchOptions, type BenchOutcome, type BenchRow, rowOf } from "./lib/report.ts";
import { measure } from "./lib/rounds.ts";
import { createDetectKernel } from "./lib/wasm-detect.ts";

const LINES = 2000;
const PRESIDIO = "presidio-analyzer";
const PRESIDIO_VERSION = "2.2.366";
const PRESIDIO_FOLDER = join(import.meta.dirname, ".peers", PRESIDIO);
const PIP_TIMEOUT_MS = 600_000;
const BYTES_PER_MB = 1e6;
/** The four types of the first measurement (DESIGN.md's findings), beside all. */
const FEW = ["email", "card", "ssn", "phone"] as const;

const run = promisify(execFile);

/** Reads a JSON list of texts, runs the pattern recognizers for `seconds`, writes characters a second. */
const PRESIDIO_PROGRAM = `
import json, sys, time
sys.path.insert(0, sys.argv[1])
from presidio_analyzer.predefined_recognizers import (
    CreditCardRecognizer, DateRecognizer, EmailRecognizer, IbanRecognizer, IpRecognizer, PhoneRecognizer,
    UrlRecognizer, UsSsnRecognizer)
few = [EmailRecognizer(), CreditCardRecognizer(), UsSsnRecognizer(), PhoneRecognizer()]
every = few + [DateRecognizer(), IbanRecognizer(), IpRecognizer(), UrlRecognizer()]
recognizers = few if sys.argv[2] == "few" else every
texts = json.load(sys.stdin)
def once(text):
    return sum(len(r.analyze(text, r.supported_entities, None) or []) for r in recognizers)
found = sum(once(text) for text in texts[:20])
seconds, done, start, i = float(sys.argv[3]), 0, time.perf_counter(), 0
while time.perf_counter() - start < seconds:
    once(texts[i % len(texts)]); done += len(texts[i % len(texts)].encode()); i += 1
print(json.dumps({"found": found, "speed": done / (time.perf_counter() - start)}))
`;

function ticket(): string {
  const value = faker.helpers.arrayElement([
    () => faker.internet.email(),
    () => faker.phone.number({ style: "international" }),
    () => faker.finance.creditCardNumber(),
    () => faker.finance.iban({ formatted: true }),
    () => faker.internet.ipv4(),
    () => faker.internet.url(),
    () => faker.date.birthdate().toISOString().slice(0, 10),
  ])();
  return `${faker.lorem.sentence({ min: 6, max: 12 })} ${value}, ${faker.string.numeric(6)}. ${faker.lorem.sentence()}`;
}

function prose(line: number): string {
  return line % 20 === 0 ? ticket() : faker.lorem.paragraph(2);
}

/** The shapes of the types in one RegExp. */
function combinedRegExp(types: readonly (typeof BUILTIN_TYPES)[number][]): RegExp {
  const shapes = types.flatMap((type) =>
    BUILTIN_SHAPES[type].map(({ pattern }) => `(?:${pattern})`),
  );
  return new RegExp(`(?<![0-9A-Za-z_])(?:${shapes.join("|")})(?![0-9A-Za-z_])`, "giu");
}

function countMatches(pattern: RegExp, texts: readonly string[]): number {
  let count = 0;
  for (const text of texts) for (const _ of text.matchAll(pattern)) count++;
  return count;
}

async function presidioSpeed(
  texts: readonly string[],
  set: "few" | "all",
  seconds: number,
): Promise<number> {
  if (!existsSync(PRESIDIO_FOLDER)) {
    await mkdir(PRESIDIO_FOLDER, { recursive: true });
    const args = [
      "-m",
      "pip",
      "install",
      "-q",
      "--target",
      PRESIDIO_FOLDER,
      `${PRESIDIO}==${PRESIDIO_VERSION}`,
    ];
    await run("python3", args, { timeout: PIP_TIMEOUT_MS });
  }
  const child = run("python3", ["-c", PRESIDIO_PROGRAM, PRESIDIO_FOLDER, set, String(seconds)], {
    timeout: 120_000,
  });
  child.child.stdin?.end(JSON.stringify(texts));
  const { stdout } = await child;
  // Because the program above prints it.
  const { speed } = JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as { speed: number };
  return speed / BYTES_PER_MB;
}

interface Case {
  readonly name: string;
  readonly texts: readonly string[];
  readonly types: "few" | "all";
}

async function benchCase(
  { name, texts, types }: Case,
  rounds: number,
  turnMs: number,
  missing: Set<string>,
): Promise<BenchRow> {
  const names = types === "few" ? [...FEW] : [...BUILTIN_TYPES];
  const kernel = createDetectKernel("desensitize", encodeDetectors(compileDetectors(names)));
  if (kernel === null) throw new Error("the guest refused its detectors");
  const batch = packBatch([texts.map((text) => Buffer.from(text))], 0, texts.length);
  const bytes = batch.columns[0]?.data.length ?? 0;
  const pattern = combinedRegExp(names);
  const ours = kernel.detectPacked(batch).length / 4;
  const theirs = countMatches(pattern, texts);
  if (ours === 0 || theirs === 0) throw new Error("nothing was found");
  const speeds = await measure(
    [
      { name: "wasm", run: () => kernel.detectPacked(batch) },
      { name: "regexp", run: () => countMatches(pattern, texts) },
    ],
    { unitsPerRun: bytes / BYTES_PER_MB, rounds, turnMs },
  );
  const peers: Record<string, number> = { "combined JS RegExp": speeds.get("regexp")! };
  try {
    peers[PRESIDIO] = await presidioSpeed(texts, types, (rounds * turnMs) / 1000);
  } catch {
    // Because no Python, no registry or no wheel for this machine is a peer that is missing, not a failure.
    missing.add(`${PRESIDIO} ${PRESIDIO_VERSION}: could not be installed or run with python3`);
  }
  return rowOf({ case: name, unit: "MB/s", rounds }, speeds.get("wasm")!, peers);
}

export async function bench({ quick }: BenchOptions): Promise<BenchOutcome> {
  const rounds = quick ? 5 : 21;
  const turnMs = quick ? 120 : 400;
  faker.seed(5);
  const tickets = Array.from({ length: LINES }, ticket);
  const lines = Array.from({ length: LINES }, (_, i) => prose(i));
  const missing = new Set<string>();
  const rows: BenchRow[] = [];
  for (const one of [
    { name: "tickets, all types", texts: tickets, types: "all" },
    { name: "prose, all types", texts: lines, types: "all" },
    { name: "tickets, e-mail, card, SSN, phone", texts: tickets, types: "few" },
    { name: "prose, e-mail, card, SSN, phone", texts: lines, types: "few" },
  ] as const) {
    rows.push(await benchCase(one, rounds, turnMs, missing));
  }
  return {
    packages: ["@faker-js/faker", "assemblyscript"],
    versions: { [PRESIDIO]: PRESIDIO_VERSION },
    rows,
    missing: [...missing],
  };
}
