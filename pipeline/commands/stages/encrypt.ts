/** Wires `encrypt`: the consumer's public CKKS key out of `keys`, and the packer that uses it. */
import { randomBytes } from "node:crypto";
import { encryptPack } from "../../ckks/pack.ts";
import { DEFAULT_PARAMETERS, slotCount } from "../../ckks/parameters.ts";
import { SealstreamError } from "../../errors.ts";
import { createEncryptStage } from "../../stages/encrypt/stage.ts";
import type { WireStage } from "./world.ts";

export const wire: WireStage = async ({ spec, directory, keys, kms, counter, logger }) => {
  let packs = 0;
  let waited: string | null = null;
  let missed: string | null = null;
  return createEncryptStage({
    spec,
    directory,
    kms,
    signer: keys.signing("owner-signing"),
    splitSecret: keys.secret("split"),
    parametersId: DEFAULT_PARAMETERS.id,
    slotsPerPack: slotCount(DEFAULT_PARAMETERS),
    consumerKeyId: () => directory.blob("ckks-public")?.id ?? null,
    packer: (rows, features, at) => {
      const blob = directory.blob("ckks-public");
      if (blob === null) {
        throw new SealstreamError(
          "key-missing",
          'The consumer\'s CKKS public key is not published: run "sealstream keys create FILE".',
        );
      }
      return encryptPack({
        publicKey: blob.bytes,
        parameters: DEFAULT_PARAMETERS,
        rows,
        features,
        at,
      });
    },
    random: randomBytes,
    onPack: () => {
      packs += 1;
      counter.note("packs", packs);
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
