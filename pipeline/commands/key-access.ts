/**
 * How commands get at private keys: folders, environment, and what opens the sealed ones.
 *
 * ```
 * SEALSTREAM_KEY_<PURPOSE>         a key itself, where a container has no volume
 * SEALSTREAM_KEY_PASSPHRASE(_FILE) opens sealed files
 * VAULT_ADDR, VAULT_NAMESPACE      Vault or OpenBao, for keys that it seals or holds
 * VAULT_TOKEN(_FILE), or VAULT_ROLE_ID and VAULT_SECRET_ID(_FILE)   who we are for it
 * SEALSTREAM_KMS_PATIENCE_MS       how long one request is tried for, 60,000 unless said
 * ```
 * A file has mode 0600. BAO_ADDR and so on are the same. All but keys are first looked for with the holder's name behind
 * (`VAULT_TOKEN_TRAIN`), so that holders on one machine need not share them. Must not: print what it reads, or read it
 * before it is needed.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { readKeyFileText } from "../crypto/key-file.ts";
import { type KeyHolder, PURPOSES } from "../crypto/key-purposes.ts";
import { parseKeyVariable } from "../crypto/key-source.ts";
import { type KeyStore, openKeyStore } from "../crypto/key-store.ts";
import type { Kms } from "../crypto/kms/kms.ts";
import type { Patience } from "../crypto/kms/patient.ts";
import { kmsOf } from "../crypto/kms/registry.ts";
import { createVaultKms } from "../crypto/kms/vault.ts";
import type { VaultCredentials } from "../crypto/kms/vault-http.ts";
import { SealstreamError } from "../errors.ts";
import type { CommandContext } from "./context.ts";

type Environment = CommandContext["environment"];

const PASSPHRASE = "SEALSTREAM_KEY_PASSPHRASE";
const PATIENCE = "SEALSTREAM_KMS_PATIENCE_MS";
/** Below one try there is no patience; a stage that waits longer than this should tell somebody. */
const PATIENCE_MS = { least: 100, most: 600_000 } as const;
/** Bare names of what Vault and OpenBao call VAULT_... and BAO_...; the latter come first. */
const SERVICE_PREFIXES = ["BAO_", "VAULT_"] as const;
const SERVICE_NAMES = [
  "ADDR",
  "NAMESPACE",
  "TOKEN",
  "TOKEN_FILE",
  "ROLE_ID",
  "SECRET_ID",
  "SECRET_ID_FILE",
] as const;
type ServiceName = (typeof SERVICE_NAMES)[number];

/** Opens the keys of a stage that has this process for itself: a key of another holder is refused. */
export function openStageKeys(
  context: CommandContext,
  folder: string,
  holder: KeyHolder,
): Promise<KeyStore> {
  return openKeyStore({ folder, holder, ...keyAccess(context, holder) });
}

/** Opens the keys of one of the holders that a person's command works with: those of the others are passed over. */
export function openHolderKeys(
  context: CommandContext,
  folder: string,
  holder: KeyHolder,
): Promise<KeyStore> {
  const environment = Object.fromEntries(
    Object.entries(context.environment).filter(([name]) => {
      const key = parseKeyVariable(name);
      return key === null || PURPOSES[key.purpose].holder === holder;
    }),
  );
  return openStageKeys({ ...context, environment }, folder, holder);
}

/** What `openKeyStore` needs beside a folder. */
export function keyAccess(context: CommandContext, holder: KeyHolder) {
  const { environment } = context;
  return {
    environment,
    passphrase: passphraseOf(environment, holder),
    kms: kmsFor(context, holder),
  };
}

/**
 * The service that the environment names. Its address and credentials are looked at when a key needs it, since people
 * have VAULT_ADDR set for other reasons too.
 * @throws (its methods) also `usage` and `key-missing`
 */
