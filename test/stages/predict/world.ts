/** The owner's, consumer's and training zones around a predict stage, with real keys, signatures and ciphertexts. */
import { randomBytes } from "node:crypto";
import { type ConsumerKeys, createConsumerKeys } from "../../../pipeline/ckks/keys.ts";
import { encryptPack } from "../../../pipeline/ckks/pack.ts";
import { createWirePacker, type WirePacker } from "../../../pipeline/ckks/pack-wire.ts";
import type { CiphertextForm, CkksParameters } from "../../../pipeline/ckks/parameters.ts";
import { type BundleRecord, createBundle } from "../../../pipeline/crypto/bundle.ts";
import { createKeyDirectory, type KeyDirectory } from "../../../pipeline/crypto/directory.ts";
import {
  blobEntries,
  createZoneKeys,
  publicEntries,
} from "../../../pipeline/crypto/key-ceremony.ts";
import { parseKeyFile } from "../../../pipeline/crypto/key-file.ts";
import { createSigningKey, type SigningKey } from "../../../pipeline/crypto/key-handles.ts";
import type { Purpose } from "../../../pipeline/crypto/key-purposes.ts";
import { sealRecordIds } from "../../../pipeline/crypto/record-ids.ts";
import { createUnwrapKey } from "../../../pipeline/crypto/wrap/key-wrap.ts";
import type { UnwrapKey } from "../../../pipeline/crypto/wrap/types.ts";
import type { PipelineSpec } from "../../../pipeline/spec/pipeline-spec.ts";
import type { StreamRecord } from "../../../pipeline/stream/contract.ts";
import { pinsOf } from "../../crypto/fixtures.ts";

export const PIPELINE = "test";
export const NOW_MS = 1_700_000_000_000;

export interface World {
  readonly directory: KeyDirectory;
  readonly consumer: ConsumerKeys;
  readonly parameters: CkksParameters;
  signing(purpose: Purpose): SigningKey;
  unwrap(purpose: Purpose): UnwrapKey;
  /** A directory to which nothing has been published. */
  emptyDirectory(): KeyDirectory;
  /** The records of topic `keys`. */
  readonly entries: readonly { key: Uint8Array; value: Uint8Array }[];
}

export async function createWorld(parameters: CkksParameters): Promise<World> {
  const { files, identities, signers } = createZoneKeys();
  const consumer = await createConsumerKeys(parameters);
  const material = (purpose: Purpose) => {
    const file = files.find((candidate) => candidate.purpose === purpose)!;
    return parseKeyFile(file.json, purpose, "test").material;
  };
  const common = { pipeline: PIPELINE, parameters: parameters.id, identity: signers.consumer! };
  const entries = [
    ...publicEntries({ pipeline: PIPELINE, files }),
    ...blobEntries({ ...common, purpose: "ckks-public", bytes: consumer.publicKey }),
    ...blobEntries({ ...common, purpose: "ckks-evaluation", bytes: consumer.evaluationKeys }),
  ];
  const zones = pinsOf(identities);
  const emptyDirectory = () => createKeyDirectory({ pipeline: PIPELINE, zones });
  const directory = emptyDirectory();
  for (const { key, value } of entries) directory.apply(key, value);
  return {
    directory,
    consumer,
    parameters,
    entries,
    emptyDirectory,
    signing: (purpose) => createSigningKey(purpose, material(purpose)),
    unwrap: (purpose) => createUnwrapKey(purpose as never, material(purpose)),
  };
}

/** The parts of a pipeline file that predict reads. */
export function specFor(
  features: number,
  classes: number,
  layers: readonly number[],
): PipelineSpec {
  const network = layers.map((dense, index) => ({
    dense,
    activation: index === layers.length - 1 ? "none" : "square",
  }));
  const spec = {
    name: PIPELINE,
    features: {
      inputs: [{ field: "x", length: features, range: [0, 1] }],
      maps: [],
      outputs: { length: features, range: [0, 1], norm: Math.sqrt(features) },
      label: { field: "y", classes },
    },
    train: { network },
    predict: { packing: "auto", model: "secret", precisionBits: 4 },
  };
  // Because predict reads no other part of it.
  return spec as unknown as PipelineSpec;
}

export interface PackOptions {
  readonly world: World;
  readonly inputs: Float32Array;
  readonly features: number;
  readonly sequence: number;
  readonly lane?: number;
  readonly signer?: SigningKey;
  /** `library`: as the version before wrote packs. */
  readonly form?: CiphertextForm;
  /** Changes fields or parts before signing. */
  readonly fields?: Record<string, number | string | Uint8Array>;
  readonly change?: (parts: Uint8Array[]) => Uint8Array[];
}

const packers = new Map<string, Promise<WirePacker>>();

function packerOf(parameters: CkksParameters): Promise<WirePacker> {
  const packer = packers.get(parameters.id) ?? createWirePacker(parameters);
  packers.set(parameters.id, packer);
  return packer;
}

/** The records that the owner's encrypt stage writes for a pack. */
export async function packRecords(options: PackOptions): Promise<BundleRecord[]> {
  const { world, inputs, features, sequence, lane = 0 } = options;
  const rows = inputs.length / features;
  const { parameters, consumer } = world;
  const { publicKey } = consumer;
  const isOld = options.form === "library";
  const parts = isOld
    ? await encryptPack({ publicKey, parameters, rows, features, at: inputs })
    : await (await packerOf(parameters)).pack({
        ...{ publicKey, rows, features, matrix: inputs, how: { packing: "batch" } },
      });
  const bundleId = new Uint8Array(randomBytes(16));
  const ids = Array.from({ length: rows }, (_, row) => `r-${sequence}-${row}`);
  return createBundle({
    context: `sealstream/packs/v1|${PIPELINE}|${lane}`,
    bundleId,
    parts: options.change?.(parts) ?? parts,
    fields: {
      sequence,
      rows,
      features,
      parameters: parameters.id,
      consumerKeyId: world.directory.blob("ckks-public")!.id,
      recordIds: sealRecordIds({
        pipeline: PIPELINE,
        bundleId,
        ids,
        recipient: world.directory.recipient("consumer-unwrap")!,
      }),
      ...(isOld ? {} : { packing: "batch" }),
      ...options.fields,
    },
    signer: options.signer ?? world.signing("owner-signing"),
    maxChunkBytes: 900 * 1024,
  });
}

/** Records as a lane hands them in, from an offset on. */
export function asRead(records: readonly BundleRecord[], fromOffset = 0): StreamRecord[] {
  return records.map((record, index) => ({
    offset: fromOffset + index,
    timestampMs: NOW_MS,
    ...record,
  }));
}
