/**
 * Which model a pack is evaluated with: the newest that can be.
 *
 * An authentic model may still be impossible to evaluate (weights so large that a logit could wrap around, another
 * number of inputs). It is reported once and passed over: packs go on with the newest model that could be evaluated in
 * this process, or wait for the next one. Must not judge packs, nor keep more than one model beside the newest.
 */
import type { PredictModel } from "./stage.ts";

export interface RefusedModel {
  readonly modelVersion: number;
  /** A sentence about sizes and shapes; holds no weight. */
  readonly reason: string;
}

export interface ModelChoice {
  /**
   * The model to use now, or null: wait.
   * @param consumerKeyId of a pack: models of ciphertexts serve one key; null: any model
   */
  current(consumerKeyId: string | null): PredictModel | null;
  /** It evaluated a pack. */
  proved(model: PredictModel): void;
  /** It cannot be evaluated. */
  refuse(model: PredictModel, reason: string): void;
}

/** Refused models remembered; a view never goes back further than lanes work side by side. */
const MOST_REFUSED = 64;

export function createModelChoice(options: {
  readonly model: (consumerKeyId: string | null) => PredictModel | null;
  readonly onModelRefused?: ((refused: RefusedModel) => void) | undefined;
}): ModelChoice {
  /** Entry hashes, the oldest first. */
  const refused = new Set<string>();
  let lastGood: PredictModel | null = null;
  return {
    current(consumerKeyId) {
      const isUsable = (model: PredictModel | null): model is PredictModel =>
        model !== null && !refused.has(model.entryHash) && serves(model, consumerKeyId);
      const newest = options.model(consumerKeyId);
      if (isUsable(newest)) return newest;
      return isUsable(lastGood) ? lastGood : null;
    },
    proved(model) {
      lastGood = model;
    },
    refuse(model, reason) {
      if (refused.has(model.entryHash)) return;
      refused.add(model.entryHash);
      const [oldest] = refused;
      if (refused.size > MOST_REFUSED && oldest !== undefined) refused.delete(oldest);
      options.onModelRefused?.({ modelVersion: model.entry.modelVersion, reason });
    },
  };
}

/** Whether packs under this key can be evaluated with the model. */
function serves({ weights }: PredictModel, consumerKeyId: string | null): boolean {
  const isBound = consumerKeyId !== null && "consumerKeyId" in weights;
  return !isBound || weights.consumerKeyId === consumerKeyId;
}
