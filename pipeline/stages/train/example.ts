/**
 * One record of `examples`: the envelope opened, the sequence checked, the plaintext decoded.
 *
 * A place of a micro-batch is decided by the `sealstream-split` header alone, which everybody sees in the committed log:
 * whether a record can be opened decides only whether its place holds an example or nothing. A record without a valid
 * split header counts as a place too, so that nothing but the log decides the cut. The header is part of the envelope's
 * AAD: a record whose split was changed does not open. So is the bound on its subject's records under which it was sealed:
 * where this run has such a bound, an example that was sealed under none or a wider one is refused, whoever it is about.
 * Must not keep a view of the record, nor its id.
 *
 * Plaintext, version 1: CBOR {v: 1, x: bytes of float32 little-endian features, y: label}.
 */
import {
  CBOR_BYTES,
  CBOR_MAP,
  CBOR_TEXT,
  CBOR_UNSIGNED,
  decodeCbor,
  headBytes,
  isBytes,
  isTextMap,
  readHead,
} from "../../crypto/cbor.ts";
import type { KeyDirectory } from "../../crypto/directory.ts";
import { openEnvelope } from "../../crypto/envelope.ts";
import { takeNumbers } from "../../little-endian.ts";
import type { Reason, StreamRecord } from "../../stream/contract.ts";
import { BOUND_HEADER } from "../../stream/subject-partition.ts";

export const SPLIT_HEADER = "sealstream-split";
export type Split = "train" | "validate" | "test";

/** Schema version in the envelope's context and in the plaintext. */
const EXAMPLE_VERSION = 1;
const FLOAT_BYTES = 4;
/** CBOR heads and the label: well under this beside the features. */
const PLAINTEXT_OVERHEAD_BYTES = 64;

export interface Example {
  /** [inputs]; any float32, also NaN: the backend makes such an example contribute nothing, and counts it. */
  readonly features: Float32Array;
  /** 0..classes-1 */
  readonly label: number;
}

export type OpenedRecord =
  | {
      readonly status: "ok";
      readonly split: Split;
      readonly sequence: number;
      readonly example: Example;
    }
  | { readonly status: "refused"; readonly reason: Reason }
  | { readonly status: "unknown-key" };

export interface ExampleOpener {
  readonly pipeline: string;
  readonly lane: number;
  readonly directory: KeyDirectory;
  readonly inputs: number;
  readonly classes: number;
  /** `privacy.recordsPerSubject` of this run. */
  readonly recordsPerSubject: number | null;
}

type Headers = StreamRecord["headers"];

/** Whether a record with such headers takes a place of a micro-batch. */
export function isPlace(headers: Headers): boolean {
  const split = splitOf(headers);
  return split === null || split === "train";
}

function splitOf(headers: Headers): Split | null {
  const header = headers[SPLIT_HEADER];
  if (header === undefined) return null;
  const text = latin1(header);
  return text === "train" || text === "validate" || text === "test" ? text : null;
}

function latin1({ buffer, byteOffset, byteLength }: Uint8Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString("latin1");
}

/** The bound that a record says it was sealed under; authentic only once it has opened. */
function boundOf(headers: Headers): number | null | "malformed" {
  const header = headers[BOUND_HEADER];
  if (header === undefined) return null;
  const text = header.length > 5 ? "" : latin1(header);
  return /^[1-9][0-9]*$/.test(text) ? Number(text) : "malformed";
}

/**
 * Opens a record.
 * @param lastSequence sequence of the last envelope of this lane that was accepted; null: none
 * @param headers the record's: reading them takes a walk through its bytes
 * @returns never throws on bad input
 */
export function openExample(
  opener: ExampleOpener,
  record: StreamRecord,
  lastSequence: number | null,
  headers: Headers = record.headers,
): OpenedRecord {
  if (record.value === null) return refused("tombstone");
  if (record.key === null) return refused("record-id");
  const split = splitOf(headers);
  if (split === null) return refused("envelope-refused");
  const bound = split === "train" ? boundOf(headers) : null;
  if (bound === "malformed") return refused("envelope-refused");
  const opened = openEnvelope({
    envelope: record.value,
    context: {
      pipeline: opener.pipeline,
      topic: "examples",
      lane: opener.lane,
      recordId: record.key,
      schemaVersion: EXAMPLE_VERSION,
      attributes: { split, ...(bound === null ? {} : { recordsPerSubject: `${bound}` }) },
    },
    findKey: (kid) => opener.directory.findDataKey(kid, "examples"),
  });
  if (opened.status === "unknown-key") return { status: "unknown-key" };
  if (opened.status === "refused") return refused("envelope-refused");
  if (lastSequence !== null && opened.sequence <= lastSequence) {
    return refused("sequence-not-rising");
  }
  const { recordsPerSubject: most } = opener;
  if (split === "train" && most !== null && (bound === null || bound > most)) {
    return refused("subject-unproven");
  }
  const example = decodeExample(opened.plaintext, opener);
  if (typeof example === "string") return refused(example);
  return { status: "ok", split, sequence: opened.sequence, example };
}

function refused(reason: Reason): OpenedRecord {
  return { status: "refused", reason };
}

/** What every plaintext begins with: a map of three, `v` is the version, then the key `x`. */
const HEAD = Uint8Array.of(CBOR_MAP | 3, CBOR_TEXT | 1, 0x76, EXAMPLE_VERSION, CBOR_TEXT | 1, 0x78);
/** The key `y`. */
const LABEL_KEY = Uint8Array.of(CBOR_TEXT | 1, 0x79);

function decodeExample(
  plaintext: Uint8Array,
  shape: Pick<ExampleOpener, "inputs" | "classes">,
): Example | Reason {
  return readExample(plaintext, shape) ?? refusal(plaintext, shape);
}

/** The one encoding that such an example has, read in place; null when it is none. */
function readExample(
  plaintext: Uint8Array,
  { inputs, classes }: Pick<ExampleOpener, "inputs" | "classes">,
): Example | null {
  const featureBytes = inputs * FLOAT_BYTES;
  if (!holds(plaintext, 0, HEAD)) return null;
  if (readHead(plaintext, HEAD.length, CBOR_BYTES) !== featureBytes) return null;
  const featuresAt = HEAD.length + headBytes(featureBytes);
  const keyAt = featuresAt + featureBytes;
  if (!holds(plaintext, keyAt, LABEL_KEY)) return null;
  const labelAt = keyAt + LABEL_KEY.length;
  const label = readHead(plaintext, labelAt, CBOR_UNSIGNED);
  if (label < 0 || label >= classes || labelAt + headBytes(label) !== plaintext.length) return null;
  return { features: takeNumbers(new Float32Array(inputs), plaintext, featuresAt), label };
}

function holds(bytes: Uint8Array, at: number, wanted: Uint8Array): boolean {
  for (let index = 0; index < wanted.length; index += 1) {
    if (bytes[at + index] !== wanted[index]) return false;
  }
  return true;
}

/** What is wrong with a plaintext that is no example. */
function refusal(plaintext: Uint8Array, shape: Pick<ExampleOpener, "inputs" | "classes">): Reason {
  const featureBytes = shape.inputs * FLOAT_BYTES;
  const value = decodeCbor(plaintext, { maxBytes: featureBytes + PLAINTEXT_OVERHEAD_BYTES });
  if (value === null || !isTextMap(value)) return "schema";
  const { v, x } = value;
  if (v !== EXAMPLE_VERSION || Object.keys(value).length !== 3) return "schema";
  return isBytes(x, featureBytes) ? "label-invalid" : "feature-invalid";
}
