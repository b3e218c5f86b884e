/**
 * One lane of predictions as its consumer believes it: which bundles count, without Kafka and without decrypting.
 *
 * A bundle counts when `predict` signed it for this lane, its sequence is above all before it, its id is new, and it is
 * under the key and parameters that the consumer itself published. So copies of authentic bundles, in whatever order and
 * wherever they stand, are refused as `replayed`. A gap in the sequence is reported and nothing more: what is missing may
 * have expired. Must not open anything, nor hold more than one bundle and what strangers may put between its records.
 */
import { MAX_VALUE_BYTES } from "../../schemas/topics.ts";
import {
  type CiphertextForm,
  type CkksParameters,
  DEFAULT_PARAMETERS,
  inputCiphertextBytes,
  type Packing,
  parseParameters,
  slotCount,
} from "../ckks/parameters.ts";
import { type Bundle, type BundleSpan, type LaneRecord, readBundles } from "../crypto/bundle.ts";
import type { KeyDirectory } from "../crypto/directory.ts";
import { hex } from "../crypto/key-handles.ts";

/** A bundle that counts. The parts are of the signer's making, unchecked. */
export interface AuthenticPredictions {
  readonly bundleId: Uint8Array;
  readonly fromOffset: number;
  /** Exclusive. */
  readonly toOffset: number;
  readonly sequence: number;
  /** Records of the pack. */
  readonly rows: number;
  readonly parameters: CkksParameters;
  /** Of the consumer's keys under which they are. */
  readonly keyGeneration: number;
  /** Sealed to the consumer. */
  readonly recordIds: Uint8Array;
  readonly runId: string;
  readonly modelVersion: number;
  readonly ledgerEntryHash: string;
  readonly classes: number;
  readonly layout: PredictionLayout;
  readonly parts: readonly Uint8Array[];
}

/** Where logits lie, and how good they are: as `predict` says it (`stages/predict/prediction-bundle.ts`). */
export interface PredictionLayout {
  readonly form: CiphertextForm;
  readonly packing: Packing;
  readonly classStride: number;
  readonly recordStride: number;
  /** Records in each ciphertext but the last; with packing batch all of them. */
  readonly recordsPerPart: number;
  /** Right bits behind the binary point of each score; below 0 where not even units are right. */
  readonly precisionBits: number;
}

/** A bundle, or a record of none, that does not count. */
export interface RefusedBundle {
  readonly lane: number;
  /** Of its first record. */
  readonly offset: number;
  /**
   * `replayed`, `other-key` (not the consumer's published key), `manifest`, `record-ids`, `key-unknown`,
   * `key-missing` (a generation of the CKKS secret key that is not in the folder), `pack-refused`, `pack-incomplete`, or the name of a fault in a ciphertext.
   */
  readonly reason: string;
}

/** Sequences `from`..`to` - 1 of a lane are not there: they expired, or somebody withholds them. */
export interface SequenceGap {
  readonly lane: number;
  readonly from: number;
  readonly to: number;
}

export interface LaneStep {
  readonly bundles: readonly AuthenticPredictions[];
  readonly refused: readonly RefusedBundle[];
  readonly gaps: readonly SequenceGap[];
}

export interface PredictionLane {
  /** Takes the lane's next records, by rising offset. What is unfinished is kept for the next call. */
  take(records: readonly LaneRecord[]): LaneStep;
}

export interface PredictionLaneOptions {
  readonly pipeline: string;
  readonly lane: number;
  /** With the blob `ckks-public` and the prediction zone's signers. */
  readonly directory: KeyDirectory;
  /** Classes of the pipeline's label; unless said, any number up to {@link MOST_CLASSES}. */
  readonly classes?: number | undefined;
  /** Highest sequence the consumer has already counted; null or absent: none. */
  readonly lastSequence?: number | null | undefined;
}

