/** How new key files are sealed: as `--seal` says, else as the holder's other keys are. */
import { join } from "node:path";
import type { KeyFile } from "../../crypto/key-file.ts";
import type { KeyHolder } from "../../crypto/key-purposes.ts";
import { createPassphrase, type SealWith } from "../../crypto/key-seal.ts";
import { folderSource } from "../../crypto/key-source.ts";
import { writeKeyFiles } from "../../crypto/key-store.ts";
import type { Kms } from "../../crypto/kms/kms.ts";
import { SealstreamError } from "../../errors.ts";
import type { CommandContext } from "../context.ts";
import { keyAccess } from "../key-access.ts";

const PASSPHRASE = "passphrase";

/** Writes key files, folder by folder. @throws what `writeKeyFiles` throws, `usage` for a seal that cannot be had */
export async function writeSealed(
  { context, root, kms }: { context: CommandContext; root: string; kms: Kms | undefined },
  files: readonly KeyFile[],
  named: unknown,
): Promise<void> {
  for (const holder of new Set(files.map((file) => file.holder))) {
    const seal = sealFor({ context, root, kms, holder }, named);
    await writeKeyFiles(
      root,
      files.filter((file) => file.holder === holder),
      seal === undefined ? {} : { seal },
    );
  }
}

function sealFor(
  given: { context: CommandContext; root: string; kms: Kms | undefined; holder: KeyHolder },
  named: unknown,
): SealWith | undefined {
  const { context, root, kms, holder } = given;
  const how = named ?? sealedLike(join(root, holder), holder);
  if (how === undefined || how === null) return undefined;
  if (how === PASSPHRASE) {
    const { passphrase } = keyAccess(context, holder);
    if (passphrase === undefined) {
      throw new SealstreamError(
        "usage",
        "Sealing with a passphrase needs one: set SEALSTREAM_KEY_PASSPHRASE_FILE or SEALSTREAM_KEY_PASSPHRASE.",
      );
    }
    return { passphrase: createPassphrase(longEnough(passphrase)) };
  }
  const uri = String(how);
  if (!uri.includes(":")) {
    throw new SealstreamError(
      "usage",
      `There is no seal "${uri}": there are passphrase and vault:PATH.`,
    );
  }
  if (kms === undefined) {
    throw new SealstreamError(
      "usage",
      `Sealing with ${uri} needs that service: set its address and credentials (VAULT_ADDR and VAULT_TOKEN).`,
    );
  }
  return { kms, uri };
}

/** Copies of key folders are their backups: what seals them must bear guessing offline. */
const MIN_PASSPHRASE_CHARACTERS = 12;

/** @throws (the function) `key-invalid` for a passphrase that is too short to seal with */
function longEnough(read: () => string): () => string {
  return () => {
    const text = read();
    if (text.length >= MIN_PASSPHRASE_CHARACTERS) return text;
    throw new SealstreamError(
      "key-invalid",
      `The passphrase has fewer than ${MIN_PASSPHRASE_CHARACTERS} characters, which can be guessed: take a longer one, for example out of "openssl rand -base64 24".`,
    );
  };
}

/** How a key of a folder is sealed, encrypted PEM as well; null where all are open, and for an empty folder. */
function sealedLike(folder: string, holder: KeyHolder): string | null {
  for (const key of folderSource(folder, false).list(holder)) {
    const form = key.read();
    if ("pem" in form) {
      if (form.isEncrypted) return PASSPHRASE;
      continue;
    }
    if (form.sealed === null) continue;
    return form.sealed.by === PASSPHRASE ? PASSPHRASE : form.sealed.uri;
  }
  return null;
}
