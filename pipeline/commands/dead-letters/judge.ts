/**
 * Asks a stage's own rules, as the pipeline file has them now, what they make of a record: its id, or a refusal.
 *
 * A record that would be refused again is not replayed: that keeps the topic from going in circles, and says at once
 * whether the file was mended. Runs what the stages run, in the owner's zone, with the owner's secrets; writes nothing.
 */
import { openKeyStore } from "../../crypto/key-store.ts";
import { SealstreamError } from "../../errors.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import { createDesensitizeStage } from "../../stages/desensitize/stage.ts";
import { createRowReader } from "../../stages/encrypt/row.ts";
import type { Reason, StreamRecord } from "../../stream/contract.ts";
import type { ReplayableStage } from "../../stream/dead-letter-replay.ts";
import type { CommandContext } from "../context.ts";
import { desensitizeOptions } from "../stages/desensitize.ts";

/** The record id after its rule, or why the record is refused. */
export type Judged =
  | { readonly status: "passes"; readonly id: Uint8Array }
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
    : encryptJudge(given.spec, given.ownerFolder);
}

async function desensitizeJudge(context: CommandContext, spec: PipelineSpec): Promise<Judge> {
  const stage = createDesensitizeStage(await desensitizeOptions(context, spec));
  const lane = await stage.openLane(0);
  return {
    async judge(records) {
      // Offsets count the records of this call: letters of any place may stand beside each other.
      const numbered = records.map((record, offset) => ({ ...record, offset }));
      const { outputs, outcomes, consumedTo } = await lane.process(numbered, null, 0);
      const reasons = new Map(outcomes.map(({ offset, reason }) => [offset, reason]));
      if (consumedTo !== records.length || outputs.length + reasons.size !== records.length) {
        throw new SealstreamError(
          "internal",
          "The rules gave no verdict on a record: letters of a pipeline with windows cannot be replayed.",
        );
      }
      const ids = outputs.map(({ key }) => key).values();
      return numbered.map(({ offset }): Judged => {
        const reason = reasons.get(offset);
        if (reason !== undefined) return { status: "refused", reason };
        const id = ids.next().value ?? null;
        return id === null ? { status: "refused", reason: "record-id" } : { status: "passes", id };
      });
    },
    close: async () => {
      await stage.close?.();
    },
  };
}

async function encryptJudge(spec: PipelineSpec, ownerFolder: string): Promise<Judge> {
  const split = openKeyStore({ folder: ownerFolder, holder: "encrypt" }).secret("split");
  const reader = createRowReader(spec, (message) => split.hmac(message));
  return {
    judge: async (records) =>
      records.map((record): Judged => {
        const row = reader.read(record, 0);
        if (row.kind === "refused") return { status: "refused", reason: row.reason };
        // Because a row that passes has the record's key as its id.
        return record.key === null
          ? { status: "refused", reason: "record-id" }
          : { status: "passes", id: record.key };
      }),
    close: async () => undefined,
  };
}