const MOST_CLASSES = 1_000;
/** What the default parameters of the version before gave; its bundles do not say. */
const OLD_PRECISION_BITS = 10;
const MOST_PRECISION_BITS = 52;
/** Polynomials of a result that was not relinearised, over those of a fresh ciphertext. */
const LARGEST_RESULT = 3 / 2;
/** What strangers may put between the records of a bundle; as `predict` bears it (`stages/predict/limits.ts`). */
const FOREIGN: BundleSpan = { records: 65_536, bytes: 16 * 1024 * 1024 };
/** Bundle ids remembered: 4 MB. An older one is refused for its sequence all the same. */
const MOST_SEEN = 65_536;

interface State {
  lastSequence: number | null;
  /** Hex bundle ids, the oldest first. */
  readonly seen: Set<string>;
  waiting: LaneRecord[];
}

/** Context that `predict` signs with; binds a bundle to its pipeline and lane. */
function bundleContext(pipeline: string, lane: number): string {
  return `sealstream/predictions/v1|${pipeline}|${lane}`;
}

/** A lane of which nothing has been read. */
export function createPredictionLane(options: PredictionLaneOptions): PredictionLane {
  const state: State = {
    lastSequence: options.lastSequence ?? null,
    seen: new Set(),
    waiting: [],
  };
  return {
    take(records) {
      state.waiting = state.waiting.concat(records);
      const steps: LaneStep[] = [];
      for (;;) {
        const { step, isMore } = readNext(options, state);
        steps.push(step);
        if (!isMore) break;
      }
      return {
        bundles: steps.flatMap(({ bundles }) => bundles),
        refused: steps.flatMap(({ refused }) => refused),
        gaps: steps.flatMap(({ gaps }) => gaps),
      };
    },
  };
}

/** Reads up to the next bundle that is no replay, and judges it. */
function readNext(options: PredictionLaneOptions, state: State) {
  const { pipeline, lane, directory } = options;
  const maxBundleBytes = mostBytes(options);
  const read = readBundles(state.waiting, {
    context: bundleContext(pipeline, lane),
    findSigner: (kid) => directory.findSigner(kid, ["result-signing"]),
    maxBundleBytes,
    maxSpan: {
      records: FOREIGN.records,
      bytes: maxBundleBytes + MAX_VALUE_BYTES + FOREIGN.bytes,
    },
    atMost: 1,
    isReplay: ({ fields, bundleId }) => isReplay(state, fields["sequence"], bundleId),
  });
  const { consumedTo } = read;
  if (consumedTo !== null) {
    state.waiting = state.waiting.filter(({ offset }) => offset >= consumedTo);
  }
  const refused = firstOfEach(lane, read.refused);
  const [bundle] = read.bundles;
  if (bundle === undefined) return { step: { bundles: [], refused, gaps: [] }, isMore: false };
  const gaps = count(state, lane, bundle);
  const judged = judge(options, bundle);
  const step: LaneStep =
    typeof judged === "string"
      ? {
          bundles: [],
          refused: [...refused, { lane, offset: bundle.fromOffset, reason: judged }],
          gaps,
        }
      : { bundles: [judged], refused, gaps };
  return { step, isMore: true };
}

function mostBytes({ directory, classes }: PredictionLaneOptions): number {
  const published = directory.blob("ckks-public")?.parameters ?? "";
  const parameters = parseParameters(published) ?? DEFAULT_PARAMETERS;
  return Math.ceil((classes ?? MOST_CLASSES) * LARGEST_RESULT * inputCiphertextBytes(parameters));
}

function isReplay(state: State, sequence: unknown, bundleId: Uint8Array): boolean {
  const isPast =
    state.lastSequence !== null && typeof sequence === "number" && sequence <= state.lastSequence;
  return isPast || state.seen.has(hex(bundleId));
}

/** Remembers an authentic bundle, whatever else is wrong with it; returns the gap before it. */
function count(state: State, lane: number, { bundleId, fields }: Bundle): SequenceGap[] {
  state.seen.add(hex(bundleId));
  const [oldest] = state.seen;
  if (state.seen.size > MOST_SEEN && oldest !== undefined) state.seen.delete(oldest);
  const { sequence } = fields;
  if (!isCount(sequence)) return [];
  const from = (state.lastSequence ?? -1) + 1;
  state.lastSequence = sequence;
  return sequence > from ? [{ lane, from, to: sequence }] : [];
}

