/**
 * Asks a stage's own rules, as the pipeline file has them now, what they make of a record: its id, or a refusal.
 *
 * A record that would be refused again is not replayed: that keeps the topic from going in circles, and says at once
 * whether the file was mended. Runs what the stages run, in the owner's zone, with the owner's secrets; writes nothing.
 */
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import { createRuleJudge } from "../../stages/desensitize/stage.ts";
import { createRowReader } from "../../stages/encrypt/row.ts";
import type { Reason, StreamRecord } from "../../stream/contract.ts";
import type { ReplayableStage } from "../../stream/dead-letter-replay.ts";
import type { CommandContext } from "../context.ts";
import { openHolderKeys } from "../key-access.ts";
import { desensitizeOptions } from "../stages/desensitize.ts";

/** The record id after its rule and where the record belongs, or why it is refused. */
export type Judged =
  | {
      readonly status: "passes";
      readonly id: Uint8Array;
      /** The partition that the record is to go back to; null: the one it came from. */
      readonly partition: number | null;
    }
  | { readonly status: "refused"; readonly reason: Reason };

export interface Judge {
  /** One answer a record, in order. */
  judge(records: readonly StreamRecord[]): Promise<readonly Judged[]>;
  close(): Promise<void>;
}

export function createJudge(given: {
  readonly context: CommandContext;
  readonly spec: PipelineSpec;
  readonly stage: ReplayableStage;
  /** Folder of the `encrypt` stage's keys. */
  readonly ownerFolder: string;
}): Promise<Judge> {
  return given.stage === "desensitize"
    ? desensitizeJudge(given.context, given.spec)
    : encryptJudge(given.context, given.spec, given.ownerFolder);
}

async function desensitizeJudge(context: CommandContext, spec: PipelineSpec): Promise<Judge> {
  const rules = createRuleJudge(await desensitizeOptions(context, spec));
  return {
    async judge(records) {
      const judged = await rules.judge(records);
      return judged.map(
        (what): Judged =>
          typeof what === "string"
            ? { status: "refused", reason: what }
            : { status: "passes", ...what },
      );
    },
    close: rules.close,
  };
}

async function encryptJudge(
  context: CommandContext,
  spec: PipelineSpec,
  ownerFolder: string,
): Promise<Judge> {
  const split = (await openHolderKeys(context, ownerFolder, "encrypt")).secret("split");
  const reader = createRowReader(spec, (message) => split.hmac(message));
  return {
    judge: async (records) =>
      records.map((record): Judged => {
        const row = reader.read(record, 0);
        if (row.kind === "refused") return { status: "refused", reason: row.reason };
        // Because a row that passes has the record's key as its id.
        return record.key === null
          ? { status: "refused", reason: "record-id" }
          : { status: "passes", id: record.key, partition: null };
      }),
    close: async () => undefined,
  };
}
