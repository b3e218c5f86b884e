/**
 * What lies within reach of `predict`: invariant 2, checked before anything else starts.
 *
 * Looks at the stage's key folder, at the folder around it and every folder beside it that can be opened, at the known
 * key folders by name even where listing is denied, and at the environment (values, base64 and hex of values, paths of
 * key files, names of key variables). Any of our key files that is not on predict's closed list is refused: of whatever
 * generation, sealed ones too (their passphrase may be guessed), corrupt ones included. A private key in PEM says only by
 * the name of its file or variable whose it is: others may be TLS's. What the operating system or Node's permission model
 * denies is out of reach, and that is how it should be.
 * Must not: name what it found beyond file or variable and purpose. Source: DESIGN.md section 5, invariant 2.
 */
import { closeSync, constants, fstatSync, openSync, readdirSync } from "node:fs";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { SealstreamError } from "../errors.ts";
import {
  errorCode,
  keyFileName,
  MAX_KEY_FILE_BYTES,
  parseKeyFileName,
  readUpTo,
} from "./key-file.ts";
import { isPurpose, PURPOSES, type Purpose } from "./key-purposes.ts";
import { parseKeyVariable } from "./key-source.ts";

/** Errors that mean: this process cannot get at it. */
const OUT_OF_REACH: readonly string[] = [
  "EACCES",
  "EPERM",
  "ERR_ACCESS_DENIED",
  "ENOENT",
  "ENOTDIR",
  "ELOOP",
  "ENXIO",
  "EISDIR",
];

/** Entries looked at before giving up: key folders stand among few others. */
const MAX_ENTRIES = 4096;
/** Our key files begin like this; anything else is not read further. */
const FIRST_BYTES = 64;
/** Generations of other holders' keys that are tried by name where their folder cannot be listed. */
const GENERATIONS_TRIED = 16;
const PEM = /-----BEGIN [A-Z ]*PRIVATE KEY-----/;

/**
 * @param options `folder`: predict's own key folder; `environment`: the process's; `allowed`: its closed list
 * @throws `key-forbidden` when any other key of ours is within reach, or that cannot be found out
 */
export function assertOnlyInReach(options: {
  readonly folder: string;
  readonly allowed: readonly Purpose[];
  readonly environment: Readonly<Record<string, string | undefined>>;
}): void {
  const { allowed } = options;
  const folder = resolve(options.folder);
  const parent = dirname(folder);
  const budget = { entries: MAX_ENTRIES };
  const seen = new Set<string>();
  const look = (path: string) => {
    if (!seen.has(path)) inspectFile(path, allowed);
    seen.add(path);
  };
  const beside = list(parent, budget);
  for (const name of new Set([...beside, ...HOLDERS].map((one) => join(parent, one)))) {
    look(name);
    for (const file of list(name, budget)) look(join(name, file));
  }
  for (const file of list(folder, budget)) look(join(folder, file));
  // A folder that cannot be listed may still hold files that can be opened.
  for (const purpose of Object.keys(PURPOSES)) {
    if (!isPurpose(purpose)) continue;
    const beside = join(parent, PURPOSES[purpose].holder);
    for (let generation = 1; generation <= GENERATIONS_TRIED; generation += 1) {
      const name = keyFileName(purpose, generation);
      look(join(beside, name));
      look(join(beside, name.replace(/key$/, "pem")));
    }
  }
  for (const [name, value] of Object.entries(options.environment)) {
    if (value !== undefined) inspectVariable(name, value, allowed);
  }
}

const HOLDERS: readonly string[] = [...new Set(Object.values(PURPOSES).map((one) => one.holder))];

/** Names in a folder; none when it is out of reach or no folder. */
function list(folder: string, budget: { entries: number }): readonly string[] {
  let names: readonly string[];
  try {
    names = readdirSync(folder);
  } catch (error) {
    return outOfReach(error, folder, []);
  }
  budget.entries -= names.length;
  if (budget.entries < 0) {
    throw new SealstreamError(
      "key-forbidden",
      `There are more than ${MAX_ENTRIES} files around ${folder}, too many to look for keys: give the key folders a folder of their own.`,
    );
  }
  return names;
}

