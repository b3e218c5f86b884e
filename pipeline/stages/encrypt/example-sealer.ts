/**
 * Seals labelled rows into `examples`, under a data key that only the training zone can unwrap.
 *
 * Plaintext, version 1: CBOR {v: 1, x: bytes of float32 little-endian features, y: label}. The split stands in a header
 * and in the authenticated context, so that it can be read without a key and not be changed; so does, of an example
 * that may train, the bound on the records of its subject under which it was sealed, where there is one.
 * Must not decide what is sealed, nor reuse a data key of another lane or start.
 */
import type { CipherName } from "../../crypto/aead.ts";
import { encodeCbor } from "../../crypto/cbor.ts";
import { createDataKey } from "../../crypto/data-key.ts";
import { sealEnvelope } from "../../crypto/envelope.ts";
import type { SigningKey } from "../../crypto/key-handles.ts";
import type { Kms } from "../../crypto/kms/kms.ts";
import { partiesOf } from "../../crypto/wrap/key-wrap.ts";
import type { Recipient } from "../../crypto/wrap/types.ts";
import type { OutputRecord } from "../../stream/contract.ts";
import { BOUND_HEADER } from "../../stream/subject-partition.ts";
import type { Row } from "./row.ts";
import type { EncryptState, ExampleKey } from "./state.ts";

/** Schema version in the envelope's context and in the plaintext. */
export const EXAMPLE_VERSION = 1;
export const SPLIT_HEADER = "sealstream-split";
const FLOAT_BYTES = 4;
const utf8 = new TextEncoder();

export type ExampleRow = Extract<Row, { kind: "example" }>;

export interface SealOptions {
  readonly pipeline: string;
  readonly lane: number;
  readonly signer: SigningKey;
  /** The training zone's unwrapping key, the owner's recovery key, and those of third parties. */
  readonly recipients: readonly Recipient[];
  /** `privacy.recordsPerSubject`; null: the records of a subject are not counted. */
  readonly recordsPerSubject: number | null;
  readonly rotateAfterRecords: number;
  readonly rotateAfterMs: number;
  readonly cipher: CipherName;
  readonly nowMs: number;
  /** For recipients whose key is in a key management service. */
  readonly kms?: Kms | undefined;
}

export interface Sealed {
  readonly outputs: readonly OutputRecord[];
  readonly state: EncryptState;
}

/**
 * Seals rows in order. A data key's entry is put out before the first example under it.
 * @param state the lane's state; it is not changed
 */
export async function sealExamples(
  rows: readonly ExampleRow[],
  state: EncryptState,
  options: SealOptions,
): Promise<Sealed> {
  const outputs: OutputRecord[] = [];
  let { key } = state;
  let sequence = state.exampleSequence;
  for (const row of rows) {
    if (key === null || isSpent(key, options)) {
      const made = await makeKey(options);
      outputs.push(made.announcement);
      key = made.key;
    }
    outputs.push(sealRow(row, sequence, key, options));
    key = { ...key, sealed: key.sealed + 1 };
    sequence += 1;
  }
  return { outputs, state: { ...state, exampleSequence: sequence, key } };
}

function isSpent(key: ExampleKey, options: SealOptions): boolean {
  const ageMs = options.nowMs - key.madeAtMs;
  return (
    key.sealed >= options.rotateAfterRecords ||
    ageMs >= options.rotateAfterMs ||
    // A key of the future was made before the clock was set back: how old it is, nobody knows.
    ageMs < 0 ||
    key.parties !== partiesOf(options.signer, options.recipients)
  );
}

async function makeKey(
  options: SealOptions,
): Promise<{ key: ExampleKey; announcement: OutputRecord }> {
  const { pipeline, lane, signer, recipients, cipher, nowMs, kms } = options;
  const { dataKey, entry } = await createDataKey({
    pipeline,
    topic: "examples",
    lane,
    recipients,
    signer,
    cipher,
    kms,
  });
  return {
    key: { dataKey, parties: partiesOf(signer, recipients), sealed: 0, madeAtMs: nowMs },
    announcement: { role: "keys", key: entry.key, value: entry.value },
  };
}

function sealRow(
  row: ExampleRow,
  sequence: number,
  key: ExampleKey,
  { pipeline, lane, recordsPerSubject }: SealOptions,
): OutputRecord {
  const bound = row.split === "train" && recordsPerSubject !== null ? `${recordsPerSubject}` : null;
  const value = sealEnvelope({
    dataKey: key.dataKey,
    plaintext: encodeCbor({ v: EXAMPLE_VERSION, x: floatBytes(row.x), y: row.label }),
    context: {
      pipeline,
      topic: "examples",
      lane,
      recordId: row.recordId,
      schemaVersion: EXAMPLE_VERSION,
      attributes: {
        split: row.split,
        ...(bound === null ? {} : { recordsPerSubject: bound }),
      },
    },
    sequence,
  });
  const headers = {
    [SPLIT_HEADER]: utf8.encode(row.split),
    ...(bound === null ? {} : { [BOUND_HEADER]: utf8.encode(bound) }),
  };
  return { role: "examples", key: row.recordId, value, headers };
}

/** float32 little-endian, whatever the machine's byte order. */
function floatBytes(x: Float32Array): Uint8Array {
  const bytes = new Uint8Array(x.length * FLOAT_BYTES);
  const view = new DataView(bytes.buffer);
  for (const [index, number] of x.entries()) view.setFloat32(index * FLOAT_BYTES, number, true);
  return bytes;
}
