/** Command-line options of `dead-letters`, checked. */
import type { StageName } from "../../../schemas/topics.ts";
import { STAGES } from "../../../schemas/topics.ts";
import { SealstreamError } from "../../errors.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import { isReason } from "../../stream/dead-letter.ts";
import { type Options, stageOption } from "../options.ts";
import { deadPartitions } from "./advise.ts";
import type { Selection } from "./replay-stage.ts";

/** A record is replayed this often unless said: two tries at mending the file. */
const MAX_ATTEMPTS = 3;

/** How long a reader waits for a transaction that is open before what it must see. */
export function patienceOf(spec: PipelineSpec): number {
  // Kafka looks for transactions to time out every ten seconds.
  return spec.kafka.transactionTimeoutMs + 15_000;
}

/** A whole number from 0 on, or null when it was not given. @throws SealstreamError `usage` */
function wholeOption(value: unknown, name: string): number | null {
  if (value === undefined) return null;
  const count = typeof value === "boolean" ? Number.NaN : Number(value);
  if (!Number.isSafeInteger(count) || count < 0) {
    throw new SealstreamError("usage", `--${name} must be a whole number from 0 on.`);
  }
  return count;
}

/** `--limit`: letters to print. */
export function limitOption(value: unknown): number {
  return wholeOption(value, "limit") ?? Number.POSITIVE_INFINITY;
}

/** `--max-attempts` */
export function attemptsOption(value: unknown): number {
  return wholeOption(value, "max-attempts") ?? MAX_ATTEMPTS;
}

/** A letter as `list` prints it. */
export interface LetterName {
  readonly stage: StageName;
  readonly partition: number;
  readonly offset: number;
}

/** STAGE/PARTITION/OFFSET. @throws SealstreamError `usage` */
export function letterName(word: string | undefined): LetterName {
  const [, name, partition, offset] = /^([a-z]+)\/(\d{1,9})\/(\d{1,15})$/.exec(word ?? "") ?? [];
  const stage = STAGES.find((one) => one === name);
  if (stage === undefined) {
    throw new SealstreamError(
      "usage",
      `Name one letter as "dead-letters list" prints it: STAGE/PARTITION/OFFSET, such as encrypt/0/12; the stages are ${STAGES.join(", ")}.`,
    );
  }
  return { stage, partition: Number(partition), offset: Number(offset) };
}

/**
 * Which letters to replay. Everything has to be asked for, so that nothing goes back by mistake.
 * @throws SealstreamError `usage`
 */
export function selectionOption(
  spec: PipelineSpec,
  options: Options,
): Selection & { readonly stage: StageName | null } {
  const stage = stageOption(options);
  const partition = wholeOption(options["partition"], "partition");
  const offset = wholeOption(options["offset"], "offset");
  const reason = options["reason"];
  const ways = [options["all"] === true, offset !== null, reason !== undefined];
  if (ways.filter(Boolean).length !== 1) {
    throw new SealstreamError(
      "usage",
      "Say which letters to replay: --all, --reason REASON, or --offset N with --stage and --partition.",
    );
  }
  if (offset !== null && (stage === null || partition === null)) {
    throw new SealstreamError("usage", "--offset needs --stage and --partition.");
  }
  if (reason !== undefined && (typeof reason !== "string" || !isReason(reason))) {
    throw new SealstreamError("usage", 'There is no such reason: see "dead-letters list".');
  }
  if (
    partition !== null &&
    partition >= deadPartitions(stage ?? "encrypt", spec.kafka.partitions)
  ) {
    throw new SealstreamError("usage", `There is no partition ${partition}.`);
  }
  return { stage, partition, offset, reason: reason ?? null };
}
