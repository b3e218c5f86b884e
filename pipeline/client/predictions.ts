/**
 * Reads predictions as the downstream consumer: verifies who made them, decrypts, and names the records.
 *
 * Holds the CKKS secret key and the consumer's unwrapping key; nothing it finds out flows back. Only what
 * `prediction-lane.ts` believes is decrypted: signed, new, and under the consumer's own key. The rest is reported.
 *
 * CKKS is not IND-CPA-D (Li and Micciancio, 2021): whoever sees a decryption exactly, and knows the ciphertext, learns the
 * noise and with it, by and by, the secret key. So scores are rounded to a grid no finer than what they are good for
 * before they are handed out. That narrows what they tell, and does not prove that they tell nothing: what goes back
 * to somebody who also sees ciphertexts should be a label, or coarser still (`scoreBits`).
 */
import { topicName } from "../../schemas/topics.ts";
import { createPredictionDecryptor, type PredictionDecryptor } from "../ckks/decrypt.ts";
import { createKeyDirectory, type KeyDirectory } from "../crypto/directory.ts";
import type { KeyStore } from "../crypto/key-store.ts";
import { openRecordIds } from "../crypto/record-ids.ts";
import type { TrustRoot } from "../crypto/trust.ts";
import { isSealstreamError } from "../errors.ts";
import { argmax } from "../network/forward.ts";
import type { KafkaClient } from "../stream/port.ts";
import { createKeysReader, type KeysReaderOptions, readKeys } from "./keys.ts";
import { readLanes } from "./lanes.ts";
import {
  type AuthenticPredictions,
  createPredictionLane,
  type RefusedBundle,
  type SequenceGap,
} from "./prediction-lane.ts";

/** One record's prediction. */
export interface Prediction {
  /** Record id after its desensitization rule. */
  readonly recordId: string;
  /** Class with the largest score. */
  readonly label: number;
  /** One score a class, of the network's last layer, each a multiple of 2^-precisionBits. */
  readonly scores: readonly number[];
  /** Bits behind the binary point that `scores` were rounded to. */
  readonly precisionBits: number;
  readonly runId: string;
  readonly modelVersion: number;
  readonly ledgerEntryHash: string;
  readonly lane: number;
  /** Of the bundle it came in; rises within a lane. */
  readonly sequence: number;
}

export interface PredictionReaderOptions {
  readonly client: KafkaClient;
  readonly pipeline: string;
  readonly partitions: number;
  /** Has applied topic `keys`, with at least the blob `ckks-public`. */
  readonly directory: KeyDirectory;
  /** The consumer's key folder. */
  readonly keys: KeyStore;
  /** Keep waiting for more; else end at what is committed at the start. */
  readonly follow: boolean;
  readonly signal: AbortSignal;
  readonly onRefused: (refused: RefusedBundle) => void;
  /** Called when sequences of a lane are missing. */
  readonly onGap?: ((gap: SequenceGap) => void) | undefined;
  /** Classes of the pipeline's label: a bundle with another number is refused. */
  readonly classes?: number | undefined;
  /** Highest sequence of a lane that was counted before, where `from` says none; what is not above it is refused. */
  readonly lastSequence?: ((lane: number) => number | null) | undefined;
  /**
   * Rounds scores to multiples of 2^-scoreBits where that is coarser than what they are good for; {@link MOST_SCORE_BITS}
   * unless said. Any number, also below 0.
   */
  readonly scoreBits?: number | undefined;
  /**
   * Hands out what the decryption gave, to the last bit. Who sees such scores and the ciphertexts can find the secret key,
   * with which every prediction is readable: for measurements on data that nobody minds.
   */
  readonly unroundedScoresRiskTheSecretKey?: boolean | undefined;
  /** Where a reader goes on, as {@link PredictionBatch.next} said; unless said, at the beginning of what is kept. */
  readonly from?:
    | ((lane: number) => PredictionPosition | null | Promise<PredictionPosition | null>)
    | undefined;
  /** With `follow`: called before what was fetched is judged, so that rotated keys are known (createConsumerRefresh). */
  readonly refresh?: (() => Promise<void>) | undefined;
}

