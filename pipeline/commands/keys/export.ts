/**
 * `sealstream keys export FILE`: public halves of the keys in the folders, for whoever is to check or to pin them.
 *
 * A private key leaves only by `--secret`, and only to a terminal: never into a file or a pipe by mistake.
 */
import {
  type PublicHalf,
  privatePem,
  publicHalfOf,
  publicPem,
} from "../../crypto/key-ceremony-halves.ts";
import { hex } from "../../crypto/key-handles.ts";
import { isPurpose, PURPOSES, ZONE_IDENTITY } from "../../crypto/key-purposes.ts";
import { readKeyFiles } from "../../crypto/key-store.ts";
import { SealstreamError } from "../../errors.ts";
import { formatIdentity } from "../../spec/identity.ts";
import { type CommandContext, EXIT } from "../context.ts";
import { keysFolder, type Options } from "../options.ts";
import { readFolders, unlockOf, zonesOption } from "./ceremony.ts";
import { newestFile } from "./publish-missing.ts";

export async function exportKeys(
  context: CommandContext,
  file: string,
  options: Options,
): Promise<number> {
  const root = keysFolder(file, options);
  if (options["secret"] !== undefined) return exportSecret(context, root, options["secret"]);
  const zones = zonesOption(options["zone"]);
  const files = await readFolders(context, root);
  const halves = files
    .flatMap((one) => publicHalfOf(one) ?? [])
    .filter(({ zone }) => zones?.includes(zone) ?? true);
  if (options["json"] === true) context.print(JSON.stringify(halves.map(shown)));
  else for (const half of halves) context.print(`${lineOf(half)}\n${shown(half).publicKey}`);
  context.tell(`${halves.length} public keys of ${root}`);
  return EXIT.ok;
}

/** A private key, as PKCS#8 PEM, in front of a person. @throws `usage` anywhere else */
async function exportSecret(
  context: CommandContext,
  root: string,
  named: unknown,
): Promise<number> {
  if (typeof named !== "string" || !isPurpose(named)) {
    throw new SealstreamError(
      "usage",
      `There is no key "${String(named)}": the keys are ${Object.keys(PURPOSES).join(", ")}.`,
    );
  }
  if (context.outputColumns === undefined) {
    throw new SealstreamError(
      "usage",
      "A private key is printed to a terminal alone, not into a file or a pipe: copy its key file instead.",
    );
  }
  const { holder } = PURPOSES[named];
  const files = await readKeyFiles(root, [holder], unlockOf(context, holder));
  const newest = newestFile(files, named);
  if (newest === null) {
    throw new SealstreamError("key-missing", `${root}/${holder} has no ${named} key.`);
  }
  context.print(privatePem(newest));
  context.tell(`This is the private half of ${named}, generation ${newest.generation}.`);
  return EXIT.ok;
}

function shown(half: PublicHalf) {
  const { purpose, zone, generation, algorithm, kid } = half;
  return { purpose, zone, generation, algorithm, kid: hex(kid), publicKey: textOf(half) };
}

/** An identity as a pipeline file pins it, a key in a service by its URI, any other as SPKI PEM. */
function textOf(half: PublicHalf): string {
  const { purpose, zone, publicKey } = half;
  if (purpose === ZONE_IDENTITY[zone]) return formatIdentity(publicKey);
  return publicPem(half) ?? Buffer.from(publicKey).toString("utf8");
}

function lineOf({ purpose, zone, generation, algorithm, kid }: PublicHalf): string {
  return `# ${purpose} of ${zone}, generation ${generation}, ${algorithm}, ${hex(kid)}`;
}
