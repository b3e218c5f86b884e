/** Wraps the data keys of topics anew for whom they are to be for now, as far as the keys here allow. */
import { rewrapTopic } from "../../crypto/key-ceremony-renew.ts";
import type { KeyEntry } from "../../crypto/key-entries.ts";
import {
  SEALED_TOPICS,
  type SealedTopic,
  ZONE_IDENTITY,
  zoneOfTopic,
} from "../../crypto/key-purposes.ts";
import type { Ceremony } from "./ceremony.ts";

export interface RewrapOptions {
  readonly topics: readonly SealedTopic[];
  /** Names of grants that get what was sealed before. */
  readonly add?: readonly string[];
}

/** Entries for the data keys that can be wrapped anew; what cannot be is told, with who can. */
export async function rewraps(
  ceremony: Ceremony,
  { topics, add = [] }: RewrapOptions,
): Promise<KeyEntry[]> {
  const { context, spec, directory, unwrapKeys, identities, kms, file } = ceremony;
  const entries: KeyEntry[] = [];
  for (const topic of topics) {
    const zone = zoneOfTopic(topic);
    const identity = identities.get(zone);
    const isBelieved = identity && directory.findSigner(identity.kid, [ZONE_IDENTITY[zone]]);
    if (identity === undefined || isBelieved === null) {
      context.tell(
        `data keys of ${topic} stay as they are: only ${zone} wraps them anew ("sealstream keys rotate ${file} data-keys --topic ${topic}" where its identity is); keep the old keys until then`,
      );
      continue;
    }
    const common = { pipeline: spec.name, directory, unwrapKeys, identity, kms };
    const made = await rewrapTopic({ ...common, topic, add });
    entries.push(...made.entries);
    if (made.closed > 0) {
      context.tell(
        `${made.closed} data keys of ${topic} stay as they are, since no key here opens them: ${SEALED_TOPICS[topic].recovery} would; keep the old keys until then`,
      );
    }
  }
  return entries;
}

/** Publishes what `make` gives, then wraps anew what running stages have announced meanwhile. */
export async function publishAndCatchUp(
  ceremony: Ceremony,
  entries: readonly KeyEntry[],
  options: RewrapOptions,
): Promise<number> {
  await ceremony.publish(entries);
  await ceremony.refresh();
  const { context } = ceremony;
  const late = await rewraps(
    { ...ceremony, context: { ...context, tell: () => undefined } },
    options,
  );
  await ceremony.publish(late);
  return late.length;
}
