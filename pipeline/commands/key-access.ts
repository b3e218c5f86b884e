/**
 * How commands get at private keys: folders, environment, and what opens the sealed ones.
 *
 * ```
 * SEALSTREAM_KEY_<PURPOSE>         a key itself, where a container has no volume
 * SEALSTREAM_KEY_PASSPHRASE(_FILE) opens sealed files; the file has mode 0600
 * ```
 * Each variable is first looked for with the holder's name behind it (`SEALSTREAM_KEY_PASSPHRASE_TRAIN`), so that holders
 * on one machine need not share it. Must not: print what it reads, or read it before it is needed.
 */
import { readKeyFileText } from "../crypto/key-file.ts";
import { type KeyHolder, PURPOSES } from "../crypto/key-purposes.ts";
import { parseKeyVariable } from "../crypto/key-source.ts";
import { type KeyStore, openKeyStore } from "../crypto/key-store.ts";
import type { CommandContext } from "./context.ts";

type Environment = CommandContext["environment"];

const PASSPHRASE = "SEALSTREAM_KEY_PASSPHRASE";

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
export function keyAccess({ environment }: CommandContext, holder: KeyHolder) {
  return { environment, passphrase: passphraseOf(environment, holder) };
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

/** The variable of a holder, else the one for all; null when neither is set. */
function variableFor(environment: Environment, name: string, holder: KeyHolder): string | null {
  const own = `${name}_${holder.toUpperCase().replaceAll("-", "_")}`;
  return [own, name].find((variable) => (environment[variable] ?? "") !== "") ?? null;
}
