/**
 * What every `keys` subcommand works with: the pipeline file, the key folders, and what `keys` says now.
 *
 * A ceremony works while stages run. What it publishes goes out in one transaction, chunks before their manifest, and
 * only after its own directory has believed it: an entry that readers would refuse is never written.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { topicName } from "../../../schemas/topics.ts";
import { readKeys } from "../../client/keys.ts";
import { createKeyDirectory, type KeyDirectory } from "../../crypto/directory.ts";
import { signerOf, unwrapKeyOf } from "../../crypto/key-ceremony-halves.ts";
import type { KeyEntry } from "../../crypto/key-entries.ts";
import type { KeyFile } from "../../crypto/key-file.ts";
import type { SigningKey } from "../../crypto/key-handles.ts";
import {
  isUnwrap,
  type KeyHolder,
  PURPOSES,
  ZONE_IDENTITY,
  ZONES,
  type ZoneName,
} from "../../crypto/key-purposes.ts";
import type { PassphraseSource } from "../../crypto/key-seal.ts";
import { readKeyFiles } from "../../crypto/key-store.ts";
import type { Kms } from "../../crypto/kms/kms.ts";
import type { ZonePins } from "../../crypto/trust.ts";
import type { RemoteUnwrapKey, UnwrapKey } from "../../crypto/wrap/types.ts";
import { isSealstreamError, SealstreamError } from "../../errors.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import type { KafkaClient } from "../../stream/port.ts";
import { checkTopics } from "../../stream/topics.ts";
import { type CommandContext, loadSpec, openKafka, openLogger } from "../context.ts";
import { keyAccess } from "../key-access.ts";
import { keysFolder, type Options } from "../options.ts";

export interface Ceremony {
  readonly context: CommandContext;
  readonly options: Options;
  readonly file: string;
  readonly spec: PipelineSpec;
  /** Folder of the key folders. */
  readonly root: string;
  readonly directory: KeyDirectory;
  /** Every key in the folders, opened. */
  readonly files: readonly KeyFile[];
  /** Newest identity of each zone whose private key is here and that may speak now. */
  readonly identities: ReadonlyMap<ZoneName, SigningKey>;
  readonly unwrapKeys: readonly (UnwrapKey | RemoteUnwrapKey)[];
  readonly kms: Kms | undefined;
  readonly client: KafkaClient;
  /** Takes what others have published since. */
  refresh(): Promise<void>;
  /** @throws `key-forbidden` when the directory does not believe an entry; then none is written */
  publish(entries: readonly KeyEntry[]): Promise<void>;
}

/** Every holder, in the order of the table. */
export const HOLDERS: readonly KeyHolder[] = [
  ...new Set(Object.values(PURPOSES).map(({ holder }) => holder)),
];

const NOBODY: ZonePins = { owner: [], training: [], prediction: [], consumer: [] };

/** Opens everything, runs `use`, and closes it. */
export function withCeremony<T>(
  context: CommandContext,
  { file, options }: { readonly file: string; readonly options: Options },
  use: (ceremony: Ceremony) => Promise<T>,
): Promise<T> {
  return withCeremonies(context, { file, options }, async (open) => use(await open()));
}

/** As {@link withCeremony}, for what writes keys or pins on the way and then has to look again. */
export async function withCeremonies<T>(
  context: CommandContext,
  { file, options }: { readonly file: string; readonly options: Options },
  use: (open: () => Promise<Ceremony>) => Promise<T>,
): Promise<T> {
  const spec = loadSpec(context, file);
  const client = await openKafka(context, spec, openLogger(context, { command: "keys" }));
  try {
    const { partitions, replicationFactor } = spec.kafka;
    await checkTopics(client, { pipeline: spec.name, partitions, replicationFactor });
    const root = keysFolder(file, options);
    return await use(async () => {
      const files = await readFolders(context, root);
      const now = loadSpec(context, file);
      return openCeremony({ context, options, file, spec: now, root, files }, client);
    });
  } finally {
    await client.close();
  }
}

type Given = Pick<Ceremony, "context" | "options" | "file" | "spec" | "root" | "files">;

