/**
 * A whole zone setup with real keys, and records as `desensitize` writes them, for the tests of stage encrypt.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createKeyDirectory, type KeyDirectory } from "../../../pipeline/crypto/directory.ts";
import { createZoneKeys, publicEntries } from "../../../pipeline/crypto/key-ceremony.ts";
import { type KeyStore, openKeyStore, writeKeyFiles } from "../../../pipeline/crypto/key-store.ts";
import { createUnwrapKey } from "../../../pipeline/crypto/wrap/key-wrap.ts";
import type { UnwrapKey } from "../../../pipeline/crypto/wrap/types.ts";
import type { PipelineSpec } from "../../../pipeline/spec/pipeline-spec.ts";
import type { OwnerPacking } from "../../../pipeline/stages/encrypt/pack-sealer.ts";
import type { OutputRecord, StreamRecord } from "../../../pipeline/stream/contract.ts";
import { pinsOf } from "../../crypto/fixtures.ts";
import { edited, loadGood } from "../../spec/fixtures.ts";

/** The digits example with two small features and quick lingering. */
export function smallSpec(change: (text: string) => string = (text) => text): PipelineSpec {
  const short = edited("length: 64, range: [0, 16]", "length: 2, range: [0, 16]");
  return loadGood(change(edited("lingerMs: 500", "lingerMs: 100", short)));
}

export interface Zones {
  readonly owner: KeyStore;
  readonly training: KeyStore;
  readonly consumerUnwrap: UnwrapKey;
  /** A directory for someone who holds these unwrap keys, as of the given `keys` records. */
  directory(unwrapKeys?: readonly UnwrapKey[], without?: RegExp): KeyDirectory;
}

/** Real keys of all zones, through files as `keys create` writes them. */
export async function makeZones(pipeline: string): Promise<Zones> {
  const root = mkdtempSync(join(tmpdir(), "sealstream-encrypt-"));
  const made = createZoneKeys();
  const zones = pinsOf(made.identities);
  const entries = publicEntries({ pipeline, files: made.files });
  await writeKeyFiles(
    root,
    made.files.filter((file) => file.holder !== "consumer"),
  );
  const owner = await openKeyStore({ folder: join(root, "encrypt"), holder: "encrypt" });
  const training = await openKeyStore({ folder: join(root, "train"), holder: "train" });
  const consumerUnwrap = consumerUnwrapOf(made.files);
  rmSync(root, { recursive: true });
  return {
    owner,
    training,
    consumerUnwrap,
    directory(unwrapKeys = [], without = /^$/) {
      const directory = createKeyDirectory({ pipeline, zones, unwrapKeys: () => unwrapKeys });
      for (const { key, value } of entries) {
        if (!without.test(Buffer.from(key).toString())) directory.apply(key, value);
      }
      return directory;
    },
  };
}

function consumerUnwrapOf(files: ReturnType<typeof createZoneKeys>["files"]): UnwrapKey {
  const file = files.find(({ purpose }) => purpose === "consumer-unwrap");
  const { material } = JSON.parse(file?.json ?? "{}");
  return createUnwrapKey("consumer-unwrap", Buffer.from(material, "base64"));
}

/** A desensitized record at an offset; `digit: null` is one to predict. */
export function record(offset: number, fields: Record<string, unknown> = {}): StreamRecord {
  const value = {
    formId: `form-${offset}`,
    email: `mail-${offset}`,
    pixels: [offset % 17, 16],
    digit: offset % 10,
    ...fields,
  };
  return {
    offset,
    timestampMs: 0,
    key: Buffer.from(`form-${offset}`),
    value: Buffer.from(JSON.stringify(value)),
    headers: {},
  };
}

/** Outputs of one role as records read back from offset 0 of a topic. */
export function asRecords(outputs: readonly OutputRecord[], role: string) {
  return outputs
    .filter((output) => output.role === role)
    .map((output, offset) => ({
      offset,
      timestampMs: 0,
      key: output.key,
      value: output.value,
      headers: output.headers ?? {},
    }));
}

/** A packing of the version before under a made-up key, of packs that `make` makes. */
export function packingOf(
  make: (rows: number, features: number, matrix: Float32Array) => Promise<Uint8Array[]>,
  { slots = 4, keyId = "ab".repeat(32), parametersId = "test" } = {},
): () => OwnerPacking {
  return () => ({
    consumerKeyId: keyId,
    parametersId,
    packRecords: slots,
    encrypt: async (...given) => ({ parts: await make(...given), packing: null, capacity: slots }),
  });
}
