/**
 * Reads predictions as the downstream consumer: verifies who made them, decrypts, and names the records.
 *
 * Holds the CKKS secret key and the consumer's unwrapping key; nothing it finds out flows back. A bundle whose
 * signature, key or parameters are not the pinned ones is reported and never decrypted.
 */
import { topicName } from "../../schemas/topics.ts";
import { createPredictionDecryptor, type PredictionDecryptor } from "../ckks/decrypt.ts";
import {
  type CkksParameters,
  DEFAULT_PARAMETERS,
  outputCiphertextBytes,
  parseParameters,
} from "../ckks/parameters.ts";
import { type Bundle, readBundles } from "../crypto/bundle.ts";
import type { KeyDirectory } from "../crypto/directory.ts";
import type { KeyStore } from "../crypto/key-store.ts";
import { openRecordIds } from "../crypto/record-ids.ts";
import type { StreamRecord } from "../stream/contract.ts";
import type { KafkaClient } from "../stream/port.ts";

/** One record's prediction. */
export interface Prediction {
  /** Record id after its desensitization rule. */
  readonly recordId: string;
  /** Class with the largest score. */
  readonly label: number;
  /** One score a class, as the network's last layer gave them. */
  readonly scores: readonly number[];
  readonly runId: string;
  readonly modelVersion: number;
  readonly ledgerEntryHash: string;
  readonly lane: number;
}

export interface RefusedBundle {
  readonly lane: number;
  readonly offset: number;
  readonly reason: string;
}

export interface PredictionReaderOptions {
  readonly client: KafkaClient;
  readonly pipeline: string;
  readonly partitions: number;
  readonly directory: KeyDirectory;
  readonly keys: KeyStore;
  /** Keep waiting for more; else end at what is committed at the start. */
  readonly follow: boolean;
  readonly signal: AbortSignal;
  readonly onRefused: (refused: RefusedBundle) => void;
}

interface LaneOptions extends PredictionReaderOptions {
  readonly decryptorFor: (parameters: CkksParameters) => Promise<PredictionDecryptor>;
}

const FETCH = { maxBytes: 8 * 1024 * 1024, maxWaitMs: 200 };

/** Most bytes of one prediction bundle: 1,000 classes of the largest ciphertext this version writes. */
const MAX_BUNDLE_BYTES = 1_000 * outputCiphertextBytes(DEFAULT_PARAMETERS);

/** Context that `predict` signs with; binds a bundle to its pipeline and lane. */
function bundleContext(pipeline: string, lane: number): string {
  return `sealstream/predictions/v1|${pipeline}|${lane}`;
}

function field<T extends "number" | "string">(
  bundle: Bundle,
  name: string,
  type: T,
): (T extends "number" ? number : string) | null {
  const value: unknown = bundle.fields[name];
  // Because typeof has just been compared with the type that is claimed.
  return typeof value === type ? (value as T extends "number" ? number : string) : null;
}

function argmax(scores: ArrayLike<number>): number {
  let best = 0;
  for (let index = 1; index < scores.length; index += 1) {
    if ((scores[index] ?? Number.NEGATIVE_INFINITY) > (scores[best] ?? Number.NEGATIVE_INFINITY)) {
      best = index;
    }
  }
  return best;
}

