/** `sealstream keys create FILE`: every zone's keys, their identities pinned in the file, their public parts published. */
import { existsSync, readdirSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { STAGES, topicName } from "../../schemas/topics.ts";
import { createConsumerKeys } from "../ckks/keys.ts";
import { DEFAULT_PARAMETERS } from "../ckks/parameters.ts";
import {
  blobEntries,
  ckksSecretFile,
  createZoneKeys,
  publicEntries,
} from "../crypto/key-ceremony.ts";
import type { KeyEntry } from "../crypto/key-entries.ts";
import { writeKeyFiles } from "../crypto/key-store.ts";
import { SealstreamError } from "../errors.ts";
import { pinZones } from "../spec/pin-zones.ts";
import type { KafkaClient } from "../stream/port.ts";
import { checkTopics } from "../stream/topics.ts";
import { type CommandContext, EXIT, loadSpec, openKafka, openLogger } from "./context.ts";
import { keysFolder, type Options } from "./options.ts";

/** Writes entries in one transaction, chunks before their manifest, so that no reader sees half a ceremony. */
async function publish(
  client: KafkaClient,
  pipeline: string,
  entries: readonly KeyEntry[],
): Promise<void> {
  const producer = await client.createLaneProducer(`${pipeline}.keys-ceremony`);
  try {
    await producer.begin();
    await producer.send(topicName(pipeline, "keys"), 0, entries);
    await producer.commit();
  } finally {
    await producer.close();
  }
}

async function create(context: CommandContext, file: string, options: Options): Promise<number> {
  const spec = loadSpec(context, file);
  const root = keysFolder(file, options);
  if (spec.zones !== null || (existsSync(root) && readdirSync(root).length > 0)) {
    throw new SealstreamError(
      "key-invalid",
      `${spec.zones === null ? root : file} has keys already: nothing was overwritten. Move the old keys away and remove "zones" from the file to start anew.`,
    );
  }
  const client = await openKafka(context, spec, openLogger(context, { command: "keys" }));
  try {
    const { partitions, replicationFactor } = spec.kafka;
    await checkTopics(client, { pipeline: spec.name, partitions, replicationFactor });
    context.tell("making the zones' keys and the consumer's CKKS keys");
    const { files, identities, signers } = createZoneKeys();
    const { owner, training, prediction, consumer } = identities;
    const identity = signers.consumer;
    if (!(owner && training && prediction && consumer && identity)) {
      throw new SealstreamError("internal", "The key ceremony made no identity for a zone.");
    }
    const ckks = await createConsumerKeys(DEFAULT_PARAMETERS);
    const all = [...files, ckksSecretFile(ckks.secretKey)];
    const common = { pipeline: spec.name, parameters: DEFAULT_PARAMETERS.id, identity };
    const entries = [
      ...publicEntries({ pipeline: spec.name, files: all }),
      ...blobEntries({ ...common, purpose: "ckks-public", bytes: ckks.publicKey }),
      ...blobEntries({ ...common, purpose: "ckks-evaluation", bytes: ckks.evaluationKeys }),
    ];
    await writeKeyFiles(root, all);
    for (const holder of STAGES) {
      // A stage without keys of its own still gets its folder, which `run` lets it read.
      await mkdir(join(root, holder), { recursive: true, mode: 0o700 });
    }
    // Because key folders often lie beside files that are kept in git.
    await writeFile(join(root, ".gitignore"), "*\n");
    await writeFile(
      file,
      pinZones(await readFile(file, "utf8"), { owner, training, prediction, consumer }),
    );
    await publish(client, spec.name, entries);
    context.print(
      `${all.length} keys in ${root}; identities pinned in ${file}; ${entries.length} entries in ${topicName(spec.name, "keys")}`,
    );
    context.tell("Each zone takes its own folder; keep identities/ and dead-letters/ offline.");
    return EXIT.ok;
  } finally {
    await client.close();
  }
}

export function keys(
  context: CommandContext,
  action: string,
  file: string,
  options: Options,
): Promise<number> {
  if (action !== "create") {
    throw new SealstreamError(
      "usage",
      `There is no "keys ${action}": this version has "keys create FILE".`,
    );
  }
  return create(context, file, options);
}