async function openCeremony(given: Given, client: KafkaClient): Promise<Ceremony> {
  const { context, spec, files } = given;
  const { kms } = unlockOf(context, "identities");
  const unwrapKeys = files
    .filter(({ purpose }) => isUnwrap(purpose))
    .flatMap((one) => openOrSkip(context, () => unwrapKeyOf(one, kms)));
  const pipeline = spec.name;
  const directory = createKeyDirectory({
    pipeline,
    zones: spec.zones ?? NOBODY,
    revoked: spec.revoked,
    keepsAllDataKeys: true,
  });
  const refresh = () => readKeys({ client, pipeline, directory });
  await refresh();
  return {
    ...given,
    directory,
    identities: speakers(directory, spec, files),
    unwrapKeys,
    kms,
    client,
    refresh,
    async publish(entries) {
      for (const { key, value } of entries) {
        if (directory.apply(key, value) !== "refused") continue;
        throw new SealstreamError(
          "key-forbidden",
          `The entry ${Buffer.from(key).toString()} would be refused by its readers, so nothing was published: is the identity here the one that ${spec.file} pins?`,
        );
      }
      await publishEntries(client, pipeline, entries);
    },
  };
}

/** Of each zone the newest identity here that is believed; where none is pinned yet, the newest. */
function speakers(
  directory: KeyDirectory,
  { zones }: PipelineSpec,
  files: readonly KeyFile[],
): Map<ZoneName, SigningKey> {
  const found = new Map<ZoneName, SigningKey>();
  for (const zone of ZONES) {
    const purpose = ZONE_IDENTITY[zone];
    const own = files.filter((file) => file.purpose === purpose);
    const signer = own
      .toSorted((a, b) => b.generation - a.generation)
      .map(signerOf)
      .find(({ kid }) => !zones?.[zone].length || directory.findSigner(kid, [purpose]) !== null);
    if (signer !== undefined) found.set(zone, signer);
  }
  return found;
}

/** Writes entries in one transaction, so that no reader of committed records sees half a ceremony. */
export async function publishEntries(
  client: KafkaClient,
  pipeline: string,
  entries: readonly KeyEntry[],
): Promise<void> {
  if (entries.length === 0) return;
  const producer = await client.createLaneProducer(`${pipeline}.keys-ceremony`);
  try {
    await producer.begin();
    await producer.send(topicName(pipeline, "keys"), 0, entries);
    await producer.commit();
  } finally {
    await producer.close();
  }
}

/** Keys of every folder that is there. */
export async function readFolders(context: CommandContext, root: string): Promise<KeyFile[]> {
  const files: KeyFile[] = [];
  for (const holder of HOLDERS) {
    files.push(...(await readKeyFiles(root, [holder], unlockOf(context, holder))));
  }
  return files;
}

/** Whether a holder's folder is there: then its keys are to be in it. */
export function hasFolder(root: string, holder: KeyHolder): boolean {
  try {
    readdirSync(join(root, holder));
    return true;
  } catch {
    // Because a folder that cannot be read has been refused when its keys were.
    return false;
  }
}

/** The identity of a zone. @throws `key-missing` */
export function identityOf({ identities, root }: Ceremony, zone: ZoneName): SigningKey {
  const found = identities.get(zone);
  if (found !== undefined) return found;
  throw new SealstreamError(
    "key-missing",
    `This needs the identity of ${zone}: ${join(root, "identities", `${ZONE_IDENTITY[zone]}.key`)} is not there.`,
  );
}

/** `--zone`, given once or several times; null when it was not. @throws `usage` */
export function zonesOption(value: unknown): readonly ZoneName[] | null {
  if (value === undefined) return null;
  return [value].flat().map((named) => {
    const zone = ZONES.find((one) => one === named);
    if (zone !== undefined) return zone;
    throw new SealstreamError(
      "usage",
      `There is no zone "${String(named)}": the zones are ${ZONES.join(", ")}.`,
    );
  });
}

/** A key in a service that is not set up opens nothing here, and is in nobody's way. */
function openOrSkip<T>(context: CommandContext, open: () => T): T[] {
  try {
    return [open()];
  } catch (error) {
    if (!isSealstreamError(error, "key-missing")) throw error;
    context.tell(error.message);
    return [];
  }
}

/** What opens the sealed keys of a holder. */
export function unlockOf(
  context: CommandContext,
  holder: KeyHolder,
): { readonly passphrase?: PassphraseSource; readonly kms?: Kms } {
  const { passphrase, kms }: Access = keyAccess(context, holder);
  return { ...(passphrase && { passphrase }), ...(kms && { kms }) };
}

interface Access {
  readonly environment: unknown;
  readonly passphrase?: PassphraseSource | undefined;
  readonly kms?: Kms | undefined;
}