function inspectFile(path: string, allowed: readonly Purpose[]): void {
  const text = readText(path);
  const named = parseKeyFileName(basename(path))?.purpose ?? null;
  const found = text === null ? null : forbiddenIn(text, allowed, named);
  if (found !== null) {
    throw new SealstreamError(
      "key-forbidden",
      `${path} (${found}) is within reach of predict: start it with sealstream run, or move the file to its own zone's machine or account.`,
    );
  }
}

function inspectVariable(name: string, value: string, allowed: readonly Purpose[]): void {
  const named = parseKeyVariable(name)?.purpose ?? null;
  const found =
    named !== null && value !== "" && !allowed.includes(named)
      ? named
      : [value, ...decodings(value)]
          .map((text) => forbiddenIn(text, allowed, named))
          .find((purpose): purpose is string => purpose !== null);
  if (found !== undefined) {
    throw new SealstreamError(
      "key-forbidden",
      `The environment variable ${name} holds a key (${found}) that predict must not have: remove it.`,
    );
  }
  if (isAbsolute(value) && /\.(?:key|pem)$/.test(value)) inspectFile(value, allowed);
}

/** Text of a file that may be one of ours; null when it is out of reach or certainly none. */
function readText(path: string): string | null {
  let descriptor: number;
  try {
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    return outOfReach(error, path, null);
  }
  try {
    const stat = fstatSync(descriptor);
    if (!stat.isFile() || stat.size > MAX_KEY_FILE_BYTES) return null;
    const start = readUpTo(descriptor, Math.min(stat.size, FIRST_BYTES)).toString("utf8");
    // A PEM file may have text before its key.
    if (!/^\uFEFF?\s*([{[]|$)/.test(start) && !path.endsWith(".pem")) return null;
    return readUpTo(descriptor, stat.size).toString("utf8");
  } catch (error) {
    return outOfReach(error, path, null);
  } finally {
    closeSync(descriptor);
  }
}

function outOfReach<T>(error: unknown, path: string, nothing: T): T {
  const code = errorCode(error);
  // Because denied is the wanted state; anything else leaves us not knowing, and not knowing is no.
  if (OUT_OF_REACH.includes(code)) return nothing;
  throw new SealstreamError(
    "key-forbidden",
    `${path} could not be checked for keys that predict must not have (${code}).`,
    { cause: error },
  );
}

function decodings(value: string): string[] {
  const text = value.replace(/\s+/g, "");
  const found: string[] = [];
  if (/^[A-Za-z0-9+/_-]{40,}={0,2}$/.test(text)) {
    found.push(Buffer.from(text, "base64").toString("utf8"));
  }
  if (/^([0-9A-Fa-f]{2}){40,}$/.test(text)) found.push(Buffer.from(text, "hex").toString("utf8"));
  return found;
}

/**
 * What forbidden key a text holds, else null. By pattern and not only by parsing, since a file with a broken end still
 * holds its key.
 * @param named the purpose that its name says, for a PEM text, which says none
 */
function forbiddenIn(
  text: string,
  allowed: readonly Purpose[],
  named: Purpose | null,
): string | null {
  if (PEM.test(text)) return named === null || allowed.includes(named) ? null : named;
  if (!/"(?:material|sealed)"\s*:/.test(text)) return null;
  const kinds = [
    ...text.matchAll(/"kind"\s*:\s*"(ed25519|x25519|secret|ckks-secret|p-256|rsa|kms)"/g),
  ];
  const purposes = [...text.matchAll(/"purpose"\s*:\s*"([a-z0-9-]*)"/g)];
  const kindNames = kinds.map((match) => match[1] ?? "");
  if (kindNames.length === 0) return null;
  for (const [, purpose = ""] of purposes) {
    if (!isPurpose(purpose) || !allowed.includes(purpose)) return purpose;
  }
  const stranger = kindNames.find((kind) => !allowed.some((purpose) => mayBe(purpose, kind)));
  return stranger ?? (purposes.length < kindNames.length ? (kindNames[0] ?? null) : null);
}

function mayBe(purpose: Purpose, kind: string): boolean {
  const own = PURPOSES[purpose].kind;
  return kind === own || (own === "x25519" && /^(?:p-256|rsa|kms)$/.test(kind));
}
