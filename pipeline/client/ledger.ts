/** Reads and recomputes a pipeline's privacy ledger out of its topics alone. */
import { topicName } from "../../schemas/topics.ts";
import { createKeyDirectory } from "../crypto/directory.ts";
import type { TrustRoot } from "../crypto/trust.ts";
import { type LedgerVerification, verifyLedger } from "../privacy/ledger.ts";
import type { KafkaClient } from "../stream/port.ts";
import { readTopic } from "../stream/tail.ts";
import { readKeys } from "./keys.ts";

/**
 * Everything the ledger says, and every edit, gap or fork in it. Needs the pinned identities and no key.
 * @example
 * ```ts
 * const { findings } = await readLedger({ client, pipeline: spec.name, zones, revoked });
 * ```
 */
export async function readLedger(
  options: TrustRoot & { readonly client: KafkaClient; readonly pipeline: string },
): Promise<LedgerVerification> {
  const { client, pipeline, zones, revoked } = options;
  const directory = createKeyDirectory({ pipeline, zones, revoked, blobPurposes: [] });
  await readKeys({ client, pipeline, directory });
  const values: Uint8Array[] = [];
  await readTopic({
    client,
    topic: topicName(pipeline, "ledger"),
    // A record without a value is no entry: verification names it.
    apply: ({ value }) => values.push(Uint8Array.from(value ?? [])),
  });
  return verifyLedger(values, {
    pipeline,
    findSigner: (kid) => directory.findSigner(kid, ["model-signing"]),
  });
}
