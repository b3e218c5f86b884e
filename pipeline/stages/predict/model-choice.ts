/**
 * Which model a pack is evaluated with: the newest that can be.
 *
 * An authentic model may still be impossible to evaluate (weights so large that a logit could wrap around, another
 * number of inputs). It is reported once and passed over: packs go on with the newest model that could be evaluated in
 * this process, or wait for the next one. It is passed over for packs of the same kind only (consumer's keys, packing,
 * form): under other keys, or in the other packing, it may well fit. Must not judge packs, nor keep more than one model
 * beside the newest.
 */
import type { Pack } from "./pack.ts";
import type { PredictModel } from "./stage.ts";

export interface RefusedModel {
  readonly modelVersion: number;
  /** A sentence about sizes and shapes; holds no weight. */
  readonly reason: string;
}

/** What decides whether a model can be evaluated on a pack. */
export type PackKind = Pick<Pack, "consumerKeyId" | "packing" | "form">;

export interface ModelChoice {
  /**
   * The model to use now, or null: wait.
   * @param pack models of ciphertexts serve one key; null: any model, whatever it was refused for
   */
  current(pack: PackKind | null): PredictModel | null;
  /** It evaluated a pack. */
  proved(model: PredictModel): void;
  /** It cannot be evaluated on packs of this kind. */
  refuse(model: PredictModel, pack: PackKind, reason: string): void;
}

/** Refusals remembered, of a model for a kind; a view never goes back further than lanes work side by side. */
const MOST_REFUSED = 256;

export function createModelChoice(options: {
  readonly model: (consumerKeyId: string | null) => PredictModel | null;
  readonly onModelRefused?: ((refused: RefusedModel) => void) | undefined;
}): ModelChoice {
  /** Entry hashes with kinds of packs, the oldest first. */
  const refused = createMemory();
  /** Entry hashes. */
  const reported = createMemory();
  let lastGood: PredictModel | null = null;
  return {
    current(pack) {
      const isUsable = (model: PredictModel | null): model is PredictModel =>
        model !== null &&
        (pack === null || (!refused.has(nameOf(model, pack)) && serves(model, pack)));
      const newest = options.model(pack === null ? null : pack.consumerKeyId);
      if (isUsable(newest)) return newest;
      return isUsable(lastGood) ? lastGood : null;
    },
    proved(model) {
      lastGood = model;
    },
    refuse(model, pack, reason) {
      refused.add(nameOf(model, pack));
      if (reported.has(model.entryHash)) return;
      reported.add(model.entryHash);
      options.onModelRefused?.({ modelVersion: model.entry.modelVersion, reason });
    },
  };
}

function nameOf({ entryHash }: PredictModel, { consumerKeyId, packing, form }: PackKind): string {
  return `${entryHash} ${consumerKeyId} ${packing} ${form}`;
}

/** Names, of which the oldest go. */
function createMemory(): Pick<Set<string>, "has" | "add"> {
  const names = new Set<string>();
  return {
    has: (name) => names.has(name),
    add(name) {
      names.add(name);
      const [oldest] = names;
      if (names.size > MOST_REFUSED && oldest !== undefined) names.delete(oldest);
      return names;
    },
  };
}

/** Whether packs under this key can be evaluated with the model. */
function serves({ weights }: PredictModel, { consumerKeyId }: PackKind): boolean {
  return !("consumerKeyId" in weights) || weights.consumerKeyId === consumerKeyId;
}
