/**
 * The killable worker: the only thread in the prediction zone in which ciphertexts are parsed and evaluated.
 *
 * It answers each request or dies; `pool.ts` decides what a death means. Its environment is empty and it holds nothing
 * but the consumer's public and evaluation keys. Must not send text of the library: failures are codes and own words.
 */
import { parentPort } from "node:worker_threads";
import { type ErrorCode, isSealstreamError, SealstreamError } from "../errors.ts";
import type { Network } from "../network/definition.ts";
import type { Weights } from "../network/weights.ts";
import {
  createNetworkEvaluator,
  type EvaluationKeys,
  type EvaluationOutcome,
  type NetworkEvaluator,
} from "./evaluate.ts";
import { type CkksParameters, parseParameters } from "./parameters.ts";
import { loadSeal } from "./seal.ts";

export interface WorkerRequest {
  readonly requestId: number;
  /** Id of a parameter set. */
  readonly parameters: string;
  /** The keys to evaluate with; null: those of the request before. */
  readonly keys: EvaluationKeys | null;
  readonly network: Network;
  readonly weights: Weights;
  readonly ciphertexts: readonly Uint8Array[];
}

export type WorkerReply =
  | { readonly kind: "ready" }
  | {
      readonly kind: "done";
      readonly requestId: number;
      readonly outcome: EvaluationOutcome;
      readonly evaluationMs: number;
    }
  | {
      readonly kind: "failed";
      readonly requestId: number;
      readonly code: ErrorCode;
      readonly message: string;
    };

async function serve(): Promise<void> {
  const port = parentPort;
  if (port === null) throw new SealstreamError("internal", "This file is a worker's entry.");
  let evaluator: NetworkEvaluator | null = null;
  const reply = (message: WorkerReply, transfer: ArrayBuffer[] = []): void => {
    port.postMessage(message, transfer);
  };
  const open = async (parameters: CkksParameters | null, keys: EvaluationKeys): Promise<void> => {
    evaluator?.close();
    evaluator = null;
    if (parameters === null) {
      throw new SealstreamError("internal", "A worker was given a parameter set that is not one.");
    }
    evaluator = await createNetworkEvaluator(parameters, keys);
  };
  const answer = async (request: WorkerRequest): Promise<void> => {
    const { requestId, keys } = request;
    const startedMs = performance.now();
    try {
      if (keys !== null) await open(parseParameters(request.parameters), keys);
      if (evaluator === null) {
        throw new SealstreamError("internal", "A worker was asked to evaluate without keys.");
      }
      const outcome = evaluator.evaluate(request);
      const evaluationMs = performance.now() - startedMs;
      const buffers = outcome.status === "ok" ? outcome.blobs.map(ownBuffer) : [];
      reply({ kind: "done", requestId, outcome, evaluationMs }, buffers);
    } catch (error) {
      reply({ kind: "failed", requestId, ...describe(error) });
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
  // Because saveUncompressed returns views of their own, unshared buffers.
  return blob.buffer as ArrayBuffer;
}

function describe(error: unknown): { code: ErrorCode; message: string } {
  return isSealstreamError(error)
    ? { code: error.code, message: error.message }
    : { code: "internal", message: "A CKKS worker failed in a way it has no code for." };
}

await serve();