/** One report for all records that claim a bundle id and were refused for the same reason. */
function firstOfEach(
  lane: number,
  refused: readonly { offset: number; reason: string; bundleId: string }[],
): RefusedBundle[] {
  const told = new Set<string>();
  return refused.flatMap(({ offset, reason, bundleId }) => {
    const name = `${bundleId} ${reason}`;
    if (bundleId !== "" && told.has(name)) return [];
    told.add(name);
    return [{ lane, offset, reason }];
  });
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

/** The bundle's fields, or why it does not count. */
function judge(
  { directory, classes }: PredictionLaneOptions,
  bundle: Bundle,
): AuthenticPredictions | string {
  const { bundleId, fromOffset, toOffset, parts, fields } = bundle;
  const { sequence, rows, runId, modelVersion, ledgerEntryHash, recordIds } = fields;
  const { classes: found } = fields;
  const isComplete =
    isCount(sequence) &&
    isCount(rows) &&
    isCount(found) &&
    (classes === undefined || found === classes) &&
    typeof runId === "string" &&
    isCount(modelVersion) &&
    typeof ledgerEntryHash === "string" &&
    recordIds instanceof Uint8Array;
  if (!isComplete) return "manifest";
  const keyId = fields["consumerKeyId"];
  if (directory.blob("ckks-public") === null) return "key-unknown";
  const published = typeof keyId === "string" ? directory.consumerKey(keyId) : null;
  if (published === null || fields["parameters"] !== published.parameters) return "other-key";
  const parameters = parseParameters(published.parameters);
  const layout = parameters && readLayout(fields, rows, { parameters, parts: parts.length });
  if (parameters === null || layout === null) return "manifest";
  const keyGeneration = published.generation;
  const named = { sequence, rows, parameters, recordIds, runId, modelVersion, ledgerEntryHash };
  const where = { bundleId, fromOffset, toOffset, keyGeneration };
  return { ...where, ...named, classes: found, layout, parts };
}

/** What a manifest says of its scores, or null. */
function readPrecision({ precisionBits, coarseBits = 0 }: Bundle["fields"]): number | null {
  if (!isCount(precisionBits) || precisionBits > MOST_PRECISION_BITS) return null;
  if (!isCount(coarseBits) || coarseBits > MOST_PRECISION_BITS) return null;
  return precisionBits - coarseBits;
}

/** The layout that a manifest names, or null when its logits would not lie in its ciphertexts. */
function readLayout(
  fields: Bundle["fields"],
  rows: number,
  { parameters, parts }: { readonly parameters: CkksParameters; readonly parts: number },
): PredictionLayout | null {
  const { classes, packing, classStride, recordStride, recordsPerPart } = fields;
  if (!isCount(classes) || classes === 0 || rows === 0) return null;
  const whole = { classStride: 0, recordStride: 1, recordsPerPart: rows } as const;
  if (packing === undefined) {
    const known = { form: "library", packing: "batch", precisionBits: OLD_PRECISION_BITS } as const;
    return parts === classes ? { ...known, ...whole } : null;
  }
  const precisionBits = readPrecision(fields);
  if (precisionBits === null) return null;
  if (packing === "batch") {
    const isWhole = parts === classes && rows <= slotCount(parameters);
    return isWhole ? { form: "wire", packing, precisionBits, ...whole } : null;
  }
  const isNumbered = isCount(classStride) && isCount(recordStride) && isCount(recordsPerPart);
  if (packing !== "slots" || !isNumbered || recordsPerPart === 0) return null;
  const last = (classes - 1) * classStride + (Math.min(recordsPerPart, rows) - 1) * recordStride;
  const isInside = last < slotCount(parameters) && parts === Math.ceil(rows / recordsPerPart);
  const strides = { classStride, recordStride, recordsPerPart };
  return isInside ? { form: "wire", packing, precisionBits, ...strides } : null;
}