/** Behind a bundle of a lane: what a reader stores to go on without losing or repeating a record. */
export interface PredictionPosition {
  /** Of the next record of topic `predictions`. */
  readonly offset: number;
  /** Sequence of the bundle. */
  readonly sequence: number;
}

/** The predictions of one pack. */
export interface PredictionBatch {
  readonly lane: number;
  readonly predictions: readonly Prediction[];
  /** Stored together with what was made of the batch, it counts every record once, whatever stops the reader. */
  readonly next: PredictionPosition;
}

interface LaneOptions extends PredictionReaderOptions {
  /** Null: the consumer no longer has the secret key that the bundle is under. */
  readonly decryptorFor: (bundle: AuthenticPredictions) => Promise<PredictionDecryptor | null>;
}

/**
 * Finest grid of scores unless the consumer itself asks for a finer one. How good scores are is the prediction zone's word,
 * and it is that zone which must not learn the last bits: its word can make them coarser and no finer.
 */
export const MOST_SCORE_BITS = 10;
const FETCH = { maxBytes: 8 * 1024 * 1024, maxWaitMs: 200 };

async function openBundle(
  options: LaneOptions,
  lane: number,
  bundle: AuthenticPredictions,
): Promise<Prediction[] | string> {
  const { pipeline, keys } = options;
  const { rows, sequence, runId, modelVersion, ledgerEntryHash } = bundle;
  const ids = openRecordIds({
    pipeline,
    bundleId: bundle.bundleId,
    message: bundle.recordIds,
    unwrapKeys: keys.unwrapAll("consumer-unwrap"),
  });
  if (ids === null || ids.length !== rows) {
    return "record-ids";
  }
  const decryptor = await options.decryptorFor(bundle);
  if (decryptor === null) return "key-missing";
  const decrypted = decryptor.decrypt(bundle);
  if (decrypted.status === "refused") {
    return decrypted.fault;
  }
  const precisionBits = Math.min(bundle.layout.precisionBits, options.scoreBits ?? MOST_SCORE_BITS);
  const isExact = options.unroundedScoresRiskTheSecretKey === true;
  return ids.map((recordId, row) => {
    const own = decrypted.logits[row] ?? new Float64Array();
    const scores = isExact ? [...own] : roundScores(own, precisionBits);
    const made = { runId, modelVersion, ledgerEntryHash, lane, sequence };
    return { recordId, label: argmax(own), scores, precisionBits, ...made };
  });
}

/** Scores on the grid of multiples of 2^-bits. */
export function roundScores(scores: ArrayLike<number>, bits: number): number[] {
  const step = 2 ** -bits;
  // + 0: so that nothing is rounded to -0.
  return Array.from(scores, (score) => Math.round(score / step) * step + 0);
}

/** Where a lane is read from, and the sequence before. */
async function beginningOf({ from, lastSequence }: LaneOptions, lane: number) {
  const position = await from?.(lane);
  return position ?? { offset: 0, sequence: lastSequence?.(lane) };
}

async function* readLane(options: LaneOptions, lane: number): AsyncGenerator<PredictionBatch> {
  const { client, pipeline, directory, classes, signal } = options;
  const topic = topicName(pipeline, "predictions");
  const { earliest, latest } = await client.offsets(topic, lane);
  const { offset, sequence: lastSequence } = await beginningOf(options, lane);
  const reader = await client.createReader(topic, lane, Math.max(offset, earliest));
  const believed = createPredictionLane({ pipeline, lane, directory, classes, lastSequence });
  try {
    for (;;) {
      const before = reader.position();
      if (signal.aborted || (!options.follow && before >= latest)) {
        return;
      }
      const fetched = await reader.fetch(FETCH);
      await followKeys(options, fetched.records.length);
      const { bundles, refused, gaps } = believed.take(fetched.records);
      for (const gap of gaps) options.onGap?.(gap);
      for (const bundle of refused) options.onRefused(bundle);
      for (const bundle of bundles) {
        const opened = await openBundle(options, lane, bundle);
        if (typeof opened === "string") {
          options.onRefused({ lane, offset: bundle.fromOffset, reason: opened });
        } else {
          const next = { offset: bundle.toOffset, sequence: bundle.sequence };
          yield { lane, predictions: opened, next };
        }
      }
      if (!options.follow && fetched.nextOffset === before) {
        return;
      }
    }
  } finally {
    await reader.close();
  }
}

