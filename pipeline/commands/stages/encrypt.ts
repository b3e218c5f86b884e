/** Wires `encrypt`: the consumer's CKKS keys out of `keys`, and how packs are made under what they serve. */
import { randomBytes } from "node:crypto";
import { slotCount } from "../../ckks/parameters.ts";
import { requirePlan } from "../../ckks/predict-plan.ts";
import { createEncryptStage } from "../../stages/encrypt/stage.ts";
import { createOwnerPacking } from "./owner-packing.ts";
import { createPublishedPlans } from "./published-plan.ts";
import type { StageWorld, WireStage } from "./world.ts";

/** How packs are made, and how many records one will have at most; where nothing is predicted there are none. */
function packingOf({ spec, directory }: Pick<StageWorld, "spec" | "directory">) {
  if (!spec.predict.encrypted) return { packing: () => null, mostPackRecords: 0 };
  const published = createPublishedPlans(spec, directory);
  const { parameters } = published.newest()?.plan ?? requirePlan(spec);
  const packing = createOwnerPacking(spec);
  return {
    packing: () => packing(published.newest()),
    mostPackRecords: slotCount(parameters),
  };
}

export const wire: WireStage = async ({ spec, directory, keys, kms, counter, logger }) => {
  let packs = 0;
  let waited: string | null = null;
  let missed: string | null = null;
  const subjects = new Map<number, number>();
  return createEncryptStage({
    spec,
    directory,
    kms,
    signer: keys.signing("owner-signing"),
    splitSecret: keys.secret("split"),
    ...packingOf({ spec, directory }),
    random: randomBytes,
    onPack: () => {
      packs += 1;
      counter.note("packs", packs);
    },
    onSubjects(counts) {
      subjects.set(counts.lane, counts.subjects);
      counter.note(
        "subjects",
        [...subjects.values()].reduce((sum, count) => sum + count, 0),
      );
    },
    onMissingKeys(purposes) {
      const waits = purposes.length === 0 ? null : purposes.join(", ");
      counter.note("waits for keys", waits);
      if (waits !== null && waits !== missed) {
        logger.warn({ purposes }, "records wait: keys has none of these that is believed");
      }
      missed = waits;
    },
    onMissingGrants(names) {
      const waits = names.length === 0 ? null : names.join(", ");
      counter.note("waits for grant of records to", waits);
      if (waits !== null && waits !== waited) {
        logger.warn({ names }, "records wait: keys has no grant of records to these names");
      }
      waited = waits;
    },
  });
};
