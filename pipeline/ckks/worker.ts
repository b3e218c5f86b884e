/**
 * The killable worker: the only thread in the prediction zone in which ciphertexts are parsed and evaluated.
 *
 * It answers each request or dies; `pool.ts` decides what a death means. Its environment is empty and it holds nothing
 * but the consumer's public and evaluation keys. Must not send text of the library: failures are codes and own words.
 */
import { parentPort } from "node:worker_threads";
import { type ErrorCode, isSealstreamError, SealstreamError } from "../errors.ts";
import {
  createEngineCache,
  type EngineCache,
  type EvaluationKeys,
  type PackOutcome,
  type PackRequest,
} from "./engine.ts";
import { parseParameters } from "./parameters.ts";
import { loadSeal } from "./seal.ts";
import { syntheticPack, type WarmUpSample } from "./warm-up.ts";

interface KeyChoice {
  readonly requestId: number;
  /** Id of a parameter set. */
  readonly parameters: string;
  readonly keyId: string;
  /** Null: they were sent before and are kept. */
  readonly keys: EvaluationKeys | null;
}

export type WorkerRequest =
  | (KeyChoice & { readonly kind: "evaluate"; readonly pack: PackRequest })
  /** Evaluates a pack of zeros and throws the result away. */
  | (KeyChoice & {
      readonly kind: "warm-up";
      readonly keys: EvaluationKeys;
      readonly sample: WarmUpSample;
    });

export type WorkerReply =
  | { readonly kind: "ready" }
  | {
      readonly kind: "done";
      readonly requestId: number;
      readonly outcome: PackOutcome;
      readonly evaluationMs: number;
      /** Ids of the keys that this worker keeps now. */
      readonly keyIds: readonly string[];
    }
  | {
      readonly kind: "failed";
      readonly requestId: number;
      readonly code: ErrorCode;
      readonly message: string;
      readonly keyIds: readonly string[];
    };

async function runRequest(engines: EngineCache, request: WorkerRequest): Promise<PackOutcome> {
  const parameters = parseParameters(request.parameters);
  if (parameters === null) {
    throw new SealstreamError("internal", "A worker was given a parameter set that is not one.");
  }
  const engine = await engines.open(request.keyId, parameters, request.keys);
  if (engine === null) {
    throw new SealstreamError("internal", "A worker was asked to evaluate without keys.");
  }
  try {
    return await engine.evaluate(
      request.kind === "evaluate"
        ? request.pack
        : await syntheticPack({
            ...{ parameters, publicKey: request.keys.publicKey, sample: request.sample },
          }),
    );
  } catch (error) {
    // Keys that could not be loaded are not kept: others may come under the same id after all.
    if (isSealstreamError(error, "key-invalid")) await engines.drop(request.keyId);
    throw error;
  }
}

async function serve(): Promise<void> {
  const port = parentPort;
  if (port === null) throw new SealstreamError("internal", "This file is a worker's entry.");
  const engines = createEngineCache();
  const reply = (message: WorkerReply, transfer: ArrayBuffer[] = []): void => {
    port.postMessage(message, transfer);
  };
  const answer = async (request: WorkerRequest): Promise<void> => {
    const { requestId } = request;
    const startedMs = performance.now();
    try {
      const outcome = await runRequest(engines, request);
      const evaluationMs = performance.now() - startedMs;
      const buffers = outcome.status === "ok" ? outcome.blobs.map(ownBuffer) : [];
      reply({ kind: "done", requestId, outcome, evaluationMs, keyIds: engines.ids() }, buffers);
    } catch (error) {
      reply({ kind: "failed", requestId, ...describe(error), keyIds: engines.ids() });
    }
  };
  await loadSeal();
  // One request at a time: the pool never sends a second one before the answer.
  port.on("message", (request: WorkerRequest) => {
    void answer(request);
  });
  reply({ kind: "ready" });
}

function ownBuffer(blob: Uint8Array): ArrayBuffer {
  // Because engines return views of their own, unshared buffers.
  return blob.buffer as ArrayBuffer;
}

function describe(error: unknown): { code: ErrorCode; message: string } {
  return isSealstreamError(error)
    ? { code: error.code, message: error.message }
    : { code: "internal", message: "A CKKS worker failed in a way it has no code for." };
}

await serve();