/** A key that was in use when records were written is in `keys` once they are read: rotations are followed as they come. */
async function followKeys({ follow, refresh }: LaneOptions, records: number): Promise<void> {
  if (follow && records > 0) await refresh?.();
}

/** What the consumer knows of the others: topic `keys` as it is now, with its own `ckks-public` blob. */
export async function readConsumerDirectory(
  options: TrustRoot & { readonly client: KafkaClient; readonly pipeline: string },
): Promise<KeyDirectory> {
  const { client, pipeline, zones, revoked } = options;
  const blobPurposes = ["ckks-public"] as const;
  const directory = createKeyDirectory({ pipeline, zones, revoked, blobPurposes });
  await readKeys({ client, pipeline, directory });
  return directory;
}

/** For `PredictionReaderOptions.refresh`: brings the directory and the consumer's own keys up to date. */
export function createConsumerRefresh(
  options: KeysReaderOptions & { readonly keys: Pick<KeyStore, "refresh"> },
): () => Promise<void> {
  const { directory, keys } = options;
  const read = createKeysReader(options);
  return async () => {
    const before = directory.version;
    await read();
    if (directory.version !== before) await keys.refresh();
  };
}

function secretOf(keys: KeyStore, generation: number): Uint8Array | null {
  try {
    return keys.blob("ckks-secret", generation);
  } catch (error) {
    if (isSealstreamError(error, "key-missing")) return null;
    throw error;
  }
}

/** Loads each secret key once: the present one, and those from before its rotations. */
function createDecryptors(keys: KeyStore) {
  const opened = new Map<number, Promise<PredictionDecryptor>>();
  return {
    decryptorFor({
      parameters,
      keyGeneration,
    }: AuthenticPredictions): Promise<PredictionDecryptor | null> {
      let decryptor = opened.get(keyGeneration);
      if (decryptor === undefined) {
        const secretKey = secretOf(keys, keyGeneration);
        // A key that was lost takes its own predictions with it, and no others.
        if (secretKey === null) return Promise.resolve(null);
        decryptor = createPredictionDecryptor({ secretKey, parameters });
        opened.set(keyGeneration, decryptor);
      }
      return decryptor;
    },
    async close(): Promise<void> {
      for (const decryptor of opened.values()) {
        (await decryptor).close();
      }
    },
  };
}

/**
 * Predictions of all lanes, a pack at a time; in order within a lane. Refused bundles are reported, not thrown.
 *
 * With {@link PredictionBatch.next} stored beside what was made of a batch, a reader goes on where it stopped (`from`);
 * `consumePredictions` keeps it with a consumer group.
 */
export async function* readPredictionBatches(
  options: PredictionReaderOptions,
): AsyncGenerator<PredictionBatch> {
  const decryptors = createDecryptors(options.keys);
  try {
    const own = { ...options, decryptorFor: decryptors.decryptorFor };
    const lanes = Array.from({ length: options.partitions }, (_, lane) => readLane(own, lane));
    yield* readLanes(lanes, options.follow);
  } finally {
    await decryptors.close();
  }
}

/**
 * Predictions of all lanes, one by one; in order within a lane. Refused bundles are reported, not thrown.
 * @example
 * ```ts
 * const keys = await openKeyStore({ folder: "keys/consumer", holder: "consumer" });
 * const directory = await readConsumerDirectory({ client, pipeline: spec.name, zones, revoked });
 * const refresh = createConsumerRefresh({ client, pipeline: spec.name, directory, keys });
 * const options = { client, pipeline: spec.name, partitions: spec.kafka.partitions, directory, keys, refresh };
 * for await (const { recordId, label } of readPredictions({ ...options, follow: true, signal, onRefused })) {
 *   await store(recordId, label);
 * }
 * ```
 */
export async function* readPredictions(
  options: PredictionReaderOptions,
): AsyncGenerator<Prediction> {
  for await (const { predictions } of readPredictionBatches(options)) yield* predictions;
}