export function kmsFor(context: CommandContext, holder: KeyHolder): Kms | undefined {
  const value = (name: ServiceName) => serviceValue(context.environment, name, holder);
  const address = value("ADDR");
  if (address === null) return undefined;
  let opened: Kms | null = null;
  const vault = (): Kms => {
    opened ??= createVaultKms({
      address,
      namespace: value("NAMESPACE") ?? undefined,
      credentials: credentialsOf(value),
      fetch,
      patience: patienceOf(context.environment, holder),
      world: { clock: () => performance.now(), sleep: (ms) => sleep(ms), random: Math.random },
      wallClock: context.clock,
    });
    return opened;
  };
  return kmsOf([
    {
      schemes: ["vault"],
      wrap: async (...given) => vault().wrap(...given),
      unwrap: async (...given) => vault().unwrap(...given),
      publicKey: async (uri) => vault().publicKey(uri),
    },
  ]);
}

/** Variables that a holder's process needs to open its keys: its own before those for all. */
export function keyVariables(environment: Environment, holder: KeyHolder): string[] {
  const holdsKeys = Object.values(PURPOSES).some((shape) => shape.holder === holder);
  if (!holdsKeys) return [];
  const keys = Object.keys(environment).filter((name) => {
    const key = parseKeyVariable(name);
    return key !== null && PURPOSES[key.purpose].holder === holder;
  });
  const services = SERVICE_PREFIXES.flatMap((prefix) => SERVICE_NAMES.map((name) => prefix + name));
  const others = [PASSPHRASE, `${PASSPHRASE}_FILE`, PATIENCE, ...services].flatMap(
    (name) => variableFor(environment, name, holder) ?? [],
  );
  return [...keys, ...others];
}

/** Files that those variables name, for the permissions of a stage's process. */
export function keyAccessFiles(environment: Environment, holder: KeyHolder): string[] {
  return keyVariables(environment, holder)
    .filter((name) => /(?:PASSPHRASE|TOKEN|SECRET_ID)_FILE/.test(name))
    .flatMap((name) => environment[name] ?? []);
}

function credentialsOf(value: (name: ServiceName) => string | null): VaultCredentials {
  const read = (name: "TOKEN" | "SECRET_ID") => {
    const file = value(`${name}_FILE`);
    return value(name) ?? (file === null ? null : secretFile(file));
  };
  const token = read("TOKEN");
  if (token !== null) return { token };
  const roleId = value("ROLE_ID");
  const secretId = read("SECRET_ID");
  if (roleId !== null && secretId !== null) return { roleId, secretId };
  throw new SealstreamError(
    "key-missing",
    "VAULT_ADDR is set, but no credentials are: set VAULT_TOKEN, or VAULT_ROLE_ID and VAULT_SECRET_ID.",
  );
}

function patienceOf(environment: Environment, holder: KeyHolder): Partial<Patience> {
  const variable = variableFor(environment, PATIENCE, holder);
  if (variable === null) return {};
  const text = environment[variable] ?? "";
  const totalMs = /^[0-9]{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (totalMs >= PATIENCE_MS.least && totalMs <= PATIENCE_MS.most) return { totalMs };
  throw new SealstreamError(
    "usage",
    `${variable} is a number of milliseconds from ${PATIENCE_MS.least} to ${PATIENCE_MS.most}.`,
  );
}

function passphraseOf(environment: Environment, holder: KeyHolder): (() => string) | undefined {
  const text = variableFor(environment, PASSPHRASE, holder);
  if (text !== null) return () => environment[text] ?? "";
  const file = variableFor(environment, `${PASSPHRASE}_FILE`, holder);
  return file === null ? undefined : () => secretFile(environment[file] ?? "");
}

/** A secret out of a file of mode 0600, without the line end that editors add. */
function secretFile(path: string): string {
  return readKeyFileText(path).replace(/\r?\n$/, "");
}

function serviceValue(
  environment: Environment,
  name: ServiceName,
  holder: KeyHolder,
): string | null {
  for (const prefix of SERVICE_PREFIXES) {
    const variable = variableFor(environment, prefix + name, holder);
    if (variable !== null) return environment[variable] ?? null;
  }
  return null;
}

/** The variable of a holder, else the one for all; null when neither is set. */
function variableFor(environment: Environment, name: string, holder: KeyHolder): string | null {
  const own = `${name}_${holder.toUpperCase().replaceAll("-", "_")}`;
  return [own, name].find((variable) => (environment[variable] ?? "") !== "") ?? null;
}
