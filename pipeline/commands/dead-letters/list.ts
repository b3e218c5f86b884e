/**
 * `sealstream dead-letters list FILE`: every letter, one line each, and totals per stage and reason.
 *
 * Reads headers and receipts only; needs no key. What it prints of a header are numbers and words of closed lists, so
 * that who writes garbage into the topic cannot write to a terminal. Streams: holds one fetch, and a bit per replayed letter.
 */
import { STAGES, type StageName } from "../../../schemas/topics.ts";
import { readKeys } from "../../client/keys.ts";
import { createKeyDirectory } from "../../crypto/directory.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import type { StreamRecord } from "../../stream/contract.ts";
import { readLetterHeaders } from "../../stream/dead-letter.ts";
import {
  deadNames,
  isReceipt,
  readReplayed,
  readThrough,
} from "../../stream/dead-letter-replay.ts";
import type { KafkaClient } from "../../stream/port.ts";
import {
  type CommandContext,
  EXIT,
  loadSpec,
  openKafka,
  openLogger,
  trustRoot,
} from "../context.ts";
import { type Options, stageOption } from "../options.ts";
import { deadPartitions } from "./advise.ts";
import { limitOption, patienceOf } from "./letter-options.ts";
import { createReceiptGuard } from "./receipts.ts";
import { isoTime } from "./text.ts";

/** One letter, as `--json` prints it. */
export interface ListedLetter {
  /** What `show` takes: STAGE/PARTITION/OFFSET. */
  readonly letter: string;
  readonly stage: StageName;
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  /** Null when the headers are not those of a letter. */
  readonly source: {
    readonly topic: string;
    readonly partition: number;
    readonly offset: number;
  } | null;
  readonly reason: string;
  /** As the broker has it. */
  readonly at: string | null;
  /** Of the sealed value. */
  readonly bytes: number;
  /** How often its record was replayed before it was refused again. */
  readonly attempts: number;
  /** Whether it went back since. */
  readonly replayed: boolean;
}

/** Reason of a letter whose headers are not those of a letter. */
const MALFORMED = "(malformed)";

export async function list(
  context: CommandContext,
  file: string,
  options: Options,
): Promise<number> {
  const spec = loadSpec(context, file);
  const stage = stageOption(options);
  const limit = limitOption(options["limit"]);
  const client = await openKafka(context, spec, openLogger(context, { command: "dead-letters" }));
  try {
    const totals = new Map<string, number>();
    let letters = 0;
    for (const name of stage === null ? STAGES : [stage]) {
      await listStage({ context, spec, client }, name, (letter) => {
        if (letters < limit) {
          if (letters === 0 && options["json"] !== true) context.print(HEADER);
          context.print(options["json"] === true ? JSON.stringify(letter) : row(letter));
        }
        letters += 1;
        const total = `${letter.stage} ${letter.reason}${letter.replayed ? " (replayed)" : ""}`;
        totals.set(total, (totals.get(total) ?? 0) + 1);
      });
    }
    if (letters > limit) context.tell(`${letters - limit} more are not shown: raise --limit`);
    for (const [total, count] of totals) context.tell(`${String(count).padStart(8)}  ${total}`);
    context.tell(`${letters.toLocaleString("en")} dead letters`);
    return EXIT.ok;
  } finally {
    await client.close();
  }
}

async function listStage(
  { context, spec, client }: { context: CommandContext; spec: PipelineSpec; client: KafkaClient },
  stage: StageName,
  onLetter: (letter: ListedLetter) => void,
): Promise<void> {
  const pipeline = spec.name;
  const directory = createKeyDirectory({ pipeline, ...trustRoot(spec), blobPurposes: [] });
  await readKeys({ client, pipeline, directory });
  const guard = createReceiptGuard(directory, null);
  const { input, dead } = deadNames({ pipeline, stage });
  const patienceMs = patienceOf(spec);
  for (
    let partition = 0;
    partition < deadPartitions(stage, spec.kafka.partitions);
    partition += 1
  ) {
    const place = { pipeline, stage, partition };
    const replayed = await readReplayed({ client, place, guard, patienceMs });
    await readThrough({
      client,
      topic: dead,
      partition,
      patienceMs,
      apply: (record) => {
        if (context.signal.aborted) return false;
        if (isReceipt(record)) return undefined;
        const isReplayed = replayed.letters.has(record.offset);
        onLetter(listed(record, { stage, partition, input, dead, isReplayed }));
        return undefined;
      },
    });
  }
}

function listed(
  record: StreamRecord,
  given: {
    readonly stage: StageName;
    readonly partition: number;
    readonly input: string;
    readonly dead: string;
    readonly isReplayed: boolean;
  },
): ListedLetter {
  const { stage, partition, input, dead, isReplayed } = given;
  const headers = readLetterHeaders(record.headers, { stage, topic: input, partition });
  return {
    letter: `${stage}/${partition}/${record.offset}`,
    stage,
    topic: dead,
    partition,
    offset: record.offset,
    source: headers === null ? null : { topic: input, partition, offset: headers.offset },
    reason: headers?.reason ?? MALFORMED,
    at: isoTime(record.timestampMs),
    bytes: record.value?.byteLength ?? 0,
    attempts: headers?.replays ?? 0,
    replayed: isReplayed,
  };
}

const WIDTHS = [24, 20, 24];
const HEADER = columns(["LETTER", "REASON", "AT", "BYTES", "RECORD"]);

function columns(cells: readonly string[]): string {
  return cells
    .map((cell, index) => (index === 3 ? cell.padStart(9) : cell.padEnd(WIDTHS[index] ?? 0)))
    .join("  ");
}

function row({ letter, reason, at, bytes, source, attempts, replayed }: ListedLetter): string {
  const place = source === null ? "?" : `${source.topic}/${source.partition}/${source.offset}`;
  const again = attempts === 0 ? "" : `  refused again after ${attempts} replays`;
  return `${columns([letter, reason, at ?? "?", String(bytes), place])}${again}${replayed ? "  replayed" : ""}`;
}
