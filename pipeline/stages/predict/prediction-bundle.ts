/**
 * The signed result of a pack.
 *
 * Grammar (fields of a bundle, `crypto/bundle.ts`): {sequence: uint, rows: uint, classes: uint, parameters: tstr,
 * consumerKeyId: tstr, recordIds: bstr, runId: tstr, modelVersion: uint, modelSha256: tstr (hex), ledgerEntryHash: tstr
 * (hex), packing: "batch" / "slots", classStride: uint, recordStride: uint, recordsPerPart: uint, precisionBits: uint, ? coarseBits: uint};
 * the bundle id is the pack's, to which the record ids are bound. Where logits lie is said in `ckks/engine.ts`. The last
 * six are not there for a pack of the version before. coarseBits is there when precisionBits would be below 0, and is how
 * far: errors reach 2^coarseBits, and scores must not be rounded more finely. Must not say how an evaluation went: neither noise nor time.
 */
import { MAX_VALUE_BYTES } from "../../../schemas/topics.ts";
import type { ResultLayout } from "../../ckks/engine.ts";
import { createBundle } from "../../crypto/bundle.ts";
import type { SigningKey } from "../../crypto/key-handles.ts";
import type { OutputRecord } from "../../stream/contract.ts";
import type { Pack } from "./pack.ts";
import type { PredictModel } from "./stage.ts";

/** What a signature binds the bundles of a lane to. */
export function predictionContext(pipeline: string, lane: number): string {
  return `sealstream/predictions/v1|${pipeline}|${lane}`;
}

export interface EvaluatedPack {
  readonly pack: Pack;
  readonly model: PredictModel;
  /** Ciphertexts of the logits. */
  readonly parts: readonly Uint8Array[];
  readonly layout: ResultLayout;
  readonly classes: number;
  readonly sequence: number;
}

/** The records of a result, in order, for one transaction. */
export function predictionRecords(
  by: { readonly pipeline: string; readonly lane: number; readonly signer: SigningKey },
  { pack, model, parts, layout, classes, sequence }: EvaluatedPack,
): OutputRecord[] {
  const { rows, parameters, consumerKeyId, recordIds } = pack;
  const { runId, modelVersion } = model.entry;
  const { packing, classStride, recordStride, recordsPerPart } = layout;
  const bits = Math.floor(layout.precisionBits);
  const precision = bits < 0 ? { precisionBits: 0, coarseBits: -bits } : { precisionBits: bits };
  const strides = { packing, classStride, recordStride, recordsPerPart, ...precision };
  return createBundle({
    context: predictionContext(by.pipeline, by.lane),
    bundleId: pack.bundleId,
    parts,
    fields: {
      ...{ sequence, rows, classes, parameters, consumerKeyId, recordIds, runId, modelVersion },
      modelSha256: model.entry.model.sha256,
      ledgerEntryHash: model.entryHash,
      ...(pack.form === "wire" ? strides : {}),
    },
    signer: by.signer,
    maxChunkBytes: MAX_VALUE_BYTES,
  }).map((record) => ({ role: "predictions", ...record }));
}
