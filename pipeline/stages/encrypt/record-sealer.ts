/**
 * Writes desensitized records to topic `records`: the named fields in clear, others sealed in place for an audience.
 *
 * Each audience of a lane has a data key of its own, announced before its first use in the same transaction. A key is
 * replaced by count, by age, and when those who can open it change. All sealed fields of a record carry its sequence.
 * Must not decide what leaves: record-projection.ts does; nor who may read: record-audiences.ts.
 */
import { createDataKey } from "../../crypto/data-key.ts";
import type { SigningKey } from "../../crypto/key-handles.ts";
import type { Kms } from "../../crypto/kms/kms.ts";
import { sealField } from "../../crypto/sealed-field.ts";
import { partiesOf } from "../../crypto/wrap/key-wrap.ts";
import type { Recipient } from "../../crypto/wrap/types.ts";
import { SealstreamError } from "../../errors.ts";
import { createFieldTree } from "../../features/field-tree.ts";
import type { RecordFieldsSpec } from "../../spec/pipeline-spec.ts";
import type { OutputRecord, StreamRecord } from "../../stream/contract.ts";
import { audienceName } from "./record-audiences.ts";
import { projectRecord, type SealedPlace } from "./record-projection.ts";
import type { EncryptState, RecordKey } from "./state.ts";

export interface RecordSealOptions {
  readonly pipeline: string;
  readonly lane: number;
  readonly signer: SigningKey;
  readonly fields: RecordFieldsSpec;
  /** Recipients by {@link audienceName}; at least one for each audience of `fields`. */
  readonly audiences: ReadonlyMap<string, readonly Recipient[]>;
  readonly nowMs: number;
  /** For grants of keys in a key management service. */
  readonly kms?: Kms | undefined;
}

export interface SealedRecords {
  readonly outputs: readonly OutputRecord[];
  readonly state: EncryptState;
}

/**
 * Seals records in order. They have been read before: JSON objects under a record id.
 * @param state the lane's state; it is not changed
 */
export async function sealRecords(
  records: readonly StreamRecord[],
  state: EncryptState,
  options: RecordSealOptions,
): Promise<SealedRecords> {
  const tree = createFieldTree(options.fields);
  const outputs: OutputRecord[] = [];
  const keys = new Map(state.recordKeys);
  let sequence = state.recordSequence;
  for (const { key, value } of records) {
    if (key === null || value === null) {
      throw new SealstreamError("internal", "A record without key or value was not refused.");
    }
    const recordId = Uint8Array.from(key);
    const { places, text } = projectRecord(value, tree);
    for (const [name, own] of Map.groupBy(places, ({ audience }) => audienceName(audience))) {
      const found = keys.get(name);
      const { used, announcement } = await keyFor(found, own, options);
      if (announcement !== null) outputs.push(announcement);
      keys.set(name, { ...used, sealed: used.sealed + 1 });
      for (const place of own) {
        const { pipeline, lane } = options;
        place.text = sealField({
          dataKey: used.dataKey,
          place: { pipeline, lane, recordId, path: place.path },
          json: place.json,
          sequence,
        });
      }
    }
    outputs.push({ role: "records", key: recordId, value: Buffer.from(text()) });
    sequence += 1;
  }
  return { outputs, state: { ...state, recordSequence: sequence, recordKeys: keys } };
}

interface UsableKey {
  readonly used: RecordKey;
  /** Set when the key is new. */
  readonly announcement: OutputRecord | null;
}

/** The audience's key, or a new one. @param places of one record, all of one audience */
async function keyFor(
  found: RecordKey | undefined,
  places: readonly SealedPlace[],
  options: RecordSealOptions,
): Promise<UsableKey> {
  const audience = places[0]?.audience ?? [];
  const recipients = options.audiences.get(audienceName(audience)) ?? [];
  const parties = partiesOf(options.signer, recipients);
  if (found !== undefined && found.parties === parties && !isSpent(found, places, options)) {
    return { used: found, announcement: null };
  }
  const { pipeline, lane, signer, nowMs, kms } = options;
  const { dataKey, entry } = await createDataKey({
    ...{ pipeline, topic: "records", lane, recipients, signer, audience, kms },
  });
  return {
    used: { dataKey, parties, sealed: 0, madeMs: nowMs },
    announcement: { role: "keys", key: entry.key, value: entry.value },
  };
}

function isSpent(
  { dataKey, sealed, madeMs }: RecordKey,
  places: readonly SealedPlace[],
  { fields, nowMs }: RecordSealOptions,
): boolean {
  // A key of the future was made before the clock was set back: how long ago, nobody knows.
  const ageMs = Math.abs(nowMs - madeMs);
  return (
    sealed >= fields.rotateAfterRecords ||
    ageMs >= fields.rotateAfterMs ||
    dataKey.limit - dataKey.uses < places.length
  );
}
