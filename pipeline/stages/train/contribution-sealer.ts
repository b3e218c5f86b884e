/**
 * A contribution on its way out: encoded, sealed to the aggregator, named by what it covers.
 *
 * The data key is made anew at each start of a lane and after a number of uses; its entry goes to `keys` in the same
 * transaction as its first use. The envelope's sequence is the range's end: it rises with every contribution of the
 * lane, across restarts, without a counter of its own. Must not compute or change a sum.
 */
import type { DataKey } from "../../crypto/data-key.ts";
import { createDataKey } from "../../crypto/data-key.ts";
import type { KeyDirectory } from "../../crypto/directory.ts";
import { sealEnvelope } from "../../crypto/envelope.ts";
import type { KeyEntry } from "../../crypto/key-entries.ts";
import type { SigningKey } from "../../crypto/key-handles.ts";
import type { Kms } from "../../crypto/kms/kms.ts";
import { partiesOf } from "../../crypto/wrap/key-wrap.ts";
import type { Recipient } from "../../crypto/wrap/types.ts";
import { type Contribution, encodeContribution } from "../../privacy/contribution.ts";
import type { OutputRecord } from "../../stream/contract.ts";

export const LANE_HEADER = "sealstream-lane";
const CONTRIBUTION_SCHEMA_VERSION = 1;

export interface SealerOptions {
  readonly pipeline: string;
  readonly lane: number;
  readonly directory: KeyDirectory;
  readonly signer: SigningKey;
  /** Wraps for recipients whose key is in a service. */
  readonly kms?: Kms | undefined;
  /** Contributions sealed under one data key. */
  readonly rotateAfterUses: number;
}

export interface ContributionSealer {
  /** Whether the aggregator's public key is known. */
  ready(): boolean;
  /**
   * Call when a step begins.
   * @param committedTo end of the last committed range of this lane: a data key whose entry was written after it is
   * announced again, because the attempt that wrote it was thrown away
   */
  begin(committedTo: number): void;
  /** The records to write, in order. */
  seal(contribution: Contribution): Promise<OutputRecord[]>;
}

interface CurrentKey {
  readonly dataKey: DataKey;
  readonly entry: KeyEntry;
  readonly parties: string;
  uses: number;
  /** End of the first range sealed under it; null: its entry has not been written. */
  announcedTo: number | null;
}

/** Record id and Kafka key of a contribution, UTF-8. */
export function contributionId(contribution: Contribution): Uint8Array {
  const { runId, lane, from, to } = contribution;
  return new TextEncoder().encode(`${runId}/${lane}/${from}-${to}`);
}

export function createContributionSealer(options: SealerOptions): ContributionSealer {
  const { pipeline, lane, directory, signer, kms } = options;
  let current: CurrentKey | null = null;

  async function keyFor(recipients: readonly Recipient[]): Promise<CurrentKey> {
    const parties = partiesOf(signer, recipients);
    const spent = current === null || current.uses >= options.rotateAfterUses;
    if (current === null || spent || current.parties !== parties) {
      const topic = "contributions";
      const made = await createDataKey({ pipeline, topic, lane, recipients, signer, kms });
      current = { ...made, parties, uses: 0, announcedTo: null };
    }
    return current;
  }

  return {
    ready: () => directory.recipientsFor("contributions") !== null,
    begin: (committedTo) => {
      if (current !== null && (current.announcedTo ?? 0) > committedTo) current.announcedTo = null;
    },
    seal: async (contribution) => {
      const recipients = directory.recipientsFor("contributions");
      if (recipients === null) return [];
      const key = await keyFor(recipients);
      const recordId = contributionId(contribution);
      const value = sealEnvelope({
        dataKey: key.dataKey,
        plaintext: encodeContribution(contribution),
        context: {
          pipeline,
          topic: "contributions",
          lane,
          recordId,
          schemaVersion: CONTRIBUTION_SCHEMA_VERSION,
        },
        sequence: contribution.to,
      });
      key.uses += 1;
      const headers = { [LANE_HEADER]: new TextEncoder().encode(String(lane)) };
      const sealed: OutputRecord = { role: "contributions", key: recordId, value, headers };
      if (key.announcedTo !== null) return [sealed];
      key.announcedTo = contribution.to;
      return [{ role: "keys", key: key.entry.key, value: key.entry.value }, sealed];
    },
  };
}