async function openBundle(
  options: LaneOptions,
  lane: number,
  bundle: Bundle,
): Promise<Prediction[] | string> {
  const { pipeline, keys } = options;
  const rows = field(bundle, "rows", "number");
  const classes = field(bundle, "classes", "number");
  const runId = field(bundle, "runId", "string");
  const modelVersion = field(bundle, "modelVersion", "number");
  const ledgerEntryHash = field(bundle, "ledgerEntryHash", "string");
  const parameters = parseParameters(field(bundle, "parameters", "string") ?? "");
  const sealedIds: unknown = bundle.fields["recordIds"];
  const complete =
    rows !== null && classes === bundle.parts.length && runId !== null && modelVersion !== null;
  if (
    !(
      complete &&
      ledgerEntryHash !== null &&
      parameters !== null &&
      sealedIds instanceof Uint8Array
    )
  ) {
    return "manifest";
  }
  const ids = openRecordIds({
    pipeline,
    bundleId: bundle.bundleId,
    message: sealedIds,
    unwrapKey: keys.unwrap("consumer-unwrap"),
  });
  if (ids === null || ids.length !== rows) {
    return "record-ids";
  }
  const decryptor = await options.decryptorFor(parameters);
  const decrypted = decryptor.decrypt(bundle.parts, rows);
  if (decrypted.status === "refused") {
    return decrypted.fault;
  }
  return ids.map((recordId, row) => {
    const own = decrypted.logits[row] ?? new Float64Array();
    return {
      recordId,
      label: argmax(own),
      scores: [...own],
      runId,
      modelVersion,
      ledgerEntryHash,
      lane,
    };
  });
}

async function* readLane(options: LaneOptions, lane: number): AsyncGenerator<Prediction> {
  const { client, pipeline, directory, signal } = options;
  const topic = topicName(pipeline, "predictions");
  const { earliest, latest } = await client.offsets(topic, lane);
  const reader = await client.createReader(topic, lane, earliest);
  let waiting: StreamRecord[] = [];
  try {
    for (;;) {
      const before = reader.position();
      if (signal.aborted || (!options.follow && before >= latest)) {
        return;
      }
      const fetched = await reader.fetch(FETCH);
      waiting.push(...fetched.records);
      const read = readBundles(waiting, {
        context: bundleContext(pipeline, lane),
        findSigner: (kid) => directory.findSigner(kid, ["result-signing"]),
        maxBundleBytes: MAX_BUNDLE_BYTES,
      });
      for (const { offset, reason } of read.refused) {
        options.onRefused({ lane, offset, reason });
      }
      for (const bundle of read.bundles) {
        const opened = await openBundle(options, lane, bundle);
        if (typeof opened === "string") {
          options.onRefused({ lane, offset: bundle.fromOffset, reason: opened });
        } else {
          yield* opened;
        }
      }
      const done = read.consumedTo;
      waiting = done === null ? waiting : waiting.filter(({ offset }) => offset >= done);
      if (!options.follow && fetched.nextOffset === before) {
        return;
      }
    }
  } finally {
    await reader.close();
  }
}

/** Loads the secret key once per parameter set; a pipeline has one. */
function createDecryptors(keys: KeyStore) {
  const opened = new Map<string, Promise<PredictionDecryptor>>();
  return {
    decryptorFor(parameters: CkksParameters): Promise<PredictionDecryptor> {
      let decryptor = opened.get(parameters.id);
      if (decryptor === undefined) {
        decryptor = createPredictionDecryptor({ secretKey: keys.blob("ckks-secret"), parameters });
        opened.set(parameters.id, decryptor);
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

/** Predictions of all lanes; in order within a lane. Refused bundles are reported, not thrown. */
export async function* readPredictions(
  options: PredictionReaderOptions,
): AsyncGenerator<Prediction> {
  const decryptors = createDecryptors(options.keys);
  try {
    yield* readLanes({ ...options, decryptorFor: decryptors.decryptorFor });
  } finally {
    await decryptors.close();
  }
}

async function* readLanes(options: LaneOptions): AsyncGenerator<Prediction> {
  const lanes = Array.from({ length: options.partitions }, (_, lane) => readLane(options, lane));
  if (!options.follow) {
    for (const lane of lanes) {
      yield* lane;
    }
    return;
  }
  // Lanes are read side by side: the first that has something is yielded, then asked again.
  const next = new Map(lanes.map((lane) => [lane, take(lane)]));
  while (next.size > 0) {
    const { lane, result } = await Promise.race(next.values());
    if (result.done === true) {
      next.delete(lane);
    } else {
      next.set(lane, take(lane));
      yield result.value;
    }
  }
}

async function take(lane: AsyncGenerator<Prediction>) {
  return { lane, result: await lane.next() };
}
