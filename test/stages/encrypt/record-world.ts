/**
 * Two downstream services with grants, an owner who can revoke them, and a lane that seals records for them.
 */
import { randomBytes } from "node:crypto";
import type { KeyDirectory } from "../../../pipeline/crypto/directory.ts";
import { createKeyDirectory } from "../../../pipeline/crypto/directory.ts";
import { type KeyEntry, signEntry } from "../../../pipeline/crypto/key-entries.ts";
import { createUnwrapKey } from "../../../pipeline/crypto/wrap/key-wrap.ts";
import type { UnwrapKey } from "../../../pipeline/crypto/wrap/types.ts";
import type { PipelineSpec, RecordFieldsSpec } from "../../../pipeline/spec/pipeline-spec.ts";
import { createEncryptStage, type EncryptOptions } from "../../../pipeline/stages/encrypt/stage.ts";
import type { EncryptState } from "../../../pipeline/stages/encrypt/state.ts";
import type { LaneProcessor, OutputRecord } from "../../../pipeline/stream/contract.ts";
import { createWorld, PIPELINE } from "../../crypto/fixtures.ts";
import { packingOf, smallSpec } from "./fixtures.ts";

export const LANE = 2;

export const FIELDS: RecordFieldsSpec = {
  clear: ["formId", "postcode", "visits[].at"],
  sealed: [
    { fields: ["name", "note", "visits[].note"], for: ["support"] },
    { fields: ["diagnosis"], for: ["billing", "support"] },
  ],
  rotateAfterRecords: 100_000,
  rotateAfterMs: 86_400_000,
};

const world = createWorld();
export const zones = world.zones;

export const readers = {
  support: createUnwrapKey("reader", randomBytes(32)),
  billing: createUnwrapKey("reader", randomBytes(32)),
  stranger: createUnwrapKey("reader", randomBytes(32)),
  recovery: world.unwrap("owner-recovery"),
};

export const START: EncryptState = {
  ...{ exampleSequence: 0, packSequence: 0, recordSequence: 0 },
  ...{ key: null, recordKeys: new Map(), subjects: null, counted: new Map() },
};

/** The owner grants a name the topic `records`. */
export function grant(name: string, { publicKey }: UnwrapKey, generation = 1): KeyEntry {
  return signEntry({
    pipeline: PIPELINE,
    payload: {
      ...{ type: "grant", generation, topic: "records", name },
      ...{ algorithm: "x25519", publicKey },
    },
    signer: world.signers.owner,
  });
}

/** The owner believes a third party's key no more. */
export function revocation({ kid }: UnwrapKey): KeyEntry {
  return signEntry({
    pipeline: PIPELINE,
    payload: { type: "revocation", generation: 1, zone: "owner", kid },
    signer: world.signers.owner,
  });
}

export const GRANTS = [grant("support", readers.support), grant("billing", readers.billing)];

/** Entries of `keys`, without those whose record key matches. */
export function keyEntries(more: readonly KeyEntry[] = GRANTS, without = /^$/): KeyEntry[] {
  return [...world.entries, ...more].filter(
    ({ key }) => !without.test(Buffer.from(key).toString()),
  );
}

export function directoryOf(entries: readonly KeyEntry[] = keyEntries()): KeyDirectory {
  const directory = createKeyDirectory({ pipeline: PIPELINE, zones });
  for (const { key, value } of entries) directory.apply(key, value);
  return directory;
}

export function specWith(records: RecordFieldsSpec | null): PipelineSpec {
  const spec = smallSpec();
  return { ...spec, zones, encrypt: { ...spec.encrypt, records } };
}

export interface LaneOptions extends Partial<EncryptOptions> {
  readonly fields?: RecordFieldsSpec | null;
  readonly lane?: number;
}

export async function openLane({
  fields = FIELDS,
  lane = LANE,
  ...change
}: LaneOptions = {}): Promise<LaneProcessor<EncryptState>> {
  const stage = createEncryptStage({
    spec: specWith(fields),
    directory: directoryOf(),
    signer: world.signing("owner-signing"),
    splitSecret: { hmac: () => new Uint8Array(32) },
    packing: packingOf(async (_rows, features) =>
      Array.from({ length: features }, () => new Uint8Array(1)),
    ),
    mostPackRecords: 4,
    random: randomBytes,
    ...change,
  });
  return stage.openLane(lane);
}

/** What a lane wrote to `records`, as text. */
export function textsOf(outputs: readonly OutputRecord[]): string[] {
  return outputs
    .filter(({ role }) => role === "records")
    .map(({ value }) => Buffer.from(value ?? []).toString());
}
