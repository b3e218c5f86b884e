/**
 * What users of the library import: connect, produce, read predictions and shared records, verify the ledger.
 * @example
 * ```ts
 * import { createKafkajsClient, loadPipelineSpec, produceLines } from "sealstream";
 * ```
 */

export { openKeyStore } from "../crypto/key-store.ts";
export { SealstreamError } from "../errors.ts";
export { loadPipelineSpec } from "../spec/load.ts";
export type { PipelineSpec } from "../spec/pipeline-spec.ts";
export { createKafkajsClient } from "../stream/kafkajs-client.ts";
export type { KafkaClient, Logger } from "../stream/port.ts";
export { type ConsumeOptions, consumePredictions, onPredictions } from "./consume.ts";
export { readLedger } from "./ledger.ts";
export type { RefusedBundle, SequenceGap } from "./prediction-lane.ts";
export {
  createConsumerRefresh,
  type Prediction,
  type PredictionBatch,
  type PredictionPosition,
  type PredictionReaderOptions,
  readConsumerDirectory,
  readPredictionBatches,
  readPredictions,
} from "./predictions.ts";
export { type ProduceOptions, produceLines } from "./produce.ts";
export {
  type OpenedRecord,
  openRecords,
  type RecordReaderOptions,
  type RefusedField,
} from "./records.ts";
